"""
The three rewards of stage 3 (paper 3.3), in TRL's reward signature. Their weights are all 1 in the paper.

Each takes lists, one element per completion, and returns one float within [0, 1] per completion. TRL passes everything
it has by keyword; what a reward does not read is ignored. By hand they take just what they read. This module knows no
tokenizer and no model: masks arrive decoded, as `pred_masks`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from aurora_trl.answer import completion_text, normalize_category, parse
from aurora_trl.metrics.measures import Array, EmptyFrame, frame_iou


Completion = str | list[dict]


def format_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """
    1 if the final sentence of the completion is "It is [SEG]" (full stop optional), else 0.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Texts, or TRL's message lists.

    Example:

    ```python
    >>> from aurora_trl.rewards import format_reward
    >>> format_reward(completions=["So the target is dog. It is [SEG].", "It is the dog."])
    [1.0, 0.0]
    ```
    """
    return [float(parse(completion_text(completion)).is_well_formed) for completion in completions]


def class_reward(completions: Sequence[Completion], category: Sequence[str | None], **kwargs: Any) -> list[float]:
    """
    1 if the class named by the last "the target is …" is the true one, else 0. Case, a leading article, and hyphens
    against spaces make no difference; synonyms do.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Texts, or TRL's message lists.
        category (`list[str]`):
            The true class of each completion; "null" if the expression refers to nothing. None is an error.

    Raises:
        ValueError: if the lists differ in length, or a class is not a non-empty string.

    Example:

    ```python
    >>> from aurora_trl.rewards import class_reward
    >>> class_reward(completions=["So the target is the Hair-Dryer. It is [SEG]."], category=["hair dryer"])
    [1.0]
    ```
    """
    _check_lengths(completions=completions, category=category)
    rewards = []
    for completion, true_category in zip(completions, category, strict=True):
        if not isinstance(true_category, str) or not true_category.strip():
            raise ValueError(
                f"A `category` is {true_category!r}, but the class reward needs the name of a class, or 'null'. "
                "Fill the column in, or leave this reward out."
            )
        named = parse(completion_text(completion)).category
        rewards.append(float(named is not None and normalize_category(named) == normalize_category(true_category)))
    return rewards


def iou_reward(
    completions: Sequence[Completion],
    pred_masks: Sequence[Array | list | None],
    gt_masks: Sequence[Array | list | None],
    empty_frame: EmptyFrame = "background",
    **kwargs: Any,
) -> list[float]:
    """
    Mean over frames of the IoU between predicted and true masks; 0 for a completion without a mask.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Texts, or TRL's message lists. Only their number is read.
        pred_masks (`list`):
            For each completion a bool array or tensor of shape `(t, h, w)`, or `None` when it has no [SEG].
        gt_masks (`list`):
            For each completion the truth, of the same shape; all False where there is nothing to segment. None is an
            error.
        empty_frame (`"background"` or `"strict"`, *optional*, defaults to `"background"`):
            What a frame without an object pays, see `metrics.frame_iou`. The default is the released code's; "strict"
            does not pay for background around a false object. For a trainer: `functools.partial(iou_reward,
            empty_frame="strict")`, with its `__name__` set.

    Raises:
        ValueError: if the lists differ in length, a truth is missing, masks are floats, or shapes differ.

    Example:

    ```python
    >>> import numpy as np
    >>> from aurora_trl.rewards import iou_reward
    >>> truth = np.array([[[True, True], [False, False]]])
    >>> iou_reward(completions=["It is [SEG].", "No."], pred_masks=[truth, None], gt_masks=[truth, truth])
    [1.0, 0.0]
    ```
    """
    _check_lengths(completions=completions, pred_masks=pred_masks, gt_masks=gt_masks)
    if any(truth is None for truth in gt_masks):
        raise ValueError(
            "A row has no `gt_masks`, so its IoU is undefined. A truth without an object is an all-False array; rows "
            "without any truth can't use this reward."
        )
    return [
        0.0 if pred is None else frame_iou(_as_array(pred), _as_array(truth), empty_frame).mean().item()
        for pred, truth in zip(pred_masks, gt_masks, strict=True)
    ]


def _as_array(masks: Array | list) -> Array:
    return masks if isinstance(masks, torch.Tensor) else np.asarray(masks)


def _check_lengths(**lists: Sequence) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"A reward needs one element per completion, but got {lengths}. Repeat each row's value for each of its "
            "completions."
        )
