"""
Videos from files to arrays: frames of equal time slots or of given moments, and the sound, aligned with them.

Knows nothing of data sets, rows or models.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32, UInt8

from aurora_trl.constants import NUM_FRAMES, SAMPLING_RATE
from aurora_trl.data.media import (
    MissingAudioError,
    UnreadableMediaError,
    checked_sound,
    existing,
    quantise,
    resample,
)


TIME_TOLERANCE = 1e-4  # seconds; a frame this much before a slot still belongs to it (container clocks are rounded)


@dataclass(frozen=True)
class Clip:
    """
    A decoded video.

    Args:
        frames (`np.ndarray`): (t, h, w, 3) uint8, RGB, upright.
        waveform (`np.ndarray` or `None`):
            (samples,) float32 in [-1, 1], mono, beginning with the video; `None` if there is no sound track.
        timestamps (`np.ndarray`): (t,) seconds from the beginning of the video at which the frames are shown.
        fps (`float`): Average frame rate of the file.
        duration (`float`): Length of the video in seconds.
        sampling_rate (`int`): Samples per second of `waveform`.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    waveform: Float32[np.ndarray, " samples"] | None
    timestamps: np.ndarray
    fps: float
    duration: float
    sampling_rate: int


def read_video(
    path: str | Path,
    num_frames: int = NUM_FRAMES,
    allow_silent: bool = False,
    sampling_rate: int = SAMPLING_RATE,
    seconds: Sequence[float] | None = None,
) -> Clip:
    """
    Read a video: the first frame of each of `num_frames` equal time slots, and its sound.

    A slot in which no frame begins (a video of fewer frames) shows the frame before it.

    Args:
        path (`str` or `Path`): A file of any format FFmpeg reads.
        num_frames (`int`, *optional*, defaults to `10`): Frames to return, if `seconds` does not choose them.
        allow_silent (`bool`, *optional*, defaults to `False`):
            Accept a video without sound track (`waveform` is `None`) or with a sound of zeros.
        sampling_rate (`int`, *optional*, defaults to `16000`): Samples per second to return.
        seconds (sequence of `float`, *optional*):
            Times from the beginning of the video at which to take frames, in ascending order: the frame that is shown
            then.

    Raises:
        ValueError: for a time outside the video, or times that don't ascend.
        MissingAudioError: if there is no sound track.
        SilentAudioError: if its samples are all zero.
        UnreadableMediaError: if the file is missing or broken, or shows no picture.
    """
    if num_frames < 1:
        raise ValueError(f"Cannot read num_frames={num_frames} frames: ask for at least one.")
    with _opened(path) as container:
        if not container.streams.audio and not allow_silent:
            raise MissingAudioError(
                f"{path} has no sound track, and the reference may be about the sound. Give its sound as a file of "
                "its own, or allow silent clips if you mean it."
            )
        begin, end = _time_span(container)
        if seconds is None:
            chosen = _first_of_slots(_decode(container), begin, end, num_frames)
        else:
            chosen = _shown_at(_decode(container), [begin + s for s in check_seconds(seconds, end - begin, path)])
        frames, timestamps = _upright(chosen, container.name)
        waveform = _decode_sound(container, begin, end, sampling_rate)
        fps = float(container.streams.video[0].average_rate or 0)
    if waveform is not None:
        waveform = checked_sound(quantise(waveform), path, allow_silent)
    return Clip(frames, waveform, timestamps - begin, fps, end - begin, sampling_rate)


@dataclass(frozen=True)
class VideoHeader:
    """Size (width, height) of the upright pictures, length in seconds, and whether there is a sound track."""

    size: tuple[int, int]
    duration: float
    has_sound: bool


def probe_video(path: str | Path) -> VideoHeader:
    """
    What a video's packets and its first picture say; nothing else is decoded.

    Raises:
        UnreadableMediaError: if the file is missing or broken, or shows no picture.
    """
    with _opened(path) as container:
        begin, end = _time_span(container)
        pictures, _ = _upright(list(islice(_decode(container), 1)), container.name)
        return VideoHeader(pictures.shape[2:0:-1], end - begin, bool(container.streams.audio))


@contextmanager
def _opened(path: str | Path):
    """A container with pictures; whatever FFmpeg finds wrong with it, then or later, is a named error."""
    try:
        with av.open(existing(path)) as container:
            if not container.streams.video:
                raise UnreadableMediaError(f"{path} has no pictures. Give a video, not a sound.")
            yield container
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UnreadableMediaError(
            f"Cannot read the video {path}: {error}. The file is broken or of an unknown format; convert it to mp4."
        ) from error


