"""J, F and S: the measures of one call (`measures`) and the protocols that pool calls into a number (`protocols`)."""

from aurora_trl.metrics.measures import f_measure, frame_iou, jaccard, null_score
from aurora_trl.metrics.protocols import (
    PROTOCOLS,
    ClipScores,
    Protocol,
    evaluate_clips,
    pool_scores,
    resolve_protocol,
    score_clip,
)


__all__ = [
    "PROTOCOLS",
    "ClipScores",
    "Protocol",
    "evaluate_clips",
    "f_measure",
    "frame_iou",
    "jaccard",
    "null_score",
    "pool_scores",
    "resolve_protocol",
    "score_clip",
]
