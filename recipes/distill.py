"""
Stage 1: chains of thought, the [SEG] feature distilled from a teacher.

    accelerate launch recipes/distill.py                                      # embedded default
    accelerate launch recipes/distill.py --config recipes/videollama2/distill.yaml
"""

from pathlib import Path

from trl import ModelConfig, get_peft_config

from aurora_trl import AuroraDistillConfig, AuroraDistillTrainer
from aurora_trl.trainers.script import (
    AuroraScriptArguments,
    load_eval_rows,
    load_policy,
    load_teacher,
    load_training_rows,
    parse_recipe,
    run_recipe,
)


def main(argv=None):
    script_args, training_args, model_args = parse_recipe(
        (AuroraScriptArguments, AuroraDistillConfig, ModelConfig),
        Path(__file__).parent / "tiny" / "distill.yaml",
        argv,
    )
    model, processor = load_policy(model_args, script_args)
    trainer = AuroraDistillTrainer(
        model,
        teacher_model=load_teacher(model_args, script_args),
        args=training_args,
        train_dataset=load_training_rows(script_args),
        eval_dataset=load_eval_rows(script_args, training_args),
        processing_class=processor,
        peft_config=get_peft_config(model_args),
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    return trainer


if __name__ == "__main__":
    run_recipe(main)
