"""Settings of supervised training: TRL's, plus the weights of Eq. 6 and 7."""

from dataclasses import dataclass, field

from trl import SFTConfig


@dataclass
class AuroraSFTConfig(SFTConfig):
    r"""
    Configuration of [`AuroraSFTTrainer`]. Everything of [`~trl.SFTConfig`], and:

    Args:
        bce_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the mask's binary cross-entropy (Eq. 6 and 7; the released code trains with 2.0).
        dice_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the Dice loss (the released code: 0.5).
        mask_decoder_lr_scale (`float`, *optional*, defaults to `1.0`):
            Learning rate of SAM's mask decoder, as a share of `learning_rate`.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept rows without sound instead of raising.
        validate_data (`bool`, *optional*, defaults to `True`):
            Check every row's files before the first step.
    """

    bce_weight: float = field(default=1.0, metadata={"help": "Weight of the mask's binary cross-entropy."})
    dice_weight: float = field(default=1.0, metadata={"help": "Weight of the Dice loss."})
    mask_decoder_lr_scale: float = field(
        default=1.0, metadata={"help": "Learning rate of SAM's mask decoder as a share of learning_rate."}
    )
    allow_silent: bool = field(default=False, metadata={"help": "Accept rows without sound."})
    validate_data: bool = field(default=True, metadata={"help": "Check every row's files before the first step."})
