"""
Pictures, sounds, masks and videos from files to arrays, with a named error for everything that can't be read.

Knows nothing of data sets, rows or models. Returns numpy arrays: RGB uint8 pictures, mono float32 sound, bool masks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile
from jaxtyping import Bool, Float32, UInt8

from aurora_trl.constants import FULL_GREY, NUM_FRAMES, SAMPLING_RATE


SAMPLE_STEPS = 2**15  # of a 16-bit sample: the one depth every sound is brought to
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz of sounds that are taken for sounds
# 128 taps at the lower rate, 95 % of the band: no part of the input's upper band folds into the output.
RESAMPLER_OPTIONS = {"filter_size": "128", "cutoff": "0.95"}
TIME_TOLERANCE = 1e-4  # seconds; a frame this much before a slot still belongs to it (container clocks are rounded)


class UnreadableMediaError(ValueError):
    """A picture, sound or video that is missing, broken or of an unknown format."""


class MissingAudioError(ValueError):
    """A video without a sound track."""


class SilentAudioError(ValueError):
    """A sound in which every sample is zero."""


class MaskMismatchError(ValueError):
    """Masks that do not match their frames in number or size."""


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


def read_frame(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """
    Read a picture.

    Args:
        path (`str` or `Path`): A file of any format OpenCV reads; turned upright if it says how.
    """
    picture = _decode_picture(path, "picture", cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture[..., ::-1])


def read_frames(paths: Sequence[str | Path]) -> UInt8[np.ndarray, "t h w 3"]:
    """
    Read the frames of a clip.

    Args:
        paths (sequence of `str` or `Path`): Pictures of one size, in order of time.
    """
    if not paths:
        raise UnreadableMediaError("Cannot read the frames of a clip: the list of their paths is empty.")
    frames = [read_frame(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise UnreadableMediaError(
                f"The frames of a clip must have one size, but {path} has {frame.shape[:2]} and {paths[0]} "
                f"{frames[0].shape[:2]} (h, w). Extract the frames again at one size."
            )
    return np.stack(frames)


def read_audio(
    path: str | Path, sampling_rate: int = SAMPLING_RATE, allow_silent: bool = False
) -> Float32[np.ndarray, " samples"]:
    """
    Read a sound as 16-bit mono of one sampling rate, whatever the file is: in Ref-AVS the null clips have files of
    another bit rate than all others, which a model could learn instead of the task.

    Args:
        path (`str` or `Path`): A file of any format libsndfile reads (wav, flac, ogg, mp3).
        sampling_rate (`int`, *optional*, defaults to `16000`): Samples per second to return.
        allow_silent (`bool`, *optional*, defaults to `False`): Return a sound of zeros instead of refusing it.

    Returns:
        `np.ndarray`: (samples,) float32 in [-1, 1], in steps of 2⁻¹⁵.
    """
    try:
        samples, rate = soundfile.read(_existing(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, MemoryError) as error:  # a damaged header can claim any length
        raise UnreadableMediaError(
            f"Cannot read the sound {path}: {error}. Convert it to wav; the sound of a video is read by `read_video`."
        ) from error
    if not len(samples):
        raise UnreadableMediaError(f"The sound {path} has no samples. Extract it again.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnreadableMediaError(
            f"The sound {path} claims {rate} samples per second, which no sound has ({MIN_RATE} to {MAX_RATE}): its "
            "header is damaged. Extract it again."
        )
    if not np.isfinite(samples).all():
        raise UnreadableMediaError(f"The sound {path} has samples that are no numbers (NaN or infinite). Convert it.")
    waveform = _quantise(_resample(samples.mean(axis=1), rate, sampling_rate))
    return _checked_sound(waveform, path, allow_silent)


def read_masks(
    paths: Sequence[str | Path | None], num_frames: int, size: tuple[int, int]
) -> Bool[np.ndarray, "t h w"]:
    """
    Read the true masks of a clip: every value but zero is the object. Arguments as for [`read_grey_masks`].
    """
    return read_grey_masks(paths, num_frames, size) != 0


def read_grey_masks(
    paths: Sequence[str | Path | None], num_frames: int, size: tuple[int, int]
) -> UInt8[np.ndarray, "t h w"]:
    """
    Read the grey values of the true masks of a clip, which some protocols look at; of colors the brightest channel.

    Args:
        paths (sequence of `str`, `Path` or `None`):
            One picture per frame, or none at all if the truth is empty. None instead of a path is a frame without
            truth: its mask is empty here, and `labelled_frames` does not name it.
        num_frames (`int`): Frames of the clip.
        size (`tuple[int, int]`): Height and width of the frames.
    """
    height, width = size
    if not paths:
        return np.zeros((num_frames, height, width), np.uint8)
    if len(paths) != num_frames:
        raise MaskMismatchError(
            f"There are {len(paths)} masks for {num_frames} frames ({paths[0]}, …). Give one mask per frame, or none."
        )
    return np.stack([np.zeros(size, np.uint8) if path is None else _read_mask(path, size) for path in paths])


def labelled_frames(paths: Sequence[str | Path | None], num_frames: int) -> list[int]:
    """The frames whose truth is known: all, but those whose path is None."""
    return [i for i in range(num_frames) if not paths or paths[i] is not None]


def _read_mask(path: str | Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    picture = _decode_picture(path, "mask", cv2.IMREAD_UNCHANGED)
    if picture.shape[:2] != tuple(size):
        raise MaskMismatchError(
            f"The mask {path} has the size {picture.shape[:2]}, its frame {tuple(size)} (h, w). "
            "Resize the mask with nearest-neighbour interpolation."
        )
    grey = picture.reshape(*size, -1)[..., :3].max(axis=-1)  # a fourth channel is opacity
    return grey if grey.dtype == np.uint8 else np.where(grey != 0, FULL_GREY, 0).astype(np.uint8)


def _decode_picture(path: str | Path, what: str, flags: int) -> np.ndarray:
    try:
        picture = cv2.imread(_existing(path), flags)
        reason = "the file is broken or no picture"
    except cv2.error as error:  # a header that claims more pixels than OpenCV takes
        picture, reason = None, str(error.err)
    if picture is None:
        raise UnreadableMediaError(f"Cannot read the {what} {path}: {reason}. Replace it.")
    return picture


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
    try:
        with av.open(_existing(path)) as container:
            if not container.streams.video:
                raise UnreadableMediaError(f"{path} has no pictures. Give a video, not a sound.")
            if not container.streams.audio and not allow_silent:
                raise MissingAudioError(
                    f"{path} has no sound track, and the reference may be about the sound. Give its sound as a file "
                    "of its own, or allow silent clips if you mean it."
                )
            begin, end = _time_span(container)
            if seconds is None:
                chosen = _first_of_slots(_decode(container), begin, end, num_frames)
            else:
                chosen = _shown_at(
                    _decode(container), [begin + s for s in _checked_seconds(seconds, end - begin, path)]
                )
            frames, timestamps = _upright(chosen, container.name)
            waveform = _decode_sound(container, begin, end, sampling_rate)
            fps = float(container.streams.video[0].average_rate or 0)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise UnreadableMediaError(
            f"Cannot read the video {path}: {error}. The file is broken or of an unknown format; convert it to mp4."
        ) from error
    if waveform is not None:
        waveform = _checked_sound(_quantise(waveform), path, allow_silent)
    return Clip(frames, waveform, timestamps - begin, fps, end - begin, sampling_rate)


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


def _checked_seconds(seconds: Sequence[float], duration: float, path: str | Path) -> Sequence[float]:
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
    waveform = _resample(np.concatenate(pieces), rate, sampling_rate)
    late = round((first - begin) * sampling_rate)
    waveform = np.pad(waveform, (late, 0)) if late > 0 else waveform[-late:]
    return waveform[: round((end - begin) * sampling_rate)]


def _resample(
    waveform: Float32[np.ndarray, " samples"], rate: int, sampling_rate: int
) -> Float32[np.ndarray, " resampled"]:
    """Band-limited resampling of mono sound, without delay."""
    if rate == sampling_rate:
        return waveform
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=sampling_rate, options=RESAMPLER_OPTIONS)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None]), format="fltp", layout="mono")
    frame.sample_rate = rate
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def _quantise(waveform: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
    steps = np.clip(np.round(waveform * SAMPLE_STEPS), -SAMPLE_STEPS, SAMPLE_STEPS - 1)
    return (steps / SAMPLE_STEPS).astype(np.float32)


def _checked_sound(
    waveform: Float32[np.ndarray, " samples"], path: str | Path, allow_silent: bool
) -> Float32[np.ndarray, " samples"]:
    if not allow_silent and not waveform.any():
        raise SilentAudioError(
            f"The sound of {path} is silent: every sample is zero. Extract it again, or allow silent clips if you "
            "mean it."
        )
    return waveform


def _existing(path: str | Path) -> str:
    if not Path(path).is_file():
        raise UnreadableMediaError(f"There is no file {path}. Check the path and that the download is complete.")
    return str(path)
