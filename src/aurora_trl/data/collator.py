"""
From rows of paths to what the policy takes: clips are decoded here, late, and once per distinct clip and prompt.

Knows the row columns (`prompt`, `completion`, `frames`, `audio`, `masks`), the processor and padding; nothing of TRL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aurora_trl.constants import IGNORE_INDEX
from aurora_trl.data.media import read_audio, read_frames, read_masks
from aurora_trl.model.processing import AuroraProcessor, PreparedClip


def is_audio_visual(row: dict[str, Any]) -> bool:
    """Whether a row has a clip: rows without go the stock way."""
    return bool(row.get("frames"))


def load_clip(row: dict[str, Any], processor: AuroraProcessor, allow_silent: bool = False) -> PreparedClip:
    """
    Decodes one row.

    Args:
        row (`dict`):
            With `prompt` (messages), `frames` (paths), `audio` (path) and, for training, `masks` (paths; an empty list
            means that the truth is empty on every frame).
        processor ([`~aurora_trl.AuroraProcessor`]):
            Of the policy.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept a row without `audio`.
    """
    frames = read_frames(row["frames"])
    waveform = read_audio(row["audio"]) if row.get("audio") else None
    masks = row.get("masks")
    gt_masks = None if masks is None else read_masks(masks, num_frames=len(frames), size=frames.shape[1:3])
    return processor.prepare_clip(frames, waveform, prompt=row["prompt"], gt_masks=gt_masks, allow_silent=allow_silent)


def load_clips(
    rows: Sequence[dict[str, Any]], processor: AuroraProcessor, allow_silent: bool = False
) -> list[PreparedClip | None]:
    """Clips of a batch, None for rows without; rows of one group share one object."""
    distinct: dict[tuple, PreparedClip] = {}
    clips = []
    for row in rows:
        if not is_audio_visual(row):
            clips.append(None)
            continue
        prompt = tuple((message["role"], str(message["content"])) for message in row["prompt"])
        key = (*row["frames"], row.get("audio"), *(row.get("masks") or ()), prompt)
        if key not in distinct:
            distinct[key] = load_clip(row, processor, allow_silent)
        clips.append(distinct[key])
    return clips


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
