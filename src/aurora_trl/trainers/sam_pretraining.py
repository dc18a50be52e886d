"""
Stage 0 of the embedded default: a tiny SAM that follows prompts, before its image encoder is frozen.

A published SAM arrives promptable; a random one trained jointly with a policy learns to ignore [SEG] and to segment
everything (docs/log.md). Prompts are points, boxes and, since one [SEG] stands for an object in all frames of a clip
wherever it moves, categories: the embeddings of their words through the [SEG] projector, which learns to be read here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from aurora_trl.data.media import read_frames, read_masks
from aurora_trl.losses import mask_bce_loss, mask_dice_loss
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.sam import prepare_frames
from aurora_trl.trainers.pretraining import optimize


# Weights of the released training code.
BCE_WEIGHT, DICE_WEIGHT = 2.0, 0.5
# How noisy the states are that SAM's category prompts are made of, in units of an embedding's spread.
STATE_NOISE = 1.0


@dataclass
class SamPretrainingConfig:
    r"""
    Args:
        sam_steps (`int`, *optional*, defaults to `800`): optimizer steps.
        sam_batch_size (`int`, *optional*, defaults to `32`): frames per step.
        sam_learning_rate (`float`, *optional*, defaults to `2e-3`): peak of a one-cycle schedule.
        absent_share (`float`, *optional*, defaults to `0.15`): share of category prompts for an object that is not in
            the frame; the truth is then empty.
        sam_seed (`int`, *optional*, defaults to `0`): seed of the order and the prompts.
    """

    sam_steps: int = 800
    sam_batch_size: int = 32
    sam_learning_rate: float = 2e-3
    absent_share: float = 0.15
    sam_seed: int = 0


class CategoryPrompts:
    """
    What a state at [SEG] that names a category would prompt SAM with.

    Args:
        policy ([`~aurora_trl.AuroraModel`]): its word embeddings, final norm and [SEG] projector.
        tokenizer (`PreTrainedTokenizerBase`): of the policy.
        noise (`float`, *optional*, defaults to `1.0`): spread of what else may be in the state, beside the words of
            the category, in units of an embedding's.
    """

    def __init__(self, policy: AuroraModel, tokenizer: PreTrainedTokenizerBase, noise: float = STATE_NOISE):
        self.policy = policy
        self.tokenizer = tokenizer
        self.noise = noise

    def __call__(self, categories: Sequence[str]) -> Tensor:
        embedding = self.policy.get_input_embeddings().weight.detach()
        ids = [self.tokenizer.encode(f" {category}", add_special_tokens=False) for category in categories]
        states = torch.stack([embedding[words].sum(dim=0) for words in ids])
        states = states + self.noise * embedding.std() * torch.randn_like(states)
        return self.policy.seg_projector(self.policy.model.language_model.norm(states))


class PromptedFrames:
    """
    All frames of a data set in memory, with the mask of each referred object.

    Args:
        rows (`datasets.Dataset`): with masks.
        image_size (`int`): side of SAM's input.
        scenes (`Mapping`): of [`~aurora_trl.data.synthetic.read_scenes`]: all objects of a clip, referred to or not.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], image_size: int, scenes: Mapping[str, tuple]):
        self.image_size = image_size
        self.clips: dict[tuple, np.ndarray] = {}
        self.present: dict[tuple, set[str]] = {}
        objects: dict[tuple, tuple[tuple, str, np.ndarray]] = {}
        for row in rows:
            clip, key = tuple(row["frames"]), tuple(row["masks"])
            if not key or key in objects:
                continue
            if clip not in self.clips:
                self.clips[clip] = read_frames(row["frames"])
                self.present[clip] = {obj.category for obj in scenes[row["uid"]][0].objects}
            masks = read_masks(row["masks"], num_frames=len(clip), size=self.clips[clip].shape[1:3])
            objects[key] = (clip, row["category"], masks)
        self.objects = list(objects.values())
        self.categories = sorted({category for _, category, _ in self.objects})

    def sample(self, size: int, rng: np.random.Generator, absent_share: float) -> tuple[Tensor, Tensor, list[str]]:
        """Prepared frames (n, 3, s, s), bool masks (n, h, w) and the categories to ask for."""
        frames, masks, categories = [], [], []
        for index in rng.integers(len(self.objects), size=size):
            clip, category, object_masks = self.objects[index]
            t = rng.integers(len(object_masks))
            mask = object_masks[t]
            absent = [name for name in self.categories if not set(name.split("-")) & self._words(clip)]
            if absent and rng.random() < absent_share:
                category, mask = str(rng.choice(absent)), np.zeros_like(mask)
            frames.append(self.clips[clip][t])
            masks.append(mask)
            categories.append(category)
        pixel_values, _, _ = prepare_frames(np.stack(frames), self.image_size)
        return pixel_values, torch.from_numpy(np.stack(masks)), categories

    def _words(self, clip: tuple) -> set[str]:
        return {word for category in self.present[clip] for word in category.split("-")}


