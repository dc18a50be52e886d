"""
Confidence intervals of J, F and S: clips are drawn again, with replacement, and pooled as the protocol pools.

Rows of one clip stay together, since their errors do. Pure: numbers in, numbers out.
"""

from collections.abc import Callable, Sequence

import numpy as np

from aurora_trl.evaluation.predictions import Prediction
from aurora_trl.metrics import Protocol, counting_name


CONFIDENCE = 0.95
SEED = 0
MIN_CLIPS = 2  # one clip drawn again is always itself: its interval would be a point


class ScoreTable:
    """
    The scores of some rows under one protocol, as arrays, ready to be pooled in any order.

    Args:
        predictions (list of [`Prediction`]):
            Rows in the order of their split.
        protocol (`Protocol`):
            How they are pooled.
    """

    def __init__(self, predictions: Sequence[Prediction], protocol: Protocol):
        self.protocol = protocol
        scores = [prediction.scores[counting_name(protocol)] for prediction in predictions]
        self.iou_sum = np.array([clip.iou_sum for clip in scores])
        self.num_frames = np.array([clip.num_frames for clip in scores])
        self.num_object_frames = np.array([clip.num_object_frames for clip in scores])
        self.foreground = np.array([clip.null_foreground for clip in scores])
        self.num_pixels = np.array([clip.num_pixels for clip in scores])
        width = max(len(clip.f_curve_sum) for clip in scores) or 1
        self.curves = np.array([clip.f_curve_sum or [0.0] * width for clip in scores])
        self.is_null = self.num_object_frames == 0

    def pool(self, rows: np.ndarray) -> dict[str, float]:
        """J, F, J&F, and S where it applies, of rows in this order. Equal to `metrics.pool_scores`."""
        starts = np.arange(0, len(rows), self.protocol.clips_per_call)
        j = (np.add.reduceat(self.iou_sum[rows], starts) / np.add.reduceat(self.num_frames[rows], starts)).mean()
        curve_sums = np.add.reduceat(self.curves[rows], starts, axis=0).max(axis=1)
        f = (curve_sums / np.maximum(np.add.reduceat(self.num_object_frames[rows], starts), 1)).mean()
        metrics = {"J": float(j), "F": float(f), "J&F": float((j + f) / 2)}
        null_rows = rows[self.is_null[rows]]
        if len(null_rows) and self.protocol.null_threshold is not None:
            starts = np.arange(0, len(null_rows), self.protocol.clips_per_call)
            foreground = np.add.reduceat(self.foreground[null_rows], starts)
            area = np.add.reduceat(self.num_pixels[null_rows], starts)
            if self.protocol.null_area == "background":
                area = area - foreground
            with np.errstate(divide="ignore"):
                metrics["S"] = float(np.sqrt(foreground / area).mean())
        return metrics


def clip_groups(predictions: Sequence[Prediction]) -> list[np.ndarray]:
    """The row numbers of each clip, clips in the order of their first row."""
    groups: dict[int, list[int]] = {}
    for row, prediction in enumerate(predictions):
        groups.setdefault(prediction.clip, []).append(row)
    return [np.array(rows) for rows in groups.values()]


def confidence_intervals(
    measure: Callable[[np.ndarray], dict[str, float]], groups: Sequence[np.ndarray], num_resamples: int
) -> dict[str, tuple[float, float]]:
    """
    Percentile intervals of the bootstrap.

    Args:
        measure (callable):
            From row numbers to metrics.
        groups (list of `np.ndarray`):
            Row numbers of each clip, of [`clip_groups`].
        num_resamples (`int`):
            How often the clips are drawn again.

    Returns:
        `dict[str, tuple[float, float]]`: low and high of each metric, at 95 %. A metric that a draw lacks (S, when no
        null clip was drawn) leaves that draw out. Empty for fewer clips than two.
    """
    if len(groups) < MIN_CLIPS:
        return {}
    rng = np.random.default_rng(SEED)
    drawn: dict[str, list[float]] = {}
    for _ in range(num_resamples):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        for name, value in measure(rows).items():
            drawn.setdefault(name, []).append(value)
    tail = (1 - CONFIDENCE) / 2
    # Without interpolation, which makes a NaN of an infinite S.
    return {
        name: tuple(map(float, np.quantile(values, (tail, 1 - tail), method="inverted_cdf")))
        for name, values in drawn.items()
    }
