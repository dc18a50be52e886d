"""Answering and segmenting a batch of clips: generate, then one forward that reads the [SEG] states, then decode."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from aurora_trl.model.modeling import Segmentation, seg_positions
from aurora_trl.model.processing import PreparedClip, batch_media


@torch.no_grad()
def generate_and_segment(
    model: PreTrainedModel,
    processor,
    clips: Sequence[PreparedClip],
    max_new_tokens: int = 150,
    force_seg: bool = False,
    **generate_kwargs,
) -> list[Segmentation]:
    """
    Answers and masks of a batch of clips. Greedy unless `generate_kwargs` say otherwise.

    Args:
        model ([`~aurora_trl.AuroraModel`]):
            The policy, in evaluation mode for reproducible answers.
        processor ([`~aurora_trl.AuroraProcessor`]):
            Its processor.
        clips (list of [`~aurora_trl.model.processing.PreparedClip`]):
            On the model's device.
        max_new_tokens (`int`, *optional*, defaults to `150`):
            Length limit; an answer that reaches it is marked as truncated.
        force_seg (`bool`, *optional*, defaults to `False`):
            Append "It is [SEG]." to an answer without a [SEG]: another protocol, not free generation.
    """
    tokenizer = processor.tokenizer
    prompt_ids, prompt_mask = _pad([clip.prompt_ids for clip in clips], tokenizer.pad_token_id, "left", model.device)
    generate_kwargs.setdefault("do_sample", False)
    sequences = model.generate(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        max_new_tokens=max_new_tokens,
        suppress_tokens=model.config.media_token_ids,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **batch_media(clips),
        **generate_kwargs,
    )
    completions = [_cut_after(ids, tokenizer.eos_token_id) for ids in sequences[:, prompt_ids.shape[1] :].tolist()]
    ended = [tokenizer.eos_token_id in ids for ids in completions]
    if force_seg:
        forced = tokenizer.encode(" It is [SEG].", add_special_tokens=False)
        completions = [
            ids if model.seg_token_id in ids else [id_ for id_ in ids if id_ != tokenizer.eos_token_id] + forced
            for ids in completions
        ]
    mask_logits, has_seg = segment_completions(model, clips, completions, tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    return [
        Segmentation(
            text=text,
            mask_logits=logits,
            masks=((logits > 0) & found).cpu().numpy(),
            has_seg=bool(found),
            is_truncated=not end,
        )
        for text, logits, found, end in zip(texts, mask_logits, has_seg, ended, strict=True)
    ]


@torch.no_grad()
def read_seg_embeddings(
    model: PreTrainedModel, clips: Sequence[PreparedClip], completions: Sequence[list[int]], pad_token_id: int
) -> tuple[Tensor, Tensor]:
    """
    The [SEG] prompt of given answers, by one forward of prompts (padded left) and answers (padded right).

    Returns:
        `seg_embeddings` (b, c) and whether each answer has a [SEG] (b,); without one the embedding is of a dummy
        position.
    """
    prompt_ids, prompt_mask = _pad([clip.prompt_ids for clip in clips], pad_token_id, "left", model.device)
    completion_ids, completion_mask = _pad(completions, pad_token_id, "right", model.device)
    input_ids = torch.cat([prompt_ids, completion_ids], dim=1)
    outputs = model.base_model(
        input_ids=input_ids,
        attention_mask=torch.cat([prompt_mask, completion_mask], dim=1),
        use_cache=False,
        **batch_media(clips),
    )
    is_completion = torch.cat([torch.zeros_like(prompt_mask), completion_mask], dim=1).bool()
    positions, has_seg = seg_positions(input_ids, is_completion, model.seg_token_id, model.seg_state)
    states = outputs.last_hidden_state[torch.arange(len(clips), device=model.device), positions]
    return model.seg_projector(states), has_seg


@torch.no_grad()
def segment_completions(
    model: PreTrainedModel, clips: Sequence[PreparedClip], completions: Sequence[list[int]], pad_token_id: int
) -> tuple[list[Tensor], Tensor]:
    """Mask logits (t, h, w) of given answers, one per clip, and whether each answer has a [SEG] (b,)."""
    seg_embeddings, has_seg = read_seg_embeddings(model, clips, completions, pad_token_id)
    encode_clips(model, clips)
    mask_logits = model.decode_masks(
        seg_embeddings,
        [clip.image_embeddings for clip in clips],
        [clip.input_size for clip in clips],
        [clip.original_size for clip in clips],
    )
    return mask_logits, has_seg


@torch.no_grad()
def encode_clips(model: PreTrainedModel, clips: Sequence[PreparedClip]) -> None:
    """Puts SAM's image embeddings into the clips that have none yet, and lets their pixels go."""
    for clip in clips:
        if clip.image_embeddings is None:
            clip.image_embeddings = model.encode_frames(clip.sam_pixel_values)
            clip.sam_pixel_values = None


def _pad(sequences: Sequence[Sequence[int]], pad_id: int, side: str, device) -> tuple[Tensor, Tensor]:
    length = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), length), pad_id, device=device)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(length - len(sequence), None) if side == "left" else slice(None, len(sequence))
        ids[row, place] = torch.tensor(sequence, dtype=ids.dtype, device=device)
        mask[row, place] = 1
    return ids, mask


def _cut_after(ids: list[int], stop_id: int) -> list[int]:
    return ids[: ids.index(stop_id) + 1] if stop_id in ids else ids


__all__ = ["encode_clips", "generate_and_segment", "read_seg_embeddings", "segment_completions"]