def _click_or_box(masks: Tensor, scale: float, rng: np.random.Generator) -> dict[str, Any]:
    """A point inside each object, or its box, in the coordinates of SAM's input; masks are not empty."""
    use_box = rng.random() < 0.5
    prompts = []
    for mask in masks:
        ys, xs = np.nonzero(mask.numpy())
        if use_box:
            prompts.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        else:
            i = rng.integers(len(xs))
            prompts.append([xs[i], ys[i]])
    coordinates = torch.tensor(np.array(prompts), dtype=torch.float32) * scale
    if use_box:
        return {"points": None, "boxes": coordinates, "masks": None}
    labels = torch.ones(len(masks), 1)
    return {"points": (coordinates[:, None], labels), "boxes": None, "masks": None}


def pretrain_sam(
    policy: AuroraModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    scenes: Mapping[str, tuple],
    config: SamPretrainingConfig,
) -> None:
    """
    Trains every part of a policy's SAM and its [SEG] projector, in place, on frames of square clips.

    Args:
        policy ([`~aurora_trl.AuroraModel`]):
            After [`~aurora_trl.trainers.tower_pretraining.pretrain_towers`], which gives words their embeddings.
        tokenizer (`PreTrainedTokenizerBase`):
            Of the policy.
        rows (`datasets.Dataset`):
            With masks.
        scenes (`Mapping`):
            Of [`~aurora_trl.data.synthetic.read_scenes`]: which objects a clip has, referred to or not.
        config ([`SamPretrainingConfig`]):
            Steps, batch, learning rate.
    """
    sam = policy.sam
    sam.requires_grad_(True)
    torch.manual_seed(config.sam_seed)
    rng = np.random.default_rng(config.sam_seed)
    data = PromptedFrames(rows, sam.image_encoder.img_size, scenes)
    prompts = CategoryPrompts(policy, tokenizer)

    def losses(step: int) -> dict[str, Tensor]:
        by_category = step % 3 != 0
        pixel_values, masks, categories = data.sample(
            config.sam_batch_size, rng, config.absent_share if by_category else 0.0
        )
        scale = sam.image_encoder.img_size / masks.shape[-1]
        keep = slice(None) if by_category else masks.flatten(1).any(dim=1)
        pixel_values, masks = pixel_values[keep], masks[keep]
        if by_category:
            sparse = prompts(categories)[:, None]
            dense = sam.prompt_encoder(points=None, boxes=None, masks=None)[1]
        else:
            sparse, dense = sam.prompt_encoder(**_click_or_box(masks, scale, rng))
        low_res_logits, _ = sam.mask_decoder(
            image_embeddings=sam.image_encoder(pixel_values),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits = sam.postprocess_masks(low_res_logits, pixel_values.shape[-2:], masks.shape[-2:])
        masks = masks[:, None]
        return {
            "bce": BCE_WEIGHT * mask_bce_loss(logits, masks),
            "dice": DICE_WEIGHT * mask_dice_loss(logits, masks),
        }

    parameters = [*sam.parameters(), *policy.seg_projector.parameters()]
    optimize(parameters, losses, config.sam_learning_rate, config.sam_steps, "tiny SAM")
    policy.set_frozen()
