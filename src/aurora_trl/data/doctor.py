"""
What is wrong with a data set in the layout of Ref-AVS, before a model finds out: counts, traps of the table, files,
leaks.

Reads the table and the headers of the files. Says what it found and what to do; changes nothing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.clip_files import ClipFiles, inspect_clip
from aurora_trl.data.expressions import kind_of
from aurora_trl.data.refavs import SPLITS, TABLE, UNUSED_SPLIT, TableRow, categories_only_in_unseen, read_table


# Rows, videos by uid, videos by the vid column of the official table.
OFFICIAL = {
    "train": (14_113, 2_919, 2_767),
    "val": (1_349, 275, 257),
    "test_s": (2_288, 273, 273),
    "test_u": (1_656, 269, 269),
    "test_n": (1_028, 257, 257),
    UNUSED_SPLIT: (25, 8, 8),
}
OFFICIAL_ROWS = sum(rows for rows, *_ in OFFICIAL.values())
# Our judgement, not a published one: a property of files gives the answer away if a guess from it is right this often,
# on at least so many clips of each sort. In Ref-AVS the bit rate of the sound is right always.
LEAK_ACCURACY = 0.9
MIN_LEAK_CLIPS = 5
LEAK_FIXES = {
    "bit rate": "Models of this package can't see it: every sound is brought to 16 bit.",
    "channels": "Models of this package can't see it: every sound is mixed to mono.",
    "sampling rate": "Models of this package hear up to 8 kHz: a rate below 16 kHz can be heard, others can't.",
    "duration": "A model can see it: cut or fill all clips alike.",
    "frame size": "A model can see it: bring all frames to one size.",
}
# A table that differs by more than this from the official number of rows is another data set, or a part.
SAME_TABLE = 0.1
NUM_THREADS = 8
# Ref-AVS names a clip after its video on YouTube and its first and last millisecond there.
SOURCE = re.compile(r"(?P<video>.+)_\d+_\d+")


@dataclass(frozen=True)
class Finding:
    """
    One thing found.

    Attributes:
        level (`"error"`, `"warning"` or `"info"`):
            Stops training; makes numbers doubtful; is dealt with by the reader.
        code (`str`): name of the check.
        count (`int`): of the rows or files concerned.
        message, fix (`str`): what it is, and what to do.
        examples (`list[str]`): all of them.
    """

    level: str
    code: str
    count: int
    message: str
    fix: str
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Diagnosis:
    """
    Attributes:
        splits (`dict`):
            Of each split `rows`, `videos_by_uid`, `videos_by_vid`, `null_rows`, `categories`, and what the official
            table has, `official_rows`, `official_videos_by_uid`, `official_videos_by_vid`.
        facts (`dict`): of the whole table.
        findings (`list[Finding]`): errors first.
    """

    splits: dict[str, dict[str, int]]
    facts: dict[str, Any]
    findings: list[Finding]

    @property
    def is_healthy(self) -> bool:
        """Whether there is no error."""
        return all(finding.level != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {"is_healthy": self.is_healthy, **asdict(self)}


def diagnose(root: str | Path) -> Diagnosis:
    """
    The table and every file it names.

    Args:
        root (`str` or `Path`): Folder with `metadata.csv`, `media/` and `gt_mask/`.

    Raises:
        MissingFilesError: if there is no table.
        ValueError: if it is no table at all.
    """
    root = Path(root)
    rows, bad = _read(root / TABLE)
    used = [row for row in rows if row.split != UNUSED_SPLIT]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        clips = list(pool.map(lambda item: inspect_clip(root, *item), _objects(used).items()))
    findings = [*_of_table(rows, bad), *_of_files(clips), *_leaks(clips, _null_clips(used)), *_same_sounds(clips)]
    return _diagnosis(rows, findings)


def diagnose_table(path: str | Path) -> Diagnosis:
    """
    The table alone.

    Args:
        path (`str` or `Path`): A `metadata.csv`.
    """
    rows, bad = _read(Path(path))
    return _diagnosis(rows, _of_table(rows, bad))


def _read(path: Path) -> tuple[list[TableRow], list[str]]:
    bad: list[str] = []
    return list(read_table(path, keep_unused=True, on_error=bad.append)), bad


def _diagnosis(rows: Sequence[TableRow], findings: Iterable[Finding]) -> Diagnosis:
    order = ("error", "warning", "info")
    return Diagnosis(_count_splits(rows), _facts(rows), sorted(findings, key=lambda f: order.index(f.level)))


def _count_splits(rows: Sequence[TableRow]) -> dict[str, dict[str, int]]:
    counts = {}
    for split in (*SPLITS, UNUSED_SPLIT):
        part = [row for row in rows if row.split == split]
        names = ("official_rows", "official_videos_by_uid", "official_videos_by_vid")
        counts[split] = {
            "rows": len(part),
            "videos_by_uid": len({row.clip for row in part}),
            "videos_by_vid": len({row.vid_column for row in part}),
            "null_rows": sum(row.category == NULL_CATEGORY for row in part),
            "categories": len({row.category for row in part}),
            **dict(zip(names, OFFICIAL[split], strict=True)),
        }
    return counts


def _facts(rows: Sequence[TableRow]) -> dict[str, Any]:
    used = [row for row in rows if row.split != UNUSED_SPLIT]
    of_split = {split: {row.category for row in used if row.split == split} for split in SPLITS}
    words = [len(row.expression.split()) for row in used]
    return {
        "rows": len(rows),
        "new_categories": sorted(categories_only_in_unseen(used)),
        "seen_categories_of_test_u": len(of_split["test_u"] & of_split["train"]),
        "hyphenated_categories": sorted({row.category for row in used if "-" in row.category}),
        "mean_words": round(sum(words) / max(len(words), 1), 2),
        "max_words": max(words, default=0),
        "kinds": dict(Counter(kind_of(row.expression) for row in used).most_common()),
    }


def _of_table(rows: Sequence[TableRow], bad: Sequence[str]) -> Iterator[Finding]:
    used = [row for row in rows if row.split != UNUSED_SPLIT]
    if not used:
        yield Finding("error", "no-rows", 0, "The table has no row of a split.", "Fetch metadata.csv again.")
    checks = [
        (
            "error",
            "malformed-row",
            bad,
            "rows can't be read",
            "Correct or delete these lines; load_refavs stops at the first.",
        ),
        (
            "info",
            "unused-row",
            [row.uid for row in rows if row.split == UNUSED_SPLIT],
            f"rows have the split {UNUSED_SPLIT}",
            "Nothing: the reader leaves them out, as the official one does.",
        ),
        (
            "info",
            "duplicate-uid",
            [row.uid for row in used if "#" in row.uid],
            "uids occur again",
            "Nothing: the reader keeps them apart, as <uid>#2. Join answers by the uid of the rows, not of the table.",
        ),
        (
            "warning",
            "vid-column",
            [f"{row.uid} (vid {row.vid_column})" for row in rows if row.vid_column not in ("", row.clip)],
            "rows have another clip in the vid column than in their uid",
            "Take the clip from the uid, as the reader does; the column gives null rows a clip that is not null.",
        ),
        (
            "warning",
            "ambiguous-expression",
            list(_ambiguous(used)),
            "expressions are asked of one clip with different objects as their answer",
            "No model can answer both: leave them out of a fair comparison, or accept the bound on J.",
        ),
    ]
    for level, code, concerned, message, fix in checks:
        if concerned:
            yield Finding(level, code, len(concerned), f"{len(concerned)} {message}.", fix, list(concerned))
    yield from _shared_sources(used)
    yield from _against_official(rows)


def _shared_sources(rows: Sequence[TableRow]) -> Iterator[Finding]:
    """Clips that were cut out of a video that also gave train clips. Null clips are made, not cut."""
    sources: dict[str, dict[str, set[str]]] = {split: defaultdict(set) for split in SPLITS}
    for row in rows:
        if row.category != NULL_CATEGORY and (source := SOURCE.fullmatch(row.clip)):
            sources[row.split][source["video"]].add(row.clip)
    for split in SPLITS[1:]:
        num_clips = sum(map(len, sources[split].values()))
        shared = sorted(
            name for video in sources[split] if video in sources["train"] for name in sources[split][video]
        )
        if shared:
            yield Finding(
                "warning",
                f"shared-source-{split}",
                len(shared),
                f"{len(shared)} of {num_clips} clips of {split} are cut from videos that train has clips of, too.",
                "Their scenes and voices were seen in training: say so, or report the other clips on their own.",
                shared,
            )


def _ambiguous(rows: Sequence[TableRow]) -> Iterator[str]:
    targets = defaultdict(set)
    for row in rows:
        targets[row.split, row.clip, row.expression.strip(" .").lower()].add((row.category, row.fid))
    return (f"{clip}: {expression}" for (_, clip, expression), found in targets.items() if len(found) > 1)


def _against_official(rows: Sequence[TableRow]) -> Iterator[Finding]:
    """Only for a table of about the official size: a subset or another data set has its own counts."""
    differing = [
        f"{split}: {counts['rows']} rows instead of {counts['official_rows']}"
        for split, counts in _count_splits(rows).items()
        if counts["rows"] != counts["official_rows"]
    ]
    if differing and abs(len(rows) - OFFICIAL_ROWS) < SAME_TABLE * OFFICIAL_ROWS:
        yield Finding(
            "warning",
            "official-counts",
            len(differing),
            f"{len(differing)} splits have not the official number of rows.",
            "Fetch metadata.csv again, or say in your report what was left out.",
            differing,
        )


def _objects(rows: Iterable[TableRow]) -> dict[str, set[int]]:
    """Clips, and the objects whose masks are asked for."""
    objects: dict[str, set[int]] = {}
    for row in rows:
        found = objects.setdefault(row.clip, set())
        if row.category != NULL_CATEGORY:
            found.add(int(row.fid))
    return objects


def _null_clips(rows: Iterable[TableRow]) -> set[str]:
    return {row.clip for row in rows if row.category == NULL_CATEGORY}


def _of_files(clips: Sequence[ClipFiles]) -> Iterator[Finding]:
    kinds = {
        "missing": ("files are missing", "Complete the download, or remove their rows from the table."),
        "unreadable": ("files can't be read", "Fetch them again."),
        "silent": ("sounds are silent", "Drop their rows, or allow silent clips if you mean it."),
        "mask-mismatch": (
            "masks or frames have another size than the others of their clip",
            "Extract frames and masks again at one size.",
        ),
    }
    for code, (message, fix) in kinds.items():
        concerned = [problem for clip in clips for problem in clip.problems.get(code, ())]
        if concerned:
            count = len(concerned)
            yield Finding("error", code, count, f"{count} {message}.", fix, concerned)


def _leaks(clips: Sequence[ClipFiles], null_clips: set[str]) -> Iterator[Finding]:
    """Properties of files that a model could learn instead of the task."""
    by_property = defaultdict(dict)
    for clip in clips:
        for name, value in clip.properties.items():
            by_property[name][clip.name] = value
    for name, values in by_property.items():
        null = Counter(value for clip, value in values.items() if clip in null_clips)
        others = Counter(value for clip, value in values.items() if clip not in null_clips)
        if min(null.total(), others.total()) < MIN_LEAK_CLIPS:
            continue
        accuracy = _balanced_accuracy(null, others)
        if accuracy >= LEAK_ACCURACY:
            yield Finding(
                "warning",
                f"leak-{name.replace(' ', '-')}",
                null.total(),
                f"The {name} alone tells null clips from others (balanced accuracy {accuracy:.2f}): most null clips "
                f"have {null.most_common(1)[0][0]}, most others {others.most_common(1)[0][0]}.",
                f"{LEAK_FIXES[name]} Doubt an S near zero of programs that see it.",
            )


def _balanced_accuracy(null: Counter, others: Counter) -> float:
    """Of the best guess from the value. Rare values are one value: a guess from them would be learned by heart."""
    shares = defaultdict(lambda: [0.0, 0.0])
    for value in {*null, *others}:
        share = shares[value if null[value] + others[value] >= MIN_LEAK_CLIPS else None]
        share[0] += null[value] / null.total()
        share[1] += others[value] / others.total()
    return 0.5 * sum(max(share) for share in shares.values())


def _same_sounds(clips: Sequence[ClipFiles]) -> Iterator[Finding]:
    groups = defaultdict(list)
    for clip in clips:
        if clip.sound_hash is not None:
            groups[clip.sound_hash].append(clip.name)
    shared = [names for names in groups.values() if len(names) > 1]
    if shared:
        concerned = [name for names in shared for name in names]
        yield Finding(
            "warning",
            "duplicate-sound",
            len(concerned),
            f"{len(concerned)} clips share the very same sound file with another clip ({len(shared)} sounds).",
            "If they are of different splits, the test has been heard in training: leave them out of one.",
            [", ".join(names[:3]) for names in shared],
        )
