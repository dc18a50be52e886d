"""Settings of stage 3: TRL's, with the paper's loss as default, plus the mask losses of Eq. 8."""

from dataclasses import dataclass, field

from trl import GRPOConfig


@dataclass
class AuroraGRPOConfig(GRPOConfig):
    r"""
    Configuration of [`AuroraGRPOTrainer`]. Everything of [`~trl.GRPOConfig`], and:

    Args:
        bce_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the mask's binary cross-entropy (Eq. 8; the released code trains with 2.0).
        dice_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the Dice loss (the released code: 0.5).
        mask_decoder_lr_scale (`float`, *optional*, defaults to `1.0`):
            Learning rate of SAM's mask decoder, as a share of `learning_rate`.
        min_reward_std (`float`, *optional*, defaults to `0.0`):
            Groups whose rewards spread less than this get advantage 0: with few candidates and `scale_rewards="group"`
            a difference of 0.001 in IoU would count like a right against a wrong answer.
        rollout_picture_steps (`int`, *optional*, defaults to `0`):
            Every so many steps a picture of one group is written to `output_dir/rollouts`; 0 means never.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept rows without sound instead of raising.
        validate_data (`bool`, *optional*, defaults to `True`):
            Check every row's files before the first step.
    """

    loss_type: str = field(default="grpo", metadata={"help": "Eq. 5 is TRL's 'grpo': mean per answer, then group."})
    disable_dropout: bool = field(
        default=True, metadata={"help": "With dropout, masks of rollout and loss would differ."}
    )
    bce_weight: float = field(default=1.0, metadata={"help": "Weight of the mask's binary cross-entropy."})
    dice_weight: float = field(default=1.0, metadata={"help": "Weight of the Dice loss."})
    mask_decoder_lr_scale: float = field(
        default=1.0, metadata={"help": "Learning rate of SAM's mask decoder as a share of learning_rate."}
    )
    min_reward_std: float = field(
        default=0.0, metadata={"help": "Groups whose rewards spread less than this get advantage 0."}
    )
    rollout_picture_steps: int = field(
        default=0, metadata={"help": "Steps between pictures of a group in output_dir/rollouts; 0 means never."}
    )
    allow_silent: bool = field(default=False, metadata={"help": "Accept rows without sound."})
    validate_data: bool = field(default=True, metadata={"help": "Check every row's files before the first step."})

    def __post_init__(self):
        try:
            super().__post_init__()
        except ValueError as error:
            if "divisible by num_generations" not in str(error):
                raise
            per_device, generations = self.per_device_train_batch_size, self.num_generations
            lower = per_device // generations * generations
            raise ValueError(
                f"{error} It is per_device_train_batch_size ({per_device}) x processes x steps_per_generation "
                f"({self.steps_per_generation}). A per_device_train_batch_size of {lower or generations} or "
                f"{lower + generations} fits."
            ) from error
