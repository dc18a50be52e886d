"""
From rows of paths to what the policy takes: clips are decoded here, late, and once per distinct clip and prompt.

Knows the row columns (`prompt`, `completion`, `frames`, `video`, `audio`, `masks`), the processor and padding;
nothing of TRL.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from aurora_trl.constants import IGNORE_INDEX
from aurora_trl.data.media import labelled_frames, read_audio, read_frames, read_masks
from aurora_trl.data.video import read_video
from aurora_trl.model.processing import AuroraProcessor, PreparedClip


def is_audio_visual(row: dict[str, Any]) -> bool:
    """Whether a row has a clip: rows without go the stock way."""
    return bool(row.get("frames") or row.get("video"))


def first_row(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """
    The row that tells what a data set is.

    Raises:
        ValueError: if there is none.
    """
    row = next(iter(rows), None)
    if row is None:
        raise ValueError("The data set has no rows, so there is nothing to train on. Check split and filters.")
    return row


def require_processor(processing_class: Any) -> None:
    """
    Raises:
        ValueError: if rows with a clip come without the policy's processor.
    """
    if not hasattr(processing_class, "prepare_clip"):
        raise ValueError(
            f"Rows with a clip need a `processing_class` with `prepare_clip`, not {type(processing_class).__name__}: "
            "pass `AuroraProcessor.from_pretrained(folder)`, or your own."
        )


def read_row(row: dict[str, Any], allow_silent: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Decodes the clip of one row.

    Args:
        row (`dict`):
            With `frames` and `audio` (paths), or with `video`, and then perhaps `seconds` and an `audio` that replaces
            its own.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept a clip without sound, or whose sound is all zeros.

    Returns:
        Frames (t, h, w, 3) uint8 RGB, and the waveform (samples,) at 16 kHz, None without sound.
    """
    audio = row.get("audio")
    waveform = read_audio(audio, allow_silent=allow_silent) if audio else None
    if not row.get("video"):
        return read_frames(row["frames"]), waveform
    clip = read_video(row["video"], allow_silent=allow_silent or bool(audio), seconds=row.get("seconds"))
    return clip.frames, clip.waveform if waveform is None else waveform


def clip_key(row: dict[str, Any]) -> tuple:
    """Equal for rows of one clip."""
    return (*(row.get("frames") or ()), row.get("video"), *(row.get("seconds") or ()), row.get("audio"))


def load_clips(
    rows: Sequence[dict[str, Any]], processor: AuroraProcessor, allow_silent: bool = False
) -> list[PreparedClip | None]:
    """
    Clips of a batch, None for rows without. Each distinct clip is decoded once, and rows of one group (the same clip,
    prompt and truth) share one object.

    Args:
        rows (list of `dict`):
            With `prompt` (messages), a clip (see [`read_row`]) and, for training, `masks` (paths; an empty list means
            that the truth is empty on every frame, None instead of a path that a frame has no truth).
        processor ([`~aurora_trl.AuroraProcessor`]):
            Of the policy.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept rows without sound.
    """
    decoded: dict[tuple, tuple[np.ndarray, np.ndarray | None]] = {}
    distinct: dict[tuple, PreparedClip] = {}
    clips = []
    for row in rows:
        if not is_audio_visual(row):
            clips.append(None)
            continue
        media = clip_key(row)
        prompt = tuple((message["role"], str(message["content"])) for message in row["prompt"])
        key = (*media, *(row.get("masks") or ()), prompt)
        if media not in decoded:
            decoded[media] = read_row(row, allow_silent)
        if key not in distinct:
            distinct[key] = _prepare(row, *decoded[media], processor, allow_silent)
        clips.append(distinct[key])
    return clips


def _prepare(
    row: dict[str, Any],
    frames: np.ndarray,
    waveform: np.ndarray | None,
    processor: AuroraProcessor,
    allow_silent: bool,
) -> PreparedClip:
    masks = row.get("masks")
    gt_masks = None if masks is None else read_masks(masks, num_frames=len(frames), size=frames.shape[1:3])
    clip = processor.prepare_clip(frames, waveform, prompt=row["prompt"], gt_masks=gt_masks, allow_silent=allow_silent)
    labelled = labelled_frames(masks or (), len(frames))
    return clip if len(labelled) == len(frames) else replace(clip, labelled=labelled)


@dataclass
class AudioVisualCollator:
    """
    Batches rows with a `completion` for supervised training: prompt and answer in one sequence, padded on the right,
    labels on the answer alone.

    Args:
        processor ([`~aurora_trl.AuroraProcessor`]):
            Of the policy.
        teacher_answer (callable, *optional*):
            From a row to the teacher's answer text; adds `teacher_completion_ids` to the batch.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept rows without sound.
    """

    processor: AuroraProcessor
    teacher_answer: Any = None
    allow_silent: bool = False

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        clips = load_clips(rows, self.processor, self.allow_silent)
        completions = [self._completion_ids(row["prompt"], row["completion"]) for row in rows]
        length = max(len(clip.prompt_ids) + len(ids) for clip, ids in zip(clips, completions, strict=True))
        input_ids = torch.full((len(rows), length), self.processor.tokenizer.pad_token_id)
        labels = torch.full_like(input_ids, IGNORE_INDEX)
        attention_mask = torch.zeros_like(input_ids)
        for i, (clip, ids) in enumerate(zip(clips, completions, strict=True)):
            start, end = len(clip.prompt_ids), len(clip.prompt_ids) + len(ids)
            input_ids[i, :end] = torch.tensor(clip.prompt_ids + ids)
            labels[i, start:end] = torch.tensor(ids)
            attention_mask[i, :end] = 1
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, "clips": clips}
        if self.teacher_answer is not None:
            batch["teacher_completion_ids"] = [
                self._completion_ids(row["prompt"], [{"role": "assistant", "content": self.teacher_answer(row)}])
                for row in rows
            ]
        return batch

    def _completion_ids(self, prompt: list[dict], completion: list[dict]) -> list[int]:
        text = self.processor.render_completion_text(prompt, completion)
        return self.processor.tokenizer.encode(text, add_special_tokens=False)
