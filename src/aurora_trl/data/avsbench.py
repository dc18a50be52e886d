"""
AVSBench, S4 (one sounding object) and MS3 (several): from its tables to rows of text and paths.

The layout is the one its own code reads; the sound is the `.wav` beside it. Opens no file but the table.
"""

import csv
from pathlib import Path
from typing import Any

from datasets import Dataset

from aurora_trl.answer import render_prompt
from aurora_trl.data.rows import MissingFilesError, build_dataset, check_name, require_files


SPLITS = ("train", "val", "test")
NUM_FRAMES = 5  # of a clip of five seconds
EXPRESSION = "The sounding object."  # paper 4.4: the generic prompt for a task without references
MS3_CATEGORY = "sounding object"  # MS3 names none
# Where the published archive holds each subset; a folder that holds the table itself is accepted too.
FOLDERS = {"s4": "Single-source", "ms3": "Multi-sources"}


def load_avsbench(
    root: str | Path, split: str, subset: str = "s4", system_prompt: str | None = None, check_files: bool = True
) -> Dataset:
    """
    Rows of one split of AVSBench, with "The sounding object." as every expression (paper 4.4).

    S4's train clips have a truth for their first frame only: the entries of the other frames in `masks` are None.
    Training, rewards and metrics look at the frames that have a truth.

    Args:
        root (`str` or `Path`):
            Folder with `Single-source/` and `Multi-sources/`, or the one with `s4_meta_data.csv` itself.
        split (`str`):
            `"train"`, `"val"` or `"test"`.
        subset (`"s4"` or `"ms3"`, *optional*, defaults to `"s4"`):
            One sounding object, or several.
        system_prompt (`str`, *optional*):
            Text of a system turn before the user's.
        check_files (`bool`, *optional*, defaults to `True`):
            Whether to make sure that every file is there.

    Returns:
        `datasets.Dataset`: columns as [`~aurora_trl.data.load_refavs`].

    Raises:
        ValueError: for an unknown split or subset, a malformed row or a name that leaves the root.
        MissingFilesError: if files are missing; the first few are named.
    """
    if subset not in FOLDERS:
        raise ValueError(f"Unknown subset {subset!r}: AVSBench has {', '.join(FOLDERS)}. Choose one of them.")
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: AVSBench has {', '.join(SPLITS)}. Choose one of them.")
    table = _find_table(Path(root), subset)
    resolve = _resolve_s4 if subset == "s4" else _resolve_ms3
    prompt = render_prompt(EXPRESSION, system_prompt)
    rows = [
        {"prompt": prompt, "expression": EXPRESSION, **resolve(table.parent / f"{subset}_data", split, fields, where)}
        for where, fields in _read_table(table)
        if fields["split"] == split
    ]
    if not rows:
        raise ValueError(f"{table} has no row of split {split!r}. Is it the whole table?")
    if check_files:
        require_files(rows, f"split {split!r} of {subset}")
    return build_dataset(rows)


def _find_table(root: Path, subset: str) -> Path:
    name = f"{subset}_meta_data.csv"
    for folder in (root, root / FOLDERS[subset]):
        if (folder / name).is_file():
            return folder / name
    raise MissingFilesError(f"There is no {name} in {root} or {root / FOLDERS[subset]}. Give the folder that has it.")


def _read_table(table: Path):
    """Yields (where, fields) of every row. The clip's name is the first column, whatever it is called."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            names = reader.fieldnames or []
            needed = {"split", "category"} if table.name.startswith("s4") else {"split"}
            if missing := needed - set(names):
                raise ValueError(
                    f"{table} lacks the columns {sorted(missing)}: its header is {names}. Fetch it again."
                )
            for fields in reader:
                where = f"{table} line {reader.line_num}"
                if any(fields[name] is None for name in (names[0], *needed)):
                    raise ValueError(f"{where}: the row is shorter than the header. Complete it.")
                if fields["split"] not in SPLITS:
                    raise ValueError(
                        f"{where}: unknown split {fields['split']!r}. AVSBench has {', '.join(SPLITS)}. Correct it."
                    )
                yield where, {**fields, "name": check_name(fields[names[0]], "the clip's name", where)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table} is no CSV table in UTF-8 ({error}). Fetch it again.") from error


def _resolve_s4(data: Path, split: str, fields: dict[str, str], where: str) -> dict[str, Any]:
    name, category = fields["name"], check_name(fields["category"], "the category", where)
    clip = f"{split}/{category}/{name}"
    labelled = 1 if split == "train" else NUM_FRAMES
    masks = [f"{data}/gt_masks/{clip}/{name}_{number}.png" for number in range(1, labelled + 1)]
    return {
        "category": category,
        "uid": name,
        "frames": [f"{data}/visual_frames/{clip}/{name}_{number}.png" for number in range(1, NUM_FRAMES + 1)],
        "audio": f"{data}/audio_wav/{clip}.wav",
        "masks": [*masks, *[None] * (NUM_FRAMES - labelled)],
    }


def _resolve_ms3(data: Path, split: str, fields: dict[str, str], where: str) -> dict[str, Any]:
    name = fields["name"]
    return {
        "category": MS3_CATEGORY,
        "uid": name,
        "frames": [f"{data}/visual_frames/{name}/{name}.mp4_{number}.png" for number in range(1, NUM_FRAMES + 1)],
        "audio": f"{data}/audio_wav/{split}/{name}.wav",
        "masks": [f"{data}/gt_masks/{split}/{name}/{name}_{number}.png" for number in range(1, NUM_FRAMES + 1)],
    }
