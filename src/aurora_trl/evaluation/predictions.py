"""
One record per row: the answer, its masks, and all that the protocols need of it, so that a report can be made again
without a model.

Knows JSON and files; no model, no processes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from aurora_trl.constants import F_NUM_THRESHOLDS
from aurora_trl.data.jsonl import read_objects
from aurora_trl.metrics import COUNTING_NAMES, ClipScores


FREE, FORCED = "free", "forced-seg"
# Decimals that are kept of a clip's F curve: an error of 5e-8, below the tolerance of the golden values (1e-5).
CURVE_DECIMALS = 7


@dataclass(frozen=True)
class Prediction:
    """
    One row's answer and its scores.

    Attributes:
        uid, split, expression, category: of the row.
        clip (`int`): number of its clip in the run; rows of one clip are resampled together.
        kind (`str`): kind of the expression, see [`~aurora_trl.data.expressions.kind_of`].
        generation (`"free"` or `"forced-seg"`): whether an answer without a [SEG] was given one.
        completion (`str`): the answer.
        predicted_category (`str` or `None`): what the answer names.
        is_correct (`bool`): whether that is the row's category.
        is_well_formed, has_seg, is_truncated (`bool`): about the answer's form.
        iou (`float`): mean over frames, at threshold 0.5 and native size.
        masks (`list[dict]` or `None`): run lengths per frame, at threshold 0.5 and native size; None without a [SEG].
        scores (`dict[str, ClipScores]`): by the name of the first protocol that counts so.
    """

    uid: str
    split: str
    clip: int
    expression: str
    kind: str
    category: str
    generation: str
    completion: str
    predicted_category: str | None
    is_correct: bool
    is_well_formed: bool
    has_seg: bool
    is_truncated: bool
    iou: float
    masks: list[dict[str, list[int]]] | None
    scores: dict[str, ClipScores]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Prediction":
        """
        Raises:
            ValueError: if the record is not one of [`to_json`].
        """
        names = {field.name for field in fields(cls)}
        if set(record) != names:
            raise ValueError(f"its keys differ from ours in {sorted(set(record) ^ names)}.")
        if set(record["scores"]) != set(COUNTING_NAMES):
            raise ValueError(f"its `scores` are of {sorted(record['scores'])}, not of {', '.join(COUNTING_NAMES)}.")
        scores = {name: _scores_from_json(name, value) for name, value in record["scores"].items()}
        return cls(**{**record, "scores": scores})


def rounded_scores(scores: ClipScores) -> ClipScores:
    """Scores as they are written down; nothing is kept of the curve of a clip without an object."""
    curve = [round(value, CURVE_DECIMALS) for value in scores.f_curve_sum] if scores.num_object_frames else []
    return ClipScores(**{**asdict(scores), "f_curve_sum": curve})


def _scores_from_json(name: str, value: Any) -> ClipScores:
    names = {field.name for field in fields(ClipScores)}
    if not isinstance(value, dict) or set(value) != names:
        raise ValueError(f"its scores {name!r} are not {sorted(names)}.")
    scores, num_objects = ClipScores(**value), value["num_object_frames"]
    if len(scores.f_curve_sum) != (F_NUM_THRESHOLDS if num_objects else 0):
        raise ValueError(f"the curve of its scores {name!r} has {len(scores.f_curve_sum)} values.")
    is_possible = (
        0 <= num_objects <= scores.num_frames
        and 0 <= scores.iou_sum <= scores.num_frames
        and 0 <= scores.null_foreground <= scores.num_pixels
        and all(0 <= f <= num_objects for f in scores.f_curve_sum)
    )
    if not is_possible:
        raise ValueError(f"its scores {name!r} are outside of what {scores.num_frames} frames can have.")
    return scores


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(prediction.to_json()) + "\n" for prediction in predictions))


def read_predictions(path: str | Path) -> list[Prediction]:
    """
    The records of a `predictions.jsonl`.

    Raises:
        ValueError: naming the line that is no record, and why.
    """
    path = Path(path)
    return [read_prediction(record, where) for where, record in read_records(path)]


def read_prediction(record: Mapping[str, Any], where: str) -> Prediction:
    """A checked record; `where` is its file and line."""
    try:
        return Prediction.from_json(record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{where} is no prediction of this package: {error} Run `aurora-trl evaluate` again, or give "
            "--data to score its masks."
        ) from error


def read_records(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """File and line, and JSON object, of every line of a JSONL file."""
    if not path.is_file():
        raise ValueError(f"There is no {path}. Give a predictions.jsonl that `aurora-trl evaluate` wrote.")
    records = list(read_objects(path, is_whole=True))
    if not records:
        raise ValueError(f"{path} has no predictions. Run `aurora-trl evaluate` again.")
    return records
