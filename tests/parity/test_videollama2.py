"""The port against values that the original code computed for a tiny random checkpoint of the original layout."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration
from aurora_trl.backbones.videollama2.audio_features import WAVEFORM_SCALE, kaldi_fbank


TOLERANCE = 1e-4
# Where the original's ids have media; video tokens go first, then audio tokens.
ORIGINAL_MEDIA_ID = -201


@pytest.fixture(scope="module")
def model(golden_dir, towers):
    return VideoLlama2ForConditionalGeneration.from_pretrained(golden_dir / "checkpoint", **towers).eval()


@pytest.fixture(scope="module")
def inputs(golden, model):
    """The original's inputs with placeholders expanded, and their labels."""

    num_video, num_audio = golden["video_tokens"].shape[1], golden["audio_tokens"].shape[1]
    video_ids, audio_ids = [model.config.video_token_id] * num_video, [model.config.audio_token_id] * num_audio
    ids, labels = [], []
    for row, row_labels in zip(golden["input_ids"].tolist(), golden["labels"].tolist(), strict=True):
        at = row.index(ORIGINAL_MEDIA_ID)
        ids.append(row[:at] + video_ids + audio_ids + row[at + 1 :])
        labels.append(row_labels[:at] + [-100] * (num_video + num_audio) + row_labels[at + 1 :])
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.long),
        "pixel_values_videos": golden["video"],
        "input_features": golden["audio"].squeeze(1),
        "labels": torch.tensor(labels),
    }


def assert_parity(actual, expected):
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


def test_checkpoint_loads_strictly(golden_dir, towers):
    _, info = VideoLlama2ForConditionalGeneration.from_pretrained(
        golden_dir / "checkpoint", output_loading_info=True, **towers
    )
    assert not any(info.values())


def test_auto_class_loads_it(golden_dir, towers, model):
    loaded = AutoModelForCausalLM.from_pretrained(golden_dir / "checkpoint", **towers)
    assert type(loaded) is type(model)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_saved_in_the_original_layout(golden_dir, model, tmp_path):
    model.save_pretrained(tmp_path)
    saved, original = load_file(tmp_path / "model.safetensors"), load_file(golden_dir / "checkpoint/model.safetensors")
    left_out = set(original) - set(saved)
    assert set(saved) <= set(original)
    assert all("predictor" in key or "relative_attention_bias" in key for key in left_out)
    assert all(torch.equal(saved[key], original[key]) for key in saved)


def test_fbank(golden):
    fbank = kaldi_fbank(golden["waveform"].squeeze(0) * WAVEFORM_SCALE, num_mel_bins=128)
    assert_parity(fbank, golden["fbank"])


@torch.no_grad()
def test_vision_tower(model, golden):
    assert_parity(model.model.encode_patches(golden["video"].flatten(0, 1)), golden["vision_tower"])


@torch.no_grad()
def test_video_tokens(model, golden):
    assert_parity(model.get_video_features(golden["video"]).pooler_output, golden["video_tokens"])


@torch.no_grad()
def test_audio_tokens(model, golden):
    outputs = model.get_audio_features(golden["audio"].squeeze(1))
    assert_parity(outputs.last_hidden_state, golden["beats_features"])
    assert_parity(outputs.pooler_output, golden["audio_tokens"])


@torch.no_grad()
def test_forward(model, inputs, golden):
    outputs = model(**inputs, output_hidden_states=True)
    assert_parity(outputs.logits, golden["logits"])
    assert_parity(outputs.loss, golden["loss"].squeeze())
    for i, hidden_states in enumerate(outputs.hidden_states):
        assert_parity(hidden_states, golden[f"hidden_states.{i}"])


@pytest.mark.parametrize("num_padding", [0, 7])
def test_greedy(model, inputs, golden, num_padding):
    prompts = {name: value for name, value in inputs.items() if name != "labels"}
    padding = torch.zeros(len(prompts["input_ids"]), num_padding, dtype=torch.long)
    for name in ("input_ids", "attention_mask"):
        prompts[name] = torch.cat([padding, prompts[name]], dim=1)
    new_tokens = golden["greedy_tokens"].shape[1]
    generated = model.generate(
        **prompts, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert torch.equal(generated[:, -new_tokens:], golden["greedy_tokens"])
