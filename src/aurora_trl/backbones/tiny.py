"""
A VideoLLaMA2-AV of about one million parameters, its tokenizer and its processor: the released model's classes with
small sizes, made without network.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from aurora_trl.backbones.videollama2.configuration import VideoLlama2Config
from aurora_trl.backbones.videollama2.processing import CHAT_TEMPLATE, VideoLlama2Processor
from aurora_trl.constants import AUDIO_TOKEN, SEG_TOKEN, VIDEO_TOKEN


PAD_TOKEN, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# ChatML's role names, and how often the tokenizer's training text has them: enough to become single tokens.
ROLES = ["system", "user", "assistant"]
ROLE_COUNT = 1000
ADDED_TOKENS = [SEG_TOKEN, VIDEO_TOKEN, AUDIO_TOKEN]
AUDIO_SECONDS = 10.0

TEXT_CONFIG = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    # About 1/√hidden_size. Qwen2's 0.02 is for wide models: here it would leave the first steps almost without signal.
    "initializer_range": 0.08,
}
VISION_CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
    "vision_use_head": False,
}
# 32 mel bins make a quarter of the audio tokens that 128 do, the greatest saving of all sizes here.
AUDIO_CONFIG = {
    "embed_dim": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "num_buckets": 32,
    "max_distance": 128,
    "num_mel_bins": 32,
}


def train_tiny_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """
    A byte-level BPE in Qwen2's form, trained on a few texts; their frequent words become single tokens.

    `[SEG]`, `<video>` and `<audio>` are its last three ids. `<|endoftext|>` pads, `<|im_end|>` ends a turn.

    Args:
        texts (`Iterable[str]`):
            What the model will read and write.
        vocab_size (`int`):
            Greatest number of ids, added tokens included. Small texts give fewer: use `len(tokenizer)`.
    """
    special_tokens = [PAD_TOKEN, TURN_START, TURN_END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(special_tokens) + len(ADDED_TOKENS)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size={vocab_size} has no room for all bytes and special tokens: use at least {smallest}."
        )
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(ADDED_TOKENS),
        special_tokens=special_tokens,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, *ROLES * ROLE_COUNT], trainer)
    tokenizer = Qwen2Tokenizer(
        tokenizer_object=bpe,
        unk_token=PAD_TOKEN,
        pad_token=PAD_TOKEN,
        eos_token=TURN_END,
        extra_special_tokens=[TURN_START],
    )
    tokenizer.add_tokens(ADDED_TOKENS)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_videollama2_config(vocab_size: int, **overrides) -> VideoLlama2Config:
    """
    Sizes of the tiny model.

    Args:
        vocab_size (`int`):
            `len(tokenizer)` of a [`train_tiny_tokenizer`]: the last two ids are `<video>` and `<audio>`.
        overrides:
            Other values for fields of [`VideoLlama2Config`]; dicts are merged into the tiny sub-configurations.
    """
    settings = {
        "text_config": {"vocab_size": vocab_size, "pad_token_id": 0, "eos_token_id": 2, **TEXT_CONFIG},
        "vision_config": VISION_CONFIG,
        "audio_config": AUDIO_CONFIG,
        "video_token_id": vocab_size - 2,
        "audio_token_id": vocab_size - 1,
        "stc_depth": 1,
    }
    for name, value in overrides.items():
        is_merged = isinstance(value, dict) and isinstance(settings.get(name), dict)
        settings[name] = {**settings[name], **value} if is_merged else value
    return VideoLlama2Config(**settings)


def build_tiny_processor(
    tokenizer: Qwen2Tokenizer, config: VideoLlama2Config, audio_seconds: float = AUDIO_SECONDS
) -> VideoLlama2Processor:
    """The processor of a tiny model; see [`VideoLlama2Processor.from_config`]."""
    return VideoLlama2Processor.from_config(config, tokenizer, audio_seconds, chat_template=CHAT_TEMPLATE)


__all__ = ["build_tiny_processor", "tiny_videollama2_config", "train_tiny_tokenizer"]
