"""Saving, loading, and that renaming stops at the class it is meant for."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageTextToText

from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration, VideoLlama2Model
from aurora_trl.backbones.videollama2.modeling import VideoLlama2PreTrainedModel
from aurora_trl.backbones.videollama2.state_dict import UNUSED_KEYS


class Composite(VideoLlama2PreTrainedModel):
    """Another model with the same parts under the same names, as the policy is one."""

    def __init__(self, config):
        super().__init__(config)
        self.model = VideoLlama2Model(config)
        self.lm_head = nn.Linear(8, 8)
        self.post_init()


def assert_equal_states(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def test_round_trip_is_bit_equal(model, batch, saved):
    loaded = VideoLlama2ForConditionalGeneration.from_pretrained(saved).eval()
    assert_equal_states(loaded, model)
    # Buffers that are not saved, too.
    for name, buffer in model.named_buffers():
        assert torch.equal(loaded.get_buffer(name), buffer), name
    with torch.no_grad():
        # Equal weights at other addresses: sums may be blocked otherwise. 1e-5 is a few roundings of logits up to 10.
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=1e-5, rtol=0)
    assert isinstance(AutoModelForImageTextToText.from_pretrained(saved), VideoLlama2ForConditionalGeneration)


def test_a_second_round_trip_too(model, saved, tmp_path):
    VideoLlama2ForConditionalGeneration.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert_equal_states(VideoLlama2ForConditionalGeneration.from_pretrained(tmp_path / "again"), model)


def test_files_have_the_released_layout(saved):
    keys = set(load_file(saved / "model.safetensors"))
    assert "model.embed_tokens.weight" in keys
    assert "model.layers.1.self_attn.q_proj.bias" in keys
    assert "model.norm.weight" in keys
    assert "model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight" in keys
    assert "model.audio_tower.encoder.pos_conv.0.weight_g" in keys
    assert "model.audio_tower.encoder.layers.0.self_attn.relative_attention_bias.weight" in keys
    assert not any("language_model" in key or "magnitude" in key for key in keys)


def test_unused_released_keys_are_ignored_and_no_others(model, saved):
    path = saved / "model.safetensors"
    state = load_file(path)
    state["model.audio_tower.predictor.weight"] = torch.zeros(3, 3)
    state["model.audio_tower.encoder.layers.1.self_attn.relative_attention_bias.weight"] = torch.zeros(3, 3)
    state["model.vision_tower.vision_tower.vision_model.head.probe"] = torch.zeros(3, 3)
    save_file(state, path, metadata={"format": "pt"})
    assert_equal_states(VideoLlama2ForConditionalGeneration.from_pretrained(saved), model)

    save_file({**state, "model.mystery.weight": torch.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="unexpected_keys.*mystery"):
        VideoLlama2ForConditionalGeneration.from_pretrained(saved)

    del state["model.mm_projector.readout.0.bias"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="missing_keys.*readout.0.bias"):
        VideoLlama2ForConditionalGeneration.from_pretrained(saved)


def test_no_used_key_is_ignorable(model):
    ignorable = [name for name in model.state_dict() if any(re.search(pattern, name) for pattern in UNUSED_KEYS)]
    assert all("post_layernorm" in name for name in ignorable)


def test_other_classes_keep_their_names(config, tmp_path):
    torch.manual_seed(2)
    composite = Composite(config)
    composite.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(composite.state_dict())
    loaded, info = Composite.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert_equal_states(loaded, composite)
    for name, buffer in composite.named_buffers():
        assert torch.equal(loaded.get_buffer(name), buffer), name
