"""
Scores predictions again without a model: a `predictions.jsonl` of this package, checked against the data where it is
given, or another program's masks against the data.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from aurora_trl.data.collator import clip_key, read_row
from aurora_trl.data.headers import picture_size
from aurora_trl.data.rle import decode_masks
from aurora_trl.evaluation.predictions import Prediction, read_prediction, read_records
from aurora_trl.evaluation.report import DEFAULT_RESAMPLES, Evaluation
from aurora_trl.evaluation.scoring import CERTAIN, score_answer
from aurora_trl.metrics import resolve_protocol


# Looks at the sign of a logit only, at native size: what a mask keeps of it.
MASK_PROTOCOL = "aurora-released"
# The IoU is made from the same bits: only the order of float64 sums may differ.
IOU_TOLERANCE = 1e-9
# Of a frame: logits below 1e-7 are object in a mask, but have a float32 sigmoid of 0.5, which is not above 0.5.
SIGN_TOLERANCE = 1e-3


def evaluate_predictions(
    path: str | Path,
    splits: Mapping[str, Dataset] | None = None,
    protocol: str = "refavs-official",
    new_categories: Collection[str] = (),
    num_resamples: int = DEFAULT_RESAMPLES,
) -> Evaluation:
    """
    The report of a `predictions.jsonl`, made again.

    A record that [`evaluate_policy`] wrote holds its scores. With `splits`, what its text and its masks determine is
    made again and compared: categories, form, IoU, J at 0.5 and native size. Scores at other thresholds need logits.
    A record of another program needs `splits`, `uid` and `masks` (run lengths per frame, see [`aurora_trl.data.rle`],
    or null), and may have `completion`. Its masks are bits: J is that of the masks at the protocol's size, whatever
    its threshold, and F has one curve value for all thresholds but 0.

    Args:
        path (`str` or `Path`):
            The predictions.
        splits (`Mapping[str, Dataset]`, *optional*):
            Rows with masks, by split; there must be exactly one prediction of each row.
        protocol (`str`, *optional*, defaults to `"refavs-official"`):
            Whose numbers head the report.
        new_categories (collection of `str`, *optional*):
            Reported on their own.
        num_resamples (`int`, *optional*, defaults to `1000`):
            Draws of the bootstrap.

    Raises:
        ValueError: naming the line or the row that does not fit, and why.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples={num_resamples} must be at least 1.")
    records = read_records(Path(path))
    resolved = resolve_protocol(protocol)
    if splits is None:
        predictions = [read_prediction(record, where) for where, record in records]
    else:
        predictions = _against_truth(records, splits)
    return Evaluation(
        predictions=predictions,
        protocol=resolved,
        new_categories=frozenset(new_categories),
        num_resamples=num_resamples,
        settings={"checkpoint": Path(path).name},
    )


def _against_truth(records: Sequence[tuple[str, dict[str, Any]]], splits: Mapping[str, Dataset]) -> list[Prediction]:
    by_uid: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, record in records:
        uid = record.get("uid")
        if not isinstance(uid, str) or uid in by_uid:
            raise ValueError(f"{where}: the uid {uid!r} is missing or occurs twice. Each row has one prediction.")
        by_uid[uid] = (where, record)
    predictions, numbers = [], {}
    for split, dataset in splits.items():
        for row in dataset:
            if row["uid"] not in by_uid:
                raise ValueError(f"There is no prediction of row {row['uid']} of split {split}. Predict every row.")
            clip = numbers.setdefault((split, *clip_key(row)), len(numbers))
            predictions.append(_check_or_score(*by_uid.pop(row["uid"]), row, split, clip))
    if by_uid:
        where, record = next(iter(by_uid.values()))
        raise ValueError(f"{where}: there is no row {record['uid']!r} in {', '.join(splits)}. Name its split, too.")
    return predictions


def _check_or_score(where: str, record: dict[str, Any], row: Mapping[str, Any], split: str, clip: int) -> Prediction:
    try:
        masks = None if record["masks"] is None else decode_masks(record["masks"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{where}: no usable `masks` ({error!r}). Give run lengths per frame, or null.") from error
    size = _clip_size(row)
    if masks is not None and masks.shape != size:
        raise ValueError(
            f"{where}: the masks have the shape {masks.shape} (frames, height, width), the clip of row {row['uid']} "
            f"{size}. Resize them to the clip's size, one per frame."
        )
    mask_logits = None if masks is None else (torch.from_numpy(masks).float() * 2 - 1) * CERTAIN
    from_masks = score_answer(row, split, clip, str(record.get("completion", "")), mask_logits, size)
    if "scores" not in record:
        return from_masks
    prediction = read_prediction(record, where)
    if differing := _differing(prediction, from_masks):
        raise ValueError(
            f"{where}: {', '.join(differing)} of the record are not what its text and its masks give against the "
            f"truth. Predictions and data are not of one run, or the record was changed."
        )
    return prediction


def _differing(prediction: Prediction, from_masks: Prediction) -> list[str]:
    """
    What of a record its own text and masks contradict. Scores that look at logits beyond the sign can't be made again
    from masks; those of `MASK_PROTOCOL` look at the sign alone.
    """
    names = ("category", "predicted_category", "is_correct", "is_well_formed", "kind", "expression", "has_seg")
    differing = [name for name in names if getattr(prediction, name) != getattr(from_masks, name)]
    if abs(prediction.iou - from_masks.iou) > IOU_TOLERANCE:
        differing.append("iou")
    scores, expected = (p.scores[MASK_PROTOCOL] for p in (prediction, from_masks))
    is_same = (
        abs(scores.iou_sum - expected.iou_sum) <= SIGN_TOLERANCE * expected.num_frames
        and (scores.num_frames, scores.num_object_frames) == (expected.num_frames, expected.num_object_frames)
        and scores.num_pixels == expected.num_pixels
    )
    return differing if is_same else [*differing, f"scores[{MASK_PROTOCOL!r}]"]


def _clip_size(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Frames, height and width of a row's clip."""
    if row.get("video"):
        return read_row(dict(row), allow_silent=True)[0].shape[:3]
    width, height = picture_size(row["frames"][0])
    return len(row["frames"]), height, width
