"""
Reflective paths, the data of stage 2: which answers are failures, their correction, and the mix with plain chains.

Knows records and files; an annotator is anything with `correct(row, wrong_completion)`. Knows no model: the answers
and their IoU come from an evaluation of the stage-1 policy on the train split.
"""

import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aurora_trl.answer import CORRECTION_TRIGGERS, normalize_category, parse, render_reflective
from aurora_trl.reasoning.cot import Corrector, extend_jsonl, seed_of


logger = logging.getLogger(__name__)

MAX_FAILURE_IOU = 0.6  # paper 3.2
PAPER_MIX = (1505, 3500)  # reflective paths and plain chains of thought, paper 4.2


def select_failures(records: Iterable[Mapping[str, Any]], max_iou: float = MAX_FAILURE_IOU) -> list[dict]:
    """
    The clear-cut failures: an IoU below `max_iou` **and** a wrong object named, or none (paper 3.2).

    Args:
        records (iterable of mappings):
            With `uid`, `completion` (text), `iou` (of the answer's masks; 0 where it has none) and `category` (truth).
        max_iou (`float`, *optional*, defaults to `0.6`):
            Bound on the IoU, itself excluded.

    Returns:
        `list[dict]`: one failure per uid, the one of lowest IoU, in the order of the records.
    """
    worst: dict[str, dict] = {}
    num_records = 0
    for record in records:
        num_records += 1
        if record["iou"] >= max_iou or _names(record["completion"], record["category"]):
            continue
        known = worst.get(record["uid"])
        if known is None or record["iou"] < known["iou"]:
            worst[record["uid"]] = dict(record)
    logger.info("%d of %d records are failures (one per uid is kept).", len(worst), num_records)
    return list(worst.values())


def write_reflective_paths(
    failures: Iterable[Mapping[str, Any]], annotator: Corrector, path: str | Path, seed: int = 0
) -> dict[str, dict]:
    """
    Write the reflective path of each failure, Eq. (3): wrong answer, trigger, corrected answer. Resumable.

    A correction that still names another object than the truth is not used: it is recorded without `completion`, so
    that it is counted and not asked for again.

    Args:
        failures (iterable of mappings):
            Of [`select_failures`]; they are also the rows the corrector gets, so they carry what it needs.
        annotator ([`Corrector`]):
            Who corrects.
        path (`str` or `Path`):
            JSONL file to write or to continue; also has `wrong`, `trigger`, `correct` and `edit_ratio`.
        seed (`int`, *optional*, defaults to `0`):
            Of the choice of triggers, which also depends on the uid.

    Returns:
        `dict[str, dict]`: the usable records of these failures by uid.

    Raises:
        ValueError: if the file holds corrections of another policy's answers.
    """

    def make(failure):
        wrong, uid = failure["completion"], failure["uid"]
        trigger = CORRECTION_TRIGGERS[seed_of(seed, uid) % len(CORRECTION_TRIGGERS)]
        correct = annotator.correct(failure, wrong)
        record = {
            "uid": uid,
            "expression": failure["expression"],
            "category": failure["category"],
            "wrong": wrong,
            "trigger": trigger,
            "correct": correct,
            "edit_ratio": edit_ratio(wrong, correct),
        }
        if parse(correct).is_well_formed and _names(correct, failure["category"]):
            record["completion"] = render_reflective(wrong, trigger, correct)
        return record

    failures = list(failures)
    records = extend_jsonl(path, failures, make)
    for failure in failures:
        if records[failure["uid"]]["wrong"] != failure["completion"]:
            raise ValueError(
                f"{path} holds the correction of another answer to row {failure['uid']}: it was written for another "
                "policy. Choose another folder, or delete the file."
            )
    asked = [records[failure["uid"]] for failure in failures]
    usable = {record["uid"]: record for record in asked if "completion" in record}
    if len(usable) < len(asked):
        logger.warning("%d of %d corrections name a wrong object.", len(asked) - len(usable), len(asked))
    return usable


def edit_ratio(wrong: str, correct: str) -> float:
    """
    How much of an answer was changed, word by word: 0 for the same text, 1 for nothing in common.

    Args:
        wrong (`str`): The answer.
        correct (`str`): Its correction.
    """
    matcher = difflib.SequenceMatcher(a=wrong.split(), b=correct.split(), autojunk=False)
    return round(1 - matcher.ratio(), 4)


def mix_with_cot(
    reflective: Mapping[str, Mapping[str, Any]],
    cot: Mapping[str, Mapping[str, Any]],
    ratio: tuple[int, int] = PAPER_MIX,
    seed: int = 0,
) -> dict[str, dict]:
    """
    Reflective paths and plain chains of thought in a given ratio, shuffled; no uid is in both.

    As many as possible are taken: all reflective paths if there are enough chains for them, else fewer.

    Args:
        reflective (`Mapping[str, Mapping]`):
            Records by uid, of [`write_reflective_paths`].
        cot (`Mapping[str, Mapping]`):
            Records by uid, of `write_chains_of_thought`.
        ratio (`tuple[int, int]`, *optional*, defaults to `(1505, 3500)`):
            Reflective paths to plain chains, the paper's.
        seed (`int`, *optional*, defaults to `0`):
            Of the choice and the order.

    Returns:
        `dict[str, dict]`: records by uid, each with `is_reflective`.
    """
    if min(ratio) < 1:
        raise ValueError(f"Cannot mix in the ratio {ratio}: both parts must be positive.")
    plain = [uid for uid in cot if uid not in reflective]
    scale = min(len(reflective) / ratio[0], len(plain) / ratio[1])
    counts = round(ratio[0] * scale), round(ratio[1] * scale)
    if not all(counts):
        raise ValueError(
            f"Cannot mix {len(reflective)} reflective paths with {len(plain)} chains of thought of other rows in the "
            f"ratio {ratio}: one part would be empty. Write more of them."
        )
    rng = np.random.default_rng(seed)
    chosen = [(list(reflective)[i], True) for i in rng.permutation(len(reflective))[: counts[0]]]
    chosen += [(plain[i], False) for i in rng.permutation(len(plain))[: counts[1]]]
    logger.info("Mixed %d reflective paths with %d chains of thought.", *counts)
    mixed = {}
    for i in rng.permutation(len(chosen)):
        uid, is_reflective = chosen[i]
        mixed[uid] = {**(reflective if is_reflective else cot)[uid], "is_reflective": is_reflective}
    return mixed


def _names(completion: str, category: str) -> bool:
    named = parse(completion).category
    return named is not None and normalize_category(named) == normalize_category(category)
