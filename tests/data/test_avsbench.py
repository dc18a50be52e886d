import csv

import cv2
import numpy as np
import pytest
import soundfile

from aurora_trl.data import MissingFilesError, UnsafePathError, load_avsbench
from aurora_trl.data.avsbench import EXPRESSION
from aurora_trl.data.collator import load_clips
from aurora_trl.data.media import labelled_frames, read_masks
from aurora_trl.data.readers import load_split


def write_clip(folder, name, masks, palette=False):
    """Five frames, five masks (or one) and a sound, all of them small."""
    rng = np.random.default_rng(0)
    for path, count in ((folder["frames"], 5), (folder["masks"], masks)):
        path.mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            picture = rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)
            if path == folder["masks"]:
                picture = np.zeros((28, 28, 3) if palette else (28, 28), np.uint8)
                picture[:14] = (0, 0, 128) if palette else 45
            suffix = ".mp4" if palette and path == folder["frames"] else ""
            cv2.imwrite(str(path / f"{name}{suffix}_{number}.png"), picture)
    folder["sound"].parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder["sound"], 0.1 * rng.standard_normal(5 * 8000), 8000)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("avsbench")
    for subset, home, header in (
        ("s4", "Single-source", ["video_id", "start", "category", "split"]),
        ("ms3", "Multi-sources", ["video_id", "split"]),
    ):
        data = root / home / f"{subset}_data"
        rows = []
        for split in ("train", "test"):
            name = f"{subset}_{split}_clip"
            clip = f"{split}/dog_barking/{name}" if subset == "s4" else name
            masks = f"{split}/dog_barking/{name}" if subset == "s4" else f"{split}/{name}"
            folder = {
                "frames": data / "visual_frames" / clip,
                "masks": data / "gt_masks" / masks,
                "sound": data / "audio_wav" / f"{masks if subset == 's4' else f'{split}/{name}'}.wav",
            }
            write_clip(folder, name, 1 if (subset, split) == ("s4", "train") else 5, palette=subset == "ms3")
            rows.append([name, "0", "dog_barking", split] if subset == "s4" else [name, split])
        with (root / home / f"{subset}_meta_data.csv").open("w", newline="") as table:
            csv.writer(table).writerows([header, *rows])
    return root


def test_s4_train_has_a_truth_for_its_first_frame_only(root):
    (row,) = load_avsbench(root, "train")
    assert (row["expression"], row["category"], row["uid"]) == (EXPRESSION, "dog_barking", "s4_train_clip")
    assert len(row["frames"]) == len(row["masks"]) == 5
    assert row["masks"][1:] == [None] * 4
    assert labelled_frames(row["masks"], 5) == [0]
    masks = read_masks(row["masks"], 5, (28, 28))
    assert masks[0, :14].all()
    assert not masks[0, 14:].any()


@pytest.mark.parametrize("subset", ["s4", "ms3"])
def test_every_test_frame_has_a_truth(root, subset, processor):
    (row,) = load_avsbench(root, "test", subset)
    (clip,) = load_clips([row], processor)
    assert clip.labelled is None
    assert clip.gt_masks[:, :14].all(), "grey 45 and a color of a palette are the object"
    assert not clip.gt_masks[:, 14:].any()


def test_the_folder_of_a_subset_is_a_root_too(root):
    assert load_split(root / "Multi-sources", "test")["uid"][:] == ["ms3_test_clip"]
    with pytest.raises(MissingFilesError, match="Single-source or Multi-sources"):
        load_split(root, "test")


def test_bad_tables(root, tmp_path):
    with pytest.raises(ValueError, match="Unknown subset 'v2'"):
        load_avsbench(root, "test", "v2")
    with pytest.raises(ValueError, match="Unknown split 'test_s'"):
        load_avsbench(root, "test_s")
    with pytest.raises(MissingFilesError, match="no s4_meta_data.csv"):
        load_avsbench(tmp_path, "test")
    table = tmp_path / "s4_meta_data.csv"
    for text, error, message in [
        ("name,category\n", ValueError, "lacks the columns"),
        ("name,category,split\n../x,dog,test\n", UnsafePathError, "line 2"),
        ("name,category,split\nx,../../etc,test\n", UnsafePathError, "the category"),
        ("name,category,split\nx,dog\n", ValueError, "shorter than the header"),
        ("name,category,split\nx,dog,train\n", ValueError, "no row of split 'test'"),
        ("name,category,split\nx,dog,test\n", MissingFilesError, "11 files"),
    ]:
        table.write_text(text)
        with pytest.raises(error, match=message):
            load_avsbench(tmp_path, "test")


def test_frames_without_truth_are_not_trained_on(root, policy, processor):
    """Losses of an S4 train row are those of its first frame."""
    import torch

    from aurora_trl.losses import mask_bce_loss, mask_dice_loss
    from aurora_trl.trainers.policy_forward import SegmentedBatch, segmentation_losses

    (clip,) = load_clips([load_avsbench(root, "train")[0]], processor)
    logits = torch.randn(clip.gt_masks.shape)
    losses = segmentation_losses(SegmentedBatch([clip], [logits], torch.tensor([True]), torch.zeros(1, 4)))
    assert losses["mask_bce_loss"] == mask_bce_loss(logits[:1], clip.gt_masks[:1])
    assert losses["mask_dice_loss"] == mask_dice_loss(logits[:1], clip.gt_masks[:1])
