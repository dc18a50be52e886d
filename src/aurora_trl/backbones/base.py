"""
What a backbone must offer to become a policy, and the list of those that come with the package.

A backbone is a transformers `…ForConditionalGeneration` class with
- `.model`, whose output has `last_hidden_state` as long as `input_ids` (the processor expands media placeholders), and
  `.lm_head`;
- a config with `get_text_config()` and the placeholder ids `image_token_id` / `video_token_id` / `audio_token_id`;
- a processor that takes `text=, videos=, audio=` for one clip and returns `input_ids`, `attention_mask` and media
  tensors which are batched by concatenation along their first axis.

Knows nothing of SAM or TRL.
"""

import importlib
from typing import NamedTuple


class Backbone(NamedTuple):
    """Where the classes of one backbone family live: `"module:Class"`."""

    model: str
    processor: str


BACKBONES = {
    "videollama2_qwen2": Backbone(
        model="aurora_trl.backbones.videollama2.modeling:VideoLlama2ForConditionalGeneration",
        processor="aurora_trl.backbones.videollama2.processing:VideoLlama2Processor",
    ),
}


def _resolve(reference: str) -> type:
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


def _look_up(model_type: str) -> Backbone:
    if model_type not in BACKBONES:
        raise ValueError(
            f"Unknown backbone {model_type!r}: known are {sorted(BACKBONES)}. Add its model and processor classes to "
            "`aurora_trl.backbones.base.BACKBONES`."
        )
    return BACKBONES[model_type]


def register_backbones() -> None:
    """Makes the package's own backbones known to transformers' Auto classes."""
    importlib.import_module("aurora_trl.backbones.videollama2.configuration")


def backbone_model_class(model_type: str) -> type:
    return _resolve(_look_up(model_type).model)


def backbone_processor_class(model_type: str) -> type:
    return _resolve(_look_up(model_type).processor)
