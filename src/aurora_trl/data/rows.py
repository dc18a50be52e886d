"""
What every reader returns: rows of text and paths, of one form, whose paths can't leave their data root.

Opens no picture and no sound. Knows no layout of any data set.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from datasets import Dataset, Features, List, Value


logger = logging.getLogger(__name__)

MESSAGES = List({"role": Value("string"), "content": Value("string")})
FEATURES = Features(  # written down, so that rows without masks have the same types as all others
    {
        "prompt": MESSAGES,
        "expression": Value("string"),
        "category": Value("string"),
        "uid": Value("string"),
        "frames": List(Value("string")),
        "audio": Value("string"),
        "masks": List(Value("string")),
    }
)
# Clips given as a video file, whose frames are sampled when they are decoded.
VIDEO_FEATURES = Features({**FEATURES, "video": Value("string"), "seconds": List(Value("float64"))})
NUM_LISTED = 5  # of the missing files, in an error


class MissingFilesError(ValueError):
    """Files named by the table are not on the disk."""


class UnsafePathError(ValueError):
    """A path in a table leads out of the data root."""


def build_dataset(rows: Sequence[Mapping[str, Any]], features: Features = FEATURES) -> Dataset:
    """
    Rows as a `datasets.Dataset` in memory-mapped Arrow form.

    Args:
        rows (list of mappings): With the columns of `features`.
        features (`Features`, *optional*, defaults to `FEATURES`): Columns and their types.
    """
    return Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)


def inside_root(root: Path, name: str, where: str) -> str:
    """
    A path named by a table, joined to the data root.

    Args:
        root (`Path`): The data root.
        name (`str`): Relative path, or an absolute one inside the root.
        where (`str`): File and line, for the error.

    Raises:
        UnsafePathError: if the path leaves the root, through `..`, a link, or as an absolute path elsewhere.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"{where}: {name!r} is not a path. Write the path of a file below {root}.")
    path = str(Path(root, name))
    if ".." in PurePosixPath(name.replace("\\", "/")).parts or not _is_below(os.path.realpath(path), str(root)):
        raise UnsafePathError(
            f"{where}: the path {name!r} leads out of the data root {root}. Move the file into it, or give a root "
            "that holds all files."
        )
    return path


_real_root = cache(os.path.realpath)


def _is_below(path: str, root: str) -> bool:
    real = _real_root(os.path.abspath(root))
    return path == real or path.startswith(real.rstrip(os.sep) + os.sep)


def check_name(name: str, what: str, where: str) -> str:
    """
    A table's name of a folder or a file that becomes part of a path.

    Raises:
        UnsafePathError: if it would lead elsewhere.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise UnsafePathError(f"{where}: {what} {name!r} leaves the folder of the data set. Correct it.")
    return name


def require_files(rows: Iterable[Mapping[str, Any]], what: str) -> None:
    """
    Makes sure that every file of the rows is there.

    Args:
        rows (iterable of mappings): With `uid`, `frames`, `audio` and `masks`.
        what (`str`): What the rows are, for the error.

    Raises:
        MissingFilesError: naming the first few files that are not.
    """

    @cache
    def names_in(folder: str) -> frozenset[str]:
        folder = folder or os.curdir
        return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()

    missing: dict[str, str] = {}
    for row in rows:
        for path in (*row["frames"], row["audio"], row.get("video"), *(row["masks"] or ())):
            if path is None:
                continue
            folder, name = os.path.split(path)
            if name not in names_in(folder):
                missing.setdefault(path, row["uid"])
    if missing:
        listed = "\n".join(f"  {path} (row {uid})" for path, uid in list(missing.items())[:NUM_LISTED])
        raise MissingFilesError(
            f"{len(missing)} files of {what} are missing, among them\n{listed}\n"
            "Complete the download, or remove these rows."
        )


def attach_completions(dataset: Dataset, completions: Mapping[str, str]) -> Dataset:
    """
    Add the target text of each row, joined by uid; rows without one are dropped, and their number is logged.

    Args:
        dataset (`datasets.Dataset`):
            Rows with a `uid`.
        completions (`Mapping[str, str]`):
            Completion by uid.

    Returns:
        `datasets.Dataset`: the rows that have a target, with the column `completion` in TRL's conversational form.
    """
    kept = [i for i, uid in enumerate(dataset["uid"]) if uid in completions]
    if not kept:
        raise ValueError(
            f"None of the {len(dataset)} rows has one of the {len(completions)} completions: their uids differ "
            f"({_examples(dataset['uid'])} against {_examples(completions)}). Use completions made for this split."
        )
    if len(kept) < len(dataset):
        logger.warning("Dropped %d of %d rows: they have no completion.", len(dataset) - len(kept), len(dataset))
    if len(kept) < len(completions):
        logger.info("%d of %d completions belong to no row.", len(completions) - len(kept), len(completions))
    chosen = dataset.select(kept)
    column = [[{"role": "assistant", "content": completions[uid]}] for uid in chosen["uid"]]
    return chosen.add_column("completion", column, feature=MESSAGES)


def _examples(uids) -> str:
    return ", ".join(repr(uid) for uid in list(uids)[:2]) or "none"
