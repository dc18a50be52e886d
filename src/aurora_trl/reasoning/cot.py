"""
Chains of thought on the disk: a JSONL file keyed by uid that survives being killed, and how to continue it.

Knows rows and files; an annotator is anything with `reason(row)`. Knows no model and no data set.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aurora_trl.answer import parse
from aurora_trl.data.jsonl import append_object, open_to_append, read_objects


logger = logging.getLogger(__name__)


@runtime_checkable
class Annotator(Protocol):
    """Who writes chains of thought."""

    def reason(self, row: Mapping[str, Any]) -> str:
        """The chain of thought of a row, ending in "It is [SEG]."."""


@runtime_checkable
class Corrector(Protocol):
    """Who corrects wrong answers. An annotator may be both."""

    def correct(self, row: Mapping[str, Any], wrong_completion: str) -> str:
        """The corrected version of a wrong answer to a row."""


def write_chains_of_thought(
    dataset: Iterable[Mapping[str, Any]], annotator: Annotator, path: str | Path
) -> dict[str, dict]:
    """
    Write one record (`uid`, `expression`, `category`, `completion`) per row; rows already in the file are skipped.

    A run that was killed continues where it stopped.

    Args:
        dataset (`datasets.Dataset` or iterable of rows):
            Rows with `uid`, `expression` and `category`.
        annotator ([`Annotator`]):
            Who writes the chains of thought.
        path (`str` or `Path`):
            JSONL file to write or to continue.

    Returns:
        `dict[str, dict]`: every record of the file by uid.
    """

    def make(row):
        completion = annotator.reason(row)
        named = parse(completion).category
        return {
            "uid": row["uid"],
            "expression": row["expression"],
            "category": row["category"],
            "completion": completion,
            "named_category": named,
        }

    return extend_jsonl(path, dataset, make)


def extend_jsonl(
    path: str | Path, rows: Iterable[Mapping[str, Any]], make: Callable[[Mapping[str, Any]], dict]
) -> dict[str, dict]:
    """
    Append `make(row)` for every row whose uid is not in the file yet; each record is on the disk before the next.

    Args:
        path (`str` or `Path`):
            JSONL file, repaired first if a kill left half a line at its end.
        rows (iterable of rows):
            Rows with a `uid`.
        make (callable):
            From a row to its record, `uid` included.

    Returns:
        `dict[str, dict]`: every record of the file by uid.
    """
    path = Path(path)
    lines = open_to_append(path)
    with lines:
        records = read_jsonl(path)
        num_before = len(records)
        for row in rows:
            if row["uid"] in records:
                continue
            records[row["uid"]] = record = make(row)
            append_object(lines, record)
    logger.info("%s: %d records were there, %d are new.", path, num_before, len(records) - num_before)
    return records


def read_jsonl(path: str | Path) -> dict[str, dict]:
    """
    The records of a JSONL file by uid, in the order of the file. Half a line at its end is left out and logged.

    Args:
        path (`str` or `Path`):
            File with one JSON object per line, each with its own `uid`.

    Raises:
        ValueError: for a missing file, a line that is not such an object, or a uid that occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no {path}. Write one record a line, with `uid` and `completion`.")
    records = {}
    for where, record in read_objects(path):
        if not isinstance(record.get("uid"), str):
            raise ValueError(f"{where} is not a JSON object with a uid: {record!r:.60}. Delete the line.")
        if record["uid"] in records:
            raise ValueError(f"{where}: the uid {record['uid']!r} occurs twice. Delete one of the two.")
        records[record["uid"]] = record
    return records


def seed_of(*parts: object) -> int:
    """A seed that depends on its arguments only, the same in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")
