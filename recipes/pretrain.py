"""
Stage 0 of the embedded default, what released checkpoints arrive with: towers that see and hear, a SAM that follows
prompts, a language model that knows the language.

    python recipes/pretrain.py --output_dir outputs/tiny/base
"""

from pathlib import Path

from aurora_trl.data.synthetic import read_scenes
from aurora_trl.reasoning.oracle import imagine
from aurora_trl.trainers.language_pretraining import LanguagePretrainingConfig, pretrain_language
from aurora_trl.trainers.sam_pretraining import SamPretrainingConfig, pretrain_sam
from aurora_trl.trainers.script import AuroraScriptArguments, data_root, load_rows, parse_recipe, run_recipe
from aurora_trl.trainers.tiny import TinyPolicyConfig, build_tiny_policy
from aurora_trl.trainers.tower_pretraining import TowerPretrainingConfig, pretrain_towers


def main(argv=None):
    script_args, tower_args, sam_args, language_args, policy_args = parse_recipe(
        (
            AuroraScriptArguments,
            TowerPretrainingConfig,
            SamPretrainingConfig,
            LanguagePretrainingConfig,
            TinyPolicyConfig,
        ),
        Path(__file__).parent / "tiny" / "pretrain.yaml",
        argv,
    )
    rows = load_rows(script_args, script_args.train_split, script_args.max_train_rows)
    scenes = read_scenes(data_root(script_args))
    model, processor = build_tiny_policy(rows, data_root(script_args), policy_args)
    pretrain_towers(model, processor.backbone_processor, rows, scenes, tower_args)
    pretrain_sam(model, processor.tokenizer, rows, scenes, sam_args)
    texts = imagine(language_args.language_clips, language_args.language_seed)
    pretrain_language(model, processor, texts, language_args)
    model.save_pretrained(policy_args.output_dir)
    processor.save_pretrained(policy_args.output_dir)
    return model, processor


if __name__ == "__main__":
    run_recipe(main)
