import dataclasses
import json
import math

import cv2
import numpy as np
import pytest
import torch

from aurora_trl.metrics import (
    PROTOCOLS,
    ClipScores,
    counting_name,
    evaluate_clips,
    f_measure,
    jaccard,
    mix_metrics,
    null_score,
    pool_scores,
    score_clip,
    score_clip_by_counting,
)


def random_clips(num_clips, seed=0, num_frames=2, size=(12, 10)):
    rng = np.random.default_rng(seed)
    for _ in range(num_clips):
        gt_masks = rng.random((num_frames, *size)) > 0.7
        yield (rng.standard_normal(gt_masks.shape) + gt_masks).astype(np.float32), gt_masks


def joined(clips):
    return (np.concatenate(arrays) for arrays in zip(*clips, strict=True))


def test_the_official_protocol_averages_over_calls_of_four_clips():
    clips = list(random_clips(6))
    calls = [list(joined(clips[:4])), list(joined(clips[4:]))]
    metrics = evaluate_clips(iter(clips))
    assert metrics["J"] == pytest.approx(np.mean([jaccard(*call, threshold=0.4) for call in calls]))
    assert metrics["F"] == pytest.approx(np.mean([f_measure(*call) for call in calls]))
    assert metrics["J&F"] == pytest.approx((metrics["J"] + metrics["F"]) / 2)
    assert set(metrics) == {"J", "F", "J&F"}
    # so it depends on the order, and one video per call is another number
    assert evaluate_clips(clips[2:] + clips[:2])["F"] != pytest.approx(metrics["F"], abs=1e-9)
    assert evaluate_clips(clips, protocol="refavs-per-video")["F"] == pytest.approx(
        np.mean([f_measure(*clip) for clip in clips])
    )


def test_s_is_taken_over_the_null_clips_only():
    clips = list(random_clips(7))
    null_clips = [(logits, np.zeros_like(truth)) for logits, truth in random_clips(5, seed=1)]
    mixed = [clip for pair in zip(null_clips, clips[:5], strict=True) for clip in pair] + clips[5:]
    # the null clips are pooled among themselves: four, then one
    first, second = (np.concatenate([logits for logits, _ in part]) for part in (null_clips[:4], null_clips[4:]))
    expected = (null_score(first) + null_score(second)) / 2
    assert evaluate_clips(mixed)["S"] == pytest.approx(expected)
    assert evaluate_clips(null_clips)["S"] == pytest.approx(expected)
    assert evaluate_clips(null_clips)["F"] == 0.0
    assert "S" not in evaluate_clips(clips)
    assert "S" not in evaluate_clips(null_clips, protocol="aurora-released")
    # S has its own threshold: at J's 0.4 more pixels would count
    assert evaluate_clips(null_clips)["S"] < (null_score(first, 0.4) + null_score(second, 0.4)) / 2


def test_protocols_differ_as_documented():
    clips = list(random_clips(3))
    released = evaluate_clips(clips, protocol="aurora-released")
    assert released["J"] == pytest.approx(np.mean([jaccard(*clip, threshold=0.5) for clip in clips]))
    assert released["F"] == pytest.approx(np.mean([f_measure(*clip, f_input="logits") for clip in clips]))
    avsbench = evaluate_clips(clips, protocol="avsbench")
    assert avsbench["J"] == released["J"]
    assert avsbench["F"] == pytest.approx(np.mean([f_measure(*clip) for clip in clips]))
    own = dataclasses.replace(PROTOCOLS["avsbench"], name="mine", jaccard_threshold=0.4)
    assert evaluate_clips(clips, own)["J"] == evaluate_clips(clips, "refavs-per-video")["J"]


def test_the_truth_rule_reads_grey_values():
    logits = np.array([[[5.0, 5.0, -5.0, -5.0]]], dtype=np.float32)
    grey = np.array([[[255, 45, 0, 0]]], dtype=np.uint8)
    assert evaluate_clips([(logits, grey)], "refavs-official")["J"] == pytest.approx(1.0)
    assert evaluate_clips([(logits, grey)], "aurora-released")["J"] == pytest.approx(1 / 2)
    assert evaluate_clips([(logits, grey > 0)], "aurora-released")["J"] == pytest.approx(1.0)


