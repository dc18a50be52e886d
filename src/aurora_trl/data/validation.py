"""
Checks every row before the first training step, so that bad data stops a run at the door and not after an hour.

Reads headers only (and the first picture of a video): a file that is damaged behind its header raises its named error
when it is decoded.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import soundfile
from PIL import Image, UnidentifiedImageError

from aurora_trl.constants import NUM_FRAMES
from aurora_trl.data.media import MaskMismatchError, MissingAudioError, UnreadableMediaError, read_video


REQUIRED = ("prompt", "category", "frames", "masks")


def _image_size(path: str, known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    if path not in known:
        try:
            with Image.open(path) as image:
                known[path] = image.size
        except FileNotFoundError as error:
            raise UnreadableMediaError(f"The image {path} does not exist: check the data root.") from error
        except (UnidentifiedImageError, OSError) as error:
            raise UnreadableMediaError(
                f"The image {path} can't be read ({error}): it is truncated or no picture. Fetch it again or drop "
                "its rows."
            ) from error
    return known[path]


def _video_size(path: str, known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """(width, height) of the first frame, turned upright."""
    if path not in known:
        height, width = read_video(path, num_frames=1, allow_silent=True).frames.shape[1:3]
        known[path] = (width, height)
    return known[path]


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
    sizes: dict[str, tuple[int, int]] = {}
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
            frame_sizes, num_frames = {_video_size(row["video"], sizes)}, len(row.get("seconds") or range(NUM_FRAMES))
        else:
            frame_sizes, num_frames = {_image_size(path, sizes) for path in row["frames"]}, len(row["frames"])
        if len(frame_sizes) > 1:
            raise UnreadableMediaError(
                f"The frames of row {uid} have different sizes (width, height) {sorted(frame_sizes)}: extract "
                "them again."
            )
        mask_sizes = {_image_size(path, sizes) for path in row["masks"] if path is not None}
        if row["masks"] and (len(row["masks"]) != num_frames or mask_sizes != frame_sizes):
            raise MaskMismatchError(
                f"Row {uid} has {len(row['masks'])} masks of size {sorted(mask_sizes)} for {num_frames} "
                f"frames of size {sorted(frame_sizes)}: there must be one mask per frame, of the frame's size."
            )
        if row.get("audio") or not row.get("video"):  # a video's own sound track is checked when it is decoded
            _check_audio(row.get("audio"), uid, allow_silent, sounds)
