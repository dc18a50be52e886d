import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from aurora_trl.data import MissingFilesError, UnsafePathError, load_jsonl
from aurora_trl.data.custom import SCHEMA
from aurora_trl.data.readers import load_splits


@pytest.fixture
def root(tmp_path):
    for name in ("0.jpg", "1.jpg", "m0.png", "m1.png", "v.mp4"):
        cv2.imwrite(str(tmp_path / f"{Path(name).stem}.png"), np.zeros((4, 4, 3), np.uint8))
        (tmp_path / name).write_bytes((tmp_path / f"{Path(name).stem}.png").read_bytes())
    soundfile.write(tmp_path / "a.wav", np.ones(100) / 2, 16_000)
    return tmp_path


FRAMES = {"frames": ["0.jpg", "1.jpg"], "audio": "a.wav", "expression": "The cat."}


def write(root, *records):
    path = root / "clips.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def test_frames_with_all_there_is(root):
    record = {**FRAMES, "uid": "mine", "category": "cat", "masks": ["m0.png", None], "completion": "It is [SEG]."}
    (row,) = load_jsonl(write(root, record))
    assert row["frames"] == [f"{root}/0.jpg", f"{root}/1.jpg"]
    assert row["masks"] == [f"{root}/m0.png", None]
    assert (row["uid"], row["category"], row["video"], row["seconds"]) == ("mine", "cat", None, None)
    assert row["prompt"][0]["content"].startswith("The reference is: The cat.")
    assert row["completion"] == [{"role": "assistant", "content": "It is [SEG]."}]


def test_a_video_needs_no_more_than_an_expression(root):
    (row,) = load_jsonl(write(root, {"video": "v.mp4", "expression": "The cat.", "seconds": [0, 1.5]}))
    assert (row["video"], row["frames"], row["audio"]) == (f"{root}/v.mp4", [], None)
    assert (row["masks"], row["category"], row["seconds"], row["uid"]) == (None, None, [0.0, 1.5], "1")
    assert "completion" not in row


def test_null_is_an_empty_truth(root):
    rows = load_jsonl(write(root, {**FRAMES, "category": "null"}, {**FRAMES, "masks": []}))
    assert rows["masks"][:] == [[], []]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "is not a JSON object but list"),
        ({**FRAMES, "expresion": "x"}, r"unknown keys \['expresion'\]"),
        ({**FRAMES, "expression": "  "}, "`expression` is missing or empty"),
        ({"video": "v.mp4"}, "`expression` is missing or empty"),
        ({**FRAMES, "video": "v.mp4"}, "either `video` or `frames`"),
        ({"expression": "x"}, "either `video` or `frames`"),
        ({**FRAMES, "frames": []}, "`frames` is empty"),
        ({**FRAMES, "frames": [3, "1.jpg"]}, "3 is not a path"),
        ({**FRAMES, "audio": None}, "`frames` come without `audio`"),
        ({**FRAMES, "audio": 3}, "`audio` is a int, but must be a str"),
        ({**FRAMES, "masks": ["m0.png"]}, "1 masks for 2 frames"),
        ({**FRAMES, "masks": [None, None]}, "every entry of `masks` is null"),
        ({**FRAMES, "seconds": [1]}, "`seconds` goes with `video`"),
        ({"video": "v.mp4", "expression": "x", "seconds": [-1]}, "times from 0 on"),
        ({"video": "v.mp4", "expression": "x", "seconds": [float("nan")]}, "times from 0 on"),
        ({"video": "v.mp4", "expression": "x", "seconds": [True]}, "times from 0 on"),
        ({"video": "v.mp4", "expression": "x", "seconds": [10**400]}, "times from 0 on"),
        ({**FRAMES, "category": " "}, "`category` is empty"),
        ({**FRAMES, "category": "null", "masks": ["m0.png", "m1.png"]}, "refers to nothing"),
        ({"video": "\ud800.mp4", "expression": "x"}, "line 1 has half a character"),
        ({**FRAMES, "expression": "a \udfff cat"}, "line 1 has half a character"),
    ],
)
def test_what_does_not_fit_the_schema_is_named(root, record, message):
    with pytest.raises(ValueError, match=message):
        load_jsonl(write(root, record))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../x", "link/passwd", "..\\x"])
def test_paths_stay_inside_the_root(root, name):
    (root / "link").symlink_to("/etc")
    with pytest.raises(UnsafePathError, match="leads out of the data root"):
        load_jsonl(write(root, {**FRAMES, "audio": name}))


def test_an_absolute_path_inside_the_root_is_fine(root):
    assert load_jsonl(write(root, {**FRAMES, "audio": f"{root}/a.wav"}))[0]["audio"] == f"{root}/a.wav"
    elsewhere = write(root, FRAMES)
    moved = elsewhere.rename(root.parent / f"{root.name}.jsonl")
    assert load_jsonl(moved, root=root)[0]["audio"] == f"{root}/a.wav"


def test_all_errors_are_listed_at_once(root):
    with pytest.raises(ValueError, match=r"(?s)line 1.*line 3.*uid 'a' occurs twice"):
        load_jsonl(write(root, "{", {**FRAMES, "uid": "a"}, {**FRAMES, "uid": "a"}))
    with pytest.raises(ValueError, match="has no row"):
        load_jsonl(write(root, ""))
    with pytest.raises(MissingFilesError, match=r"none\.wav"):
        load_jsonl(write(root, {**FRAMES, "audio": "none.wav"}))


def test_the_schema_is_documented():
    guide = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    assert not [key for key, (_, meaning) in SCHEMA.items() if f"| `{key}` |" not in guide or meaning not in guide]


def test_every_line_has_a_completion_or_none(root):
    path = write(root, {**FRAMES, "completion": "It is [SEG]."}, {**FRAMES, "uid": "b"})
    with pytest.raises(ValueError, match="1 of 2 lines have no `completion`, the first is that of uid 'b'"):
        load_jsonl(path)


def test_own_clips_have_no_splits(root):
    path = write(root, FRAMES)
    assert list(load_splits(path, "mine")) == ["mine"]
    with pytest.raises(ValueError, match="has no splits"):
        load_splits(path, "test_s,test_u")


def test_a_relative_root_is_that_of_the_moment(root, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    write(root, {"video": "v.mp4", "expression": "x"})
    (other / "clips.jsonl").write_bytes((root / "clips.jsonl").read_bytes())
    for folder in (root, other):
        monkeypatch.chdir(folder)
        assert load_jsonl("clips.jsonl", check_files=folder == root)[0]["video"] == "v.mp4"