def test_resizing_is_opencv_bilinear_and_dilates_the_truth():
    logits, _ = next(random_clips(1, num_frames=1, size=(512, 384)))
    truth = np.zeros((1, 512, 384), dtype=bool)
    truth[0, 101:300, 51:200] = True
    resized_logits = cv2.resize(logits[0], (256, 256))[None]
    resized_truth = cv2.resize(truth[0].astype(np.uint8) * 255, (256, 256))[None] > 0
    nearest = cv2.resize(truth[0].astype(np.uint8), (256, 256), interpolation=cv2.INTER_NEAREST) > 0
    assert resized_truth.sum() > nearest.sum()
    expected = jaccard(resized_logits, resized_truth, threshold=0.4)
    assert evaluate_clips([(logits, truth)], resize=True)["J"] == pytest.approx(expected, abs=1e-12)
    grey = truth.astype(np.uint8) * 255
    assert evaluate_clips([(torch.from_numpy(logits), grey)], resize=True)["J"] == pytest.approx(expected, abs=1e-12)
    assert evaluate_clips([(logits, truth)])["J"] == jaccard(logits, truth, threshold=0.4)
    # a protocol at native size is not touched
    native = evaluate_clips([(logits, truth)], "aurora-released")
    assert evaluate_clips([(logits, truth)], "aurora-released", resize=True) == native


def test_resizing_lets_prediction_and_truth_differ_in_size():
    truth = np.zeros((1, 64, 64), dtype=bool)
    truth[:, 16:48, 16:48] = True
    small = np.where(truth[:, ::2, ::2], 8.0, -8.0).astype(np.float32)
    assert evaluate_clips([(small, truth)], resize=True)["J"] > 0.9
    with pytest.raises(ValueError, match="must both be"):
        evaluate_clips([(small, truth)])


def test_scores_are_plain_numbers_and_pool_to_the_same_result():
    clips = list(random_clips(5))
    scores = [score_clip(*clip, "refavs-official") for clip in clips]
    restored = [ClipScores(**json.loads(json.dumps(dataclasses.asdict(score)))) for score in scores]
    assert pool_scores(restored, "refavs-official") == evaluate_clips(clips)


def test_invalid_input_is_refused():
    clips = list(random_clips(1))
    with pytest.raises(ValueError, match="no clip"):
        evaluate_clips([])
    with pytest.raises(ValueError, match="refavs-official, refavs-per-video"):
        evaluate_clips(clips, protocol="official")
    with pytest.raises(ValueError, match="NaN"):
        evaluate_clips([(np.full((1, 2, 2), math.nan, dtype=np.float32), np.ones((1, 2, 2), dtype=bool))])


def test_every_protocol_is_named_by_its_key():
    assert list(PROTOCOLS) == [
        "refavs-official",
        "refavs-per-video",
        "refavs-paper-text",
        "refavs-weighted-mix",
        "aurora-released",
        "avsbench",
        "avsbench-batch",
    ]
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


def test_protocols_that_count_alike_share_their_scores():
    (clip,) = random_clips(1, size=(20, 18))
    scores = score_clip_by_counting(*clip)
    assert list(scores) == ["refavs-official", "aurora-released", "avsbench"]
    for name, protocol in PROTOCOLS.items():
        assert score_clip(*clip, protocol, resize=True) == scores[counting_name(protocol)], name


def test_s_of_the_papers_text_divides_by_the_background():
    """3 of 4 pixels are false: sqrt(3 / 4) of the frame, sqrt(3 / 1) of the background."""
    clip = (np.array([[[5.0, 5.0, 5.0, -5.0]]], np.float32), np.zeros((1, 1, 4), bool))
    assert evaluate_clips([clip], "refavs-official")["S"] == pytest.approx(math.sqrt(3 / 4))
    assert evaluate_clips([clip], "refavs-paper-text")["S"] == pytest.approx(math.sqrt(3))
    everything = (np.full((1, 1, 4), 5.0, np.float32), np.zeros((1, 1, 4), bool))
    assert evaluate_clips([everything], "refavs-paper-text")["S"] == math.inf


def test_the_mix_is_plain_or_weighted_by_rows():
    seen, unseen = {"J": 0.2, "F": 0.4, "J&F": 0.3}, {"J": 0.6, "F": 0.8, "J&F": 0.7}
    plain = mix_metrics(seen, unseen, (3, 1), PROTOCOLS["refavs-official"])
    assert plain == pytest.approx({"J": 0.4, "F": 0.6, "J&F": 0.5})
    weighted = mix_metrics(seen, unseen, (3, 1), PROTOCOLS["refavs-weighted-mix"])
    assert weighted == pytest.approx({"J": 0.3, "F": 0.5, "J&F": 0.4})
