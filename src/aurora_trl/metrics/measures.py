r"""
The measures of one call: IoU per frame, J, F and S.

`frame_iou` is the only IoU of the package: the reward and the evaluation share it. The F here is the region F-measure
of AVSBench and Ref-AVS (\(\beta^2 = 0.3\)), not the boundary F of DAVIS. This module knows no model, no files and no
protocols; it does not decide what an answer without a mask is worth.
"""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aurora_trl.constants import F_BETA_SQUARED, F_LAST_THRESHOLD, F_NUM_THRESHOLDS, FULL_GREY, MASK_THRESHOLD


# In units of the distance of two thresholds: above the rounding of a product in float32 (3e-5), far below 1.
THRESHOLD_BIAS = 1e-3
# Below 0 by less than the bias, so that the guess is still 0.
JUST_OUTSIDE = 1e-6

Array = Tensor | np.ndarray
EmptyFrame = Literal["background", "strict"]


def frame_iou(pred_masks: Array, gt_masks: Array, empty_frame: EmptyFrame = "background") -> Float[Tensor, "t"]:
    """
    Intersection over union of each frame.

    Args:
        pred_masks (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            Bool, or integers of which all but 0 are object. Floats are refused: they are logits or probabilities.
        gt_masks (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            The truth; all but 0 (or False) is object.
        empty_frame (`"background"` or `"strict"`, *optional*, defaults to `"background"`):
            What a frame without an object scores: the share of its pixels that are predicted as background (AVSBench,
            Ref-AVS, the released reward), or 1 if nothing at all is predicted and 0 otherwise.

    Returns:
        `torch.Tensor` of shape `(t,)`: float64, each within [0, 1].

    Raises:
        ValueError: for float predictions, other shapes than `(t, h, w)`, shapes that differ, or an unknown rule.
    """
    if empty_frame not in ("background", "strict"):
        raise ValueError(f"`empty_frame` is {empty_frame!r}, but must be 'background' or 'strict'.")
    pred = torch.as_tensor(pred_masks)
    if pred.is_floating_point():
        raise ValueError(
            f"`pred_masks` are {pred.dtype}, but an IoU compares masks. Threshold them: `mask_logits.sigmoid() > 0.5`."
        )
    pred, truth = pred != 0, torch.as_tensor(gt_masks).to(pred.device) != 0
    _check_shapes(pred, truth)
    return _iou(pred.flatten(1), truth.flatten(1), is_strict=empty_frame == "strict")


def jaccard(
    mask_logits: Array, gt_masks: Array, threshold: float = MASK_THRESHOLD, empty_frame: EmptyFrame = "background"
) -> float:
    """
    J of one call: the mean of `frame_iou` over its frames.

    Args:
        mask_logits (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            Un-thresholded logits of the frames of the call.
        gt_masks (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            True inside the object.
        threshold (`float`, *optional*, defaults to `0.5`):
            A pixel is object where its probability exceeds this. The official Ref-AVS evaluation uses 0.4.
        empty_frame (`"background"` or `"strict"`, *optional*, defaults to `"background"`):
            See `frame_iou`.

    Raises:
        ValueError: if the shapes differ or are not `(t, h, w)`, or a logit is NaN.
    """
    logits, truth = checked(mask_logits, gt_masks)
    return frame_iou(logits.sigmoid() > threshold, truth, empty_frame).mean().item()


def f_measure(
    mask_logits: Array, gt_masks: Array, f_input: Literal["probabilities", "logits"] = "probabilities"
) -> float:
    r"""
    F of one call: F is averaged over the frames at each of 255 thresholds, then the best threshold counts.

    At a threshold, \(F = \frac{(1 + \beta^2) P R}{\beta^2 P + R}\) with \(\beta^2 = 0.3\), precision P and recall R of
    the pixels at or above it. Frames without an object are left out; a call that has no other frame scores 0.

    Args:
        mask_logits (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            Un-thresholded logits of the frames of the call.
        gt_masks (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            True inside the object.
        f_input (`"probabilities"` or `"logits"`, *optional*, defaults to `"probabilities"`):
            What is compared with the thresholds, which go from 0 to 1. The paper's released code compares the logits.

    Raises:
        ValueError: if the shapes differ or are not `(t, h, w)`, or a logit is NaN.
    """
    curves = f_curves(*checked(mask_logits, gt_masks), f_input)
    return curves.mean(0).max().item() if len(curves) else 0.0


def null_score(mask_logits: Array, threshold: float = MASK_THRESHOLD) -> float:
    """
    S of one call of clips without an object: the square root of the share of pixels predicted as object. Lower is
    better. (The text of the Ref-AVS paper divides by the background's area; its evaluation, and this, by the frame's.)

    Args:
        mask_logits (`torch.Tensor` or `np.ndarray` of shape `(t, h, w)`):
            Un-thresholded logits of the frames of the call.
        threshold (`float`, *optional*, defaults to `0.5`):
            A pixel is object where its probability exceeds this.

    Raises:
        ValueError: if the shape is not `(t, h, w)`, or a logit is NaN.
    """
    return math.sqrt((checked_logits(mask_logits).sigmoid() > threshold).double().mean().item())


