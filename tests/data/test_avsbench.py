import pytest
import torch

from aurora_trl.data import MissingFilesError, UnsafePathError, load_avsbench
from aurora_trl.data.avsbench import EXPRESSION
from aurora_trl.data.collator import load_clips
from aurora_trl.data.media import labelled_frames, read_masks
from aurora_trl.data.readers import load_split
from aurora_trl.losses import mask_bce_loss, mask_dice_loss
from aurora_trl.trainers.policy_forward import SegmentedBatch, segmentation_losses


def test_s4_train_has_a_truth_for_its_first_frame_only(avsbench_root):
    (row,) = load_avsbench(avsbench_root, "train")
    assert (row["expression"], row["category"], row["uid"]) == (EXPRESSION, "dog_barking", "s4_train_clip")
    assert len(row["frames"]) == len(row["masks"]) == 5
    assert row["masks"][1:] == [None] * 4
    assert labelled_frames(row["masks"], 5) == [0]
    masks = read_masks(row["masks"], 5, (28, 28))
    assert masks[0, :14].all()
    assert not masks[0, 14:].any()


@pytest.mark.parametrize("subset", ["s4", "ms3"])
def test_every_test_frame_has_a_truth(avsbench_root, subset, processor):
    (row,) = load_avsbench(avsbench_root, "test", subset)
    (clip,) = load_clips([row], processor)
    assert clip.labelled is None
    assert clip.gt_masks[:, :14].all(), "grey 45 and a color of a palette are the object"
    assert not clip.gt_masks[:, 14:].any()


def test_the_folder_of_a_subset_is_a_root_too(avsbench_root):
    assert load_split(avsbench_root / "Multi-sources", "test")["uid"][:] == ["ms3_test_clip"]
    with pytest.raises(MissingFilesError, match="Single-source or Multi-sources"):
        load_split(avsbench_root, "test")


def test_a_folder_with_both_tables_is_ambiguous(avsbench_root, tmp_path):
    for subset, home in (("s4", "Single-source"), ("ms3", "Multi-sources")):
        name = f"{subset}_meta_data.csv"
        (tmp_path / name).write_bytes((avsbench_root / home / name).read_bytes())
    with pytest.raises(ValueError, match="the tables of s4 and ms3"):
        load_split(tmp_path, "test")


def test_bad_tables(avsbench_root, tmp_path):
    with pytest.raises(ValueError, match="Unknown subset 'v2'"):
        load_avsbench(avsbench_root, "test", "v2")
    with pytest.raises(ValueError, match="Unknown split 'test_s'"):
        load_avsbench(avsbench_root, "test_s")
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


def test_frames_without_truth_are_not_trained_on(avsbench_root, policy, processor):
    """Losses of an S4 train row are those of its first frame."""
    (clip,) = load_clips([load_avsbench(avsbench_root, "train")[0]], processor)
    logits = torch.randn(clip.gt_masks.shape)
    losses = segmentation_losses(SegmentedBatch([clip], [logits], torch.tensor([True]), torch.zeros(1, 4)))
    assert losses["mask_bce_loss"] == mask_bce_loss(logits[:1], clip.gt_masks[:1])
    assert losses["mask_dice_loss"] == mask_dice_loss(logits[:1], clip.gt_masks[:1])
