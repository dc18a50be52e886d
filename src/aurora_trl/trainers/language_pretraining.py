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
from torch import nn
from tqdm.auto import tqdm

from aurora_trl.answer import parse, render_answer
from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.losses import seg_distillation_loss
from aurora_trl.model.modeling import AuroraModel, seg_positions
from aurora_trl.model.processing import AuroraProcessor
from aurora_trl.trainers.sam_pretraining import CategoryPrompts


@dataclass
class LanguagePretrainingConfig:
    r"""
    Args:
        language_steps (`int`, *optional*, defaults to `400`): optimizer steps.
        language_batch_size (`int`, *optional*, defaults to `32`): texts per step.
        language_learning_rate (`float`, *optional*, defaults to `2e-3`): peak of a one-cycle schedule.
        short_share (`float`, *optional*, defaults to `0.3`): share of short answers, "It is {category} [SEG].".
        language_seed (`int`, *optional*, defaults to `0`): seed of the order.
    """

    language_steps: int = 400
    language_batch_size: int = 32
    language_learning_rate: float = 2e-3
    short_share: float = 0.3
    language_seed: int = 0


def _encode(processor: AuroraProcessor, row: dict[str, Any], text: str) -> tuple[list[int], list[int]]:
    completion = [{"role": "assistant", "content": text}]
    prompt_text = processor.render_prompt_text(row["prompt"], has_video=False, has_audio=False)
    completion_text = processor.render_completion_text(row["prompt"], completion)
    encode = processor.tokenizer.encode
    return encode(prompt_text, add_special_tokens=False), encode(completion_text, add_special_tokens=False)


def pretrain_language(
    policy: AuroraModel,
    processor: AuroraProcessor,
    rows: Sequence[dict[str, Any]],
    texts: Sequence[str],
    config: LanguagePretrainingConfig,
) -> None:
    """
    Trains the language model and its head in place.

    Args:
        policy ([`~aurora_trl.AuroraModel`]):
            After the towers and SAM.
        processor ([`~aurora_trl.AuroraProcessor`]):
            Of the policy.
        rows (`datasets.Dataset`):
            With prompts and categories.
        texts (list of `str`):
            The chain of thought of each row.
        config ([`LanguagePretrainingConfig`]):
            Steps, batch, learning rate.
    """
    torch.manual_seed(config.language_seed)
    rng = np.random.default_rng(config.language_seed)
    long = [_encode(processor, row, text) for row, text in zip(rows, texts, strict=True)]
    short = [_encode(processor, row, render_answer(row["category"])) for row in rows]
    categories = [parse(text).category for text in texts]
    prompts = CategoryPrompts(policy, processor.tokenizer, noise=0.0)
    parameters = [*policy.model.language_model.parameters(), *policy.lm_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.language_learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.language_learning_rate, total_steps=config.language_steps
    )
    progress = tqdm(range(config.language_steps), desc="tiny language model")
    for step in progress:
        chosen = rng.integers(len(long), size=config.language_batch_size)
        pairs = [short[i] if rng.random() < config.short_share else long[i] for i in chosen]
        length = max(len(prompt) + len(completion) for prompt, completion in pairs)
        input_ids = torch.full((len(pairs), length), processor.tokenizer.pad_token_id)
        is_completion = torch.zeros_like(input_ids, dtype=torch.bool)
        for i, (prompt, completion) in enumerate(pairs):
            end = len(prompt) + len(completion)
            input_ids[i, :end] = torch.tensor(prompt + completion)
            is_completion[i, len(prompt) : end] = True
        states = policy.model(input_ids=input_ids, use_cache=False).last_hidden_state
        log_probs = policy.lm_head(states[:, :-1]).log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
        cross_entropy = -log_probs[is_completion[:, 1:]].mean()
        positions, _ = seg_positions(input_ids, is_completion, policy.seg_token_id, policy.seg_state)
        visible = [i for i, row in enumerate(chosen) if categories[row] != NULL_CATEGORY]
        seg_embeddings = policy.seg_projector(states[visible, positions[visible]])
        target = prompts([categories[chosen[i]] for i in visible])
        distillation = seg_distillation_loss(seg_embeddings, target)
        optimizer.zero_grad()
        (cross_entropy + distillation).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{cross_entropy.item():.3f}", seg=f"{distillation.item():.3f}")