def _iou(pred: Bool[Tensor, "t n"], truth: Bool[Tensor, "t n"], is_strict: bool) -> Float[Tensor, "t"]:
    intersection, union = (pred & truth).sum(1), (pred | truth).sum(1)
    of_empty = (~pred.any(1)).double() if is_strict else (~pred).double().mean(1)
    return torch.where(truth.any(1), intersection.double() / union.clamp(min=1), of_empty)


def f_curves(
    logits: Float[Tensor, "t h w"], truth: Bool[Tensor, "t h w"], f_input: str
) -> Float[Tensor, "num_object_frames thresholds"]:
    # Logits beyond [0, 1] reach no or every threshold, as those just outside do.
    values = logits.sigmoid() if f_input == "probabilities" else logits.clamp(-JUST_OUTSIDE, 1)
    # float32 like the values: the last threshold rounds to 1.0, which a saturated probability still reaches.
    thresholds = torch.linspace(0, F_LAST_THRESHOLD, F_NUM_THRESHOLDS, device=logits.device)
    has_object = truth.flatten(1).any(1).tolist()
    curves = [
        _f_curve(frame.flatten(), mask.flatten(), thresholds)
        for frame, mask, is_scored in zip(values, truth, has_object, strict=True)
        if is_scored
    ]
    return torch.stack(curves) if curves else logits.new_zeros((0, F_NUM_THRESHOLDS), dtype=torch.float64)


def _f_curve(
    values: Float[Tensor, "n"], mask: Bool[Tensor, "n"], thresholds: Float[Tensor, "k"]
) -> Float[Tensor, "k"]:
    """F of a frame at every threshold, from one histogram: bin i holds the pixels that reach exactly i thresholds."""
    bins = mask.to(torch.int32).add_(_num_reached(values, thresholds), alpha=2)
    histogram = torch.bincount(bins, minlength=2 * (len(thresholds) + 1)).view(-1, 2)
    background, hits = histogram[1:].flip(0).cumsum(0).flip(0).double().unbind(1)  # pixels at or above a threshold
    # P = hits / predicted and R = hits / object, so (1 + β²)PR / (β²P + R) = (1 + β²) hits / (β² object + predicted).
    return (1 + F_BETA_SQUARED) * hits / (F_BETA_SQUARED * histogram[:, 1].sum().double() + hits + background)


def _num_reached(values: Float[Tensor, "n"], thresholds: Float[Tensor, "k"]) -> Int[Tensor, "n"]:
    """
    How many of the evenly spaced thresholds from 0 to 1 each value reaches, exactly, by arithmetic and not by search.

    The guess is raised a little, so that rounding can only make it one too many; comparing takes that one off.

    Args:
        values (`torch.Tensor`): Not above 1, and not below `-JUST_OUTSIDE`.
        thresholds (`torch.Tensor`): From 0 to 1.
    """
    guess = (values * (len(thresholds) - 1)).add_(THRESHOLD_BIAS).to(torch.int32)
    is_reached = (values - thresholds.index_select(0, guess)).floor_()  # 0, or -1 where it is not
    return guess.add_(is_reached.to(torch.int32)).add_(1)


def checked(
    mask_logits: Array, gt_masks: Array, truth_rule: Literal["nonzero", "full"] = "nonzero"
) -> tuple[Float[Tensor, "t h w"], Bool[Tensor, "t h w"]]:
    logits = checked_logits(mask_logits)
    grey = torch.as_tensor(gt_masks).to(logits.device)
    if truth_rule == "full" and grey.dtype == torch.uint8:
        truth = grey == FULL_GREY
    else:
        truth = grey if grey.dtype == torch.bool else grey != 0
    _check_shapes(logits, truth)
    return logits, truth


def checked_logits(mask_logits: Array) -> Float[Tensor, "t h w"]:
    logits = torch.as_tensor(mask_logits).detach()
    if not logits.is_floating_point():
        raise ValueError(f"`mask_logits` are {logits.dtype}, but must be un-thresholded floats.")
    _check_shapes(logits, logits)
    if logits.sum().isnan() and logits.isnan().any():  # the sum is cheap; both infinities together make it NaN, too
        raise ValueError("`mask_logits` contain NaN: the model that made them has diverged, or overflowed in float16.")
    return logits.float()


def _check_shapes(pred: Tensor, truth: Tensor) -> None:
    if pred.ndim != 3 or pred.shape != truth.shape or pred.numel() == 0:
        raise ValueError(
            f"Predictions of shape {tuple(pred.shape)} and truth of shape {tuple(truth.shape)} must both be "
            "(t, h, w), equal and not empty. Resize one to the other, and pass one clip or call at a time."
        )
