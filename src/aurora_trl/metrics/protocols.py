"""
The protocols under which J, F and S are published, and the evaluation of a split under one of them.

A number means nothing without its protocol: sizes, thresholds and what is pooled into one call all change it. This
module knows no model and no processes, but a clip's scores are plain numbers that processes can exchange.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from aurora_trl.constants import FULL_GREY, MASK_THRESHOLD, REFAVS_JACCARD_THRESHOLD
from aurora_trl.metrics.measures import Array, EmptyFrame, checked, checked_logits, f_curves, frame_iou


@dataclass(frozen=True)
class Protocol:
    """
    How a published number is computed. Two protocols that differ in one field give different numbers.

    Args:
        name (`str`):
            What to write beside every number.
        size (`tuple[int, int]` or `None`):
            Height and width to which logits and truth are brought before anything is counted (bilinear, OpenCV).
            `None` is the size of the truth file.
        truth (`"nonzero"` or `"full"`):
            Which grey values of a mask file are object: all but 0, or 255 only. Without effect on a bool truth.
        jaccard_threshold (`float`):
            A pixel is predicted object where its probability exceeds this, for J.
        empty_frame (`"background"` or `"strict"`):
            What a frame with an empty truth scores in J, see `frame_iou`.
        f_input (`"probabilities"` or `"logits"`):
            What the thresholds of F, which go from 0 to 1, are compared with.
        clips_per_call (`int`):
            Consecutive clips whose frames are pooled: J is their mean, F the maximum of their mean curve, S one
            fraction. The result is the mean over calls, the last of which may be smaller, so it depends on the order.
        null_threshold (`float` or `None`):
            As `jaccard_threshold`, for S. `None`: the protocol has no S.
        null_area (`"frame"` or `"background"`, *optional*, defaults to `"frame"`):
            What S divides the falsely predicted pixels by, under its root: all pixels, or those predicted background.
        mix (`"plain"` or `"weighted"`, *optional*, defaults to `"plain"`):
            How the seen and the unseen split make the Mix: their mean, or weighted by their numbers of rows.
    """

    name: str
    size: tuple[int, int] | None
    truth: Literal["nonzero", "full"]
    jaccard_threshold: float
    empty_frame: EmptyFrame
    f_input: Literal["probabilities", "logits"]
    clips_per_call: int
    null_threshold: float | None
    null_area: Literal["frame", "background"] = "frame"
    mix: Literal["plain", "weighted"] = "plain"

    @property
    def counting(self) -> tuple:
        """What looks at pixels. Protocols that agree in it share their [`ClipScores`] and differ in pooling only."""
        return (
            self.size,
            self.truth,
            self.jaccard_threshold,
            self.empty_frame,
            self.f_input,
            self.null_threshold,
        )


# The official Ref-AVS evaluation: 256×256, J at 0.4 but S at 0.5, batches of four videos, Mix the mean of two splits.
_OFFICIAL = Protocol(
    name="refavs-official",
    size=(256, 256),
    truth="nonzero",
    jaccard_threshold=REFAVS_JACCARD_THRESHOLD,
    empty_frame="background",
    f_input="probabilities",
    clips_per_call=4,
    null_threshold=MASK_THRESHOLD,
)
# AVSBench, S4 and MS3: 224×224, one five-frame clip per call (its evaluation's default), no null clips.
_AVSBENCH = Protocol(
    name="avsbench",
    size=(224, 224),
    truth="nonzero",
    jaccard_threshold=MASK_THRESHOLD,
    empty_frame="background",
    f_input="probabilities",
    clips_per_call=1,
    null_threshold=None,
)
_PROTOCOLS = (
    _OFFICIAL,
    # One video per call: independent of the order and of the number of processes.
    replace(_OFFICIAL, name="refavs-per-video", clips_per_call=1),
    # S as the text of the Ref-AVS paper has it: √(a / (1 − a)) for a predicted share a of the frame.
    replace(_OFFICIAL, name="refavs-paper-text", null_area="background"),
    # The Mix of papers that weight by samples (OISA).
    replace(_OFFICIAL, name="refavs-weighted-mix", mix="weighted"),
    # What the AURORA paper's released code computes: native size, F on raw logits, no S.
    Protocol(
        name="aurora-released",
        size=None,
        truth="full",
        jaccard_threshold=MASK_THRESHOLD,
        empty_frame="background",
        f_input="logits",
        clips_per_call=1,
        null_threshold=None,
    ),
    _AVSBENCH,
    # The batch size of AVSBench's shell script, over which its F takes the maximum.
    replace(_AVSBENCH, name="avsbench-batch", clips_per_call=4),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _PROTOCOLS}


@dataclass(frozen=True)
class ClipScores:
    """
    All that a protocol needs to know of one clip. Sums, so that calls can be pooled without the masks, and plain
    numbers, so that they can be written down and gathered over processes.

    Args:
        iou_sum (`float`):
            Sum of `frame_iou` over the frames.
        num_frames (`int`):
            Frames of the clip.
        f_curve_sum (`Sequence[float]`):
            Sum over the frames that have an object of F at each of the 255 thresholds.
        num_object_frames (`int`):
            Frames that have an object. 0 makes it a null clip.
        null_foreground (`int`):
            Pixels predicted as object at the protocol's null threshold.
        num_pixels (`int`):
            Pixels of all frames.
    """

    iou_sum: float
    num_frames: int
    f_curve_sum: Sequence[float]
    num_object_frames: int
    null_foreground: int
    num_pixels: int


def evaluate_clips(
    clips: Iterable[tuple[Array, Array]], protocol: str | Protocol = "refavs-official", resize: bool = False
) -> dict[str, float]:
    """
    The metrics of a split, under a named protocol.

    J and F are taken over all clips, in their order. S is taken over the null clips only, those whose truth is empty
    on every frame, pooled among themselves as if they were the null split. So a mixed iterable gives the J and F that
    the official code gives for it, in which null clips have a J (their background) but no part in F, and the S of its
    null part. Report S for the null split, and J and F for the others.

    Args:
        clips (`Iterable[tuple]`):
            Yields `(mask_logits, gt_masks)` of each clip, arrays or tensors of shape `(t, h, w)`. It is read once, one
            clip at a time. The truth is bool, or the grey values of the mask files.
        protocol (`str` or `Protocol`, *optional*, defaults to `"refavs-official"`):
            A key of `PROTOCOLS`, or one of your own.
        resize (`bool`, *optional*, defaults to `False`):
            Whether to bring the clips to the protocol's size. Without it they are counted as they come, so a number is
            comparable to published ones only if they come at that size.

    Returns:
        `dict[str, float]`: "J", "F", "J&F" (their mean), and "S" if there are null clips and the protocol has an S.

    Raises:
        ValueError: if the protocol is unknown, there are no clips, or a clip is invalid (see `jaccard`).
    """
    protocol = resolve_protocol(protocol)
    return pool_scores((score_clip(logits, truth, protocol, resize) for logits, truth in clips), protocol)


def resolve_protocol(protocol: str | Protocol) -> Protocol:
    """
    The protocol of that name; a `Protocol` is returned as it is.

    Raises:
        ValueError: if there is none of that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"There is no protocol {protocol!r}. Choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[protocol]


