"""
J, F, J&F, category accuracy and format rate of a policy on one split; writes report.json and predictions.jsonl.

    python recipes/evaluate.py                                                # embedded default
    python recipes/evaluate.py --model_name_or_path outputs/grpo --eval_split test_s --output_dir outputs/report
"""

from pathlib import Path

from trl import ModelConfig

from aurora_trl.evaluation import EvaluationConfig, evaluate_policy
from aurora_trl.trainers.script import AuroraScriptArguments, load_policy, load_rows, parse_recipe


def main(argv=None):
    script_args, args, model_args = parse_recipe(
        (AuroraScriptArguments, EvaluationConfig, ModelConfig), Path(__file__).parent / "tiny" / "evaluate.yaml", argv
    )
    model, processor = load_policy(model_args, script_args)
    rows = load_rows(script_args, script_args.eval_split, script_args.max_eval_rows)
    evaluation = evaluate_policy(model, processor, rows, args)
    evaluation.write(args.output_dir)
    return evaluation


if __name__ == "__main__":
    main()
