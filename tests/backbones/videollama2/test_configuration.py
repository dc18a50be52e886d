import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, Qwen2Config

from aurora_trl.backbones.videollama2 import BeatsConfig, VideoLlama2Config, VideoLlama2ForConditionalGeneration


# The fields of a released flat config.json that matter, as of VideoLLaMA2.1-7B-AV.
FLAT = {
    "architectures": ["Videollama2Qwen2ForCausalLM"],
    "model_type": "videollama2_qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "eos_token_id": 151645,
    "torch_dtype": "bfloat16",
    "num_frames": 8,
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_projector_type": "stc_connector_v35",
    "mm_audio_tower": "somewhere/audio_tower.bin",
    "mm_projector_a_type": "mlp2x_gelu",
    "mm_hidden_size_a": 768,
    "tune_mm_mlp_adapter": True,
}


def test_flat_configuration():
    config = VideoLlama2Config(**FLAT)
    assert isinstance(config.text_config, Qwen2Config)
    assert (config.text_config.hidden_size, config.text_config.num_key_value_heads) == (3584, 4)
    assert config.text_config.rope_parameters["rope_theta"] == 1e6
    assert (config.vision_config.hidden_size, config.vision_config.image_size) == (1152, 384)
    assert (config.audio_config.hidden_size, config.num_frames, config.dtype) == (768, 8, torch.bfloat16)
    assert config.get_text_config() is config.text_config
    assert VideoLlama2Config(**{**FLAT, "mm_vision_select_layer": -3}).vision_feature_layer == -3
    assert not hasattr(config, "mm_vision_tower")


def test_full_size():
    """The released 7B model has 8,526.6 million parameters."""
    with torch.device("meta"):
        model = VideoLlama2ForConditionalGeneration(VideoLlama2Config(**FLAT))
    millions = {name: sum(p.numel() for p in m.parameters()) / 1e6 for name, m in model.model.named_children()}
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(8526.6, abs=0.1)
    assert millions["language_model"] == pytest.approx(7070.6, abs=0.1)
    assert millions["vision_tower"] == pytest.approx(428.2, abs=0.1)
    assert millions["mm_projector"] == pytest.approx(376.9, abs=0.1)
    assert millions["audio_tower"] == pytest.approx(90.3, abs=0.1)
    assert millions["mm_projector_a"] == pytest.approx(15.6, abs=0.1)


def test_flat_file_takes_overrides(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**FLAT, "mm_vision_tower": "my/own-tower"}))
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    config = AutoConfig.from_pretrained(
        tmp_path, vision_config=vision, audio_config=BeatsConfig(hidden_size=48), video_token_id=7, audio_token_id=8
    )
    assert (config.vision_config.hidden_size, config.audio_config.hidden_size) == (32, 48)
    assert (config.video_token_id, config.image_token_id, config.audio_token_id) == (7, 7, 8)
    with pytest.raises(ValueError, match="'my/own-tower'.*siglip-so400m.*vision_config"):
        AutoConfig.from_pretrained(tmp_path)


def test_nested_file_takes_overrides(config, tmp_path):
    config.save_pretrained(tmp_path)
    loaded = VideoLlama2Config.from_pretrained(tmp_path, audio_config={"num_mel_bins": 64})
    assert loaded.audio_config.num_mel_bins == 64
    assert loaded.audio_config.hidden_size == config.audio_config.hidden_size
    assert loaded.text_config.to_dict() == config.text_config.to_dict()


def test_round_trip(config, tmp_path):
    config.save_pretrained(tmp_path)
    assert VideoLlama2Config.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("field", "value"),
    [("mm_projector_type", "linear"), ("mm_vision_select_feature", "cls_patch"), ("mm_projector_a_type", "linear")],
)
def test_what_is_not_ported_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}='{value}' is not implemented"):
        VideoLlama2Config(**{**FLAT, field: value})


def test_a_single_frame_is_refused():
    with pytest.raises(ValueError, match="num_frames=1.*at least 2"):
        VideoLlama2Config(num_frames=1)


def test_package_import_is_light():
    code = "import aurora_trl.backbones.videollama2, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