def _time_span(container) -> tuple[float, float]:
    """Begin and end of the pictures in seconds, from the packets: the header's duration may be missing or wrong."""
    stream = container.streams.video[0]
    begin, end = np.inf, -np.inf
    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    for packet in container.demux(stream):
        if packet.pts is not None:
            time = float(packet.pts * packet.time_base)
            length = float(packet.duration * packet.time_base) if packet.duration else usual
            begin, end = min(begin, time), max(end, time + length)
    if not begin < end:
        raise UnreadableMediaError(f"{container.name} shows no picture. Record or convert it again.")
    return begin, end


def check_seconds(seconds: Sequence[float], duration: float, path: str | Path) -> Sequence[float]:
    """
    The times at which to take frames of a video.

    Raises:
        ValueError: for none, for a time outside the video, or times that don't ascend.
    """
    if not len(seconds) or min(seconds) < 0 or max(seconds) >= duration + TIME_TOLERANCE:
        raise ValueError(
            f"Cannot take frames of {path} at {list(seconds)} seconds: the video lasts {duration:.3f}. Choose "
            "at least one time from 0 to its end."
        )
    if list(seconds) != sorted(seconds):
        raise ValueError(f"The times {list(seconds)} for {path} do not ascend. Sort them.")
    return seconds


def _decode(container) -> Iterator[av.VideoFrame]:
    """The frames of the first video track that have a time, in order."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    container.seek(0)
    return (frame for frame in container.decode(stream) if frame.pts is not None)


def _first_of_slots(frames: Iterable[av.VideoFrame], begin: float, end: float, num_frames: int) -> list[av.VideoFrame]:
    slots = begin + (end - begin) * np.arange(num_frames) / num_frames
    chosen, before = [], None
    for frame in frames:
        # Slots that end before this frame begins show the frame before it.
        while before and len(chosen) + 1 < num_frames and frame.time >= slots[len(chosen) + 1] - TIME_TOLERANCE:
            chosen.append(before)
        if frame.time >= slots[len(chosen)] - TIME_TOLERANCE:
            chosen.append(frame)
            if len(chosen) == num_frames:
                break
        before = frame
    return chosen + [before] * (num_frames - len(chosen)) if chosen else []


def _shown_at(frames: Iterable[av.VideoFrame], times: Sequence[float]) -> list[av.VideoFrame]:
    chosen, before = [], None
    for frame in frames:
        while before is not None and len(chosen) < len(times) and frame.time > times[len(chosen)] + TIME_TOLERANCE:
            chosen.append(before)
        if len(chosen) == len(times):
            break
        before = frame
    return chosen + [before] * (len(times) - len(chosen)) if before is not None else []


def _upright(chosen: list[av.VideoFrame], name: str) -> tuple[UInt8[np.ndarray, "t h w 3"], np.ndarray]:
    """Pictures as they are meant to be seen, and when each is shown."""
    if not chosen:
        raise UnreadableMediaError(f"{name}: none of its pictures can be decoded. Convert it again.")
    pictures = [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in chosen]
    if len({picture.shape for picture in pictures}) > 1:
        raise UnreadableMediaError(f"{name} changes the size of its pictures. Convert it to one size.")
    return np.stack(pictures), np.array([frame.time for frame in chosen])


def _decode_sound(container, begin: float, end: float, sampling_rate: int) -> Float32[np.ndarray, " samples"] | None:
    """The first sound track as mono, aligned with the pictures; `None` if there is none."""
    if not container.streams.audio:
        return None
    container.seek(0)
    pieces, first, rate = [], None, None
    to_float = av.AudioResampler(format="fltp")  # not to mono: FFmpeg would make stereo louder than `read_audio` does
    for frame in container.decode(container.streams.audio[0]):
        if first is None:
            first, rate = (frame.time if frame.pts is not None else begin), frame.sample_rate
        pieces.extend(piece.to_ndarray().mean(axis=0) for piece in to_float.resample(frame))
    if not pieces:
        raise UnreadableMediaError(f"{container.name}: none of its sound can be decoded. Convert it again.")
    waveform = resample(np.concatenate(pieces), rate, sampling_rate)
    late = round((first - begin) * sampling_rate)
    waveform = np.pad(waveform, (late, 0)) if late > 0 else waveform[-late:]
    return waveform[: round((end - begin) * sampling_rate)]
