"""The best, the median and the worst answer of an evaluation, as one picture. Reads the clips again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.collator import read_row
from aurora_trl.data.media import labelled_frames, read_masks
from aurora_trl.data.rle import decode_masks
from aurora_trl.evaluation.predictions import Prediction
from aurora_trl.viz import contact_sheet, stack_pictures


def write_examples(path: Path, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Path | None:
    """
    Writes the three sheets of the rows whose object is visible, ranked by IoU; equal ones in the order of the rows.

    Args:
        path (`Path`): Of the picture.
        rows (list of `Mapping`): The rows of the predictions, in their order.
        predictions (list of [`Prediction`]): Their answers.
    """
    visible = [i for i, prediction in enumerate(predictions) if prediction.category != NULL_CATEGORY]
    path.unlink(missing_ok=True)  # of an earlier run
    if not visible:
        return None
    ranked = sorted(visible, key=lambda i: -predictions[i].iou)
    chosen = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    sheets = [_sheet(name, rows[i], predictions[i]) for name, i in chosen.items()]
    partial = path.with_name(f".partial-{path.name}")
    cv2.imwrite(str(partial), cv2.cvtColor(stack_pictures(sheets), cv2.COLOR_RGB2BGR))
    return partial.replace(path)


def _sheet(rank: str, row: Mapping[str, Any], prediction: Prediction) -> np.ndarray:
    frames, _ = read_row(row, allow_silent=True)
    gt_masks = read_masks(row["masks"], len(frames), frames.shape[1:3])
    shown = labelled_frames(row["masks"], len(frames))
    masks = None if prediction.masks is None else decode_masks(prediction.masks)[shown]
    title = f"{rank}: {row['uid']}, {row['expression']}"
    return contact_sheet(
        frames[shown], gt_masks[shown], [(f"IoU {prediction.iou:.3f}: {prediction.completion}", masks)], title
    )
