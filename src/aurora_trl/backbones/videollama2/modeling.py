"""
VideoLLaMA2.1-AV on transformers' own Qwen2 and SigLIP. Media placeholders come expanded, one id per feature, so every
hidden state belongs to an id. Knows nothing of segmentation.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    GenerationMixin,
    PreTrainedModel,
    Qwen2Model,
    SiglipVisionModel,
)
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast

from aurora_trl.backbones.videollama2.audio_beats import BeatsAttention, BeatsModel, BeatsPositionalConv
from aurora_trl.backbones.videollama2.configuration import VideoLlama2Config
from aurora_trl.backbones.videollama2.connector import STCConnector
from aurora_trl.backbones.videollama2.state_dict import UNUSED_KEYS, register_renamings


class VideoLlama2PreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config_class = VideoLlama2Config
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("video", "audio", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen2DecoderLayer", "SiglipEncoderLayer", "BeatsLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsAttention):
            init.ones_(module.grep_a)
        elif isinstance(module, BeatsPositionalConv):
            # The reparametrised kernel starts as the drawn one.
            init.normal_(module.direction, std=(4 / module.direction[0].numel() / module.groups) ** 0.5)
            init.copy_(module.magnitude, module.direction.square().sum(dim=(0, 1), keepdim=True).sqrt())
            init.zeros_(module.bias)


class VideoLlama2Model(VideoLlama2PreTrainedModel):
    """The towers, their projectors and the language model without its head."""

    def __init__(self, config: VideoLlama2Config):
        super().__init__(config)
        width = config.text_config.hidden_size
        self.language_model = Qwen2Model._from_config(config.text_config)
        self.vision_tower = SiglipVisionModel._from_config(config.vision_config)
        self.mm_projector = STCConnector(config.vision_config.hidden_size, width, config.stc_depth)
        self.audio_tower = BeatsModel(config.audio_config)
        self.mm_projector_a = nn.Sequential(
            nn.Linear(config.audio_config.hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def encode_patches(self, pixel_values: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p d"]:
        """
        The vision tower's hidden state that is projected. Its layers are run one by one: none after the chosen one is
        needed, and transformers' recording of hidden states hooks a nested tower twice.
        """
        tower = self.vision_tower
        num_layers = range(len(tower.encoder.layers) + 1)[self.config.vision_feature_layer]
        hidden_states = tower.embeddings(pixel_values)
        for layer in tower.encoder.layers[:num_layers]:
            hidden_states = layer(hidden_states, None)
        return hidden_states

    def get_video_features(
        self, pixel_values_videos: Float[Tensor, "b t 3 h w"], **kwargs
    ) -> BaseModelOutputWithPooling:
        """
        Returns:
            `last_hidden_state` (b, t, patches, vision width), `pooler_output` (b, n, text width): the video tokens.
        """
        patches = self.encode_patches(pixel_values_videos.flatten(0, 1))
        patches = patches.unflatten(0, pixel_values_videos.shape[:2])
        return BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=self.mm_projector(patches))

    def get_audio_features(
        self, input_features: Float[Tensor, "b frames mel"], **kwargs
    ) -> BaseModelOutputWithPooling:
        """
        Returns:
            `last_hidden_state` (b, n, audio width), `pooler_output` (b, n, text width): the audio tokens.
        """
        features = self.audio_tower(input_features)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=self.mm_projector_a(features))

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Tensor | dict | None = None,
        pixel_values_videos: Float[Tensor, "n t 3 h w"] | None = None,
        input_features: Float[Tensor, "m frames mel"] | None = None,
        position_ids: Int[Tensor, "b l"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "b l d"] | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """
        Args:
            pixel_values_videos (`torch.Tensor`, *optional*):
                Frames of the rows that have a video, in their order.
            input_features (`torch.Tensor`, *optional*):
                Filterbanks of the rows that have sound, in their order.
            mm_encoder_outputs (`dict`, *optional*):
                Instead of the two, what `get_video_features` and `get_audio_features` returned: `"video"`, `"audio"`.

        Raises:
            ValueError: if placeholders and features differ in number.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either `input_ids` or `inputs_embeds`, not both and not neither.")
        has_media = pixel_values_videos is not None or input_features is not None or bool(mm_encoder_outputs)
        if inputs_embeds is not None and has_media:
            raise ValueError("Media need `input_ids`, whose placeholders say where they go: pass no `inputs_embeds`.")
        if input_ids is not None:
            features = dict(mm_encoder_outputs or {})
            if pixel_values_videos is not None:
                features["video"] = self.get_video_features(pixel_values_videos)
            if input_features is not None:
                features["audio"] = self.get_audio_features(input_features)
            inputs_embeds = self._embed(input_ids, features)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )

    def _embed(
        self, input_ids: Int[Tensor, "b l"], features: dict[str, BaseModelOutputWithPooling]
    ) -> Float[Tensor, "b l d"]:
        """Embeddings of the ids, features in place of their placeholders (whose ids may have no row)."""
        placeholders = {
            "video": input_ids == self.config.video_token_id,
            "audio": input_ids == self.config.audio_token_id,
        }
        is_media = placeholders["video"] | placeholders["audio"]
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_media, 0))
        for modality, mask in placeholders.items():
            tokens = embeds.new_empty(0, embeds.shape[-1])
            if modality in features:
                tokens = torch.cat(list(features[modality].pooler_output))  # (n, d)
            embeds = _scatter(embeds, mask, tokens, modality)
        return embeds


