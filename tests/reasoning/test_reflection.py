from collections import Counter

import pytest

from aurora_trl.answer import CORRECTION_TRIGGERS, parse
from aurora_trl.reasoning.reflection import edit_ratio, mix_with_cot, select_failures, write_reflective_paths


def record(uid, iou, named, truth="red-circle"):
    text = f"The images show a {named}. So the target is {named}. It is [SEG]."
    return {"uid": uid, "iou": iou, "completion": text, "category": truth, "expression": "The circle."}


class Truthful:
    def correct(self, row, wrong_completion):
        named = "dog" if row["uid"] == "bad" else row["category"]
        return f"The images show a {named}. So the target is {named}. It is [SEG]."


def test_only_clear_failures_are_selected():
    records = [
        record("both", 0.2, "blue-square"),
        record("good mask", 0.6, "blue-square"),
        record("good reasoning", 0.1, "the Red circle"),
        record("both", 0.1, "green-square"),
        record("both", 0.3, "yellow-square"),
        {**record("no target", 0.0, "x"), "completion": "It is [SEG]."},
    ]
    failures = select_failures(records)
    assert [(failure["uid"], failure["iou"]) for failure in failures] == [("both", 0.1), ("no target", 0.0)]
    assert len(select_failures(records, max_iou=0.61)) == 3


def test_reflective_paths(tmp_path):
    failures = [record(f"v{i}", 0.1, "blue-square") for i in range(40)] + [record("bad", 0.1, "cat")]
    path = tmp_path / "reflective.jsonl"
    paths = write_reflective_paths(failures, Truthful(), path, seed=1)
    assert list(paths) == [f"v{i}" for i in range(40)], "a correction with a wrong object is not used"
    first = paths["v0"]
    assert first["completion"] == (
        f"The images show a blue-square. So the target is blue-square. {first['trigger']} "
        "The images show a red-circle. So the target is red-circle. It is [SEG]."
    )
    assert first["completion"].count("[SEG]") == 1
    assert parse(first["completion"]).category == "red-circle"
    assert first["edit_ratio"] == pytest.approx(2 / 13, abs=1e-4)
    assert {made["trigger"] for made in paths.values()} == set(CORRECTION_TRIGGERS)
    assert write_reflective_paths(failures, Truthful(), path, seed=2) == paths, "what is written stays"
    other = write_reflective_paths(failures, Truthful(), tmp_path / "other.jsonl", seed=2)
    assert [made["trigger"] for made in other.values()] != [made["trigger"] for made in paths.values()]


def test_answers_of_another_policy_are_not_mixed_in(tmp_path):
    path = tmp_path / "paths.jsonl"
    failures = [
        {"uid": "a", "expression": "x", "category": "red-circle", "completion": "So the target is dog. It is [SEG]."}
    ]
    assert list(write_reflective_paths(failures, Truthful(), path)) == ["a"]
    changed = [{**failures[0], "completion": "So the target is cat. It is [SEG]."}]
    with pytest.raises(ValueError, match="written for another policy"):
        write_reflective_paths(changed, Truthful(), path)
    other = [{**failures[0], "uid": "b"}]
    assert list(write_reflective_paths(other, Truthful(), path)) == ["b"], "what did not fail this time is left out"


def test_edit_ratio():
    assert edit_ratio("a b c d", "a b c d") == 0
    assert edit_ratio("a b c d", "a b c e") == 0.25
    assert edit_ratio("a b", "c d") == 1


def make(prefix, count):
    return {f"{prefix}{i}": {"uid": f"{prefix}{i}", "completion": prefix} for i in range(count)}


@pytest.mark.parametrize(("num_reflective", "num_cot", "expected"), [(3, 100, (3, 7)), (100, 70, (30, 70))])
def test_mix_keeps_the_ratio(num_reflective, num_cot, expected):
    reflective, cot = make("r", num_reflective), make("c", num_cot)
    mixed = mix_with_cot(reflective, cot, seed=0)
    count = Counter(made["is_reflective"] for made in mixed.values())
    assert (count[True], count[False]) == expected
    assert all(made["completion"] == uid[0] for uid, made in mixed.items())
    assert list(mixed) == list(mix_with_cot(reflective, cot, seed=0))
    assert list(mixed) != list(mix_with_cot(reflective, cot, seed=1))
    assert list(mixed) != sorted(mixed, key=lambda uid: uid[0], reverse=True), "shuffled"


def test_no_row_is_in_both_parts():
    reflective = make("r", 3)
    mixed = mix_with_cot(reflective, {**make("r", 3), **make("c", 3)}, ratio=(1, 1))
    assert sorted(mixed) == ["c0", "c1", "c2", "r0", "r1", "r2"]
    assert all(mixed[uid]["is_reflective"] for uid in reflective)
    with pytest.raises(ValueError, match="0 chains of thought of other rows"):
        mix_with_cot(reflective, make("r", 3))
    with pytest.raises(ValueError, match=r"ratio \(0, 1\)"):
        mix_with_cot(reflective, make("c", 3), ratio=(0, 1))
