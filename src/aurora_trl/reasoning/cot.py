"""
Chains of thought on the disk: a JSONL file keyed by uid that survives being killed, and how to continue it.

Knows rows and files; an annotator is anything with `reason(row)`. Knows no model and no data set.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aurora_trl.answer import parse


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
    path.parent.mkdir(parents=True, exist_ok=True)
    _repair(path)
    records = read_jsonl(path) if path.exists() else {}
    num_before = len(records)
    with path.open("ab") as lines:
        for row in rows:
            if row["uid"] in records:
                continue
            record = make(row)
            lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            lines.flush()
            os.fsync(lines.fileno())
            records[row["uid"]] = record
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
        raise ValueError(f"There is no {path}. Write it first, for example with `aurora-trl reason`.")
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if _is_record(rest):
        lines.append(rest)
    elif rest:
        logger.warning("%s: left out half a line at the end.", path)
    records = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not _is_record(line):
            raise ValueError(f"{path} line {number} is not a JSON object with a uid: {line[:60]!r}. Delete the line.")
        record = json.loads(line)
        if record["uid"] in records:
            raise ValueError(f"{path} line {number}: the uid {record['uid']!r} occurs twice. Delete one of the two.")
        records[record["uid"]] = record
    return records


def seed_of(*parts: object) -> int:
    """A seed that depends on its arguments only, the same in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")


def _repair(path: Path) -> None:
    """Complete the last line with its line break, or cut it off if it is only half a record."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole, separator, rest = content.rpartition(b"\n")
    if not rest:
        return
    with path.open("r+b") as file:
        if _is_record(rest):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            logger.warning("%s: cut off half a line of %d bytes at the end.", path, len(rest))
            file.truncate(len(whole) + len(separator))


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and isinstance(record.get("uid"), str)
