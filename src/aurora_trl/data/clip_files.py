"""The files of one clip in the layout of Ref-AVS: which are missing or broken, and what their headers say."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from aurora_trl.data.headers import picture_size
from aurora_trl.data.media import SilentAudioError, UnreadableMediaError, read_audio
from aurora_trl.data.refavs import audio_path, frame_paths, mask_paths


@dataclass
class ClipFiles:
    """
    Attributes:
        name (`str`): of the clip.
        problems (`dict[str, list[str]]`): "missing", "unreadable", "silent" and "mask-mismatch" files.
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
    clip = ClipFiles(name)
    sizes = {_size(path, clip) for path in frame_paths(root, name)} - {None}
    if len(sizes) > 1:
        clip.add("mask-mismatch", f"{frame_paths(root, name)[0]}, …: frames of sizes {sorted(sizes)}")
    elif sizes:
        clip.properties["frame size"] = next(iter(sizes))
    for path in (path for number in sorted(objects) for path in mask_paths(root, name, number)):
        size = _size(path, clip, is_turned=False)
        if size is not None and sizes and size not in sizes:
            clip.add("mask-mismatch", f"{path}: size {size}, its frames {sorted(sizes)}")
    _inspect_sound(Path(audio_path(root, name)), clip)
    return clip


def _size(path: str, clip: ClipFiles, is_turned: bool = True) -> tuple[int, int] | None:
    """(width, height) of a picture, or None and a problem of its clip."""
    if not Path(path).is_file():
        clip.add("missing", path)
        return None
    try:
        return picture_size(path, is_turned)
    except UnreadableMediaError as error:
        clip.add("unreadable", str(error))
        return None


def _inspect_sound(path: Path, clip: ClipFiles) -> None:
    if not path.is_file():
        clip.add("missing", str(path))
        return
    clip.sound_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        read_audio(path)
    except UnreadableMediaError as error:
        clip.add("unreadable", str(error))
        return
    except SilentAudioError as error:
        clip.add("silent", str(error))
    info = soundfile.info(str(path))
    clip.properties["sampling rate"] = info.samplerate
    clip.properties["channels"] = info.channels
    clip.properties["duration"] = round(info.frames / info.samplerate, 1)
    clip.properties["bit rate"] = round(path.stat().st_size * 8 / (info.frames / info.samplerate) / 1000)
