"""
Your own clips from a JSONL file: its schema, its validator, and the rows it becomes.

One JSON object a line. Opens no picture and no sound; a `video` is decoded when its row is used.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from aurora_trl.answer import render_prompt
from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.rows import (
    VIDEO_FEATURES,
    UnsafePathError,
    attach_completions,
    build_dataset,
    inside_root,
    require_files,
)


# The schema: key, type, meaning. docs/data.md shows it; a test keeps the two equal.
SCHEMA = {
    "expression": (str, "the reference, for example 'The first object to make a sound.'; required"),
    "video": (str, "path of a video with sound; this or `frames` is required"),
    "frames": (list, "paths of the clip's pictures, in order of time, all of one size"),
    "seconds": (list, "with `video`: when its frames are taken, in seconds; without it ten equal slots"),
    "audio": (str, "path of the sound; required with `frames`, replaces the sound track of a `video`"),
    "category": (str, "the true class; required to train and to evaluate, 'null' if the expression refers to nothing"),
    "masks": (
        list,
        "paths of the true masks, one per frame, null for a frame without truth; [] is an empty truth",
    ),
    "uid": (str, "name of the row, unique; the number of the line without it"),
    "completion": (str, "target answer, ending in 'It is [SEG].'"),
}
MAX_LISTED_ERRORS = 10
MAX_SECONDS = 10_000_000  # more than a hundred days: a typing error
SURROGATE = re.compile("[\ud800-\udfff]")


def load_jsonl(
    path: str | Path, root: str | Path | None = None, system_prompt: str | None = None, check_files: bool = True
) -> Dataset:
    """
    Rows of your own clips. [`SCHEMA`] says what a line holds.

    Args:
        path (`str` or `Path`):
            JSONL file.
        root (`str` or `Path`, *optional*, defaults to the file's folder):
            Data root, to which paths are relative and which they can't leave.
        system_prompt (`str`, *optional*):
            Text of a system turn before the user's.
        check_files (`bool`, *optional*, defaults to `True`):
            Whether to make sure that every file is there.

    Returns:
        `datasets.Dataset`: columns as [`~aurora_trl.data.load_refavs`], and `video` and `seconds`. `masks` is None for
        a row without truth, `category` None for one without class; `completion` is there if the lines have one.

    Raises:
        ValueError: listing the lines that don't fit the schema, and why.
        MissingFilesError: if files are missing; the first few are named.

    Example:

    ```python
    >>> # clips.jsonl: {"video": "dog.mp4", "expression": "The animal that barks."}
    >>> load_jsonl("clips.jsonl")[0]["video"]
    'dog.mp4'
    ```
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    if not path.is_file():
        raise ValueError(f"There is no {path}. Give a JSONL file, one JSON object a line.")
    rows, errors, uids = [], [], set()
    for number, line in _lines(path):
        where = f"{path} line {number}"
        try:
            row = {"uid": str(number), **_row(line, root, where, system_prompt)}
            if row["uid"] in uids:
                raise ValueError(f"{where}: the uid {row['uid']!r} occurs twice. Rename one of the two.")
        except ValueError as error:
            errors.append(error)
            if len(errors) == MAX_LISTED_ERRORS:
                break
            continue
        uids.add(row["uid"])
        rows.append(row)
    if errors:
        kind = UnsafePathError if all(isinstance(error, UnsafePathError) for error in errors) else ValueError
        raise kind("\n".join([*map(str, errors), *["…"] * (len(errors) == MAX_LISTED_ERRORS)]))
    if not rows:
        raise ValueError(f"{path} has no row. Write one JSON object a line.")
    if check_files:
        require_files(rows, str(path))
    dataset = build_dataset(rows, VIDEO_FEATURES)
    completions = {row["uid"]: row["completion"] for row in rows if row["completion"] is not None}
    if completions and len(completions) < len(rows):
        without = next(row["uid"] for row in rows if row["completion"] is None)
        raise ValueError(
            f"{path}: {len(rows) - len(completions)} of {len(rows)} lines have no `completion`, the first is that of "
            f"uid {without!r}. Write one in every line, or in none."
        )
    return attach_completions(dataset, completions) if completions else dataset


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}). Save it as UTF-8.") from error


