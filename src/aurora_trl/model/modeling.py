"""
The policy: tokens come from the backbone, masks from the hidden state at [SEG], projected, through SAM.

Placeholders of video and audio are expanded by the processor, so every hidden state has a token and `base_model`
(TRL's fused head calls it) returns as many states as there are ids. Knows nothing of TRL, rewards or files.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from segment_anything.modeling import Sam
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from aurora_trl.backbones.base import backbone_model_class
from aurora_trl.model.configuration import AuroraConfig
from aurora_trl.model.sam import PIXEL_MEAN, PIXEL_STD, build_sam, decode_masks, encode_frames
from aurora_trl.model.seg_projector import SegProjector


# Modules that stay frozen in every stage of the recipe (paper, 3.1; the released code trains neither of them).
ALWAYS_FROZEN = ("sam.image_encoder", "sam.prompt_encoder")


@dataclass
class Segmentation:
    """
    What [`AuroraModel.segment`] returns for one clip.

    Attributes:
        text (`str`): the reasoning and the answer.
        mask_logits (`torch.Tensor`): un-thresholded, (t, h, w) at the frames' own size.
        masks (`np.ndarray`): bool (t, h, w); all False without a [SEG].
        has_seg (`bool`): whether the answer holds a [SEG].
        is_truncated (`bool`): whether the answer stopped at the token limit.
    """

    text: str
    mask_logits: Tensor
    masks: np.ndarray
    has_seg: bool
    is_truncated: bool


class AuroraModel(PreTrainedModel, GenerationMixin):
    """
    Audio-visual language model with a [SEG] token whose state prompts SAM.

    Example:

    ```python
    >>> from aurora_trl import AuroraModel, AuroraProcessor, tiny_checkpoint

    >>> model = AuroraModel.from_pretrained(tiny_checkpoint())
    >>> processor = AuroraProcessor.from_pretrained(tiny_checkpoint())
    >>> result = model.segment(frames, waveform, "The first object to make a sound.", processor=processor)
    >>> result.text, result.masks.shape
    ```
    """

    config_class = AuroraConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("video", "audio", "text")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: AuroraConfig):
        super().__init__(config)
        if config.backbone_config is None or config.sam_config is None:
            raise ValueError(
                "AuroraConfig needs `backbone_config` and `sam_config`: build the policy with "
                "`AuroraModel.from_parts(backbone, sam, …)` or load one with `AuroraModel.from_pretrained(folder)`."
            )
        backbone = backbone_model_class(config.backbone_config.model_type)._from_config(config.backbone_config)
        self.model = backbone.model
        self.lm_head = backbone.lm_head
        self.sam = build_sam(config.sam_config)
        prompt_dim = self.sam.prompt_encoder.embed_dim
        self.seg_projector = SegProjector(config.get_text_config().hidden_size, prompt_dim)
        self.loss_type = "ForCausalLM"
        self.set_frozen()
        self.post_init()

    @classmethod
    def from_parts(
        cls, backbone: PreTrainedModel, sam: Sam, sam_config: dict[str, Any], seg_token_id: int, **config_kwargs
    ) -> "AuroraModel":
        """
        Joins a loaded backbone and a loaded SAM; the [SEG] projector starts at random.

        Args:
            backbone (`PreTrainedModel`):
                A `…ForConditionalGeneration` of [`aurora_trl.backbones.base`].
            sam (`segment_anything.modeling.Sam`):
                From [`~aurora_trl.model.sam.load_sam`] or [`~aurora_trl.model.sam.build_sam`].
            sam_config (`dict`):
                What [`~aurora_trl.model.sam.build_sam`] needs to build the same SAM again.
            seg_token_id (`int`):
                Vocabulary id of `[SEG]`; the embedding must have that row.
        """
        rows = backbone.get_input_embeddings().weight.shape[0]
        if seg_token_id >= rows:
            raise ValueError(
                f"[SEG] has id {seg_token_id} but the backbone's embedding has {rows} rows: call "
                "`backbone.resize_token_embeddings(seg_token_id + 1)` first."
            )
        config = AuroraConfig(
            backbone_config=backbone.config, sam_config=sam_config, seg_token_id=seg_token_id, **config_kwargs
        )
        config._name_or_path = backbone.config._name_or_path
        with torch.device("meta"):
            model = cls(config)
        model.model, model.lm_head, model.sam = backbone.model, backbone.lm_head, sam
        model.seg_projector = SegProjector(config.get_text_config().hidden_size, sam.prompt_encoder.embed_dim)
        model.seg_projector.to(backbone.dtype)
        model.generation_config = backbone.generation_config
        model.set_frozen()
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        Loads a policy folder strictly.

        Raises:
            ValueError: if a tensor is missing, unexpected or of another shape; the message names it.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        # Mismatches are let through only to be named below.
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        problems = {name: info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[name]}
        if problems:
            raise ValueError(
                f"{pretrained_model_name_or_path} does not hold this policy: {problems}. The folder was changed or "
                "written for another configuration; save it again with `save_pretrained`."
            )
        model.set_frozen()
        return (model, info) if wants_info else model

    def _init_weights(self, module: nn.Module) -> None:
        # SAM initialises itself; only its non-persistent buffers are lost when a model is built on the meta device.
        if isinstance(module, Sam):
            for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
                module.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def set_frozen(self, *prefixes: str) -> None:
        """
        Freezes the modules whose names start with a prefix, and everything else becomes trainable.

        SAM's image and prompt encoders are frozen in any case.
        """
        frozen = (*ALWAYS_FROZEN, *prefixes)
        matched = set()
        for name, parameter in self.named_parameters():
            hits = [prefix for prefix in frozen if name.startswith(prefix)]
            matched.update(hits)
            parameter.requires_grad_(not hits)
        if unknown := sorted(set(frozen) - matched):
            children = sorted(name for name, _ in self.named_children())
            raise ValueError(f"No parameter starts with {unknown}: the policy's modules are {children}.")

    @property
    def seg_token_id(self) -> int:
        return self.config.seg_token_id

    @property
    def seg_state(self) -> str:
        return self.config.seg_state

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def get_video_features(self, *args, **kwargs):
        return self.model.get_video_features(*args, **kwargs)

    def get_audio_features(self, *args, **kwargs):
        return self.model.get_audio_features(*args, **kwargs)

    def _validate_model_kwargs(self, model_kwargs: dict[str, Any]) -> None:
        # Media inputs are the backbone's to know: generate() only reads the signature of this class's forward.
        of_backbone = inspect.signature(self.model.forward).parameters
        super()._validate_model_kwargs({name: v for name, v in model_kwargs.items() if name not in of_backbone})

    def forward(
        self,
        input_ids: Int[Tensor, "b l"] | None = None,
        attention_mask: Int[Tensor, "b l"] | None = None,
        labels: Int[Tensor, "b l"] | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """
        Language modelling; media inputs of the backbone go in `kwargs`.

        Args:
            labels (`torch.LongTensor`, *optional*):
                Ids to predict, `-100` where nothing is.
            logits_to_keep (`int`, *optional*, defaults to `0`):
                Number of trailing positions that get logits; 0 means all.
        """
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=logits.shape[-1],
                num_items_in_batch=num_items_in_batch,
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def encode_frames(self, pixel_values: Float[Tensor, "t 3 s s"]) -> Float[Tensor, "t c h w"]:
        """SAM's image embeddings of the frames of one clip."""
        return encode_frames(self.sam, pixel_values)

    def decode_masks(
        self,
        seg_embeddings: Float[Tensor, "n c"],
        image_embeddings: Sequence[Tensor],
        input_sizes: Sequence[tuple[int, int]],
        original_sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """Mask logits (t, h, w) of n [SEG] prompts, each over its own clip; see [`~aurora_trl.model.sam`]."""
        return decode_masks(self.sam, seg_embeddings, image_embeddings, input_sizes, original_sizes)

    @torch.no_grad()
    def segment(
        self,
        frames: np.ndarray,
        waveform: np.ndarray | None,
        expression: str,
        processor,
        max_new_tokens: int = 150,
        allow_silent: bool = False,
        **generate_kwargs,
    ) -> Segmentation:
        """
        Reasons about one clip, then segments the object that the expression refers to in each of its frames.

        Args:
            frames (`np.ndarray`):
                uint8 RGB of shape (t, h, w, 3).
            waveform (`np.ndarray`):
                Mono, float in [-1, 1], 16 kHz; None only with `allow_silent`.
            expression (`str`):
                The reference, for example "The first object to make a sound."
            processor ([`AuroraProcessor`]):
                The one saved beside the model.
            max_new_tokens (`int`, *optional*, defaults to `150`):
                Length limit of the answer.
            allow_silent (`bool`, *optional*, defaults to `False`):
                Go on without sound instead of raising.
        """
        from aurora_trl.model.generation import generate_and_segment

        clip = processor.prepare_clip(frames, waveform, expression, allow_silent=allow_silent).to(self.device)
        return generate_and_segment(self, processor, [clip], max_new_tokens=max_new_tokens, **generate_kwargs)[0]


def seg_positions(
    input_ids: Int[Tensor, "b l"], is_completion: Bool[Tensor, "b l"], seg_token_id: int, seg_state: str
) -> tuple[Int[Tensor, " b"], Bool[Tensor, " b"]]:
    """
    Where each row's [SEG] state is read: the last [SEG] of the completion counts.

    Args:
        input_ids (`torch.Tensor`):
            Prompt and completion.
        is_completion (`torch.Tensor`):
            True on the model's own tokens: a "[SEG]" typed by a user is none.
        seg_token_id (`int`):
            Id of `[SEG]`.
        seg_state (`str`):
            `"predicting"` (the position before it) or `"token"` (its own).

    Returns:
        Positions, 0 where there is none, and whether there is one.
    """
    is_seg = (input_ids == seg_token_id) & is_completion
    has_seg = is_seg.any(dim=1)
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = (is_seg * index).amax(dim=1)
    if seg_state == "predicting":
        last = (last - 1).clamp(min=0)
    return last, has_seg


AutoConfig.register(AuroraConfig.model_type, AuroraConfig)
AutoModelForCausalLM.register(AuroraConfig, AuroraModel)

__all__ = ["AuroraModel", "Segmentation", "seg_positions"]
