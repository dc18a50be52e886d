"""
SAM from the unmodified `segment-anything` package: build it at any resolution, load checkpoints strictly, encode a
clip's frames once and decode many prompts in one call. Knows nothing of language models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from aurora_trl.model.tensor_files import load_tensors


# Pixel statistics of the published SAM (segment_anything/build_sam.py), in 0–255 RGB.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
# Position tables are resized bicubically, as the released training code does.
RESIZE_MODE = "bicubic"


@dataclass(frozen=True)
class CustomSam:
    """
    Sizes of a SAM that the registry does not list. The defaults are the embedded tiny one: 0.35 M parameters, a 7×7
    grid of embeddings and 28×28 low-resolution masks for 112 px frames.
    """

    image_size: int = 112
    patch_size: int = 16
    embed_dim: int = 64
    depth: int = 2
    num_heads: int = 4
    global_attn_indexes: tuple[int, ...] = (1,)
    window_size: int = 7
    prompt_embed_dim: int = 64
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_num_heads: int = 4
    decoder_mlp_dim: int = 128
    iou_head_depth: int = 2
    iou_head_hidden_dim: int = 64

    def build(self) -> Sam:
        grid = self.image_size // self.patch_size
        return Sam(
            image_encoder=ImageEncoderViT(
                img_size=self.image_size,
                patch_size=self.patch_size,
                embed_dim=self.embed_dim,
                depth=self.depth,
                num_heads=self.num_heads,
                mlp_ratio=4,
                out_chans=self.prompt_embed_dim,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                qkv_bias=True,
                use_rel_pos=True,
                window_size=self.window_size,
                global_attn_indexes=self.global_attn_indexes,
            ),
            prompt_encoder=PromptEncoder(
                embed_dim=self.prompt_embed_dim,
                image_embedding_size=(grid, grid),
                input_image_size=(self.image_size, self.image_size),
                mask_in_chans=self.mask_in_chans,
            ),
            mask_decoder=MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(
                    depth=self.decoder_depth,
                    embedding_dim=self.prompt_embed_dim,
                    mlp_dim=self.decoder_mlp_dim,
                    num_heads=self.decoder_num_heads,
                ),
                transformer_dim=self.prompt_embed_dim,
                iou_head_depth=self.iou_head_depth,
                iou_head_hidden_dim=self.iou_head_hidden_dim,
            ),
            pixel_mean=list(PIXEL_MEAN),
            pixel_std=list(PIXEL_STD),
        )


class PairedMaskDecoder(MaskDecoder):
    """
    `MaskDecoder` whose prompt i belongs to image i, so that all frames of all candidates are one call.

    The package's own decoder repeats every image for every prompt (one image, many prompts), which mis-pairs several
    prompts with several images. Only the single-mask output is computed (`multimask_output=False` everywhere here).
    """

    def predict_masks(self, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings):
        n, channels, height, width = image_embeddings.shape
        own_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own_tokens.expand(n, -1, -1), sparse_prompt_embeddings], dim=1)
        token_states, image_states = self.transformer(
            image_embeddings + dense_prompt_embeddings, image_pe.expand(n, -1, -1, -1), tokens
        )
        upscaled = self.output_upscaling(image_states.transpose(1, 2).reshape(n, channels, height, width))
        mask_weights = self.output_hypernetworks_mlps[0](token_states[:, 1])
        low_res_logits = torch.einsum("nc,nchw->nhw", mask_weights, upscaled)
        return low_res_logits[:, None], self.iou_prediction_head(token_states[:, 0])


def build_sam(sam_config: dict[str, Any]) -> Sam:
    """
    Builds a SAM with random weights, at any input size.

    Args:
        sam_config (`dict`):
            `variant` (`vit_h`, `vit_l`, `vit_b` or `custom`) and `image_size`, a multiple of the patch size (16);
            `custom` takes the fields of [`CustomSam`].
    """
    settings = dict(sam_config)
    variant = settings.pop("variant", "custom")
    if variant == "custom":
        known = {field.name for field in fields(CustomSam)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"Unknown fields {unknown} in `sam_config`: a custom SAM takes {sorted(known)}.")
        if "global_attn_indexes" in settings:
            settings["global_attn_indexes"] = tuple(settings["global_attn_indexes"])
        sam = CustomSam(**settings).build()
    elif variant in sam_model_registry:
        sam = resize_sam(sam_model_registry[variant](checkpoint=None), settings.get("image_size", 1024))
    else:
        raise ValueError(
            f"Unknown SAM variant {variant!r}: choose one of {sorted(sam_model_registry)} or 'custom' with sizes."
        )
    sam.mask_decoder.__class__ = PairedMaskDecoder  # same parameters, another pairing of prompts and images
    return sam


def custom_sam_config(**overrides) -> dict[str, Any]:
    """`sam_config` of a [`CustomSam`], every field written out."""
    return {"variant": "custom", **asdict(CustomSam(**overrides))}


def load_sam(variant: str, checkpoint_path: str, image_size: int = 1024) -> Sam:
    """
    Loads a published `sam_vit_{h,l,b}.pth` strictly, then resizes its position tables to `image_size`.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; the message names it.
    """
    sam = build_sam({"variant": variant, "image_size": 1024})
    state_dict = load_tensors(checkpoint_path)
    try:
        sam.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint_path} does not fit a SAM {variant}: {error}. Name the file's variant, or fetch it again."
        ) from error
    return resize_sam(sam, image_size)


def _resize_table(table: Float[Tensor, "1 h w c"], size: tuple[int, int]) -> Float[Tensor, "1 new_h new_w c"]:
    resized = F.interpolate(table.permute(0, 3, 1, 2).float(), size, mode=RESIZE_MODE, align_corners=False)
    return resized.permute(0, 2, 3, 1).to(table.dtype)


@torch.no_grad()
def resize_sam(sam: Sam, image_size: int) -> Sam:
    """
    Resizes the absolute position table and the relative ones of the global attention blocks to another input size.

    Args:
        sam (`Sam`):
            Changed in place.
        image_size (`int`):
            New side of the square input, in pixels; a multiple of the patch size.
    """
    encoder = sam.image_encoder
    patch_size = encoder.patch_embed.proj.kernel_size[0]
    if image_size % patch_size:
        raise ValueError(
            f"SAM's image_size {image_size} is not a multiple of its patch size {patch_size}: "
            f"use {image_size // patch_size * patch_size} or {(image_size // patch_size + 1) * patch_size}."
        )
    if image_size == encoder.img_size:
        return sam
    grid, old_grid = image_size // patch_size, encoder.img_size // patch_size
    encoder.pos_embed = nn.Parameter(_resize_table(encoder.pos_embed, (grid, grid)))
    for block in encoder.blocks:
        if block.window_size == 0 and block.attn.rel_pos_h.shape[0] == 2 * old_grid - 1:
            for name in ("rel_pos_h", "rel_pos_w"):
                table = getattr(block.attn, name)[None, None]  # (1, 1, 2·old_grid−1, head_dim)
                length, width = 2 * grid - 1, table.shape[-1]
                resized = F.interpolate(table.float(), (length, width), mode=RESIZE_MODE, align_corners=False)
                setattr(block.attn, name, nn.Parameter(resized[0, 0].to(table.dtype)))
    encoder.img_size = image_size
    sam.prompt_encoder.image_embedding_size = (grid, grid)
    sam.prompt_encoder.input_image_size = (image_size, image_size)
    sam.prompt_encoder.mask_input_size = (4 * grid, 4 * grid)
    return sam


def prepare_frames(
    frames: np.ndarray, image_size: int
) -> tuple[Float[Tensor, "t 3 s s"], tuple[int, int], tuple[int, int]]:
    """
    Frames as SAM wants them: longest side resized to `image_size`, normalised, padded at the bottom and right.

    Args:
        frames (`np.ndarray`):
            uint8 RGB of shape (t, h, w, 3).
        image_size (`int`):
            Side of SAM's input.

    Returns:
        Pixel values, `input_size` (h, w) before padding and `original_size` (h, w).
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"Frames must be uint8 RGB of shape (t, h, w, 3), not {frames.dtype} of shape {frames.shape}: "
            "read them with `aurora_trl.data.media`."
        )
    resize = ResizeLongestSide(image_size)
    resized = torch.from_numpy(np.stack([resize.apply_image(frame) for frame in frames]))  # (t, h, w, 3)
    mean, std = (torch.tensor(values) for values in (PIXEL_MEAN, PIXEL_STD))
    pixel_values = ((resized - mean) / std).permute(0, 3, 1, 2)
    input_size = (pixel_values.shape[-2], pixel_values.shape[-1])
    pixel_values = F.pad(pixel_values, (0, image_size - input_size[1], 0, image_size - input_size[0]))
    return pixel_values, input_size, frames.shape[1:3]


