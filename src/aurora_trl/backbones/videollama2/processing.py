"""
Text, frames and sound of a clip → what [`VideoLlama2ForConditionalGeneration`] takes. Media placeholders are expanded
to one id per feature. Reads no files and decodes no containers.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin, SiglipImageProcessorPil

from aurora_trl.backbones.videollama2.audio_beats import num_audio_tokens
from aurora_trl.backbones.videollama2.audio_features import AUDIO_SECONDS, VideoLlama2FeatureExtractor
from aurora_trl.backbones.videollama2.configuration import VideoLlama2Config
from aurora_trl.backbones.videollama2.connector import num_video_tokens
from aurora_trl.constants import AUDIO_TOKEN, NUM_FRAMES, SEG_TOKEN, VIDEO_TOKEN


# ChatML as Qwen2 writes it, without its default system turn. Content is text or a list of blocks; a line break
# separates the last medium from the text after it, as in "<video>\n{text}" of the original.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for block in message['content'] %}"
    "{% if block['type'] == 'text' %}"
    "{% if loop.previtem is defined and loop.previtem['type'] != 'text' %}{{ '\n' }}{% endif %}{{ block['text'] }}"
    f"{{% elif block['type'] == 'video' %}}{{{{ '{VIDEO_TOKEN}' }}}}"
    f"{{% elif block['type'] == 'audio' %}}{{{{ '{AUDIO_TOKEN}' }}}}"
    "{% else %}{{ raise_exception('A content block has type ' + block['type'] + ', known are video, audio, text.') }}"
    "{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class VideoLlama2Processor(ProcessorMixin):
    r"""
    Image processor, filterbank and tokenizer of VideoLLaMA2-AV.

    The tokenizer gets `[SEG]`, `<video>` and `<audio>`, in this order, as added tokens that are not special: special
    ones would be stripped from decoded answers.

    Args:
        image_processor (`SiglipImageProcessorPil`):
            Resizes frames to the vision tower's square and normalises them. One of another backend is rebuilt on PIL,
            the original's: torchvision's resize differs by a grey level.
        feature_extractor ([`VideoLlama2FeatureExtractor`]):
            Turns waveforms into filterbanks.
        tokenizer (`PreTrainedTokenizerBase`):
            Qwen2's.
        num_frames (`int`, *optional*, defaults to 10):
            Frames the model sees of each clip.
        patch_size (`int`, *optional*, defaults to 14):
            Of the vision tower.
        chat_template (`str`, *optional*):
            Jinja template; by default ChatML with video and audio blocks.
    """

    def __init__(
        self,
        image_processor=None,
        feature_extractor=None,
        tokenizer=None,
        num_frames: int = NUM_FRAMES,
        patch_size: int = 14,
        chat_template: str | None = None,
    ):
        if not isinstance(image_processor, SiglipImageProcessorPil):
            image_processor = SiglipImageProcessorPil.from_dict(image_processor.to_dict())
        tokenizer.add_tokens([SEG_TOKEN, VIDEO_TOKEN, AUDIO_TOKEN])
        if tokenizer.chat_template is None:
            tokenizer.chat_template = CHAT_TEMPLATE
        self.num_frames = num_frames
        self.patch_size = patch_size
        super().__init__(image_processor, feature_extractor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)

    @classmethod
    def from_config(
        cls,
        config: VideoLlama2Config,
        tokenizer: PreTrainedTokenizerBase,
        audio_seconds: float = AUDIO_SECONDS,
        **kwargs,
    ) -> "VideoLlama2Processor":
        """
        The processor that belongs to a configuration; released folders hold a tokenizer only.

        Args:
            config ([`VideoLlama2Config`]):
                Sizes of the towers, ids of the placeholders.
            tokenizer (`PreTrainedTokenizerBase`):
                With or without `[SEG]`, `<video>` and `<audio>`.
            audio_seconds (`float`, *optional*, defaults to 30.0):
                Length that waveforms are padded or cut to.

        Raises:
            ValueError: if tokenizer and configuration disagree about the placeholders' ids.
        """
        side = config.vision_config.image_size
        processor = cls(
            image_processor=SiglipImageProcessorPil(size={"height": side, "width": side}),
            feature_extractor=VideoLlama2FeatureExtractor(
                config.audio_config.num_mel_bins, audio_seconds=audio_seconds
            ),
            tokenizer=tokenizer,
            num_frames=config.num_frames,
            patch_size=config.vision_config.patch_size,
            **kwargs,
        )
        ids = tuple(tokenizer.convert_tokens_to_ids([VIDEO_TOKEN, AUDIO_TOKEN]))
        if ids != (config.video_token_id, config.audio_token_id):
            raise ValueError(
                f"{VIDEO_TOKEN} and {AUDIO_TOKEN} have the ids {ids} in the tokenizer but "
                f"{(config.video_token_id, config.audio_token_id)} in the configuration: set its `video_token_id` and "
                "`audio_token_id` to the tokenizer's."
            )
        return processor

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values_videos", "input_features"]

    @property
    def num_video_tokens(self) -> int:
        """Ids per video."""
        return num_video_tokens(self.num_frames, self.image_processor.size["height"], self.patch_size)

    @property
    def num_audio_tokens(self) -> int:
        """Ids per waveform."""
        return num_audio_tokens(self.feature_extractor.num_frames, self.feature_extractor.feature_size)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        videos: Sequence | None = None,
        audio: Sequence | None = None,
        images: None = None,
        allow_silent: bool = False,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **text_kwargs,
    ) -> BatchFeature:
        """
        Args:
            text (`str` or `list[str]`, *optional*):
                Prompts with `<video>` and `<audio>` where the media go.
            videos (`list`, *optional*):
                Clips in the order of their placeholders: uint8 arrays (t, h, w, 3) or lists of pictures.
            audio (`list`, *optional*):
                Mono waveforms in the order of their placeholders, floats in [-1, 1] at 16 kHz.
            allow_silent (`bool`, *optional*, defaults to `False`):
                Accept empty and all-zero waveforms.
            sampling_rate (`int`, *optional*):
                Rate of `audio`, to have it checked.
            text_kwargs:
                For the tokenizer, for example `padding=True, padding_side="left"`.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask` (one row per text), `pixel_values_videos`
            (n, t, 3, h, w) and `input_features` (m, frames, mel), as far as their inputs were given.

        Raises:
            ValueError: if media and placeholders differ in number, or a waveform is silent, empty or not finite.
        """
        if images is not None:
            raise ValueError("VideoLLaMA2-AV takes clips, not single images: pass the pictures as one of `videos`.")
        videos, audio = _flat_clips(videos), _flat_waveforms(audio)
        data = {}
        if text is not None:
            data.update(self._tokenize(text, len(videos), len(audio), **text_kwargs))
        if videos:
            data["pixel_values_videos"] = torch.stack([self._preprocess_frames(frames) for frames in videos])
        if audio:
            data.update(self.feature_extractor(audio, sampling_rate=sampling_rate, allow_silent=allow_silent))
        return BatchFeature(data, tensor_type=return_tensors)

    def _tokenize(self, text: str | Sequence[str], num_videos: int, num_waveforms: int, **text_kwargs) -> BatchFeature:
        """Token ids with expanded placeholders."""
        texts = [text] if isinstance(text, str) else list(text)
        for token, given in ((VIDEO_TOKEN, num_videos), (AUDIO_TOKEN, num_waveforms)):
            if (expected := sum(item.count(token) for item in texts)) != given:
                raise ValueError(
                    f"The text has {expected} {token} placeholders but {given} media were given for them: pass one "
                    "per placeholder, and remove the placeholder from user text."
                )
        expanded = [
            item.replace(VIDEO_TOKEN, VIDEO_TOKEN * self.num_video_tokens).replace(
                AUDIO_TOKEN, AUDIO_TOKEN * self.num_audio_tokens
            )
            for item in texts
        ]
        return self.tokenizer(expanded, **text_kwargs)

    def _preprocess_frames(self, frames: np.ndarray | Sequence) -> Tensor:
        """`num_frames` pictures, spread evenly over the clip (repeated in a short one), as (t, 3, h, w)."""
        if len(frames) == 0:
            raise ValueError("A clip has no frames: drop it, or decode it again.")
        chosen = np.linspace(0, len(frames) - 1, self.num_frames).round().astype(int)
        pixels = self.image_processor([frames[i] for i in chosen], return_tensors="pt")
        return pixels["pixel_values"]


def _flat_clips(videos: Sequence | None) -> list:
    """Clips of all prompts in one list; chat templates hand over one list of clips per prompt."""
    if videos is None:
        return []
    clips = []
    for entry in videos:
        is_list_of_clips = isinstance(entry, (list, tuple)) and len(entry) > 0 and np.ndim(entry[0]) in (1, 4)
        clips.extend(entry if is_list_of_clips else [entry])
    return clips


def _flat_waveforms(audio: Sequence | None) -> list:
    """Waveforms of all prompts in one list."""
    if audio is None:
        return []
    if isinstance(audio, (np.ndarray, Tensor)) and audio.ndim == 1:
        return [audio]
    waveforms = []
    for entry in audio:
        waveforms.extend(entry if isinstance(entry, (list, tuple)) else [entry])
    return waveforms


AutoProcessor.register(VideoLlama2Config, VideoLlama2Processor)

__all__ = ["VideoLlama2Processor"]
