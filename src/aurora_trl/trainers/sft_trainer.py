"""Teacher and stage 2: TRL's supervised trainer with masks."""

import os
from typing import Any

import torch
from torch import Tensor
from trl import SFTTrainer

from aurora_trl.data.collator import AudioVisualCollator, first_row, is_audio_visual, require_processor
from aurora_trl.data.validation import validate_rows
from aurora_trl.trainers.optimization import scale_mask_decoder_lr
from aurora_trl.trainers.policy_forward import (
    PolicyForward,
    require_finite,
    require_finite_parameters,
    segmentation_losses,
)
from aurora_trl.trainers.sft_config import AuroraSFTConfig


class AuroraSFTTrainer(SFTTrainer):
    r"""
    Supervised training of text and masks: Eq. (7), CE + BCE + Dice, of the AURORA paper.

    Rows with a clip (`frames`, `audio`, `masks`) are decoded by [`~aurora_trl.data.collator.AudioVisualCollator`]; a
    data set without clips trains as with [`~trl.SFTTrainer`], to the bit. Overrides `__init__`, `create_optimizer` and
    `compute_loss`.

    Args:
        model (`str`, `PreTrainedModel` or `PeftModel`):
            [`~aurora_trl.AuroraModel`], or a model of the protocol in [`aurora_trl.trainers.policy_forward`].
        args ([`AuroraSFTConfig`], *optional*):
            Settings.
        data_collator (callable, *optional*):
            Defaults to the audio-visual one for rows with a clip.
        **kwargs:
            As for [`~trl.SFTTrainer`].

    Example:

    ```python
    trainer = AuroraSFTTrainer(model, train_dataset=rows, processing_class=processor)
    trainer.train()
    ```
    """

    _tag_names = ["trl", "aurora", "sft"]
    _name = "AURORA SFT"

    def __init__(self, model, args=None, data_collator=None, train_dataset=None, eval_dataset=None, **kwargs):
        if isinstance(model, os.PathLike):
            model = str(model)
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = AuroraSFTConfig(f"{name.split('/')[-1]}-SFT")
        self.is_audio_visual = train_dataset is not None and is_audio_visual(first_row(train_dataset))
        if self.is_audio_visual:
            args = self._audio_visual_args(args)
            if args.validate_data:
                validate_rows(train_dataset, needs_completion=True, allow_silent=args.allow_silent)
            if data_collator is None:
                data_collator = self._make_collator(kwargs.get("processing_class"), args)
            if not isinstance(model, str):
                require_finite_parameters(model)
        super().__init__(
            model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            **kwargs,
        )

    @staticmethod
    def _audio_visual_args(args):
        """Media are decoded late, so TRL must neither tokenise the rows nor drop their columns."""
        if not isinstance(args, AuroraSFTConfig):
            raise ValueError(
                f"Rows with a clip need an AuroraSFTConfig, not {type(args).__name__}: it holds the mask losses' "
                "weights."
            )
        if args.packing or args.padding_free:
            raise ValueError("Rows with a clip can't be packed: set `packing=False` and `padding_free=False`.")
        args.dataset_kwargs = {**(args.dataset_kwargs or {}), "skip_prepare_dataset": True}
        args.remove_unused_columns = False
        args.max_length = None
        return args

    def _make_collator(self, processing_class, args):
        require_processor(processing_class)
        return AudioVisualCollator(processing_class, allow_silent=args.allow_silent)

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.is_audio_visual:
            scale_mask_decoder_lr(optimizer, self.model, self.args.mask_decoder_lr_scale)
        return optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        clips = inputs.pop("clips", None)
        if clips is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        extra_inputs = {key: inputs.pop(key) for key in list(inputs) if key.startswith("teacher_")}
        policy = PolicyForward(self, model, clips if not return_outputs else clips * 2)
        result = super().compute_loss(policy, inputs, return_outputs, num_items_in_batch)
        loss = result[0] if return_outputs else result
        losses = self._segmentation_losses(policy, clips, **extra_inputs)
        weights = self._loss_weights()
        segmentation = sum(weights[name] * value for name, value in losses.items())
        require_finite("The segmentation loss", segmentation.detach())
        self._log_segmentation(losses, policy.segmented.has_seg)
        # With num_items_in_batch the Trainer leaves gradient accumulation to the loss (as TRL's own auxiliary loss).
        steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
        loss = loss + segmentation / steps
        return (loss, result[1]) if return_outputs else loss

    def _segmentation_losses(self, policy: PolicyForward, clips: list, **extra_inputs: Any) -> dict[str, Tensor]:
        return segmentation_losses(policy.segmented)

    def _loss_weights(self) -> dict[str, float]:
        return {"mask_bce_loss": self.args.bce_weight, "mask_dice_loss": self.args.dice_weight}

    def _log_segmentation(self, losses: dict[str, Tensor], has_seg: Tensor) -> None:
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in losses.items():
            metrics[name].append(self.accelerator.gather(value.detach()).mean().item())
        missing = 1 - has_seg.to(torch.float32).mean()
        metrics["seg/missing_rate"].append(self.accelerator.gather(missing).mean().item())
