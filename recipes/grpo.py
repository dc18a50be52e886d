"""
Stage 3: GRPO with format, IoU and class rewards.

    accelerate launch recipes/grpo.py                                         # embedded default
    accelerate launch recipes/grpo.py --config recipes/videollama2/grpo_paper.yaml
"""

from pathlib import Path

from trl import ModelConfig, get_peft_config

from aurora_trl import AuroraGRPOConfig, AuroraGRPOTrainer
from aurora_trl.rewards import class_reward, format_reward, iou_reward
from aurora_trl.trainers.script import (
    AuroraScriptArguments,
    load_eval_rows,
    load_policy,
    load_rows,
    parse_recipe,
    run_recipe,
)


def main(argv=None):
    script_args, training_args, model_args = parse_recipe(
        (AuroraScriptArguments, AuroraGRPOConfig, ModelConfig), Path(__file__).parent / "tiny" / "grpo.yaml", argv
    )
    model, processor = load_policy(model_args, script_args)
    trainer = AuroraGRPOTrainer(
        model,
        [format_reward, iou_reward, class_reward],
        training_args,
        load_rows(script_args, script_args.train_split, script_args.max_train_rows),
        eval_dataset=load_eval_rows(script_args, training_args),
        processing_class=processor,
        peft_config=get_peft_config(model_args),
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    return trainer


if __name__ == "__main__":
    run_recipe(main)
