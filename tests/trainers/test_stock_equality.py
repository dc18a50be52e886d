"""On rows without clips both trainers are TRL's own, to the bit."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLImageProcessorPil,
    Qwen2VLVideoProcessor,
)
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from aurora_trl import AuroraGRPOConfig, AuroraGRPOTrainer, AuroraSFTConfig, AuroraSFTTrainer
from aurora_trl.backbones.tiny import train_tiny_tokenizer


TEXTS = [f"What follows {word}?" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for b in m.content %}"
    "{% if b.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif b.type == 'text' %}{{ b.text }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = train_tiny_tokenizer(TEXTS, 320)
    tokenizer.add_tokens(VISION_TOKENS, special_tokens=True)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def text_only(tokenizer):
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=tokenizer.eos_token_id)
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in TEXTS]
    return Qwen2ForCausalLM(config), tokenizer, rows


def image_only(tokenizer):
    torch.manual_seed(0)
    ids = dict(zip(VISION_TOKENS, tokenizer.convert_tokens_to_ids(VISION_TOKENS), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            **SIZES,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            "pad_token_id": 0,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56),
        tokenizer,
        Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    )
    rng = np.random.default_rng(0)
    picture = [Image.fromarray(rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)) for _ in TEXTS]
    rows = [
        {"prompt": [{"role": "user", "content": text}], "images": [image]}
        for text, image in zip(TEXTS, picture, strict=True)
    ]
    return Qwen2_5_VLForConditionalGeneration(config), processor, rows


def distinct_tokens_reward(completion_ids, **kwargs):
    return [len(set(ids)) / 8 for ids in completion_ids]


def run(trainer_class, args_class, model, rows, processing_class, kwargs, **trainer_kwargs):
    model = copy.deepcopy(model)
    trainer = trainer_class(
        model,
        args=args_class(**kwargs),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:2]),
        processing_class=copy.deepcopy(processing_class),
        **trainer_kwargs,
    )
    trainer.train()
    trainer.evaluate()
    timings = ("runtime", "_per_second", "step_time", "total_flos")
    logs = [{k: v for k, v in log.items() if not any(t in k for t in timings)} for log in trainer.state.log_history]
    return logs, model.state_dict()


def assert_bit_equal(ours, stock):
    assert ours[0] == stock[0]
    assert ours[1].keys() == stock[1].keys()
    for name, value in stock[1].items():
        assert torch.equal(ours[1][name], value), name


@pytest.mark.parametrize("make", [text_only, image_only])
def test_grpo(make, tokenizer, training_kwargs):
    model, processing_class, rows = make(tokenizer)
    kwargs = {
        **training_kwargs,
        "num_generations": 2,
        "max_completion_length": 6,
        "per_device_eval_batch_size": 4,
        "loss_type": "grpo",
        "disable_dropout": True,
        "learning_rate": 1e-2,
    }
    arguments = (model, rows, processing_class, kwargs)
    ours = run(AuroraGRPOTrainer, AuroraGRPOConfig, *arguments, reward_funcs=distinct_tokens_reward)
    stock = run(GRPOTrainer, GRPOConfig, *arguments, reward_funcs=distinct_tokens_reward)
    assert_bit_equal(ours, stock)
    assert any(log.get("grad_norm", 0) > 0 for log in stock[0]), "nothing was trained: the test would be empty"


@pytest.mark.parametrize("make", [text_only, image_only])
def test_sft(make, tokenizer, training_kwargs):
    model, processing_class, rows = make(tokenizer)
    rows = [{**row, "completion": [{"role": "assistant", "content": "More."}]} for row in rows]
    kwargs = {**training_kwargs, "learning_rate": 1e-2, "max_length": None}
    arguments = (model, rows, processing_class, kwargs)
    assert_bit_equal(run(AuroraSFTTrainer, AuroraSFTConfig, *arguments), run(SFTTrainer, SFTConfig, *arguments))
