import filecmp
import json

import numpy as np
import pytest

from aurora_trl.data import load_refavs, synthetic
from aurora_trl.data.media import read_audio, read_frames, read_masks
from aurora_trl.data.scene import CATEGORIES, Scene, SceneObject, Sound


def _files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_the_same_arguments_give_the_same_bytes(synthetic_root, tmp_path):
    again = synthetic.write_dataset(tmp_path / "again", num_clips=9, num_eval_clips=3)
    names = _files(synthetic_root)
    assert names == _files(again)
    assert filecmp.cmpfiles(synthetic_root, again, names, shallow=False) == (names, [], [])


def test_a_larger_data_set_begins_with_the_smaller(synthetic_root, tmp_path):
    larger = synthetic.write_dataset(tmp_path / "larger", num_clips=10, num_eval_clips=3)
    names = [name for name in _files(synthetic_root) if name.startswith(("media", "gt_mask"))]
    assert filecmp.cmpfiles(synthetic_root, larger, names, shallow=False) == (names, [], [])
    other = synthetic.write_dataset(tmp_path / "other", num_clips=1, num_eval_clips=1, seed=1)
    name = "media/syn-train-000000/audio.wav"
    assert (other / name).read_bytes() != (synthetic_root / name).read_bytes()


def test_a_finished_data_set_is_kept(synthetic_root):
    before = (synthetic_root / "metadata.csv").stat().st_mtime_ns
    assert synthetic.write_dataset(synthetic_root, num_clips=9, num_eval_clips=3) == synthetic_root
    assert (synthetic_root / "metadata.csv").stat().st_mtime_ns == before


