"""
From predictions to numbers: J, F and S under every protocol, rates, groups of rows, intervals. No model, no processes.

The report holds nothing that depends on the machine or the time, so equal predictions give equal files.
"""

import importlib.metadata
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.expressions import KINDS
from aurora_trl.evaluation.bootstrap import ScoreTable, clip_groups, confidence_intervals
from aurora_trl.evaluation.markdown import render_report
from aurora_trl.evaluation.predictions import FORCED, Prediction, write_predictions
from aurora_trl.metrics import PROTOCOLS, Protocol, mix_metrics


DEFAULT_RESAMPLES = 1000
SEEN, UNSEEN = "test_s", "test_u"
RATES: dict[str, Callable[[Prediction], float]] = {
    "category_accuracy": lambda prediction: prediction.is_correct,
    "format_rate": lambda prediction: prediction.is_well_formed,
    "missing_seg_rate": lambda prediction: not prediction.has_seg,
    "truncated_rate": lambda prediction: prediction.is_truncated,
}

TEXT_RATES = ("category_accuracy", "format_rate", "truncated_rate")


@dataclass(frozen=True)
class Evaluation:
    """
    Predictions of a run, and what follows from them.

    Attributes:
        predictions (list of [`Prediction`]): of every row, in order.
        protocol (`Protocol`): whose numbers come first.
        new_categories (`frozenset[str]`): reported on their own.
        num_resamples (`int`): draws of the bootstrap.
        settings (`dict`): what else the report says of the run.
    """

    predictions: list[Prediction]
    protocol: Protocol
    new_categories: frozenset[str] = frozenset()
    num_resamples: int = DEFAULT_RESAMPLES
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def protocol_name(self) -> str:
        """Of the head of the report."""
        return self._name(self.protocol)

    def _name(self, protocol: Protocol) -> str:
        """A number of answers that were given a [SEG] is one of another protocol, and says so."""
        is_forced = any(prediction.generation == FORCED for prediction in self.predictions)
        return f"{protocol.name}+{FORCED}" if is_forced else protocol.name

    @cached_property
    def splits(self) -> dict[str, list[Prediction]]:
        """Predictions by split, in order."""
        found: dict[str, list[Prediction]] = {}
        for prediction in self.predictions:
            found.setdefault(prediction.split, []).append(prediction)
        return found

    @cached_property
    def metrics(self) -> dict[str, float]:
        """
        The head of the report: J, F, J&F, S (where it applies), `category_accuracy`, `format_rate`,
        `missing_seg_rate`, `truncated_rate`, `mean_iou` (where an object is visible) and `num_rows`. Of several splits
        each name starts with its split, "test_s/J", and those of the Mix with "mix/".
        """
        if len(self.splits) == 1:
            return _measure(self.predictions, self.protocol)
        named = {
            f"{split}/{name}": value
            for split, predictions in self.splits.items()
            for name, value in _measure(predictions, self.protocol).items()
        }
        return named | {f"mix/{name}": value for name, value in self._mix(self.protocol).items()}

    @cached_property
    def report(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "protocol": self.protocol_name,
            **self.settings,
            "versions": {name: importlib.metadata.version(name) for name in ("aurora_trl", "torch", "transformers")},
            **{name: finite(value) for name, value in self.metrics.items()},
            "num_resamples": self.num_resamples,
            "splits": {split: self._describe(predictions) for split, predictions in self.splits.items()},
            "mix": {self._name(p): mix for p in PROTOCOLS.values() if (mix := self._mix(p))},
        }

    def write(self, folder: str | Path) -> Path:
        """Writes `predictions.jsonl`, `report.md` and `report.json`; each appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        writers = {
            "predictions.jsonl": lambda path: write_predictions(path, self.predictions),
            "report.md": lambda path: path.write_text(render_report(self.report)),
            "report.json": lambda path: path.write_text(json.dumps(self.report, indent=2, allow_nan=False) + "\n"),
        }
        for name, write in writers.items():
            partial = folder / f".{name}.partial"
            write(partial)
            partial.replace(folder / name)
        return folder / "report.json"

    def _mix(self, protocol: Protocol) -> dict[str, float]:
        if not {SEEN, UNSEEN} <= set(self.splits):
            return {}
        seen, unseen = self.splits[SEEN], self.splits[UNSEEN]
        return mix_metrics(_measure(seen, protocol), _measure(unseen, protocol), (len(seen), len(unseen)), protocol)

    def _describe(self, predictions: list[Prediction]) -> dict[str, Any]:
        groups = {
            "kinds": {kind: [p for p in predictions if p.kind == kind] for kind in KINDS},
            "categories": {name: [p for p in predictions if p.category == name] for name in _categories(predictions)},
        }
        new = [p for p in predictions if p.category in self.new_categories]
        protocols = {p: self._scores_with_intervals(predictions, p) for p in PROTOCOLS.values()}
        return {
            "num_rows": len(predictions),
            "num_clips": len({p.clip for p in predictions}),
            "metrics": self._with_rates(predictions, protocols[self.protocol]),
            "protocols": {self._name(p): scores for p, scores in protocols.items()},
            **({"new_categories": self._with_intervals(new)} if new else {}),
            **{
                name: {key: self._with_intervals(part) for key, part in parts.items() if part}
                for name, parts in groups.items()
            },
        }

    def _with_intervals(self, predictions: list[Prediction]) -> dict[str, Any]:
        return self._with_rates(predictions, self._scores_with_intervals(predictions, self.protocol))

    def _with_rates(self, predictions: list[Prediction], scores: dict[str, Any]) -> dict[str, Any]:
        """Scores and category accuracy with intervals, the other rates without, and the numbers of rows and clips."""
        plain = _measure(predictions, self.protocol)
        rates = {name: plain[name] for name in plain if name not in scores}
        if "category_accuracy" in plain:
            correct = np.array([p.is_correct for p in predictions], dtype=float)
            intervals = confidence_intervals(
                lambda rows: {"category_accuracy": correct[rows].mean()}, clip_groups(predictions), self.num_resamples
            )
            rates["category_accuracy"] = _valued(plain["category_accuracy"], intervals.get("category_accuracy"))
        return {**scores, **rates, "num_clips": len({p.clip for p in predictions})}

    def _scores_with_intervals(self, predictions: list[Prediction], protocol: Protocol) -> dict[str, Any]:
        table = ScoreTable(predictions, protocol)
        intervals = confidence_intervals(table.pool, clip_groups(predictions), self.num_resamples)
        values = table.pool(np.arange(len(predictions)))
        return {name: _valued(value, intervals.get(name)) for name, value in values.items()}


def _measure(predictions: Sequence[Prediction], protocol: Protocol) -> dict[str, float]:
    has_text = any(p.completion for p in predictions)  # another program's masks come without
    names = [name for name in RATES if has_text or name not in TEXT_RATES]
    rates = {name: float(np.mean([RATES[name](p) for p in predictions])) for name in names}
    visible = [p.iou for p in predictions if p.category != NULL_CATEGORY]
    return {
        **ScoreTable(predictions, protocol).pool(np.arange(len(predictions))),
        **rates,
        **({"mean_iou": float(np.mean(visible))} if visible else {}),
        "num_rows": len(predictions),
    }


def _categories(predictions: Sequence[Prediction]) -> list[str]:
    return sorted({prediction.category for prediction in predictions})


def _valued(value: float, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"value": finite(value), "low": finite(low), "high": finite(high)}


def finite(value: Any) -> Any:
    """None for S over a background of no pixel, which JSON can't say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
