"""Predictions of this package against the truth, and masks of another program."""

import json

import numpy as np
import pytest

from aurora_trl.data import load_avsbench, load_refavs
from aurora_trl.data.media import read_masks
from aurora_trl.data.rle import encode_masks
from aurora_trl.evaluation import evaluate_predictions, read_predictions
from aurora_trl.evaluation.scoring import score_answer
from aurora_trl.metrics import evaluate_clips


SIZE = (10, 112, 112)


@pytest.fixture
def rows(data_root):
    return load_refavs(data_root, "test_s").select(range(5))


def write(tmp_path, records):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def shifted(row):
    return np.roll(read_masks(row["masks"], 10, SIZE[1:]), 4, axis=2)


def test_another_programs_masks_are_scored(rows, tmp_path):
    records = [{"uid": row["uid"], "masks": encode_masks(shifted(row))} for row in rows]
    records[1]["masks"] = None
    evaluation = evaluate_predictions(write(tmp_path, records[::-1]), {"test_s": rows}, num_resamples=5)
    clips = []
    for number, row in enumerate(rows):
        masks = shifted(row) if number != 1 else np.zeros(SIZE, bool)
        clips.append((np.where(masks, 1e4, -1e4).astype(np.float32), read_masks(row["masks"], 10, SIZE[1:])))
    for protocol in ("refavs-official", "aurora-released"):
        again = evaluate_predictions(write(tmp_path, records), {"test_s": rows}, protocol, num_resamples=5)
        expected = evaluate_clips(clips, protocol, resize=True)
        assert {name: again.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert evaluation.metrics["missing_seg_rate"] == 1 / 5
    assert "category_accuracy" not in evaluation.metrics, "there is no text"
    assert 0.3 < evaluation.metrics["J"] < 0.9


def test_predictions_that_do_not_fit_the_rows_are_named(rows, tmp_path):
    records = [{"uid": row["uid"], "masks": encode_masks(shifted(row))} for row in rows]
    small = encode_masks(np.ones((10, 4, 4), bool))
    for changed, message in [
        (records[:-1], "no prediction of row"),
        ([*records, records[0]], "occurs twice"),
        ([*records, {"uid": "stranger", "masks": None}], "line 6: there is no row 'stranger'"),
        ([{**records[0], "masks": "x"}, *records[1:]], "line 1: no usable `masks`"),
        ([{"uid": records[0]["uid"]}, *records[1:]], "line 1: no usable `masks`"),
        ([{**records[0], "masks": small}, *records[1:]], r"shape \(10, 4, 4\)"),
        ([{**records[0], "masks": encode_masks(np.ones((12, 112, 112), bool))}, *records[1:]], r"shape \(12,"),
        ([], "has no predictions"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate_predictions(write(tmp_path, changed), {"test_s": rows}, num_resamples=1)
    with pytest.raises(ValueError, match="no prediction of this package"):
        evaluate_predictions(write(tmp_path, records))
    path = write(tmp_path, records)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a JSON object"):
        evaluate_predictions(path, {"test_s": rows})
    with pytest.raises(ValueError, match="There is no"):
        read_predictions(tmp_path / "none.jsonl")


def test_a_record_that_was_changed_is_found_out(rows, tmp_path):
    import torch

    logits = torch.from_numpy(np.where(shifted(rows[0]), 3.0, -3.0)).float()
    record = score_answer(rows[0], "test_s", 0, "It is [SEG].", logits, SIZE).to_json()
    one = {"test_s": rows.select(range(1))}
    assert evaluate_predictions(write(tmp_path, [record]), one, num_resamples=1).predictions[0].iou == record["iou"]
    released = {**record["scores"]["aurora-released"], "iou_sum": 10.0}
    for change, named in [
        ({"iou": record["iou"] + 1e-6}, "iou of the record"),
        ({"masks": None}, "has_seg, iou"),
        ({"category": "blue-circle"}, "category of the record"),
        ({"is_correct": True}, "is_correct"),
        ({"completion": "So the target is dog. It is [SEG]."}, "predicted_category"),
        ({"scores": {**record["scores"], "aurora-released": released}}, "aurora-released"),
    ]:
        with pytest.raises(ValueError, match=f"{named}.*not of one run"):
            evaluate_predictions(write(tmp_path, [{**record, **change}]), one)
    scores = {**record["scores"], "avsbench": {**record["scores"]["avsbench"], "f_curve_sum": [1.0]}}
    with pytest.raises(ValueError, match="curve of its scores 'avsbench' has 1 values"):
        evaluate_predictions(write(tmp_path, [{**record, "scores": scores}]), one)
    impossible = {**record["scores"]["avsbench"], "iou_sum": 11.0}
    for scores, message in [
        ({**record["scores"], "avsbench": impossible}, "outside of what 10 frames can have"),
        ({}, r"its `scores` are of \[\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate_predictions(write(tmp_path, [{**record, "scores": scores}]), one)


def test_null_rows_need_masks_of_their_clip_too(data_root, tmp_path):
    null = load_refavs(data_root, "test_n").select(range(1))
    record = {"uid": null[0]["uid"], "masks": encode_masks(np.ones((1, 2, 2), bool))}
    with pytest.raises(ValueError, match=r"shape \(1, 2, 2\)"):
        evaluate_predictions(write(tmp_path, [record]), {"test_n": null})


def test_frames_without_truth_do_not_count(avsbench_root, tmp_path):
    """S4's train clip has a truth for its first frame only: what is predicted on the others makes no difference."""
    rows = load_avsbench(avsbench_root, "train")
    (row,) = rows
    truth = read_masks(row["masks"], 5, (28, 28))
    masks = np.ones((5, 28, 28), bool)
    masks[0] = truth[0]
    path = write(tmp_path, [{"uid": row["uid"], "masks": encode_masks(masks)}])
    evaluation = evaluate_predictions(path, {"train": rows}, "avsbench", num_resamples=1)
    assert evaluation.metrics["mean_iou"] == 1.0
    # At 224 the truth of 28 is dilated by OpenCV's interpolation; the mask, a certain logit, is too, but less.
    assert evaluation.metrics["J"] > 0.95
    assert evaluation.predictions[0].scores["avsbench"].num_frames == 1
    record = evaluation.predictions[0].to_json()
    again = evaluate_predictions(write(tmp_path, [record]), {"train": rows}, "avsbench", num_resamples=1)
    assert again.metrics == evaluation.metrics
