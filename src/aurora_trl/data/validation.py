"""
Checks every row before the first training step, so that bad data stops a run at the door and not after an hour.

Decodes no picture but the first of a video, and no sound: what is damaged inside raises its named error when it is
decoded.
"""

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import soundfile

from aurora_trl.constants import NUM_FRAMES
from aurora_trl.data.headers import picture_size
from aurora_trl.data.media import (
    MaskMismatchError,
    MissingAudioError,
    UnreadableMediaError,
)
from aurora_trl.data.video import check_seconds, probe_video


REQUIRED = ("prompt", "category", "frames", "masks")


def _check_video(row: dict[str, Any], uid: str, allow_silent: bool) -> tuple[int, int]:
    """(width, height) of the pictures; its sound track and its chosen moments are there."""
    header = probe_video(row["video"])
    if not (header.has_sound or row.get("audio") or allow_silent):
        raise MissingAudioError(
            f"The video {row['video']} of row {uid} has no sound track, and the policy answers from sound: give an "
            "`audio`, or set allow_silent=True."
        )
    if row.get("seconds"):
        check_seconds(row["seconds"], header.duration, row["video"])
    return header.size


def _check_audio(path: str | None, uid: str, allow_silent: bool, known: set[str]) -> None:
    if not path:
        if not allow_silent:
            raise MissingAudioError(
                f"Row {uid} has no `audio`, and the policy answers from sound: give a path, or set allow_silent=True."
            )
    elif path not in known:
        if not Path(path).is_file():
            raise MissingAudioError(f"The sound {path} of row {uid} does not exist: check the data root.")
        try:
            soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise UnreadableMediaError(
                f"The sound {path} of row {uid} can't be read ({error}): convert it to WAV or fetch it again."
            ) from error
        known.add(path)


def validate_rows(rows: Iterable[dict[str, Any]], needs_completion: bool, allow_silent: bool = False) -> None:
    """
    Args:
        rows (iterable of `dict`):
            Rows with the columns of [`~aurora_trl.data.load_refavs`].
        needs_completion (`bool`):
            Whether a row must have a target answer.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept rows without sound.

    Raises:
        ValueError: naming the first row that can't be trained on, why, and what to do.
    """
    frame_size, mask_size = cache(picture_size), cache(partial(picture_size, is_turned=False))
    sounds: set[str] = set()
    required = (*REQUIRED, "completion") if needs_completion else REQUIRED
    for number, row in enumerate(rows):
        uid = row.get("uid", f"number {number}")
        if missing := [name for name in required if row.get(name) is None]:
            raise ValueError(
                f"Row {uid} has no {missing}: the columns {list(required)} are needed. Targets are joined by "
                "`aurora_trl.data.attach_completions`."
            )
        if "expression" in row and not (row["expression"] or "").strip():
            raise ValueError(f"Row {uid} has an empty expression: there is nothing to refer to. Drop the row.")
        if row.get("video"):
            frame_sizes = {_check_video(row, uid, allow_silent)}
            num_frames = len(row.get("seconds") or range(NUM_FRAMES))
        else:
            frame_sizes, num_frames = {frame_size(path) for path in row["frames"]}, len(row["frames"])
        if len(frame_sizes) > 1:
            raise UnreadableMediaError(
                f"The frames of row {uid} have different sizes (width, height) {sorted(frame_sizes)}: extract "
                "them again."
            )
        mask_sizes = {mask_size(path) for path in row["masks"] if path is not None}
        if row["masks"] and (len(row["masks"]) != num_frames or mask_sizes != frame_sizes):
            raise MaskMismatchError(
                f"Row {uid} has {len(row['masks'])} masks of size {sorted(mask_sizes)} for {num_frames} "
                f"frames of size {sorted(frame_sizes)}: there must be one mask per frame, of the frame's size."
            )
        if row.get("audio") or not row.get("video"):  # a video's own sound track is checked when it is decoded
            _check_audio(row.get("audio"), uid, allow_silent, sounds)
