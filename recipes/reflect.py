"""
Answers for stage 2: the stage-1 policy's own failures on training rows, corrected, mixed with chains of thought.

    python recipes/reflect.py                                                 # embedded default
"""

from dataclasses import asdict
from pathlib import Path

from trl import ModelConfig

from aurora_trl.data.jsonl import write_objects
from aurora_trl.evaluation import EvaluationConfig, evaluate_policy
from aurora_trl.evaluation.runner import process_state
from aurora_trl.reasoning.cot import write_chains_of_thought
from aurora_trl.reasoning.oracle import OracleAnnotator
from aurora_trl.reasoning.reflection import mix_with_cot, select_failures, write_reflective_paths
from aurora_trl.trainers.script import (
    AuroraScriptArguments,
    data_root,
    load_policy,
    load_rows,
    parse_recipe,
    run_recipe,
)


def main(argv=None):
    script_args, args, model_args = parse_recipe(
        (AuroraScriptArguments, EvaluationConfig, ModelConfig), Path(__file__).parent / "tiny" / "reflect.yaml", argv
    )
    output_dir = Path(args.output_dir)
    annotator = OracleAnnotator(data_root(script_args))  # first: data without scenes have none
    rows = load_rows(script_args, script_args.train_split, script_args.max_train_rows)
    state = process_state()
    model, processor = load_policy(model_args, script_args)
    evaluation = evaluate_policy(model.to(state.device), processor, rows, args, folder=output_dir)
    if not state.is_main_process:
        return None
    failures = select_failures(map(asdict, evaluation.predictions))
    reflective = write_reflective_paths(
        failures, annotator, output_dir / "reflective.jsonl", script_args.synthetic_seed
    )
    all_rows = load_rows(script_args, script_args.train_split)
    cot = write_chains_of_thought(all_rows, annotator, output_dir / "cot.jsonl")
    mixed = mix_with_cot(reflective, cot, seed=script_args.synthetic_seed)
    write_objects(output_dir / "stage2.jsonl", mixed.values())
    return mixed


if __name__ == "__main__":
    run_recipe(main)
