"""
Configurations of VideoLLaMA2-AV and of its audio tower BEATs. Reads the original flat `config.json` as well as its own
nested one. Holds no weights and looks nothing up on disk.
"""

from pathlib import PurePosixPath

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, Qwen2Config, SiglipVisionConfig
from transformers.configuration_utils import SubConfigSpec

from aurora_trl.constants import NUM_FRAMES


# Kernel and stride of the STC connector's 3-D convolution over (time, height, width), without padding
# (VideoLLaMA2 `model/projector.py`, `STCConnectorV35`).
STC_STRIDE = 2

# Side of BEATs' patches, in filterbank frames and mel bins.
BEATS_PATCH_SIZE = 16

# Sizes of the vision towers that original configurations refer to by name.
SIGLIP_SO400M_PATCH14_384 = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
VISION_TOWERS = {"siglip-so400m-patch14-384": SIGLIP_SO400M_PATCH14_384}

# What this port implements of the original's switches; another value is refused.
IMPLEMENTED = {
    "mm_projector_type": "stc_connector_v35",
    "mm_projector_a_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
}


@strict
class BeatsConfig(PreTrainedConfig):
    r"""
    Configuration of the BEATs audio encoder. The defaults are those of BEATs_iter3+ (AS2M).

    Args:
        embed_dim (`int`, *optional*, defaults to 512):
            Width of the patch embedding.
        conv_pos (`int`, *optional*, defaults to 128):
            Kernel of the convolutional position embedding, in `conv_pos_groups` groups.
        num_buckets (`int`, *optional*, defaults to 320):
            Rows of the relative position table; distances beyond `max_distance` share the last one.
        num_mel_bins (`int`, *optional*, defaults to 128):
            Height of the filterbank. The number of audio tokens is proportional to it.
    """

    model_type = "beats"
    base_config_key = "audio_config"

    embed_dim: int = 512
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    num_mel_bins: int = 128
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02


@strict
class VideoLlama2Config(PreTrainedConfig):
    r"""
    Configuration of [`VideoLlama2ForConditionalGeneration`]. The defaults are VideoLLaMA2.1-7B-AV's towers.

    Also accepts the fields of an original flat `config.json`; those of Qwen2 move into `text_config`, the settings of
    its training are dropped.

    Args:
        text_config (`dict` or `Qwen2Config`, *optional*):
            The language model.
        vision_config (`dict` or `SiglipVisionConfig`, *optional*):
            The vision tower.
        audio_config (`dict` or [`BeatsConfig`], *optional*):
            The audio tower.
        video_token_id (`int`, *optional*, defaults to 151647):
            Id of `<video>`, one per video feature. It may lie outside the embedding table. Also `image_token_id`.
        audio_token_id (`int`, *optional*, defaults to 151648):
            Id of `<audio>`, one per audio feature. It may lie outside the embedding table.
        vision_feature_layer (`int`, *optional*, defaults to -2):
            Which of the vision tower's hidden states is projected.
        stc_depth (`int`, *optional*, defaults to 4):
            Number of RegNet blocks in each of the two stages of the STC connector.
        num_frames (`int`, *optional*, defaults to 10):
            Frames per clip, at least 2.
    """

    model_type = "videollama2_qwen2"
    attribute_map = {"image_token_id": "video_token_id"}
    # TRL reads it from any configuration whose class transformers does not know by name.
    auto_map = {}
    sub_configs_defaults = {
        "text_config": SubConfigSpec(config_class=Qwen2Config),
        "vision_config": SubConfigSpec(config_class=SiglipVisionConfig, init_kwargs=SIGLIP_SO400M_PATCH14_384),
        "audio_config": SubConfigSpec(config_class=BeatsConfig),
    }

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    audio_config: dict | PreTrainedConfig | None = None
    # The released tokenizer has 151646 ids; [SEG] comes first, then the two placeholders.
    video_token_id: int = 151647
    audio_token_id: int = 151648
    vision_feature_layer: int = -2
    stc_depth: int = 4
    num_frames: int = NUM_FRAMES
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        if "mm_vision_tower" in kwargs:
            kwargs = self._read_flat(kwargs)
        super().__post_init__(**kwargs)
        if self.num_frames < STC_STRIDE:
            raise ValueError(
                f"num_frames={self.num_frames}, but the STC connector merges {STC_STRIDE} frames into one: use at "
                f"least {STC_STRIDE}."
            )

    def _read_flat(self, kwargs: dict) -> dict:
        """Takes over an original flat configuration; returns what is left for the base class."""
        for name, implemented in IMPLEMENTED.items():
            if (value := kwargs.get(name, implemented)) != implemented:
                raise ValueError(f"{name}={value!r} is not implemented, only {implemented!r} is.")
        if self.text_config is None:
            self.text_config = {key: kwargs[key] for key in _QWEN2_KEYS & kwargs.keys()}
            self.text_config["tie_word_embeddings"] = self.tie_word_embeddings
        if self.vision_config is None:
            tower = kwargs["mm_vision_tower"]
            if (name := PurePosixPath(tower).name) not in VISION_TOWERS:
                raise ValueError(
                    f"The sizes of the vision tower {tower!r} are unknown (known: {sorted(VISION_TOWERS)}): pass them "
                    "as `vision_config=`."
                )
            self.vision_config = VISION_TOWERS[name]
        self.vision_feature_layer = kwargs.get("mm_vision_select_layer", self.vision_feature_layer)
        return {key: kwargs[key] for key in ("torch_dtype", "_name_or_path") if key in kwargs}

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        # Overrides must be there while a flat configuration is read: it has no sizes of its towers.
        overrides = {key: kwargs.pop(key) for key in cls.sub_configs_defaults if key in kwargs}
        for key, override in overrides.items():
            if isinstance(override, dict) and isinstance(config_dict.get(key), dict):
                overrides[key] = {**config_dict[key], **override}
        return super().from_dict({**config_dict, **overrides}, **kwargs)


# Fields that a flat configuration shares with its language model; rope_theta and rope_scaling are pre-v5 spellings.
_QWEN2_KEYS = {
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "use_cache",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "attention_dropout",
    "rope_theta",
    "rope_scaling",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}

AutoConfig.register(BeatsConfig.model_type, BeatsConfig)
AutoConfig.register(VideoLlama2Config.model_type, VideoLlama2Config)

__all__ = ["BeatsConfig", "VideoLlama2Config"]
