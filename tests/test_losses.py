import math

import pytest
import torch

from aurora_trl.losses import mask_bce_loss, mask_dice_loss, seg_distillation_loss


LOG_3 = math.log(3)  # sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4


def test_bce_by_hand():
    # p = 3/4, 1/4 and truth 1, 1: -(log 3/4 + log 1/4) / 2 = (2 log 4 - log 3) / 2
    loss = mask_bce_loss(torch.tensor([[[LOG_3, -LOG_3]]]), torch.tensor([[[True, True]]]))
    torch.testing.assert_close(loss, torch.tensor((2 * math.log(4) - LOG_3) / 2))
    # a swapped truth is another number: p = 3/4, 1/4 and truth 1, 0: -log 3/4
    loss = mask_bce_loss(torch.tensor([[[LOG_3, -LOG_3]]]), torch.tensor([[[True, False]]]))
    torch.testing.assert_close(loss, torch.tensor(math.log(4) - LOG_3))


def test_dice_by_hand():
    # frame 1: p = 3/4, 1/4, g = 1, 0: 1 - 2·3/4 / (1 + 1) = 1/4
    # frame 2: p = 1/2, 1/2, g = 1, 1: 1 - 2·1 / (1 + 2) = 1/3.   Mean: 7/24
    mask_logits = torch.tensor([[[LOG_3, -LOG_3]], [[0.0, 0.0]]])
    gt_masks = torch.tensor([[[True, False]], [[True, True]]])
    torch.testing.assert_close(mask_dice_loss(mask_logits, gt_masks, eps=0.0), torch.tensor(7 / 24))
    # eps enters above and below: frame 2 with eps = 1 is 1 - (2 + 1) / (3 + 1) = 1/4
    torch.testing.assert_close(mask_dice_loss(mask_logits[1:], gt_masks[1:], eps=1.0), torch.tensor(1 / 4))


def test_dice_of_an_empty_truth_falls_with_the_false_object():
    # p = 1/2 on two pixels, g = 0: 1 - eps / (1 + eps)
    empty = torch.zeros(1, 1, 2, dtype=torch.bool)
    torch.testing.assert_close(mask_dice_loss(torch.zeros(1, 1, 2), empty), torch.tensor(1 - 1e-3 / 1.001))
    assert mask_dice_loss(torch.full((1, 1, 2), -20.0), empty) < 1e-3


def test_dice_weighs_frames_alike_whatever_the_leading_axes():
    mask_logits, gt_masks = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5) > 0.5
    per_frame = [
        mask_dice_loss(logits[None], masks[None])
        for logits, masks in zip(mask_logits.flatten(0, 1), gt_masks.flatten(0, 1), strict=True)
    ]
    torch.testing.assert_close(mask_dice_loss(mask_logits, gt_masks), torch.stack(per_frame).mean())


def test_distillation_by_hand():
    # ((1-0)² + (2-0)² + (3-5)² + (4-4)²) / 4 = 9/4
    student = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0], [5.0, 4.0]], requires_grad=True)
    loss = seg_distillation_loss(student, teacher)
    torch.testing.assert_close(loss, torch.tensor(9 / 4))
    loss.backward()
    # d/ds (s - t)² / 4 = (s - t) / 2: towards the teacher, and the teacher does not move
    torch.testing.assert_close(student.grad, torch.tensor([[0.5, 1.0], [-1.0, 0.0]]))
    assert teacher.grad is None


@pytest.mark.parametrize("loss", [mask_bce_loss, mask_dice_loss])
def test_gradients_raise_the_object_and_lower_the_background(loss):
    mask_logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    loss(mask_logits, torch.tensor([[[[True, False]]]])).backward()
    assert mask_logits.grad[..., 0].item() < 0 < mask_logits.grad[..., 1].item()


@pytest.mark.parametrize("loss", [mask_bce_loss, mask_dice_loss])
def test_half_precision_logits_give_a_float32_loss(loss):
    mask_logits, gt_masks = torch.randn(2, 2, 64, 64), torch.rand(2, 2, 64, 64) > 0.5
    half = loss(mask_logits.bfloat16(), gt_masks)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(mask_logits.bfloat16().float(), gt_masks))
    assert loss(torch.full((1, 1, 300, 300), 9.0, dtype=torch.float16), gt_masks.new_ones(1, 1, 300, 300)).isfinite()


@pytest.mark.parametrize("loss", [mask_bce_loss, mask_dice_loss])
def test_masks_that_do_not_fit_are_refused(loss):
    with pytest.raises(ValueError, match="same, non-empty shape"):
        loss(torch.zeros(2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="same, non-empty shape"):
        loss(torch.zeros(0, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="from 0 to 255"):
        loss(torch.zeros(1, 1, 2), torch.tensor([[[0, 255]]], dtype=torch.uint8))


def test_numeric_truth_is_the_bool_truth():
    mask_logits, gt_masks = torch.randn(2, 3, 3), torch.rand(2, 3, 3) > 0.5
    for loss in (mask_bce_loss, mask_dice_loss):
        for dtype in (torch.uint8, torch.int64, torch.float32):
            torch.testing.assert_close(loss(mask_logits, gt_masks.to(dtype)), loss(mask_logits, gt_masks))


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="student"):
        seg_distillation_loss(torch.zeros(2, 4), torch.zeros(2, 5))
