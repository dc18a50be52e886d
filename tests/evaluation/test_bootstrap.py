import numpy as np
import pytest

from aurora_trl.evaluation.bootstrap import ScoreTable, clip_groups, confidence_intervals
from aurora_trl.evaluation.predictions import Prediction, rounded_scores
from aurora_trl.metrics import PROTOCOLS, counting_name, pool_scores, score_clip_by_counting


def predict(seed, clip, empty=False):
    rng = np.random.default_rng(seed)
    truth = np.zeros((3, 12, 10), bool) if empty else rng.random((3, 12, 10)) > 0.6
    scores = score_clip_by_counting((rng.standard_normal(truth.shape) + truth).astype(np.float32), truth)
    names = dict.fromkeys(("uid", "split", "expression", "kind", "category", "generation", "completion"), "x")
    flags = dict.fromkeys(("is_correct", "is_well_formed", "has_seg", "is_truncated"), True)
    return Prediction(
        **names,
        **flags,
        clip=clip,
        predicted_category=None,
        iou=0.5,
        masks=None,
        scores={name: rounded_scores(value) for name, value in scores.items()},
    )


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_pooling_arrays_is_pooling_scores(protocol):
    predictions = [predict(i, i, empty=i in (2, 5, 6)) for i in range(11)]
    order = np.array([3, 2, 2, 9, 0, 5, 6, 10, 1, 4])
    pooled = ScoreTable(predictions, protocol).pool(order)
    scores = [score_clip for i in order for score_clip in [predictions[i].scores[counting_name(protocol)]]]
    width = 255
    filled = [type(s)(**{**vars(s), "f_curve_sum": s.f_curve_sum or [0.0] * width}) for s in scores]
    assert pooled == pytest.approx(pool_scores(filled, protocol), abs=1e-12)


def test_rows_of_one_clip_are_drawn_together():
    """Two clips of opposite rows: drawn row by row the mean would vary, drawn by clip it can't."""
    predictions = [predict(i, i // 2) for i in range(8)]
    groups = clip_groups(predictions)
    assert [group.tolist() for group in groups] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    values = np.array([0.0, 1.0] * 4)
    assert confidence_intervals(lambda rows: {"m": values[rows].mean()}, groups, 50) == {"m": (0.5, 0.5)}


def test_the_interval_is_that_of_a_known_distribution():
    """The mean of 400 coin flips: 0.5 ± 1.96 · 0.5 / 20."""
    values = np.tile([0.0, 1.0], 200)
    (low, high) = confidence_intervals(
        lambda rows: {"m": values[rows].mean()}, [np.array([i]) for i in range(400)], 2000
    )["m"]
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.006)
    again = confidence_intervals(lambda rows: {"m": values[rows].mean()}, [np.array([i]) for i in range(400)], 2000)
    assert again["m"] == (low, high)
