"""
Damaged and hostile files: whatever a table, a JSONL file, a picture, a sound or a mask record holds, the readers give
rows inside the data root or one of their named errors. The slow run tries over 10,000 cases.
"""

import contextlib
import io
import json
import os
import struct

import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurora_trl.data import load_jsonl, load_refavs, media
from aurora_trl.data.clip_files import inspect_clip
from aurora_trl.data.doctor import diagnose_table
from aurora_trl.data.headers import picture_size
from aurora_trl.data.media import MaskMismatchError, SilentAudioError, UnreadableMediaError
from aurora_trl.data.rle import InvalidRleError, decode_masks
from aurora_trl.data.rows import MissingFilesError, UnsafePathError


NAMED = {ValueError, MissingFilesError, UnsafePathError, UnreadableMediaError, MaskMismatchError, SilentAudioError}
# In all 11,000 cases in the slow run, 5 × 60 in the other.
SIZES = [pytest.param(60, id="quick"), pytest.param(2_200, id="long", marks=pytest.mark.slow)]

NASTY = st.sampled_from(
    [
        "",
        "..",
        "../..",
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "null",
        "#",
        "_",
        "\0",
        "\ud800",
        "\udfff.mp4",
        "٣",
        "9" * 5000,
    ]
    + ["train", "test_s", "TODO", "v_cat_1", "..\\..\\x", '"', "\n", "\r", ",", "e" * 300, "-1", "NaN", "v_null_1"]
)
FIELD = NASTY | st.text(max_size=12)
TABLE_FIELD = FIELD.filter(lambda text: not any("\ud800" <= sign <= "\udfff" for sign in text))  # UTF-8 has none


def picture_bytes(suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, np.arange(192, dtype=np.uint8).reshape(8, 8, 3))[1].tobytes()


def sound_bytes() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(400)) / 2, 16_000, format="WAV")
    return file.getvalue()


@st.composite
def damaged(draw, whole: bytes):
    """A file with some bytes of its header changed, some numbers made huge, perhaps cut off or filled up."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, min(len(content), 64) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        place = draw(st.integers(0, 60))
        content[place : place + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", draw(st.sampled_from(HUGE)))
    content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return bytes(content) + draw(st.binary(max_size=8))


HUGE = [0, 1, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def only_named_errors(read, path):
    """What `read` returns, or None if it raises a named error that says which file it is about."""
    try:
        return read()
    except ValueError as caught:
        error = caught
    assert type(error) in NAMED, repr(error)
    assert os.path.basename(path) in str(error), str(error)
    return None


def fuzz(max_examples):
    return settings(
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def paths_of(row):
    return [*row["frames"], row["audio"], row.get("video"), *(row["masks"] or ())]


def assert_inside(rows, root):
    base = os.path.realpath(root) + os.sep
    for row in rows or ():
        assert all(os.path.realpath(path).startswith(base) for path in paths_of(row) if path is not None)


@pytest.mark.parametrize("max_examples", SIZES)
def test_tables(max_examples, tmp_path):
    path = tmp_path / "metadata.csv"
    line = st.lists(TABLE_FIELD, max_size=7).map(",".join) | st.tuples(
        TABLE_FIELD, TABLE_FIELD, TABLE_FIELD, TABLE_FIELD, TABLE_FIELD
    ).map(lambda fields: f"{fields[0]},{fields[1]}_{fields[2]}_1,train,{fields[3]},{fields[4]}")
    header = st.sampled_from(
        ["vid,uid,split,fid,exp", "uid,split,fid,exp", "vid,uid", "", "\ufeffvid,uid,split,fid,exp"]
    )
    table = st.builds(lambda top, lines: "\n".join([top, *lines]).encode("utf-8"), header, st.lists(line, max_size=6))

    @fuzz(max_examples)
    @given(st.one_of(table, st.binary(max_size=60)))
    def run(content):
        path.write_bytes(content)
        rows = only_named_errors(lambda: load_refavs(tmp_path, "train", check_files=False), path)
        assert_inside(rows, tmp_path)
        only_named_errors(lambda: diagnose_table(path), path)

    run()


@pytest.mark.parametrize("max_examples", SIZES)
def test_jsonl(max_examples, tmp_path):
    path = tmp_path / "clips.jsonl"
    keys = st.sampled_from(
        ["expression", "video", "frames", "audio", "category", "masks", "seconds", "uid", "completion", "else"]
    )
    number = st.integers() | st.floats() | st.just(10**400)
    value = (
        FIELD
        | st.lists(FIELD | st.none() | number, max_size=3)
        | st.none()
        | st.integers()
        | st.floats()
        | st.booleans()
    )
    record = st.dictionaries(keys, value, max_size=6).map(json.dumps)
    likely = st.builds(
        lambda name, other: json.dumps({"frames": [name], "audio": other, "expression": "x", "masks": [name]}),
        FIELD,
        FIELD,
    )
    text = st.lists(st.one_of(record, likely, FIELD, st.just("[" * 3000)), max_size=4).map("\n".join)

    @fuzz(max_examples)
    @given(st.one_of(text.map(lambda part: part.encode("utf-8", "surrogatepass")), st.binary(max_size=60)))
    def run(content):
        path.write_bytes(content)
        assert_inside(only_named_errors(lambda: load_jsonl(path, check_files=False), path), tmp_path)
        only_named_errors(lambda: load_jsonl(path), path)

    run()


@pytest.mark.parametrize("max_examples", SIZES)
def test_pictures(max_examples, tmp_path):
    path = tmp_path / "00000.png"

    @fuzz(max_examples)
    @given(st.one_of(damaged(picture_bytes()), damaged(picture_bytes(".jpg"))))
    def run(content):
        path.write_bytes(content)
        only_named_errors(lambda: media.read_frame(path), path)
        only_named_errors(lambda: picture_size(path), path)
        masks = only_named_errors(lambda: media.read_masks([path], 1, (8, 8)), path)
        assert masks is None or masks.shape == (1, 8, 8)

    run()


@pytest.mark.parametrize("max_examples", SIZES)
def test_sounds(max_examples, tmp_path):
    path = tmp_path / "media" / "clip" / "audio.wav"
    path.parent.mkdir(parents=True)

    @fuzz(max_examples)
    @given(damaged(sound_bytes()))
    def run(content):
        path.write_bytes(content)
        waveform = only_named_errors(lambda: media.read_audio(path), path)
        assert waveform is None or (waveform.dtype == np.float32 and np.abs(waveform).max() <= 1)
        inspect_clip(tmp_path, "clip", ())

    run()


@pytest.mark.parametrize("max_examples", SIZES)
def test_mask_records(max_examples):
    whole = st.integers(-3, 9) | st.sampled_from([2**40, 2**70, True, 1.5, None, "3"])
    record = st.fixed_dictionaries({"size": st.lists(whole, max_size=3), "counts": st.lists(whole, max_size=5)})

    @fuzz(max_examples)
    @given(st.lists(record | st.dictionaries(st.sampled_from(["size", "counts"]), whole), max_size=3))
    def run(records):
        with contextlib.suppress(InvalidRleError):
            assert decode_masks(records).ndim == 3

    run()
