import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurora_trl.constants import F_LAST_THRESHOLD, F_NUM_THRESHOLDS
from aurora_trl.metrics import evaluate_clips, f_measure, frame_iou, jaccard, measures, null_score


CASES = ["perfect", "noisy", "some_empty_frames", "one_video", "all_empty_gt", "under_confident", "three_videos"]
TRUE_LOGIT, FALSE_LOGIT = 4.0, -4.0


def logits_of(masks):
    return torch.where(torch.as_tensor(masks), TRUE_LOGIT, FALSE_LOGIT)


def random_call(seed, num_frames=3, size=(9, 7)):
    generator = torch.Generator().manual_seed(seed)
    gt_masks = torch.rand(num_frames, *size, generator=generator) > 0.6
    return torch.randn(num_frames, *size, generator=generator) + gt_masks, gt_masks


def naive_f(mask_logits, gt_masks, f_input="probabilities"):
    """255 passes, written after the definition; the reference for the histogram."""
    values = mask_logits.sigmoid() if f_input == "probabilities" else mask_logits
    curves = []
    for value, truth in zip(values, gt_masks, strict=True):
        if not truth.any():
            continue
        curve = []
        for threshold in torch.linspace(0, 1 - 1e-10, 255):
            pred = value >= threshold
            hits = (pred & truth).sum().item()
            precision, recall = hits / (pred.sum().item() + 1e-20), hits / truth.sum().item()
            curve.append(0.0 if hits == 0 else 1.3 * precision * recall / (0.3 * precision + recall))
        curves.append(curve)
    return float(np.mean(curves, axis=0).max()) if curves else 0.0


@pytest.fixture(params=CASES)
def golden(request, shared_dir):
    folder = shared_dir / "golden" / "metrics"
    case = next(case for case in json.loads((folder / "metrics.json").read_text()) if case["name"] == request.param)
    with np.load(folder / "metrics.npz") as arrays:
        mask_logits = arrays[f"{request.param}.logits"].astype(np.float32)
        gt_masks = np.unpackbits(arrays[f"{request.param}.gt"], axis=-1).astype(bool)
    return case, mask_logits, gt_masks


def test_golden_official_call(golden):
    case, mask_logits, gt_masks = golden
    mask_logits, gt_masks = (array.reshape(-1, *array.shape[2:]) for array in (mask_logits, gt_masks))
    assert jaccard(mask_logits, gt_masks, threshold=0.4) == pytest.approx(case["official"]["J"], abs=1e-5)
    assert f_measure(mask_logits, gt_masks) == pytest.approx(case["official"]["F"], abs=1e-5)
    assert null_score(mask_logits) == pytest.approx(case["official"]["S"], abs=1e-5)


def test_golden_released_per_video(golden):
    case, mask_logits, gt_masks = golden
    for logits, truth, j, f in zip(
        mask_logits, gt_masks, case["released"]["J_per_video"], case["released"]["F_per_video"], strict=True
    ):
        assert jaccard(logits, truth) == pytest.approx(j, abs=1e-5)
        assert f_measure(logits, truth, f_input="logits") == pytest.approx(f, abs=1e-5)


def test_golden_evaluate_clips(golden):
    case, mask_logits, gt_masks = golden
    official = evaluate_clips(zip(mask_logits, gt_masks, strict=True), protocol="refavs-official")
    assert official["J"] == pytest.approx(case["official"]["J"], abs=1e-5)
    assert official["F"] == pytest.approx(case["official"]["F"], abs=1e-5)
    if gt_masks.any():
        assert "S" not in official
    else:
        assert official["S"] == pytest.approx(case["official"]["S"], abs=1e-5)
    released = evaluate_clips(zip(mask_logits, gt_masks, strict=True), protocol="aurora-released")
    assert released["J"] == pytest.approx(np.mean(case["released"]["J_per_video"]), abs=1e-5)
    assert released["F"] == pytest.approx(np.mean(case["released"]["F_per_video"]), abs=1e-5)
    assert "S" not in released


