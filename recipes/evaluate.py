"""
J, F, J&F, S, category accuracy and format rate of a policy, under every protocol; writes report.json, report.md,
predictions.jsonl and a picture of the best, the median and the worst answer.

    python recipes/evaluate.py                                                # embedded default
    accelerate launch recipes/evaluate.py --model_name_or_path outputs/grpo --eval_split test_s,test_u,test_n
"""

import sys
from pathlib import Path

from trl import ModelConfig

from aurora_trl.data.readers import find_new_categories
from aurora_trl.evaluation import EvaluationConfig, evaluate_policy
from aurora_trl.evaluation.runner import process_state
from aurora_trl.trainers.script import (
    AuroraScriptArguments,
    data_root,
    load_eval_splits,
    load_policy,
    parse_recipe,
    run_recipe,
)


def main(argv=None):
    script_args, args, model_args = parse_recipe(
        (AuroraScriptArguments, EvaluationConfig, ModelConfig), Path(__file__).parent / "tiny" / "evaluate.yaml", argv
    )
    device = process_state().device
    model, processor = load_policy(model_args, script_args)
    script_args.system_prompt = script_args.system_prompt or processor.system_prompt
    evaluation = evaluate_policy(
        model.to(device),
        processor,
        load_eval_splits(script_args),
        args,
        folder=args.output_dir,
        new_categories=find_new_categories(data_root(script_args)),
    )
    if process_state().is_main_process:
        sys.stderr.write(f"{Path(args.output_dir) / 'report.md'}: {evaluation.metrics}\n")
    return evaluation


if __name__ == "__main__":
    run_recipe(main)
