r"""
The segmentation terms of the paper's training losses: tensors in, a scalar out, gradients flow.

The cross-entropy of Eq. (1) and the policy loss of Eq. (5) are TRL's. This module knows no model, no weights of the
terms (the trainers' configs have them) and no rows without a mask: what should not count must not be passed.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from aurora_trl.constants import DICE_EPS


def mask_bce_loss(mask_logits: Float[Tensor, "*b t h w"], gt_masks: Shaped[Tensor, "..."]) -> Float[Tensor, ""]:
    r"""
    Binary cross-entropy, mean over pixels (hence over frames). The `bce` term of Eq. (6)–(8) of the AURORA paper.

    Args:
        mask_logits (`torch.Tensor` of shape `(*b, t, h, w)`):
            Un-thresholded logits at the resolution of the truth, of any float dtype; computed in float32.
        gt_masks (`torch.Tensor` of the same shape):
            True inside the object. An all-False frame is valid (Null split). Numbers within [0, 1] are accepted.

    Raises:
        ValueError: if the shapes differ, nothing is left to average, or `gt_masks` is outside [0, 1].
    """
    truth = _checked_truth(mask_logits, gt_masks)
    return F.binary_cross_entropy_with_logits(mask_logits.float(), truth)


def mask_dice_loss(
    mask_logits: Float[Tensor, "*b t h w"], gt_masks: Shaped[Tensor, "..."], eps: float = DICE_EPS
) -> Float[Tensor, ""]:
    r"""
    Soft Dice loss, mean over frames. The `dice` term of Eq. (6)–(8) of the AURORA paper.

    With \(p\) the probabilities and \(g\) the truth of a frame: \(1 - \frac{2\sum pg + eps}{\sum p + \sum g + eps}\).

    Args:
        mask_logits (`torch.Tensor` of shape `(*b, t, h, w)`):
            Un-thresholded logits at the resolution of the truth, of any float dtype; computed in float32.
        gt_masks (`torch.Tensor` of the same shape):
            True inside the object. An all-False frame is valid (Null split). Numbers within [0, 1] are accepted.
        eps (`float`, *optional*, defaults to `1e-3`):
            Smoothing, the released training code's value.

    Raises:
        ValueError: if the shapes differ, nothing is left to average, or `gt_masks` is outside [0, 1].
    """
    truth = _checked_truth(mask_logits, gt_masks).flatten(-2)  # (*b, t, h*w)
    probabilities = mask_logits.float().sigmoid().flatten(-2)  # (*b, t, h*w)
    overlap = (probabilities * truth).sum(-1)
    total = probabilities.sum(-1) + truth.sum(-1)
    return (1 - (2 * overlap + eps) / (total + eps)).mean()


def seg_distillation_loss(student: Float[Tensor, "*b d"], teacher: Shaped[Tensor, "..."]) -> Float[Tensor, ""]:
    r"""
    Segmentation feature distillation, Eq. (2): the mean squared error between two [SEG] features.

    Args:
        student (`torch.Tensor` of shape `(*b, d)`):
            [SEG] features of the model in training, of any float dtype; compared in float32.
        teacher (`torch.Tensor` of the same shape):
            Those of the teacher. Detached: no gradient reaches it.

    Raises:
        ValueError: if the shapes differ or are empty.
    """
    _check_shapes("student", student, "teacher", teacher)
    return F.mse_loss(student.float(), teacher.detach().float())


def _checked_truth(mask_logits: Tensor, gt_masks: Tensor) -> Tensor:
    _check_shapes("mask_logits", mask_logits, "gt_masks", gt_masks)
    # A bool mask needs no look at its values, which on a GPU would stop the queue.
    if gt_masks.dtype != torch.bool and (gt_masks.min() < 0 or gt_masks.max() > 1):
        raise ValueError(
            f"`gt_masks` ({gt_masks.dtype}) ranges from {gt_masks.min().item():g} to {gt_masks.max().item():g}, but a "
            "truth is bool or within [0, 1]. Pass `gt_masks > 0`."
        )
    return gt_masks.to(device=mask_logits.device, dtype=torch.float32)


def _check_shapes(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if value.shape != other.shape or value.numel() == 0:
        raise ValueError(
            f"`{name}` of shape {tuple(value.shape)} and `{other_name}` of shape {tuple(other.shape)} must have the "
            "same, non-empty shape. Resize the logits to the truth, and pass only rows that have one."
        )
