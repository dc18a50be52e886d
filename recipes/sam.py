"""
Stage 0 of the embedded default: a tiny SAM that follows prompts, joined to a random tiny backbone.

    python recipes/sam.py --output_dir outputs/tiny/base
"""

from pathlib import Path

from aurora_trl.trainers.sam_pretraining import SamPretrainingConfig, pretrain_sam
from aurora_trl.trainers.script import AuroraScriptArguments, data_root, load_rows, parse_recipe
from aurora_trl.trainers.tiny import TinyPolicyConfig, build_tiny_policy, categories_present


def main(argv=None):
    script_args, sam_args, policy_args = parse_recipe(
        (AuroraScriptArguments, SamPretrainingConfig, TinyPolicyConfig),
        Path(__file__).parent / "tiny" / "sam.yaml",
        argv,
    )
    rows = load_rows(script_args, script_args.train_split, script_args.max_train_rows)
    model, processor = build_tiny_policy(rows, data_root(script_args), policy_args)
    pretrain_sam(model.sam, rows, categories_present(data_root(script_args)), sam_args)
    model.save_pretrained(policy_args.output_dir)
    processor.save_pretrained(policy_args.output_dir)
    return model, processor


if __name__ == "__main__":
    main()
