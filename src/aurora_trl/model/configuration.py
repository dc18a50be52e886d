"""Configuration of the policy: which backbone, which SAM, and how the two are joined. Holds no weights."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from aurora_trl.backbones.base import register_backbones


register_backbones()


@strict
class AuroraConfig(PreTrainedConfig):
    r"""
    Configuration of [`AuroraModel`].

    Args:
        backbone_config (`dict` or `PreTrainedConfig`):
            Configuration of the audio-visual language model.
        sam_config (`dict`, *optional*):
            `{"variant": "vit_h" | "vit_l" | "vit_b", "image_size": 1024}`, or for a SAM of another size
            `{"variant": "custom", …}` with the fields of [`~aurora_trl.model.sam.CustomSam`].
        seg_token_id (`int`, *optional*):
            Vocabulary id of `[SEG]`.
        seg_state (`"predicting"` or `"token"`, *optional*, defaults to `"predicting"`):
            Which hidden state prompts the mask decoder: the one at the position whose next token is `[SEG]` (as the
            released checkpoints), or the one at `[SEG]` itself.
    """

    model_type = "aurora"
    sub_configs = {"backbone_config": AutoConfig}
    auto_map = {}

    backbone_config: dict | PreTrainedConfig | None = None
    sam_config: dict[str, Any] | None = None
    seg_token_id: int | None = None
    seg_state: Literal["predicting", "token"] = "predicting"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        if isinstance(self.backbone_config, dict):
            settings = dict(self.backbone_config)
            self.backbone_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        super().__post_init__(**kwargs)

    def get_text_config(self, *args, **kwargs):
        if self.backbone_config is None:
            return self
        return self.backbone_config.get_text_config(*args, **kwargs)

    @property
    def media_token_ids(self) -> list[int]:
        """Ids of the backbone's image, video and audio placeholders: never to be generated."""
        names = ("image_token_id", "video_token_id", "audio_token_id")
        ids = {getattr(self.backbone_config, name, None) for name in names}
        return sorted(id_ for id_ in ids if id_ is not None)

    @property
    def image_token_id(self) -> int | None:
        """TRL suppresses this id in generation for every multimodal model."""
        media = self.media_token_ids
        return getattr(self.backbone_config, "image_token_id", None) or (media[0] if media else None)


__all__ = ["AuroraConfig"]