def _scatter(
    embeds: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"], tokens: Float[Tensor, "n d"], modality: str
) -> Float[Tensor, "b l d"]:
    num_placeholders = int(mask.sum())
    if num_placeholders != len(tokens):
        raise ValueError(
            f"The prompts hold {num_placeholders} {modality} placeholders but the {modality} inputs give "
            f"{len(tokens)} features: pass the media of exactly those rows whose prompts have placeholders, expanded "
            "by the processor."
        )
    return embeds.masked_scatter(mask.unsqueeze(-1), tokens.to(embeds)) if num_placeholders else embeds


class VideoLlama2ForConditionalGeneration(VideoLlama2PreTrainedModel, GenerationMixin):
    """
    VideoLLaMA2.1-AV with its language modelling head. Loads released checkpoints and saves in their layout.

    Example:

    ```python
    >>> model = VideoLlama2ForConditionalGeneration.from_pretrained("DAMO-NLP-SG/VideoLLaMA2.1-7B-AV")
    >>> inputs = processor(text=[prompt], videos=[frames], audio=[waveform], return_tensors="pt")
    >>> model.generate(**inputs, max_new_tokens=64)
    ```
    """

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _keys_to_ignore_on_load_unexpected = list(UNUSED_KEYS)

    def __init__(self, config: VideoLlama2Config):
        super().__init__(config)
        self.model = VideoLlama2Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """
        Loads strictly.

        Raises:
            ValueError: if the checkpoint lacks a tensor, or has one that this model does not know.
        """
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        problems = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys") if info[kind]}
        if problems:
            raise ValueError(
                f"{pretrained_model_name_or_path} does not hold a VideoLLaMA2-AV of this configuration: {problems}. "
                "Check the sizes in `config.json`, or that the download is complete."
            )
        return (model, info) if output_loading_info else model

    def get_video_features(self, pixel_values_videos: Float[Tensor, "b t 3 h w"], **kwargs):
        return self.model.get_video_features(pixel_values_videos, **kwargs)

    def get_audio_features(self, input_features: Float[Tensor, "b frames mel"], **kwargs):
        return self.model.get_audio_features(input_features, **kwargs)

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Tensor | dict | None = None,
        pixel_values_videos: Float[Tensor, "n t 3 h w"] | None = None,
        input_features: Float[Tensor, "m frames mel"] | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """
        Args:
            labels (`torch.LongTensor`, *optional*):
                Ids to predict, `-100` where nothing is.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                How many trailing positions get logits, 0 for all, or the positions themselves.

        The other arguments are [`VideoLlama2Model.forward`]'s.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values_videos=pixel_values_videos,
            input_features=input_features,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


register_renamings(VideoLlama2ForConditionalGeneration.__name__)
for _auto_class in (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    _auto_class.register(VideoLlama2Config, VideoLlama2ForConditionalGeneration)

__all__ = ["VideoLlama2ForConditionalGeneration", "VideoLlama2Model"]
