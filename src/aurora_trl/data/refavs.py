"""
The Ref-AVS data set: from `metadata.csv` to rows of text and paths.

Opens no picture and no sound (`media` does, later and once per clip) and knows nothing of processors or models.
"""

import csv
import logging
import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from datasets import Dataset, Features, List, Value

from aurora_trl.answer import render_prompt
from aurora_trl.constants import NULL_CATEGORY, NUM_FRAMES


logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test_s", "test_u", "test_n")
UNUSED_SPLIT = "TODO"  # 25 rows of the official table
COLUMNS = ("uid", "split", "fid", "exp")
MESSAGES = List({"role": Value("string"), "content": Value("string")})
FEATURES = Features(  # written down, so that a split of null rows alone has the same types
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
NUM_LISTED = 5  # of the missing files, in an error


class MissingFilesError(ValueError):
    """Files named by the table are not on the disk."""


def load_refavs(root: str | Path, split: str, system_prompt: str | None = None, check_files: bool = True) -> Dataset:
    """
    Rows of one split of a data set in the layout of Ref-AVS.

    The clip of a row is the one named in its uid (`<vid>_<category>_<n>`), as in the official loader; the `vid` column
    of the official table names another clip in 1,708 rows. Rows of split `TODO` are dropped. A uid that occurs again
    is kept as a row of its own, named `<uid>#2`. Null rows have no masks.

    Args:
        root (`str` or `Path`):
            Folder with `metadata.csv`, `media/` and `gt_mask/`.
        split (`str`):
            `"train"`, `"val"`, `"test_s"` (seen), `"test_u"` (unseen) or `"test_n"` (null).
        system_prompt (`str`, *optional*):
            Text of a system turn before the user's.
        check_files (`bool`, *optional*, defaults to `True`):
            Whether to make sure that every file is there.

    Returns:
        `datasets.Dataset`: columns `prompt`, `expression`, `category`, `uid`, `frames`, `audio`, `masks`.

    Raises:
        ValueError: for an unknown split, an empty expression, a malformed row or a path that leaves the root.
        MissingFilesError: if files are missing; the first few are named.

    Example:

    ```python
    >>> dataset = load_refavs("REFAVS", "test_s")
    >>> dataset[0]["expression"]
    'The object making a sound.'
    ```
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: Ref-AVS has {', '.join(SPLITS)}. Choose one of them.")
    root = Path(root)
    rows = [_resolve(root, *entry, system_prompt) for entry in _read_table(root / "metadata.csv") if entry[1] == split]
    if not rows:
        raise ValueError(f"{root / 'metadata.csv'} has no row of split {split!r}. Is it the whole table?")
    if check_files:
        _check_files(rows, split)
    return Dataset.from_dict({name: [row[name] for row in rows] for name in FEATURES}, features=FEATURES)


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


def _read_table(path: Path):
    """Yields (where, split, uid, fid, expression) of every usable row, after checking it."""
    if not path.is_file():
        raise MissingFilesError(f"There is no {path}. Give the folder that holds metadata.csv, media/ and gt_mask/.")
    seen, num_unused = Counter(), 0
    with path.open(encoding="utf-8-sig", newline="") as table:
        reader = csv.DictReader(table)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path} lacks the columns {sorted(missing)}: its header is {reader.fieldnames}.")
        for row in reader:
            where = f"{path} line {reader.line_num} (uid {row['uid']!r})"
            if row["split"] == UNUSED_SPLIT:
                num_unused += 1
                continue
            if row["split"] not in SPLITS:
                raise ValueError(f"{where}: unknown split {row['split']!r}. Ref-AVS has {', '.join(SPLITS)}.")
            expression = (row["exp"] or "").strip()
            if not expression:
                raise ValueError(f"{where}: the expression is empty. Give it a text, or delete the row.")
            seen[row["uid"]] += 1
            again = seen[row["uid"]]
            uid = row["uid"] if again == 1 else f"{row['uid']}#{again}"
            yield where, row["split"], uid, row["fid"], expression
    repeated = sum(count > 1 for count in seen.values())
    logger.info("%s: %d rows; %d uids occur again, %d rows unused.", path, seen.total(), repeated, num_unused)


def _resolve(
    root: Path, where: str, split: str, uid: str, fid: str, expression: str, system_prompt: str | None
) -> dict:
    """The row of a data set that belongs to a row of the table."""
    parts = uid.rsplit("_", 2)
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{where}: the uid is not <vid>_<category>_<number>.")
    vid, category, _ = parts
    if vid in (".", "..") or any(sign in vid for sign in "/\\\0"):
        raise ValueError(f"{where}: the clip's name {vid!r} leaves the folder of the data set. Correct the uid.")
    media = f"{root}/media/{vid}"
    masks = []
    if category != NULL_CATEGORY:
        if not fid.isdecimal():
            raise ValueError(f"{where}: the object's number (fid) is {fid!r}, not a whole number.")
        masks = [f"{root}/gt_mask/{vid}/fid_{int(fid)}/{number:05d}.png" for number in range(NUM_FRAMES)]
    return {
        "prompt": render_prompt(expression, system_prompt),
        "expression": expression,
        "category": category,
        "uid": uid,
        "frames": [f"{media}/frames/{number}.jpg" for number in range(NUM_FRAMES)],
        "audio": f"{media}/audio.wav",
        "masks": masks,
    }


def _check_files(rows: list[dict], split: str) -> None:
    @cache
    def names_in(folder: str) -> frozenset[str]:
        return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()

    missing = {}
    for row in rows:
        for path in (*row["frames"], row["audio"], *row["masks"]):
            folder, name = path.rsplit("/", 1)
            if name not in names_in(folder):
                missing.setdefault(path, row["uid"])
    if missing:
        listed = "\n".join(f"  {path} (row {uid})" for path, uid in list(missing.items())[:NUM_LISTED])
        raise MissingFilesError(
            f"{len(missing)} files of split {split!r} are missing, among them\n{listed}\n"
            "Complete the download, or remove these rows from metadata.csv."
        )