@torch.no_grad()
def encode_frames(sam: Sam, pixel_values: Float[Tensor, "t 3 s s"]) -> Float[Tensor, "t c h w"]:
    """SAM's image embeddings of the frames of a clip; never differentiated."""
    return sam.image_encoder(pixel_values.to(sam.image_encoder.patch_embed.proj.weight.dtype))


def _dense_position_encoding(sam: Sam) -> Float[Tensor, "1 c h w"]:
    """As `get_dense_pe` of the package, computed in float32: its grid is float32, whatever the weights are."""
    layer, size = sam.prompt_encoder.pe_layer, sam.prompt_encoder.image_embedding_size
    return functional_call(layer, {name: buffer.float() for name, buffer in layer.named_buffers()}, (size,))[None]


def decode_masks(
    sam: Sam,
    seg_embeddings: Float[Tensor, "n c"],
    image_embeddings: Sequence[Float[Tensor, "_t c h w"]],
    input_sizes: Sequence[tuple[int, int]],
    original_sizes: Sequence[tuple[int, int]],
) -> list[Float[Tensor, "_t _height _width"]]:
    """
    Mask logits of n prompts, each over all frames of its own clip, in one call of the mask decoder.

    Args:
        sam (`Sam`):
            With a [`PairedMaskDecoder`].
        seg_embeddings (`torch.Tensor`):
            One prompt per candidate, the only sparse prompt.
        image_embeddings (list of `torch.Tensor`):
            Of each candidate's clip; the same tensor may stand for several candidates.
        input_sizes, original_sizes (list of `(int, int)`):
            (h, w) of the unpadded input and of the frames on disk.

    Returns:
        Un-thresholded float32 logits at the original size, a tensor (t, h, w) per candidate.
    """
    lengths = [embeddings.shape[0] for embeddings in image_embeddings]
    dtype = sam.mask_decoder.iou_token.weight.dtype
    repeats = torch.tensor(lengths, device=seg_embeddings.device)
    _, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
    low_res_logits, _ = sam.mask_decoder(
        image_embeddings=torch.cat(list(image_embeddings)).to(seg_embeddings.device, dtype),
        image_pe=_dense_position_encoding(sam).to(dtype),
        sparse_prompt_embeddings=seg_embeddings.to(dtype).repeat_interleave(repeats, dim=0)[:, None],
        dense_prompt_embeddings=dense.to(dtype),
        multimask_output=False,
    )
    per_candidate = low_res_logits.float().split(lengths)
    return [
        sam.postprocess_masks(logits, input_size, original_size)[:, 0]
        for logits, input_size, original_size in zip(per_candidate, input_sizes, original_sizes, strict=True)
    ]
