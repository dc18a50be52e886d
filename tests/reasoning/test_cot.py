import json

import pytest

from aurora_trl.reasoning.cot import read_jsonl, seed_of, write_chains_of_thought


ROWS = [{"uid": f"v_cat_{i}", "expression": f"The object {i}.", "category": "cat"} for i in range(4)]


class Counting:
    """Annotator that counts its calls and can be killed."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def reason(self, row):
        if row["uid"] == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(row["uid"])
        return f"“{row['uid']}”. So the target is cat. It is [SEG]."


def test_records(tmp_path):
    path = tmp_path / "new" / "cot.jsonl"
    records = write_chains_of_thought(ROWS, Counting(), path)
    assert records == read_jsonl(path)
    assert list(records) == [row["uid"] for row in ROWS]
    assert records["v_cat_2"] == {
        **ROWS[2],
        "completion": "“v_cat_2”. So the target is cat. It is [SEG].",
        "named_category": "cat",
    }


def test_continues_after_an_interruption(tmp_path):
    path = tmp_path / "cot.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_chains_of_thought(ROWS, Counting(fail_at="v_cat_2"), path)
    assert list(read_jsonl(path)) == ["v_cat_0", "v_cat_1"]
    annotator = Counting()
    write_chains_of_thought(ROWS, annotator, path)
    assert annotator.asked == ["v_cat_2", "v_cat_3"]


@pytest.mark.parametrize("lost", [1, 2, 10, 60])
def test_repairs_half_a_line(tmp_path, lost):
    """Whatever a kill cuts off, the file ends up the same; only the line break may be missing from a whole record."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "cot.jsonl"
    write_chains_of_thought(ROWS, Counting(), whole)
    path.write_bytes(whole.read_bytes()[:-lost])
    assert len(read_jsonl(path)) == (4 if lost == 1 else 3)
    annotator = Counting()
    write_chains_of_thought(ROWS, annotator, path)
    assert annotator.asked == ([] if lost == 1 else ["v_cat_3"])
    assert path.read_bytes() == whole.read_bytes()


def test_bad_files(tmp_path):
    path = tmp_path / "cot.jsonl"
    with pytest.raises(ValueError, match="There is no"):
        read_jsonl(path)
    path.write_text('{"uid": "a"}\n{"uid": "b"\n{"uid": "c"}\n')
    with pytest.raises(ValueError, match="line 2 is not a JSON object"):
        read_jsonl(path)
    path.write_text(json.dumps({"uid": "a"}) + "\n" + json.dumps({"uid": "a"}) + "\n")
    with pytest.raises(ValueError, match="line 2: the uid 'a' occurs twice"):
        read_jsonl(path)
    path.write_text("")
    assert read_jsonl(path) == {}


def test_seeds_are_the_same_in_every_process():
    assert seed_of("a") == seed_of("a") == 14608863320967583690
    assert seed_of(1, "a") != seed_of(2, "a")
    assert seed_of("ab", "c") != seed_of("a", "bc")
