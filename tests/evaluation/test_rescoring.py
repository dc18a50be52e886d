"""Predictions of this package against the truth, and masks of another program."""

import json

import numpy as np
import pytest

from aurora_trl.data import load_refavs
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
        ([{**records[0], "masks": small}, *records[1:]], "has the size"),
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
    for change in ({"iou": record["iou"] + 1e-6}, {"masks": None}, {"category": "blue-circle"}):
        with pytest.raises(ValueError, match="not of one run"):
            evaluate_predictions(write(tmp_path, [{**record, **change}]), one)
    scores = {**record["scores"], "avsbench": {**record["scores"]["avsbench"], "f_curve_sum": [1.0]}}
    with pytest.raises(ValueError, match="curve of its scores 'avsbench' has 1 values"):
        evaluate_predictions(write(tmp_path, [{**record, "scores": scores}]), one)
