"""
From a clip and an expression to tensors: the backbone's processor writes the ids (one per feature) and the media
inputs, SAM's frames are prepared beside them. Reads no files.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, ProcessorMixin
from transformers.utils import cached_file

from aurora_trl.answer import render_prompt
from aurora_trl.backbones.base import backbone_processor_class
from aurora_trl.constants import SEG_TOKEN
from aurora_trl.model.configuration import AuroraConfig
from aurora_trl.model.sam import prepare_frames


AURORA_PROCESSOR_FILE = "aurora_processor_config.json"


@dataclass
class PreparedClip:
    """
    One clip with its prompt, ready for the policy.

    Attributes:
        prompt_ids (`list[int]`): the prompt, media placeholders expanded.
        media (`dict`): the backbone's media inputs, first axis = this clip only.
        sam_pixel_values (`torch.Tensor`): (t, 3, s, s), or None once encoded.
        input_size, original_size (`(int, int)`): (h, w) inside SAM's input and on disk.
        image_embeddings (`torch.Tensor`, *optional*): SAM's, (t, c, h, w).
        gt_masks (`torch.Tensor`, *optional*): bool (t, h, w) at the original size.
        labelled (`list[int]`, *optional*): the frames whose truth is known, if not all of them.
    """

    prompt_ids: list[int]
    media: dict[str, Tensor]
    sam_pixel_values: Tensor | None
    input_size: tuple[int, int]
    original_size: tuple[int, int]
    image_embeddings: Tensor | None = None
    gt_masks: Tensor | None = None
    labelled: list[int] | None = None

    def on_labelled(self, per_frame: Tensor) -> Tensor:
        """Those of values per frame (t, …) whose frame has a truth: losses, rewards and metrics see no others."""
        return per_frame if self.labelled is None else per_frame[self.labelled]

    def to(self, device) -> "PreparedClip":
        def move(tensor):
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            media={name: move(tensor) for name, tensor in self.media.items()},
            sam_pixel_values=move(self.sam_pixel_values),
            image_embeddings=move(self.image_embeddings),
            gt_masks=move(self.gt_masks),
        )


def batch_media(clips: Sequence[PreparedClip | None]) -> dict[str, Tensor]:
    """
    Media inputs of a batch: those of its clips, one after the other along the first axis. A clip without sound has no
    audio placeholders in its prompt and nothing here.
    """
    present = [clip for clip in clips if clip is not None]
    names = dict.fromkeys(name for clip in present for name in clip.media)
    return {name: torch.cat([clip.media[name] for clip in present if name in clip.media]) for name in names}


class AuroraProcessor(ProcessorMixin):
    """
    A backbone's processor with [SEG] in its vocabulary, and SAM's input size.

    Text-only and image-only calls go to the backbone's processor unchanged.

    Args:
        backbone_processor (`ProcessorMixin`):
            For example [`~aurora_trl.backbones.videollama2.VideoLlama2Processor`].
        sam_image_size (`int`):
            Side of SAM's square input, in pixels.
        system_prompt (`str`, *optional*):
            System turn put before every prompt by [`prepare_clip`].
    """

    def __init__(self, backbone_processor: ProcessorMixin, sam_image_size: int, system_prompt: str | None = None):
        self.backbone_processor = backbone_processor
        self.sam_image_size = sam_image_size
        self.system_prompt = system_prompt
        # Not a special token: TRL strips those from completions before the rewards see them.
        self.tokenizer.add_tokens([SEG_TOKEN])

    @property
    def tokenizer(self):
        return self.backbone_processor.tokenizer

    @property
    def chat_template(self):
        return self.backbone_processor.chat_template or self.tokenizer.chat_template

    @property
    def seg_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids(SEG_TOKEN)

    def __call__(self, *args, **kwargs):
        return self.backbone_processor(*args, **kwargs)

    def apply_chat_template(self, *args, **kwargs):
        return self.backbone_processor.apply_chat_template(*args, **kwargs)

    def render_prompt_text(self, prompt: list[dict], has_video: bool = True, has_audio: bool = True) -> str:
        """
        The prompt with its media placeholders, as text.

        Args:
            prompt (`list[dict]`):
                Messages with string content; video and audio go before the text of the last user turn.
            has_video, has_audio (`bool`, *optional*, defaults to `True`):
                False leaves the placeholder out.
        """
        media = [{"type": kind} for kind, has in (("video", has_video), ("audio", has_audio)) if has]
        messages = [{**message, "content": _text_blocks(message["content"])} for message in prompt]
        last_user = max(i for i, message in enumerate(messages) if message["role"] == "user")
        messages[last_user]["content"] = media + messages[last_user]["content"]
        return self.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def render_completion_text(self, prompt: list[dict], completion: list[dict]) -> str:
        """What follows the prompt when the assistant has answered: the answer and its end-of-turn token."""
        without = self.apply_chat_template(_blocks_of(prompt), tokenize=False, add_generation_prompt=True)
        whole = self.apply_chat_template(_blocks_of([*prompt, *completion]), tokenize=False)
        if not whole.startswith(without):
            raise ValueError(
                "The chat template does not continue the generation prompt with the answer, so a completion can't be "
                "separated from its prompt: use a template whose generation prompt is a prefix of the full turn."
            )
        return whole[len(without) :].rstrip("\n")

    def prepare_clip(
        self,
        frames: np.ndarray,
        waveform: np.ndarray | None,
        expression: str | None = None,
        prompt: list[dict] | None = None,
        gt_masks: np.ndarray | None = None,
        allow_silent: bool = False,
    ) -> PreparedClip:
        """
        One clip, everything the policy needs of it.

        Args:
            frames (`np.ndarray`):
                uint8 RGB (t, h, w, 3).
            waveform (`np.ndarray`):
                Mono, float in [-1, 1] at 16 kHz.
            expression (`str`, *optional*):
                The reference; or give `prompt`, its messages.
            gt_masks (`np.ndarray`, *optional*):
                bool (t, h, w).

        Raises:
            ValueError: for an empty expression, missing or silent sound, or masks that do not fit the frames.
        """
        if prompt is None:
            prompt = render_prompt(expression, system_prompt=self.system_prompt)
        if waveform is None and not allow_silent:
            raise ValueError(
                "This clip has no sound, and the policy answers from sound: give a waveform, or pass "
                "`allow_silent=True` to go on without."
            )
        if gt_masks is not None and gt_masks.shape != frames.shape[:3]:
            raise ValueError(
                f"The truth has shape {gt_masks.shape} (frames, height, width) but the clip has {frames.shape[:3]}: "
                "there must be one mask per frame, of the frame's size."
            )
        inputs = self.backbone_processor(
            text=[self.render_prompt_text(prompt, has_audio=waveform is not None)],
            videos=[frames],
            audio=None if waveform is None else [waveform],
            return_tensors="pt",
            **({"allow_silent": True} if allow_silent else {}),
        )
        prompt_ids = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask")
        pixel_values, input_size, original_size = prepare_frames(frames, self.sam_image_size)
        return PreparedClip(
            prompt_ids=prompt_ids,
            media=dict(inputs),
            sam_pixel_values=pixel_values,
            input_size=input_size,
            original_size=original_size,
            gt_masks=None if gt_masks is None else torch.from_numpy(gt_masks),
        )

    def save_pretrained(self, save_directory, **kwargs):
        self.backbone_processor.save_pretrained(save_directory)
        settings = {"sam_image_size": self.sam_image_size, "system_prompt": self.system_prompt}
        settings["backbone_processor"] = type(self.backbone_processor).__name__
        path = Path(save_directory) / AURORA_PROCESSOR_FILE
        path.write_text(json.dumps(settings, indent=2) + "\n")
        return [str(path)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        path = cached_file(pretrained_model_name_or_path, AURORA_PROCESSOR_FILE)
        settings = json.loads(Path(path).read_text())
        model_type = AutoConfig.from_pretrained(pretrained_model_name_or_path).backbone_config.model_type
        tokenizer_kwargs = {key: kwargs[key] for key in ("truncation_side", "padding_side") if key in kwargs}
        backbone_processor = backbone_processor_class(model_type).from_pretrained(pretrained_model_name_or_path)
        processor = cls(backbone_processor, settings["sam_image_size"], settings["system_prompt"])
        for key, value in tokenizer_kwargs.items():
            setattr(processor.tokenizer, key, value)
        return processor


def _text_blocks(content: str | list[dict]) -> list[dict]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _blocks_of(messages: list[dict]) -> list[dict]:
    return [{**message, "content": _text_blocks(message["content"])} for message in messages]


AutoProcessor.register(AuroraConfig, AuroraProcessor)

__all__ = ["AuroraProcessor", "PreparedClip", "batch_media"]
