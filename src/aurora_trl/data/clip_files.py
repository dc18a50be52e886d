"""The files of one clip in the layout of Ref-AVS: which are missing or broken, and what their headers say."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from PIL import Image, UnidentifiedImageError

from aurora_trl.constants import NUM_FRAMES


@dataclass(frozen=True)
class ClipFiles:
    """
    Attributes:
        name (`str`): of the clip.
        problems (`dict[str, list[str]]`): "missing", "unreadable" and "mask-mismatch" files, each with its reason.
        properties (`dict[str, object]`): what the headers say of sound and pictures.
        sound_hash (`str` or `None`): of the whole sound file.
    """

    name: str
    problems: dict[str, list[str]] = field(default_factory=dict)
    properties: dict[str, object] = field(default_factory=dict)
    sound_hash: str | None = None

    def add(self, code: str, problem: str) -> None:
        self.problems.setdefault(code, []).append(problem)


def inspect_clip(root: Path, name: str, objects: Iterable[int]) -> ClipFiles:
    """
    Looks at a clip's frames, its sound and the masks of some of its objects.

    Args:
        root (`Path`): Data root.
        name (`str`): Of the clip.
        objects (iterable of `int`): Numbers (fid) of the objects.
    """
    media = root / "media" / name
    clip = ClipFiles(name, sound_hash=_hash(media / "audio.wav"))
    sizes = {image_size(media / "frames" / f"{number}.jpg", clip) for number in range(NUM_FRAMES)} - {None}
    if len(sizes) > 1:
        clip.add("mask-mismatch", f"{media / 'frames'}: frames of sizes {sorted(sizes)}")
    elif sizes:
        clip.properties["frame size"] = next(iter(sizes))
    for number in sorted(objects):
        folder = root / "gt_mask" / name / f"fid_{number}"
        for frame in range(NUM_FRAMES):
            path = folder / f"{frame:05d}.png"
            size = image_size(path, clip)
            if size is not None and sizes and size not in sizes:
                clip.add("mask-mismatch", f"{path}: size {size}, its frames {sorted(sizes)}")
    _inspect_sound(media / "audio.wav", clip)
    return clip


def image_size(path: Path, clip: ClipFiles) -> tuple[int, int] | None:
    """(width, height) of a picture, or None and a problem of its clip."""
    try:
        with Image.open(path) as image:
            image.verify()
            return image.size
    except FileNotFoundError:
        clip.add("missing", str(path))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        clip.add("unreadable", f"{path}: {error}")
    return None


def _inspect_sound(path: Path, clip: ClipFiles) -> None:
    if not path.is_file():
        clip.add("missing", str(path))
        return
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        clip.add("unreadable", f"{path}: {error}")
        return
    if not info.frames:
        clip.add("unreadable", f"{path}: no samples")
        return
    clip.properties["sampling rate"] = info.samplerate
    clip.properties["channels"] = info.channels
    clip.properties["duration"] = round(info.frames / info.samplerate, 1)
    clip.properties["bit rate"] = round(path.stat().st_size * 8 / (info.frames / info.samplerate) / 1000)


def _hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
