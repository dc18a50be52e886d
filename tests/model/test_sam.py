import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder
from torch.nn import functional as F

from aurora_trl.model.sam import (
    PIXEL_MEAN,
    PIXEL_STD,
    CustomSam,
    build_sam,
    custom_sam_config,
    decode_masks,
    encode_frames,
    load_sam,
    prepare_frames,
    resize_sam,
)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam(custom_sam_config())


def random_frames(num_frames, height=112, width=112):
    return np.random.default_rng(0).integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8)


def test_one_call_equals_the_packages_decoder_frame_by_frame(sam):
    """Two candidates of a three-frame clip and one of a two-frame clip, in one call."""
    clips = [random_frames(3), random_frames(2)[:, ::-1].copy()]
    embeddings = [encode_frames(sam, prepare_frames(clip, 112)[0]) for clip in clips]
    prompts = torch.randn(3, 64)
    of_clip = [0, 0, 1]
    size = (112, 112)
    ours = decode_masks(sam, prompts, [embeddings[i] for i in of_clip], [size] * 3, [size] * 3)
    reference = CustomSam().build()
    reference.load_state_dict(sam.state_dict())
    assert type(reference.mask_decoder) is MaskDecoder
    _, dense = reference.prompt_encoder(points=None, boxes=None, masks=None)
    for prompt, i, logits in zip(prompts, of_clip, ours, strict=True):
        for t in range(len(clips[i])):
            low_res, _ = reference.mask_decoder(
                image_embeddings=embeddings[i][t : t + 1],
                image_pe=reference.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompt[None, None],
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            expected = reference.postprocess_masks(low_res, size, size)[0, 0]
            torch.testing.assert_close(logits[t], expected, atol=1e-5, rtol=1e-5)


def test_gradient_reaches_the_prompt_and_the_decoder_only(sam):
    embeddings = encode_frames(sam, prepare_frames(random_frames(2), 112)[0])
    assert not embeddings.requires_grad
    prompt = torch.randn(1, 64, requires_grad=True)
    decode_masks(sam, prompt, [embeddings], [(112, 112)], [(112, 112)])[0].sum().backward()
    assert prompt.grad.abs().sum() > 0
    assert sam.mask_decoder.mask_tokens.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in sam.image_encoder.parameters())
    sam.zero_grad()


def test_frames_are_normalised_resized_by_the_longest_side_and_padded():
    frames = np.full((1, 60, 120, 3), 200, dtype=np.uint8)
    pixel_values, input_size, original_size = prepare_frames(frames, 112)
    assert pixel_values.shape == (1, 3, 112, 112)
    assert input_size == (56, 112)
    assert original_size == (60, 120)
    expected = (200 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    torch.testing.assert_close(pixel_values[0, :, 10, 10], expected)
    assert pixel_values[0, :, 56:].abs().sum() == 0


def test_masks_come_back_at_the_frames_size(sam):
    frames = random_frames(2, 60, 120)
    pixel_values, input_size, original_size = prepare_frames(frames, 112)
    embeddings = encode_frames(sam, pixel_values)
    (logits,) = decode_masks(sam, torch.randn(1, 64), [embeddings], [input_size], [original_size])
    assert logits.shape == (2, 60, 120)
    assert logits.dtype == torch.float32


def test_bad_frames_are_refused():
    with pytest.raises(ValueError, match="uint8 RGB"):
        prepare_frames(np.zeros((2, 8, 8, 3), dtype=np.float32), 112)


@pytest.mark.parametrize("image_size", [64, 224])
def test_position_tables_are_resized(image_size):
    torch.manual_seed(0)
    small = build_sam(custom_sam_config(image_size=112))
    torch.nn.init.normal_(small.image_encoder.pos_embed)
    torch.nn.init.normal_(small.image_encoder.blocks[1].attn.rel_pos_h)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    resized = resize_sam(small, image_size)
    grid = image_size // 16
    expected = F.interpolate(
        before["image_encoder.pos_embed"].permute(0, 3, 1, 2), (grid, grid), mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(resized.image_encoder.pos_embed.permute(0, 3, 1, 2), expected)
    assert resized.image_encoder.blocks[1].attn.rel_pos_h.shape == (2 * grid - 1, 16)
    assert torch.equal(resized.image_encoder.blocks[0].attn.rel_pos_h, before["image_encoder.blocks.0.attn.rel_pos_h"])
    pixel_values, input_size, original_size = prepare_frames(random_frames(1), image_size)
    embeddings = encode_frames(resized, pixel_values)
    assert embeddings.shape == (1, 64, grid, grid)
    (logits,) = decode_masks(resized, torch.randn(1, 64), [embeddings], [input_size], [original_size])
    assert logits.shape == (1, 112, 112)


@pytest.mark.parametrize(
    ("sam_config", "message"),
    [
        ({"variant": "vit_x"}, "Unknown SAM variant"),
        ({"variant": "custom", "width": 3}, "Unknown fields"),
    ],
)
def test_unknown_configurations_are_refused(sam_config, message):
    with pytest.raises(ValueError, match=message):
        build_sam(sam_config)


def test_size_that_patches_do_not_divide_is_refused(sam):
    with pytest.raises(ValueError, match="use 112 or 128"):
        resize_sam(sam, 120)


@pytest.mark.slow
def test_published_layout_loads_strictly_at_any_size(tmp_path):
    torch.manual_seed(0)
    original = sam_model_registry["vit_b"](checkpoint=None)
    path = tmp_path / "sam_vit_b.pth"
    torch.save(original.state_dict(), path)
    loaded = load_sam("vit_b", str(path), image_size=224)
    assert loaded.image_encoder.pos_embed.shape == (1, 14, 14, 768)
    assert torch.equal(loaded.mask_decoder.mask_tokens.weight, original.mask_decoder.mask_tokens.weight)
    pixel_values, input_size, original_size = prepare_frames(random_frames(2, 90, 160), 224)
    (logits,) = decode_masks(
        loaded, torch.randn(1, 256), [encode_frames(loaded, pixel_values)], [input_size], [original_size]
    )
    assert logits.shape == (2, 90, 160)
    state_dict = original.state_dict()
    del state_dict["mask_decoder.mask_tokens.weight"]
    torch.save(state_dict, path)
    with pytest.raises(ValueError, match=r"mask_tokens\.weight"):
        load_sam("vit_b", str(path))
