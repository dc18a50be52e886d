"""
JSONL files that survive being killed: every record is on the disk before the next; half a line at the end is none.

Knows JSON objects and files; what the objects mean is their owner's business.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


logger = logging.getLogger(__name__)


def read_objects(path: Path, is_whole: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    File and line, and JSON object, of every line; half a line at the end is left out and logged.

    Args:
        path (`Path`): A file with one JSON object a line.
        is_whole (`bool`, *optional*, defaults to `False`): Half a line is an error, too.

    Raises:
        ValueError: for a line that is not such an object.
    """
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    if is_whole or _is_object(rest):
        lines.append(rest)
    elif rest:
        logger.warning("%s: left out half a line at the end.", path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        if not _is_object(line):
            raise ValueError(f"{where} is not a JSON object: {line[:60]!r}. Delete the line.")
        yield where, json.loads(line)


def open_to_append(path: Path) -> BinaryIO:
    """Opens a JSONL file behind its last whole line, which is completed or cut off if a kill left half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _repair(path)
    return path.open("ab")


def write_objects(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes a whole file, which appears when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    partial.replace(path)


def append_object(file: BinaryIO, record: dict[str, Any]) -> None:
    """Writes one record; it is on the disk when this returns."""
    file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _repair(path: Path) -> None:
    content = path.read_bytes()
    whole, separator, rest = content.rpartition(b"\n")
    if not rest:
        return
    with path.open("r+b") as file:
        if _is_object(rest):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            logger.warning("%s: cut off half a line of %d bytes at the end.", path, len(rest))
            file.truncate(len(whole) + len(separator))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
