"""
Scores predictions again without a model: a `predictions.jsonl` of this package, checked against the data where it is
given, or another program's masks against the data.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from aurora_trl.data.collator import clip_key, read_row
from aurora_trl.data.media import labelled_frames, read_grey_masks
from aurora_trl.data.rle import decode_masks
from aurora_trl.evaluation.predictions import Prediction, read_prediction, read_records
from aurora_trl.evaluation.report import DEFAULT_RESAMPLES, Evaluation
from aurora_trl.evaluation.scoring import CERTAIN, mask_iou, score_answer
from aurora_trl.metrics import resolve_protocol


def evaluate_predictions(
    path: str | Path,
    splits: Mapping[str, Dataset] | None = None,
    protocol: str = "refavs-official",
    new_categories: Collection[str] = (),
    num_resamples: int = DEFAULT_RESAMPLES,
) -> Evaluation:
    """
    The report of a `predictions.jsonl`, made again.

    A record that [`evaluate_policy`] wrote holds its scores; with `splits` its masks are compared with the truth.
    A record of another program needs `splits`, `uid` and `masks` (run lengths per frame, see [`aurora_trl.data.rle`],
    or null), and may have `completion`. Its masks are bits, so thresholds make no difference: J is that of the masks
    at the protocol's size, and F has no threshold to choose.

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
    if "scores" not in record:
        mask_logits, size = _as_logits(masks, row)
        return score_answer(row, split, clip, str(record.get("completion", "")), mask_logits, size)
    prediction = read_prediction(record, where)
    labelled = labelled_frames(row["masks"], 0 if masks is None else len(masks))
    iou = 0.0
    if masks is not None:
        iou = mask_iou(masks[labelled], read_grey_masks(row["masks"], len(masks), masks.shape[1:])[labelled])
    if (iou, row["category"]) != (prediction.iou, prediction.category):
        raise ValueError(
            f"{where}: against the truth the masks have IoU {iou} with a {row['category']!r}, but the record says "
            f"{prediction.iou} with a {prediction.category!r}. Predictions and data are not of one run."
        )
    return prediction


def _as_logits(masks: np.ndarray | None, row: Mapping[str, Any]) -> tuple[Tensor | None, tuple[int, int, int]]:
    """Masks as certain logits, and their size; of an answer without masks the truth's own."""
    if masks is not None:
        return (torch.from_numpy(masks).float() * 2 - 1) * CERTAIN, masks.shape
    frames, _ = read_row(dict(row), allow_silent=True)
    return None, frames.shape[:3]