def score_clip(mask_logits: Array, gt_masks: Array, protocol: str | Protocol, resize: bool = False) -> ClipScores:
    """
    The part of `evaluate_clips` that looks at pixels: what the protocol needs of one clip. Arguments as there.
    """
    protocol = resolve_protocol(protocol)
    if resize and protocol.size is not None:
        mask_logits, gt_masks = _resized_logits(mask_logits, protocol.size), _resized_truth(gt_masks, protocol.size)
    logits, truth = checked(mask_logits, gt_masks, protocol.truth)
    probabilities = logits.sigmoid()
    curves = f_curves(logits, truth, protocol.f_input)
    null_threshold = math.inf if protocol.null_threshold is None else protocol.null_threshold
    return ClipScores(
        iou_sum=frame_iou(probabilities > protocol.jaccard_threshold, truth, protocol.empty_frame).sum().item(),
        num_frames=len(truth),
        f_curve_sum=tuple(curves.sum(0).tolist()),
        num_object_frames=len(curves),
        null_foreground=int((probabilities > null_threshold).sum()),
        num_pixels=truth.numel(),
    )


def counting_name(protocol: Protocol) -> str:
    """The first protocol that counts as this one does; under its name the scores of all of them stand."""
    return next(p.name for p in PROTOCOLS.values() if p.counting == protocol.counting)