def test_nothing_else_is_overwritten(synthetic_root, tmp_path):
    with pytest.raises(ValueError, match="Refusing .*'num_clips': 10.*'num_clips': 9"):
        synthetic.write_dataset(synthetic_root, num_clips=10, num_eval_clips=3)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        synthetic.write_dataset(tmp_path, num_clips=1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(ValueError, match="it is a file"):
        synthetic.write_dataset(tmp_path / "thesis.txt", num_clips=1)
    with pytest.raises(ValueError, match="num_clips=0"):
        synthetic.write_dataset(tmp_path / "none", num_clips=0)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(synthetic, "_write_media", fail)
    with pytest.raises(OSError, match="disk full"):
        synthetic.write_dataset(tmp_path / "data", num_clips=1)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_write_at_once(tmp_path, monkeypatch):
    """The slower one finds the finished data set and keeps it."""
    write_all, root = synthetic._write_all, tmp_path / "data"

    def be_overtaken(unfinished, arguments):
        write_all(unfinished, arguments)
        faster = tmp_path / "faster"
        faster.mkdir()
        write_all(faster, arguments)
        faster.rename(root)

    monkeypatch.setattr(synthetic, "_write_all", be_overtaken)
    assert synthetic.write_dataset(root, num_clips=1, num_eval_clips=1) == root
    assert list(tmp_path.iterdir()) == [root]
    assert len(load_refavs(root, "train")) == 3


def test_layout_and_sidecar(synthetic_root):
    scenes = synthetic.read_scenes(synthetic_root)
    arguments = json.loads((synthetic_root / "synthetic.json").read_text())
    assert arguments["seed"] == 0
    for split in synthetic.SPLITS:
        for row in load_refavs(synthetic_root, split):  # checks that every file is there
            scene, reference = scenes[row["uid"]]
            truth = "null" if reference.target is None else scene.objects[reference.target].category
            assert row["category"] == truth
            assert row["expression"] == reference.expression
            assert (truth == "null") == (row["masks"] == []) == (f"null_s-{split}" in row["audio"])
            assert truth in (*CATEGORIES, "null")
    assert (synthetic_root / "media/null_s-train-000007").is_dir()


def test_masks_follow_the_objects(synthetic_root):
    scenes = synthetic.read_scenes(synthetic_root)
    for row in load_refavs(synthetic_root, "test_s"):
        scene, reference = scenes[row["uid"]]
        frames = read_frames(row["frames"])
        masks = read_masks(row["masks"], 10, frames.shape[1:3])
        obj = scene.objects[reference.target]
        for t in (0, 9):
            y, x = np.argwhere(masks[t]).mean(axis=0) / 112
            assert np.allclose((x, y), obj.start if t == 0 else obj.end, atol=0.04)
            inside = frames[t][masks[t]].mean(axis=0)
            painted = np.array(synthetic.PAINTS[obj.color])
            others = [np.array(paint) for color, paint in synthetic.PAINTS.items() if color != obj.color]
            assert np.abs(inside - painted).sum() < min(np.abs(inside - other).sum() for other in others)
        assert (masks.mean(axis=(1, 2)) > 0.015).all()


def test_hidden_parts_are_not_in_the_mask():
    below = SceneObject("red", "square", "left", 0.15, (0.4, 0.5), (0.4, 0.5), Sound(1.0, 2.0, -20.0))
    above = SceneObject("blue", "square", "right", 0.15, (0.5, 0.5), (0.5, 0.5), None)
    _, masks = synthetic.render_frames(Scene((below, above)), np.random.default_rng(0), 64)
    assert not (masks[0] & masks[1]).any()
    assert masks[1].sum() > 1.2 * masks[0].sum()


def _loudness(waveform, start, stop):
    piece = waveform[int(start * 16000) : int(stop * 16000)]
    return 10 * np.log10(np.mean(piece**2))


def test_sound_is_where_the_scene_says(synthetic_root):
    scenes = synthetic.read_scenes(synthetic_root)
    for row in load_refavs(synthetic_root, "test_s"):
        scene, _ = scenes[row["uid"]]
        waveform = read_audio(row["audio"])
        assert waveform.shape == (160_000,)
        assert 0.001 < np.abs(waveform).max() < 1
        sounds = [obj.sound for obj in scene.objects if obj.sound]
        assert _loudness(waveform, 0, min(s.onset for s in sounds)) < -50
        for sound in sounds:
            alone = all(s is sound or s.offset < sound.onset or s.onset > sound.offset for s in sounds)
            if alone:
                middle = _loudness(waveform, sound.onset + 0.1, sound.offset - 0.1)
                assert middle == pytest.approx(sound.level_db, abs=1.0)


@pytest.mark.parametrize(("shape", "num_peaks"), [("circle", 1), ("square", 4)])
def test_timbre(shape, num_peaks):
    obj = SceneObject("red", shape, "left", 0.15, (0.4, 0.5), (0.4, 0.5), Sound(0.0, 10.0, -20.0))
    waveform = synthetic.render_waveform(Scene((obj,)), np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(waveform))  # 0.1 Hz per bin
    peaks = np.flatnonzero(spectrum > spectrum.max() / 10)
    assert {round(peak / 2500) for peak in peaks} == {1, 3, 5, 7} if num_peaks == 4 else {1}


def test_a_triangle_is_a_band_of_noise():
    obj = SceneObject("blue", "triangle", "left", 0.15, (0.4, 0.5), (0.4, 0.5), Sound(0.0, 6.0, -20.0))
    waveform = synthetic.render_waveform(Scene((obj,)), np.random.default_rng(0))[:96000]
    power = np.abs(np.fft.rfft(waveform)) ** 2
    hertz = np.fft.rfftfreq(96000, 1 / 16000)
    inside = (hertz > 1000 / 1.2) & (hertz < 1000 * 1.2)
    assert power[inside].sum() > 0.98 * power.sum()
    assert power[inside].max() < 0.05 * power.sum(), "no single tone"


def test_other_folders_have_no_scenes(tmp_path):
    with pytest.raises(ValueError, match="only data sets written by"):
        synthetic.read_scenes(tmp_path)
