"""
The Ref-AVS data set: from `metadata.csv` to rows of text and paths.

Opens no picture and no sound (`media` does, later and once per clip) and knows nothing of processors or models.
"""

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from aurora_trl.answer import render_prompt
from aurora_trl.constants import NULL_CATEGORY, NUM_FRAMES
from aurora_trl.data.rows import MissingFilesError, build_dataset, check_name, require_files


logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test_s", "test_u", "test_n")
UNUSED_SPLIT = "TODO"  # 25 rows of the official table
COLUMNS = ("uid", "split", "fid", "exp")
TABLE = "metadata.csv"
FID = re.compile(r"[0-9]{1,6}")  # the official table goes up to 11


@dataclass(frozen=True)
class TableRow:
    """
    One line of `metadata.csv`, checked.

    Attributes:
        where (`str`): file, line and uid, for errors.
        uid (`str`): as in the table, `#2` added to its second occurrence.
        clip, category (`str`): out of the uid, `<clip>_<category>_<number>`.
        vid_column (`str`): what the `vid` column says; in 1,708 official rows another clip.
        split, fid, expression (`str`): as in the table.
    """

    where: str
    uid: str
    clip: str
    category: str
    vid_column: str
    split: str
    fid: str
    expression: str


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
    rows = [_resolve(root, row, system_prompt) for row in read_table(root / TABLE) if row.split == split]
    if not rows:
        raise ValueError(f"{root / TABLE} has no row of split {split!r}. Is it the whole table?")
    if check_files:
        require_files(rows, f"split {split!r}")
    return build_dataset(rows)


def new_categories(table: str | Path) -> frozenset[str]:
    """
    The categories of the unseen split that really are new: 13 of the official 24, the others also occur in train.

    Args:
        table (`str` or `Path`): A `metadata.csv`.
    """
    return categories_only_in_unseen(read_table(Path(table)))


def categories_only_in_unseen(rows: Iterable[TableRow]) -> frozenset[str]:
    """As [`new_categories`], of rows that are read already."""
    found: dict[str, set[str]] = {"test_u": set(), "train": {NULL_CATEGORY}}
    for row in rows:
        found.setdefault(row.split, set()).add(row.category)
    return frozenset(found["test_u"] - found["train"])


def read_table(
    path: Path, keep_unused: bool = False, on_error: Callable[[str], None] | None = None
) -> Iterator[TableRow]:
    """
    The rows of a `metadata.csv`, checked one by one.

    Args:
        path (`Path`): The table.
        keep_unused (`bool`, *optional*, defaults to `False`): Also yield the rows of split `TODO`.
        on_error (callable, *optional*): Takes the message of a row that can't be used, instead of the error.

    Raises:
        MissingFilesError: if there is no table.
        ValueError: naming file, line and uid of the first row that can't be used.
    """
    if not path.is_file():
        raise MissingFilesError(f"There is no {path}. Give the folder that holds {TABLE}, media/ and gt_mask/.")
    seen, num_unused = Counter(), 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.DictReader(table)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise ValueError(
                    f"{path} lacks the columns {sorted(missing)}: its header is {reader.fieldnames}. Fetch it again, "
                    "or add them."
                )
            for fields in reader:
                where = f"{path} line {reader.line_num} (uid {fields['uid']!r})"
                if fields["split"] == UNUSED_SPLIT:
                    num_unused += 1
                    if not keep_unused:
                        continue
                else:
                    seen[fields["uid"]] += 1
                try:
                    row = _checked(where, fields, seen[fields["uid"]])
                except ValueError as error:
                    if on_error is None:
                        raise
                    on_error(str(error))
                    continue
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV table in UTF-8 ({error}). Fetch it again.") from error
    repeated = sum(count > 1 for count in seen.values())
    logger.info("%s: %d rows; %d uids occur again, %d rows unused.", path, seen.total(), repeated, num_unused)


def _checked(where: str, fields: dict[str, str | None], occurrence: int) -> TableRow:
    """One row of the table; a short line has `None` in its last columns."""
    uid, split, expression = fields["uid"] or "", fields["split"], (fields["exp"] or "").strip()
    parts = uid.rsplit("_", 2)
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{where}: the uid is not <vid>_<category>_<number>. Correct or delete it.")
    clip, category, _ = parts
    if split != UNUSED_SPLIT:
        if split not in SPLITS:
            raise ValueError(f"{where}: unknown split {split!r}. Ref-AVS has {', '.join(SPLITS)}. Correct it.")
        if not expression:
            raise ValueError(f"{where}: the expression is empty. Give it a text, or delete the row.")
        check_name(clip, "the clip's name", where)
        if category != NULL_CATEGORY and not FID.fullmatch(fields["fid"] or ""):
            raise ValueError(
                f"{where}: the object's number (fid) is {fields['fid']!r:.40}, not a whole number. Correct it."
            )
    return TableRow(
        where=where,
        uid=uid if occurrence <= 1 else f"{uid}#{occurrence}",
        clip=clip,
        category=category,
        vid_column=fields.get("vid") or "",
        split=split,
        fid=fields["fid"] or "",
        expression=expression,
    )


def _resolve(root: Path, row: TableRow, system_prompt: str | None) -> dict:
    """The row of a data set that belongs to a row of the table."""
    is_null = row.category == NULL_CATEGORY
    return {
        "prompt": render_prompt(row.expression, system_prompt),
        "expression": row.expression,
        "category": row.category,
        "uid": row.uid,
        "frames": frame_paths(root, row.clip),
        "audio": audio_path(root, row.clip),
        "masks": [] if is_null else mask_paths(root, row.clip, int(row.fid)),
    }


def frame_paths(root: Path, clip: str) -> list[str]:
    """One picture per second."""
    return [f"{root}/media/{clip}/frames/{number}.jpg" for number in range(NUM_FRAMES)]


def audio_path(root: Path, clip: str) -> str:
    """The sound of a clip."""
    return f"{root}/media/{clip}/audio.wav"


def mask_paths(root: Path, clip: str, fid: int) -> list[str]:
    """The masks of an object of a clip, one per frame."""
    return [f"{root}/gt_mask/{clip}/fid_{fid}/{number:05d}.png" for number in range(NUM_FRAMES)]
