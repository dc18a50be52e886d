"""A report for people to read: the same numbers as report.json, in percent, beside the published ones."""

from collections.abc import Iterable, Mapping
from typing import Any

from aurora_trl.evaluation.published import TABLE_1


SCORES = ("J", "F", "J&F", "S")
COLUMNS = (*SCORES, "category_accuracy", "format_rate", "missing_seg_rate", "num_rows", "num_clips")


def render_report(report: Mapping[str, Any]) -> str:
    """
    Args:
        report (`Mapping`): Of [`~aurora_trl.evaluation.report.Evaluation`].
    """
    checkpoint = report.get("checkpoint", "not named")
    parts = [
        "# Evaluation",
        f"Protocol **{report['protocol']}**, checkpoint `{checkpoint}`. Percent; in brackets the 95 % interval of "
        f"{report['num_resamples']} draws of the clips. S is better when it is lower.",
        _head(report),
        _published(report),
    ]
    for split, part in report["splits"].items():
        parts += [f"## {split}: {part['num_rows']} rows of {part['num_clips']} clips"]
        parts += [_table("protocol", part["protocols"], SCORES)]
        parts += [
            _table("kind of expression", part["kinds"], COLUMNS),
            _table("category", part["categories"], COLUMNS),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Mapping[str, Any]) -> str:
    rows = {split: part["metrics"] for split, part in report["splits"].items()}
    for split, part in report["splits"].items():
        if "new_categories" in part:
            rows[f"{split}, new categories only"] = part["new_categories"]
    if report["mix"]:
        rows["mix"] = report["mix"][report["protocol"]]
    return _table("split", rows, COLUMNS)


def _published(report: Mapping[str, Any]) -> str:
    """Table 1 of the paper under our own numbers, if both of its splits were run."""
    if not report["mix"]:
        return ""
    splits = [report["splits"][split]["metrics"] for split in ("test_s", "test_u")]
    splits.append(report["mix"][report["protocol"]])
    ours = [_percent(part[name]) for part in splits for name in SCORES[:3]]
    header = ["method", *(f"{split} {name}" for split in ("Seen", "Unseen", "Mix") for name in SCORES[:3])]
    rows = [["this run", *ours]]
    rows += [[method, *(f"{value:.1f}" for part in parts for value in part)] for method, parts in TABLE_1.items()]
    return "\n".join(
        [
            "## Beside Table 1 of the AURORA paper",
            "",
            "Comparable only if this run was on Ref-AVS itself, under the protocol of the row: published numbers use "
            "several.",
            "",
            *_lines(header, rows),
        ]
    )


def _table(name: str, rows: Mapping[str, Mapping[str, Any]], columns: Iterable[str]) -> str:
    shown = [column for column in columns if any(column in row for row in rows.values())]
    cells = [[key, *(_cell(column, row.get(column)) for column in shown)] for key, row in rows.items()]
    return "\n".join(_lines([name, *shown], cells))


def _lines(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---", *["--:"] * (len(header) - 1)], *rows)]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "–"
    if column in ("num_rows", "num_clips"):
        return str(value)
    if not isinstance(value, Mapping):
        return _percent(value)
    if value["low"] is None:
        return _percent(value)
    return f"{_percent(value)} [{_percent(value['low'])}, {_percent(value['high'])}]"


def _percent(value: Any) -> str:
    number = value["value"] if isinstance(value, Mapping) else value
    return "–" if number is None else f"{100 * number:.1f}"