def test_frame_iou_by_hand():
    pred = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]]) == 1
    truth = torch.tensor([[[0, 1, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]]) == 1
    # 1 common of 3; no object and 3 of 4 pixels background; no object and 4 of 4
    assert frame_iou(pred, truth).tolist() == pytest.approx([1 / 3, 3 / 4, 1.0])
    assert frame_iou(pred, truth, empty_frame="strict").tolist() == pytest.approx([1 / 3, 0.0, 1.0])
    # an object that is missed, and the same with numpy and integers
    assert frame_iou(~truth[:1], truth[:1]).tolist() == [0.0]
    assert frame_iou(pred.numpy().astype(np.uint8) * 255, truth.numpy()).tolist() == pytest.approx([1 / 3, 3 / 4, 1.0])


def test_jaccard_is_the_mean_over_frames_at_a_strict_threshold():
    truth = torch.tensor([[[True, False]], [[True, True]]])
    # frame 1 both pixels predicted: 1/2; frame 2 one of two: 1/2; at threshold 0.5 a logit of 0 is not object
    mask_logits = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    assert jaccard(mask_logits, truth) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert jaccard(mask_logits, truth, threshold=0.4) == pytest.approx((1 / 2 + 1) / 2)
    assert jaccard(-mask_logits, truth) < 0.5


def test_f_measure_by_hand():
    # p = 0.9, 0.6, 0.2 and truth 1, 0, 1. The best threshold is in (0.6, 0.9]: P = 1, R = 1/2
    # F = 1.3 · 1 · 0.5 / (0.3 + 0.5) = 0.8125; below 0.2: P = 2/3, R = 1: 1.3 · 2/3 / (0.2 + 1) = 0.7222
    mask_logits = torch.logit(torch.tensor([[[0.9, 0.6, 0.2]]]))
    truth = torch.tensor([[[True, False, True]]])
    assert f_measure(mask_logits, truth) == pytest.approx(0.8125)
    # With another truth, 0, 1, 1, all pixels give P = 2/3, R = 1 at best: but with the sign flipped p = 0.1, 0.4, 0.8,
    # and the last two are a perfect pair.
    assert f_measure(-mask_logits, torch.tensor([[[False, True, True]]])) == pytest.approx(1.0)
    assert f_measure(mask_logits, torch.tensor([[[False, True, True]]])) == pytest.approx(1.3 * 2 / 3 / (0.2 + 1))


def test_f_takes_the_maximum_of_the_mean_curve_not_the_mean_of_maxima():
    # Frame 1 is perfect for thresholds in (0.1, 0.3], frame 2 in (0.7, 0.9]: no threshold is perfect for both.
    mask_logits = torch.logit(torch.tensor([[[0.3, 0.1]], [[0.9, 0.7]]]))
    truth = torch.tensor([[[True, False]], [[True, False]]])
    assert f_measure(mask_logits[:1], truth[:1]) == f_measure(mask_logits[1:], truth[1:]) == pytest.approx(1.0)
    # in (0.1, 0.3]: 1 and, with P = 1/2, R = 1: 1.3 · 0.5 / 1.15
    assert f_measure(mask_logits, truth) == pytest.approx((1 + 0.65 / 1.15) / 2)


def test_f_leaves_frames_without_an_object_out():
    mask_logits, truth = random_call(seed=0)
    truth[1] = False
    kept = torch.tensor([0, 2])
    assert f_measure(mask_logits, truth) == pytest.approx(f_measure(mask_logits[kept], truth[kept]))
    assert f_measure(mask_logits, torch.zeros_like(truth)) == 0.0


def test_null_score_by_hand():
    # 1 of 4 pixels: sqrt(1/4)
    assert null_score(torch.tensor([[[1.0, -1.0]], [[-1.0, -1.0]]])) == pytest.approx(1 / 2)
    assert null_score(torch.tensor([[[1.0, 1.0, 1.0, -1.0]]])) == pytest.approx(math.sqrt(3) / 2)
    assert null_score(torch.full((1, 2, 2), -0.1), threshold=0.4) == 1.0


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 0.1, 1.0, 20.0, 200.0]),
    f_input=st.sampled_from(["probabilities", "logits"]),
)
def test_the_histogram_equals_255_passes(seed, scale, f_input):
    mask_logits, gt_masks = random_call(seed, num_frames=2)
    assert f_measure(mask_logits * scale, gt_masks, f_input) == pytest.approx(
        naive_f(mask_logits * scale, gt_masks, f_input), abs=1e-6
    )


