"""J, F and S: the measures of one call (`measures`) and the protocols that pool calls into a number (`protocols`)."""

from aurora_trl.metrics.measures import f_measure, frame_iou, jaccard, null_score
from aurora_trl.metrics.protocols import (
    COUNTING_NAMES,
    PROTOCOLS,
    ClipScores,
    Protocol,
    counting_name,
    evaluate_clips,
    mix_metrics,
    pool_scores,
    resolve_protocol,
    score_clip,
    score_clip_by_counting,
)


__all__ = [
    "COUNTING_NAMES",
    "PROTOCOLS",
    "ClipScores",
    "Protocol",
    "counting_name",
    "evaluate_clips",
    "f_measure",
    "frame_iou",
    "jaccard",
    "mix_metrics",
    "null_score",
    "pool_scores",
    "resolve_protocol",
    "score_clip",
    "score_clip_by_counting",
]
