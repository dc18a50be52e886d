"""Settings of stage 1: those of supervised training, plus the distillation of Eq. 2."""

from dataclasses import dataclass, field

from aurora_trl.trainers.sft_config import AuroraSFTConfig


@dataclass
class AuroraDistillConfig(AuroraSFTConfig):
    r"""
    Configuration of [`AuroraDistillTrainer`]. Everything of [`AuroraSFTConfig`], and:

    Args:
        distillation_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the [SEG] feature distillation (Eq. 6).
        teacher_names_category (`bool`, *optional*, defaults to `False`):
            The teacher answers "It is {category} [SEG]." (as the released code trains it) instead of "It is [SEG].".
    """

    distillation_weight: float = field(default=1.0, metadata={"help": "Weight of the [SEG] feature distillation."})
    teacher_names_category: bool = field(
        default=False, metadata={"help": "The teacher's answer names the category before [SEG]."}
    )
