"""
One forward for log-probabilities and masks.

TRL calls the model it trains as a plain callable; the trainers hand it a [`PolicyForward`] instead, which adds the
media inputs, reads the hidden states on their way from the backbone to TRL's fused head, and decodes the masks inside
the wrapped forward, where DDP and ZeRO expect everything trainable to run.

What a model must offer (any [SEG] model can, `AuroraModel` does):
- `base_model`, whose output has `last_hidden_state` as long as `input_ids`;
- `seg_token_id` and `seg_state` (`"predicting"` or `"token"`);
- `seg_projector(seg_hidden_states (n, hidden)) -> seg_embeddings (n, c)`;
- `encode_frames(pixel_values (t, 3, s, s)) -> image_embeddings`, without gradient;
- `decode_masks(seg_embeddings, image_embeddings, input_sizes, original_sizes) -> list of mask logits (t, h, w)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor, nn
from trl.models.utils import _ForwardRedirection

from aurora_trl.constants import IGNORE_INDEX
from aurora_trl.losses import mask_bce_loss, mask_dice_loss
from aurora_trl.model.generation import encode_clips
from aurora_trl.model.modeling import seg_positions
from aurora_trl.model.processing import PreparedClip, batch_media


class SegmentationPolicy(Protocol):
    """What the trainers need from a model beyond what TRL needs."""

    seg_token_id: int
    seg_state: str
    seg_projector: nn.Module

    def encode_frames(self, pixel_values: Tensor) -> Tensor: ...

    def decode_masks(
        self,
        seg_embeddings: Tensor,
        image_embeddings: Sequence[Tensor],
        input_sizes: Sequence[tuple[int, int]],
        original_sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]: ...


@dataclass
class SegmentedBatch:
    """Masks of the rows that have a clip, in order: logits (t, h, w) each, whether there is a [SEG], its prompt."""

    clips: list[PreparedClip]
    mask_logits: list[Tensor]
    has_seg: Tensor
    seg_embeddings: Tensor


def base_policy(model: nn.Module) -> nn.Module:
    """The policy under PEFT's wrapper, LoRA layers included."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


class PolicyForward:
    """
    Stands for the model in TRL's loss.

    Args:
        trainer (`transformers.Trainer`):
            Whose accelerator wrapped the model.
        model (`nn.Module`):
            As TRL passes it, wrapped or not.
        clips (list of [`~aurora_trl.model.processing.PreparedClip`]):
            One per row of all calls to come, None for rows without a clip; every call takes its rows from the front.
        with_masks (`bool`, *optional*, defaults to `True`):
            Decode masks; False for log-probabilities of the rollout or of a reference model.
    """

    def __init__(self, trainer: Any, model: nn.Module, clips: Sequence[PreparedClip | None], with_masks: bool = True):
        self.trainer = trainer
        self.model = model
        self.clips = list(clips)
        self.with_masks = with_masks
        self.segmented: SegmentedBatch | None = None

    def __call__(self, **model_inputs):
        num_rows = model_inputs["input_ids"].shape[0]
        clips, self.clips = self.clips[:num_rows], self.clips[num_rows:]
        clips = [None if clip is None else clip.to(model_inputs["input_ids"].device) for clip in clips]
        model_inputs.update(batch_media(clips))
        if not self.with_masks:
            return self.model(**model_inputs)
        policy = self.trainer.accelerator.unwrap_model(self.model)
        outputs, *segmented = _ForwardRedirection()(
            self.model, policy, self._forward_and_segment, policy, clips, **model_inputs
        )
        self.segmented = SegmentedBatch([clip for clip in clips if clip is not None], *segmented)
        return outputs

    @staticmethod
    def _forward_and_segment(policy: nn.Module, clips: list[PreparedClip | None], **model_inputs):
        base = base_policy(policy)
        captured = []
        hook = base.base_model.register_forward_hook(
            lambda module, args, output: captured.append(output.last_hidden_state)
        )
        try:
            outputs = policy(**model_inputs)
        finally:
            hook.remove()
        input_ids, is_completion = model_inputs["input_ids"], model_inputs["labels"] != IGNORE_INDEX
        positions, has_seg = seg_positions(input_ids, is_completion, base.seg_token_id, base.seg_state)
        rows = torch.tensor([i for i, clip in enumerate(clips) if clip is not None], device=input_ids.device)
        present = [clip for clip in clips if clip is not None]
        encode_clips(base, present)
        seg_embeddings = base.seg_projector(captured[-1][rows, positions[rows]])
        mask_logits = base.decode_masks(
            seg_embeddings,
            [clip.image_embeddings for clip in present],
            [clip.input_size for clip in present],
            [clip.original_size for clip in present],
        )
        return outputs, mask_logits, has_seg[rows], seg_embeddings


def mean_over_answers(per_answer: Sequence[Tensor], has_seg: Tensor) -> Tensor:
    """
    Mean over the answers that have a [SEG]; the others ran through the decoder all the same and count zero, so that
    every process does the same work and a batch without any still back-propagates.
    """
    weights = has_seg.to(torch.float32)
    return (torch.stack(list(per_answer)) * weights).sum() / weights.sum().clamp(min=1.0)


def segmentation_losses(segmented: SegmentedBatch) -> dict[str, Tensor]:
    """Mean BCE and Dice of a batch, by the name of their function."""
    pairs = [
        (clip.on_labelled(logits)[None], clip.on_labelled(clip.gt_masks)[None].to(logits.device))
        for logits, clip in zip(segmented.mask_logits, segmented.clips, strict=True)
    ]
    return {
        loss.__name__: mean_over_answers([loss(*pair) for pair in pairs], segmented.has_seg)
        for loss in (mask_bce_loss, mask_dice_loss)
    }


def require_finite(name: str, value: Tensor) -> None:
    """
    Raises:
        ValueError: if a loss is NaN or infinite, before it reaches the optimizer.
    """
    if not torch.isfinite(value).all():
        raise ValueError(
            f"{name} is {value.detach().cpu().tolist()}: the policy's weights or inputs are not finite. No parameter "
            "was changed by this batch; resume from the last checkpoint with a lower learning rate, or without bf16."
        )


def require_finite_parameters(model: nn.Module) -> None:
    """
    Raises:
        ValueError: naming the first parameter that holds a NaN or an infinity.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise ValueError(
                f"Parameter {name} holds NaN or infinite values, so every logit would: the checkpoint is damaged or "
                "comes from a diverged run. Load another one."
            )
