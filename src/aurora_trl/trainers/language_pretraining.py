"""
Stage 0 of the embedded default: a tiny language model that knows the language, from text alone.

A released Qwen2 arrives with that. Here the tiny one reads expressions and writes the true chains of thought without
clip or sound: what is seen and heard it can only guess, but from its own sentences it learns to conclude, and its
state before [SEG] learns to carry the category it has named, as SAM's category prompts do. Without the latter the
joint training collapses to one prompt for everything, "segment all" (docs/log.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aurora_trl.answer import render_answer
from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.losses import seg_distillation_loss
from aurora_trl.model.modeling import AuroraModel, seg_positions
from aurora_trl.model.processing import AuroraProcessor
from aurora_trl.trainers.pretraining import optimize
from aurora_trl.trainers.sam_pretraining import CategoryPrompts


# What answer.render_cot writes before the category.
CONCLUSION = "the target is"


@dataclass
class LanguagePretrainingConfig:
    r"""
    Args:
        language_clips (`int`, *optional*, defaults to `4000`): imagined clips, about three texts each.
        language_steps (`int`, *optional*, defaults to `400`): optimizer steps.
        language_batch_size (`int`, *optional*, defaults to `32`): texts per step.
        language_learning_rate (`float`, *optional*, defaults to `2e-3`): peak of a one-cycle schedule.
        short_share (`float`, *optional*, defaults to `0.3`): share of short answers, "It is {category} [SEG].".
        language_seed (`int`, *optional*, defaults to `0`): seed of the order.
    """

    language_clips: int = 4000
    language_steps: int = 400
    language_batch_size: int = 32
    language_learning_rate: float = 2e-3
    short_share: float = 0.3
    language_seed: int = 0


def _encode(processor: AuroraProcessor, row: dict[str, Any], text: str) -> tuple[list[int], list[int], int]:
    """Ids of prompt and completion, and how many of the latter follow "So the target is" (0 in a short answer)."""

    def encode(part: str) -> list[int]:
        return processor.tokenizer.encode(part, add_special_tokens=False)

    completion = processor.render_completion_text(row["prompt"], [{"role": "assistant", "content": text}])
    _, found, conclusion = completion.partition(CONCLUSION)
    prompt = processor.render_prompt_text(row["prompt"], has_video=False, has_audio=False)
    return encode(prompt), encode(completion), len(encode(conclusion)) if found else 0


def _batch(texts: Sequence[tuple[list[int], list[int], int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids of prompts and completions, padded on the right, and where the completions are."""
    length = max(len(prompt) + len(completion) for prompt, completion, _ in texts)
    input_ids = torch.full((len(texts), length), pad_id)
    is_completion = torch.zeros_like(input_ids, dtype=torch.bool)
    for i, (prompt, completion, _) in enumerate(texts):
        end = len(prompt) + len(completion)
        input_ids[i, :end] = torch.tensor(prompt + completion)
        is_completion[i, len(prompt) : end] = True
    return input_ids, is_completion


def pretrain_language(
    policy: AuroraModel,
    processor: AuroraProcessor,
    rows: Sequence[dict[str, Any]],
    config: LanguagePretrainingConfig,
) -> None:
    """
    Trains the language model and its head in place.

    Args:
        policy ([`~aurora_trl.AuroraModel`]):
            After the towers and SAM.
        processor ([`~aurora_trl.AuroraProcessor`]):
            Of the policy.
        rows (list of `dict`):
            With `prompt`, `category` and `completion` (text): of [`~aurora_trl.reasoning.oracle.imagine`].
        config ([`LanguagePretrainingConfig`]):
            Steps, batch, learning rate.
    """
    torch.manual_seed(config.language_seed)
    rng = np.random.default_rng(config.language_seed)
    long = [_encode(processor, row, row["completion"]) for row in rows]
    short = [_encode(processor, row, render_answer(row["category"])) for row in rows]
    categories = [row["category"] for row in rows]
    prompts = CategoryPrompts(policy, processor.tokenizer, noise=0.0)

    def losses(step: int) -> dict[str, Tensor]:
        chosen = rng.integers(len(long), size=config.language_batch_size)
        texts = [short[i] if rng.random() < config.short_share else long[i] for i in chosen]
        input_ids, is_completion = _batch(texts, processor.tokenizer.pad_token_id)
        states = policy.model(input_ids=input_ids, use_cache=False).last_hidden_state
        log_probs = policy.lm_head(states[:, :-1]).log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
        from_end = is_completion.flip(1).cumsum(1).flip(1)  # 1 at the last token of a completion
        is_conclusion = is_completion & (from_end <= torch.tensor([length for *_, length in texts])[:, None])
        positions, _ = seg_positions(input_ids, is_completion, policy.seg_token_id, policy.seg_state)
        visible = [i for i, row in enumerate(chosen) if categories[row] != NULL_CATEGORY]
        seg_embeddings = policy.seg_projector(states[visible, positions[visible]])
        target = prompts([categories[chosen[i]] for i in visible])
        return {
            "text": -log_probs[is_completion[:, 1:]].mean(),
            # What is seen and heard can't be known here; what follows from it can, and is a few tokens of many.
            "conclusion": -log_probs[is_conclusion[:, 1:]].sum() / is_conclusion.sum().clamp(min=1),
            "seg": seg_distillation_loss(seg_embeddings, target),
        }

    parameters = [*policy.model.language_model.parameters(), *policy.lm_head.parameters()]
    optimize(parameters, losses, config.language_learning_rate, config.language_steps, "tiny language model")