def _row(line: str, root: Path, where: str, system_prompt: str | None) -> dict[str, Any]:
    record = _parse(line, where)
    expression = record.get("expression", "")
    if not expression.strip():
        raise ValueError(f"{where}: `expression` is missing or empty. Say what the object is referred to by.")
    if ("video" in record) == ("frames" in record):
        raise ValueError(f"{where}: give either `video` or `frames`, a clip has one of them.")
    if "frames" in record and not record["frames"]:
        raise ValueError(f"{where}: `frames` is empty. List the pictures of the clip.")
    if "frames" in record and "audio" not in record:
        raise ValueError(f"{where}: `frames` come without `audio`, and the reference may be about the sound. Add it.")
    return {
        "prompt": render_prompt(expression, system_prompt),
        "expression": expression.strip(),
        "category": _category(record, where),
        **({"uid": record["uid"]} if "uid" in record else {}),
        "frames": [inside_root(root, name, where) for name in record.get("frames", [])],
        "video": inside_root(root, record["video"], where) if "video" in record else None,
        "seconds": _seconds(record, where),
        "audio": inside_root(root, record["audio"], where) if "audio" in record else None,
        "masks": _masks(record, root, where),
        "completion": record.get("completion"),
    }


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error}). Write one JSON object a line.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{where} is not a JSON object but {type(record).__name__}. Write one JSON object a line.")
    if SURROGATE.search(json.dumps(record, ensure_ascii=False)):
        raise ValueError(
            f"{where} has half a character (a lone surrogate), which no file's name or text has. Correct it."
        )
    if unknown := sorted(set(record) - set(SCHEMA)):
        raise ValueError(f"{where}: unknown keys {unknown}. Known are {', '.join(SCHEMA)}.")
    record = {key: value for key, value in record.items() if value is not None}
    for key, value in record.items():
        if not isinstance(value, SCHEMA[key][0]):
            raise ValueError(
                f"{where}: `{key}` is a {type(value).__name__}, but must be a {SCHEMA[key][0].__name__}: "
                f"{SCHEMA[key][1]}."
            )
    return record


def _category(record: dict[str, Any], where: str) -> str | None:
    category = record.get("category")
    if category is not None and not category.strip():
        raise ValueError(f"{where}: `category` is empty. Name the class, or leave the key out.")
    return category


def _seconds(record: dict[str, Any], where: str) -> list[float] | None:
    seconds = record.get("seconds")
    if seconds is None:
        return None
    if "video" not in record:
        raise ValueError(f"{where}: `seconds` goes with `video`; `frames` are already chosen.")
    if not seconds or not all(_is_time(second) for second in seconds):
        raise ValueError(f"{where}: `seconds` is {seconds!r}, but must be a list of times from 0 on, not empty.")
    return [float(second) for second in seconds]


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < MAX_SECONDS  # not isfinite: it fails on whole numbers beyond float


def _masks(record: dict[str, Any], root: Path, where: str) -> list[str | None] | None:
    masks = record.get("masks")
    if masks and record.get("category") == NULL_CATEGORY:
        raise ValueError(
            f"{where}: a row of category {NULL_CATEGORY!r} has `masks`, but its expression refers to nothing. Name "
            "the class, or leave the masks out."
        )
    if masks is None:
        return [] if record.get("category") == NULL_CATEGORY else None
    if masks and "frames" in record and len(masks) != len(record["frames"]):
        raise ValueError(
            f"{where}: there are {len(masks)} masks for {len(record['frames'])} frames. Give one per frame, null for "
            "a frame without truth."
        )
    if masks and all(name is None for name in masks):
        raise ValueError(f"{where}: every entry of `masks` is null. Leave the key out if there is no truth.")
    return [None if name is None else inside_root(root, name, where) for name in masks]
