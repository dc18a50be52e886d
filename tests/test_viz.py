import numpy as np
import pytest

from aurora_trl.viz import GAP, TRUTH_COLOR, contact_sheet, overlay_masks, plot_curves


@pytest.fixture
def clip():
    frames = np.full((3, 48, 64, 3), 100, np.uint8)
    masks = np.zeros((3, 48, 64), bool)
    masks[:2, 10:30, 20:40] = True
    return frames, masks


def test_overlay_by_hand(clip):
    frames, masks = clip
    shown = overlay_masks(frames, masks, color=(200, 0, 50), alpha=0.25)
    assert shown.dtype == np.uint8
    assert shown[0, 20, 30].tolist() == [125, 75, 88], "3/4 of the picture, 1/4 of the color"
    assert shown[0, 10, 30].tolist() == [200, 0, 50], "outline"
    assert shown[0, 5, 5].tolist() == [100, 100, 100]
    assert (shown[2] == 100).all(), "an empty mask changes nothing"
    assert (frames == 100).all(), "the frames are left as they are"


def test_contact_sheet_has_a_row_for_the_truth_and_each_candidate(clip):
    frames, masks = clip
    truth_only = contact_sheet(frames, masks, [], "The cat.", tile_height=48)
    width = 3 * 64 + 4 * GAP
    assert truth_only.shape[1:] == (width, 3)
    outline = truth_only[GAP + 10, GAP + 30]
    assert outline.tolist() == list(TRUTH_COLOR)
    long_text = "It costs $5 and $6. " * 10
    sheet = contact_sheet(frames, masks, [("short", masks), (long_text, ~masks), ("none", None)], tile_height=48)
    short = contact_sheet(frames, masks, [("short", masks), ("short", ~masks), ("none", None)], tile_height=48)
    assert sheet.shape[0] > short.shape[0] > truth_only.shape[0] + 3 * 48, "long captions wrap"
    assert sheet.shape[1] == width
    last = short[-60:-40, GAP + 5 : GAP + 60]
    assert last.max() < 60, "an answer without mask is darkened"


def test_text_is_there_and_inside(clip):
    frames, _ = clip
    sheet = contact_sheet(frames, None, [("W" * 200, None)])
    text = sheet[-30:]
    assert text.min() < 100
    assert (text[:, -2:] == 255).all(), "nothing is cut off at the right edge"


def test_curves():
    picture = plot_curves({"iou_reward": [0.1, float("nan"), 0.4], "one point": [0.2]}, "a $title", size=(320, 200))
    assert picture.shape == (200, 320, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    assert plot_curves({}).shape == (360, 640, 3)