COUNTING_NAMES: tuple[str, ...] = tuple(dict.fromkeys(map(counting_name, PROTOCOLS.values())))


def score_clip_by_counting(mask_logits: Array, gt_masks: Array) -> dict[str, ClipScores]:
    """
    What every protocol needs of one clip, each at its own size, by `COUNTING_NAMES`. Arguments: see `evaluate_clips`.
    """
    return {name: score_clip(mask_logits, gt_masks, name, resize=True) for name in COUNTING_NAMES}


def mix_metrics(
    seen: Mapping[str, float], unseen: Mapping[str, float], num_rows: tuple[int, int], protocol: Protocol
) -> dict[str, float]:
    """
    J, F and J&F of the Mix of the seen and the unseen split, in the protocol's way.

    Args:
        seen, unseen (`Mapping[str, float]`):
            Metrics of the two splits.
        num_rows (`tuple[int, int]`):
            Their rows.
        protocol (`Protocol`):
            Whose `mix` decides.
    """
    weights = (1, 1) if protocol.mix == "plain" else num_rows
    return {name: (weights[0] * seen[name] + weights[1] * unseen[name]) / sum(weights) for name in ("J", "F", "J&F")}


def pool_scores(scores: Iterable[ClipScores], protocol: str | Protocol) -> dict[str, float]:
    """
    The part of `evaluate_clips` that pools: clips, in the order of the split, into calls, and calls into numbers.
    """
    protocol = resolve_protocol(protocol)
    all_scores = list(scores)
    if not all_scores:
        raise ValueError("There is no clip to evaluate. Is the split empty, or were all its clips skipped?")
    calls = list(_calls(all_scores, protocol.clips_per_call))
    j = _mean([sum(clip.iou_sum for clip in call) / sum(clip.num_frames for clip in call) for call in calls])
    f = _mean([_call_f(call) for call in calls])
    metrics = {"J": j, "F": f, "J&F": (j + f) / 2}
    null_clips = [clip for clip in all_scores if clip.num_object_frames == 0]
    if null_clips and protocol.null_threshold is not None:
        metrics["S"] = _mean(
            [_call_s(call, protocol.null_area) for call in _calls(null_clips, protocol.clips_per_call)]
        )
    return metrics


def _calls(clips: list[ClipScores], size: int) -> Iterator[list[ClipScores]]:
    return (clips[start : start + size] for start in range(0, len(clips), size))


def _call_f(call: list[ClipScores]) -> float:
    num_frames = sum(clip.num_object_frames for clip in call)
    if num_frames == 0:
        return 0.0
    return (
        max(sum(at_threshold) for at_threshold in zip(*(clip.f_curve_sum for clip in call), strict=True)) / num_frames
    )


def _call_s(call: list[ClipScores], area: str) -> float:
    foreground, num_pixels = sum(clip.null_foreground for clip in call), sum(clip.num_pixels for clip in call)
    if area == "background":
        num_pixels -= foreground
    return math.sqrt(foreground / num_pixels) if num_pixels else math.inf


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _resized_logits(mask_logits: Array, size: tuple[int, int]) -> Tensor:
    logits = checked_logits(mask_logits)
    return _resized(logits.cpu().numpy(), size).to(logits.device)


def _resized_truth(gt_masks: Array, size: tuple[int, int]) -> Bool[Tensor, "t h w"]:
    """As the official loader: the grey values are interpolated, then all but 0 is object, which dilates the object."""
    grey = torch.as_tensor(gt_masks).cpu()
    return (
        _resized((grey.numpy() if grey.dtype == torch.uint8 else (grey != 0).numpy() * np.uint8(FULL_GREY)), size) != 0
    )


def _resized(frames: np.ndarray, size: tuple[int, int]) -> Tensor:
    height, width = size
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    return torch.from_numpy(np.stack(resized))
