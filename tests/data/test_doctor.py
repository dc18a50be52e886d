import csv
import shutil

import cv2
import numpy as np
import pytest
import soundfile

from aurora_trl.data import synthetic
from aurora_trl.data.clip_files import ClipFiles
from aurora_trl.data.doctor import OFFICIAL, _leaks, diagnose, diagnose_table


@pytest.fixture
def root(synthetic_root, tmp_path):
    return shutil.copytree(synthetic_root, tmp_path / "data")


def codes(diagnosis):
    return {finding.code: finding for finding in diagnosis.findings}


def test_the_official_table(shared_dir):
    """The counts of facts that were found independently, by other code."""
    diagnosis = diagnose_table(shared_dir / "samples" / "refavs_metadata.csv")
    assert diagnosis.is_healthy
    for split, counts in diagnosis.splits.items():
        assert (counts["rows"], counts["videos_by_uid"], counts["videos_by_vid"]) == OFFICIAL[split], split
    assert diagnosis.splits["train"]["null_rows"] == 608
    assert diagnosis.splits["val"]["null_rows"] == 72
    assert diagnosis.splits["train"]["categories"] == 39
    assert diagnosis.splits["test_u"]["categories"] == 24
    assert len(diagnosis.facts["new_categories"]) == 13
    assert diagnosis.facts["seen_categories_of_test_u"] == 11
    assert {"hair-dryer", "vacuum-cleaner", "emergency-car"} <= set(diagnosis.facts["hyphenated_categories"])
    assert diagnosis.facts["mean_words"] == pytest.approx(8.1, abs=0.05)
    assert diagnosis.facts["max_words"] == 22
    found = codes(diagnosis)
    assert found["vid-column"].count == 1708
    assert found["duplicate-uid"].count == 11
    assert found["unused-row"].count == 25
    assert "official-counts" not in found
    # Counted by hand from the names of the clips, without null rows.
    assert found["shared-source-test_s"].count == len(found["shared-source-test_s"].examples) == 158
    assert found["shared-source-test_u"].count == 20


def test_a_shortened_official_table_is_noticed(shared_dir, tmp_path):
    lines = (shared_dir / "samples" / "refavs_metadata.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "metadata.csv").write_bytes(b"".join(lines[:-100]))
    assert codes(diagnose_table(tmp_path / "metadata.csv"))["official-counts"].level == "warning"


def test_generated_data_has_nothing_wrong(root):
    diagnosis = diagnose(root)
    assert diagnosis.findings == []
    assert diagnosis.to_json()["is_healthy"]


def test_damaged_files_are_found(root):
    clips = sorted(path for path in (root / "media").iterdir() if "null" not in path.name)
    (clips[0] / "frames" / "3.jpg").unlink()
    (clips[1] / "audio.wav").write_bytes(b"RIFF")
    (clips[2] / "frames" / "0.jpg").write_bytes(b"\xff\xd8\xff")
    cv2.imwrite(str(clips[3] / "frames" / "5.jpg"), np.zeros((10, 12, 3), np.uint8))
    mask = next((root / "gt_mask").rglob("00004.png"))
    cv2.imwrite(str(mask), np.zeros((7, 7), np.uint8))
    diagnosis = diagnose(root)
    found = codes(diagnosis)
    assert not diagnosis.is_healthy
    assert {"missing", "unreadable", "mask-mismatch"} <= set(found)
    assert found["missing"].examples == [str(clips[0] / "frames" / "3.jpg")]
    assert found["unreadable"].count == 2
    assert found["mask-mismatch"].count == 2
    assert diagnosis.findings[0].level == "error"


def test_what_only_shows_when_decoding_is_found_too(root):
    clips = sorted(path for path in (root / "media").iterdir() if "null" not in path.name)
    soundfile.write(clips[0] / "audio.wav", np.zeros(160_000), 16_000)
    whole = (clips[1] / "frames" / "2.jpg").read_bytes()
    (clips[1] / "frames" / "2.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    found = codes(diagnose(root))
    assert found["silent"].level == "error"
    assert "2.jpg is cut off" in found["unreadable"].examples[0]


def test_rows_that_can_not_be_used_are_listed(root):
    with (root / "metadata.csv").open("a", newline="") as table:
        csv.writer(table).writerows(
            [["v", "v_cat_1", "train", "0", ""], ["v", "../x_cat_1", "train", "0", "The cat."]]
        )
    finding = codes(diagnose_table(root / "metadata.csv"))["malformed-row"]
    assert (finding.count, finding.level) == (2, "error")
    assert "expression is empty" in finding.examples[0]


def test_the_null_leak_is_found(tmp_path):
    """As in Ref-AVS: the sound of null clips has another bit rate."""
    root = synthetic.write_dataset(tmp_path / "data", num_clips=12, num_eval_clips=6, image_size=32)
    assert "leak-bit-rate" not in codes(diagnose(root))
    for path in (root / "media").glob("null_*/audio.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples, rate, subtype="PCM_24")
    finding = codes(diagnose(root))["leak-bit-rate"]
    assert finding.level == "warning"
    assert "balanced accuracy 1.00" in finding.message
    assert "most null clips have 384, most others 256" in finding.message


def test_the_same_sound_twice_is_found(root):
    first, second = sorted((root / "media").iterdir())[:2]
    shutil.copy(first / "audio.wav", second / "audio.wav")
    finding = codes(diagnose(root))["duplicate-sound"]
    assert finding.examples == [f"{first.name}, {second.name}"]


def test_an_expression_with_two_answers_is_found(root):
    with (root / "metadata.csv").open("a", newline="") as table:
        rows = [["v", f"v_{category}_1", "test_s", "0", "The loudest."] for category in ("cat", "dog")]
        csv.writer(table).writerows(rows)
    assert codes(diagnose_table(root / "metadata.csv"))["ambiguous-expression"].examples == ["v: the loudest"]


def test_values_that_no_two_clips_share_are_no_leak():
    """From a duration of its own each clip could be told, but only by heart."""
    clips = [ClipFiles(f"c{i}", properties={"duration": float(i), "channels": 1}) for i in range(60)]
    assert list(_leaks(clips, {f"c{i}" for i in range(20)})) == []
    for clip in clips[:20]:
        clip.properties["channels"] = 2
    (finding,) = _leaks(clips, {f"c{i}" for i in range(20)})
    assert finding.code == "leak-channels"
    assert "mixed to mono" in finding.fix


def test_a_table_without_rows_is_an_error(tmp_path):
    (tmp_path / "metadata.csv").write_text("vid,uid,split,fid,exp\n")
    diagnosis = diagnose_table(tmp_path / "metadata.csv")
    assert not diagnosis.is_healthy
    assert set(codes(diagnosis)) == {"no-rows"}