def test_probabilities_on_a_threshold_are_object():
    thresholds = torch.linspace(0, 1 - 1e-10, 255)
    truth = torch.arange(255) % 3 == 0
    assert f_measure(thresholds.view(1, 15, 17), truth.view(1, 15, 17), "logits") == pytest.approx(
        naive_f(thresholds.view(1, 15, 17), truth.view(1, 15, 17), "logits"), abs=1e-12
    )


@given(seed=st.integers(0, 10_000))
def test_metrics_stay_within_0_and_1_and_know_the_sign(seed):
    mask_logits, gt_masks = random_call(seed)
    for metric in (jaccard, f_measure):
        assert 0 <= metric(mask_logits, gt_masks) <= 1
        assert metric(logits_of(gt_masks), gt_masks) == pytest.approx(1.0)
        assert metric(-logits_of(gt_masks), gt_masks) < 0.9
    # swapping prediction and truth changes nothing where both have an object
    pred = mask_logits > 0
    torch.testing.assert_close(frame_iou(pred, gt_masks), frame_iou(gt_masks, pred))


@pytest.mark.parametrize("metric", [jaccard, f_measure])
def test_numpy_and_half_precision_are_accepted(metric):
    mask_logits, gt_masks = random_call(seed=1)
    expected = metric(mask_logits, gt_masks)
    assert metric(mask_logits.numpy(), gt_masks.numpy()) == expected
    assert metric(mask_logits.numpy().astype(np.float16), gt_masks.numpy()) == pytest.approx(expected, abs=0.05)
    assert metric(mask_logits.requires_grad_(), gt_masks.float()) == expected


@pytest.mark.parametrize("metric", [jaccard, f_measure])
def test_invalid_input_is_refused(metric):
    mask_logits, gt_masks = random_call(seed=2)
    with pytest.raises(ValueError, match="must both be"):
        metric(mask_logits, gt_masks[:1])
    with pytest.raises(ValueError, match="must both be"):
        metric(mask_logits[0], gt_masks[0])
    with pytest.raises(ValueError, match="must both be"):
        metric(mask_logits[:0], gt_masks[:0])
    with pytest.raises(ValueError, match="un-thresholded floats"):
        metric(gt_masks, gt_masks)
    with pytest.raises(ValueError, match="NaN"):
        metric(torch.full_like(mask_logits, math.nan), gt_masks)


def test_frame_iou_refuses_logits_and_unknown_rules():
    mask_logits, gt_masks = random_call(seed=3)
    with pytest.raises(ValueError, match="Threshold"):
        frame_iou(mask_logits, gt_masks)
    with pytest.raises(ValueError, match="must both be"):
        frame_iou(gt_masks, gt_masks[..., :1])


def test_counting_thresholds_is_exact():
    """Against a search, at the thresholds themselves, one step of float32 beside them, and just below 0."""
    thresholds = torch.linspace(0, F_LAST_THRESHOLD, F_NUM_THRESHOLDS)
    infinity = torch.tensor(math.inf)
    values = torch.cat(
        [
            thresholds,
            torch.nextafter(thresholds, infinity),
            torch.nextafter(thresholds, -infinity),
            torch.tensor([-measures.JUST_OUTSIDE, -1e-12, -0.0, 0.0, 1e-45]),
            torch.rand(100_000, generator=torch.Generator().manual_seed(0)),
        ]
    )
    values = values.clamp(-measures.JUST_OUTSIDE, 1)
    expected = torch.bucketize(values, thresholds, right=True, out_int32=True)
    assert torch.equal(measures._num_reached(values, thresholds), expected)


def test_logits_beyond_the_thresholds_reach_none_or_all():
    """F of raw logits, as the released code has it: against 255 passes."""
    gt_masks = torch.tensor([[[True, False, True, False, True]]])
    logits = torch.tensor([[[math.inf, 200.0, 0.5, -1e-9, -3.0]]])
    assert f_measure(logits, gt_masks, f_input="logits") == pytest.approx(naive_f(logits, gt_masks, "logits"))
