"""From one answer and its truth to a [`Prediction`]. Reads the truth's files; knows no model and no processes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from aurora_trl.answer import normalize_category, parse
from aurora_trl.data.expressions import kind_of
from aurora_trl.data.media import labelled_frames, read_grey_masks
from aurora_trl.data.rle import encode_masks
from aurora_trl.evaluation.predictions import FREE, Prediction, rounded_scores
from aurora_trl.metrics import frame_iou, score_clip_by_counting


# Logits whose sigmoid is 0 and 1 in float32: an answer without a [SEG] predicts nothing, and what a mask without
# logits predicts. The F of nothing is not 0 under most protocols: every pixel reaches their first threshold, 0.
NOTHING, CERTAIN = -1e4, 1e4


def score_answer(
    row: Mapping[str, Any],
    split: str,
    clip: int,
    completion: str,
    mask_logits: Tensor | None,
    size: tuple[int, int, int],
    is_truncated: bool = False,
    generation: str = FREE,
) -> Prediction:
    """
    Scores one answer under every protocol.

    Args:
        row (`Mapping`):
            With `uid`, `expression`, `category` and `masks`.
        split (`str`):
            Of the row.
        clip (`int`):
            Number of its clip.
        completion (`str`):
            The answer.
        mask_logits (`torch.Tensor` or `None`):
            Un-thresholded (t, h, w) at the size of the truth; None for an answer without a [SEG].
        size (`(int, int, int)`):
            Frames, height and width of the clip.
        is_truncated (`bool`, *optional*, defaults to `False`):
            Whether the answer reached the length limit.
        generation (`str`, *optional*, defaults to `"free"`):
            How the answer came about, see [`Prediction`].

    Raises:
        ValueError: if the row has no truth, or it does not fit the clip.
    """
    require_truth(row)
    grey = read_grey_masks(row["masks"], num_frames=size[0], size=size[1:])
    labelled = labelled_frames(row["masks"], size[0])
    grey = grey[labelled]
    has_seg = mask_logits is not None
    logits = mask_logits.float().cpu() if has_seg else torch.full(size, NOTHING)
    masks: Bool[np.ndarray, "t h w"] = (logits > 0).numpy()
    parsed = parse(completion)
    named = parsed.category
    scores = score_clip_by_counting(logits[labelled], grey)
    return Prediction(
        uid=row["uid"],
        split=split,
        clip=clip,
        expression=row["expression"],
        kind=kind_of(row["expression"]),
        category=row["category"],
        generation=generation,
        completion=completion,
        predicted_category=named,
        is_correct=named is not None and normalize_category(named) == normalize_category(row["category"]),
        is_well_formed=parsed.is_well_formed,
        has_seg=has_seg,
        is_truncated=is_truncated,
        iou=frame_iou(masks[labelled], grey).mean().item() if has_seg else 0.0,
        masks=encode_masks(masks) if has_seg else None,
        scores={name: rounded_scores(value) for name, value in scores.items()},
    )


def require_truth(row: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: if a row can't be scored.
    """
    if row["masks"] is None or row["category"] is None:
        raise ValueError(
            f"Row {row['uid']} has no `masks` or no `category`: without the truth an answer can't be scored. Add them."
        )
