"""
Pictures, sounds and masks from files to arrays, with a named error for everything that can't be read; videos are in
`video`.

Knows nothing of data sets, rows or models. Returns numpy arrays: RGB uint8 pictures, mono float32 sound, bool masks.
"""

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile
from jaxtyping import Bool, Float32, UInt8

from aurora_trl.constants import FULL_GREY, SAMPLING_RATE


# First and last bytes of JPEG and PNG; programs may write a little behind the last.
PICTURE_MARKS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG", b"IEND"))
PICTURE_TAIL = 2**16
SAMPLE_STEPS = 2**15  # of a 16-bit sample: the one depth every sound is brought to
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz of sounds that are taken for sounds
# 128 taps at the lower rate, 95 % of the band: no part of the input's upper band folds into the output.
RESAMPLER_OPTIONS = {"filter_size": "128", "cutoff": "0.95"}


class UnreadableMediaError(ValueError):
    """A picture, sound or video that is missing, broken or of an unknown format."""


class MissingAudioError(ValueError):
    """A video without a sound track."""


class SilentAudioError(ValueError):
    """A sound in which every sample is zero."""


class MaskMismatchError(ValueError):
    """Masks that do not match their frames in number or size."""


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
        samples, rate = soundfile.read(existing(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, MemoryError) as error:  # a damaged header can claim any length
        raise UnreadableMediaError(
            f"Cannot read the sound {path}: {error}. Convert it to wav; the sound of a video is read by `read_video`."
        ) from error
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UnreadableMediaError(
            f"The sound {path} claims {rate} samples per second, which no sound has ({MIN_RATE} to {MAX_RATE}): its "
            "header is damaged. Extract it again."
        )
    if not np.isfinite(samples).all():
        raise UnreadableMediaError(f"The sound {path} has samples that are no numbers (NaN or infinite). Convert it.")
    waveform = quantise(resample(samples.mean(axis=1), rate, sampling_rate))
    return checked_sound(waveform, path, allow_silent)


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
    content = Path(existing(path)).read_bytes()
    require_whole_picture(path, content)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
        reason = "the file is broken or no picture"
    except cv2.error as error:  # a header that claims more pixels than OpenCV takes
        picture, reason = None, str(error.err)
    if picture is None:
        raise UnreadableMediaError(f"Cannot read the {what} {path}: {reason}. Replace it.")
    return picture


def require_whole_picture(path: str | Path, content: bytes) -> None:
    """
    Refuses a JPEG or PNG without its end, of which decoders make a picture with grey where the rest was.

    Raises:
        UnreadableMediaError: if it is cut off.
    """
    for begin, end in PICTURE_MARKS:
        if content.startswith(begin) and end not in content[-PICTURE_TAIL:]:
            raise UnreadableMediaError(f"The picture {path} is cut off: its end is missing. Fetch it again.")


def resample(
    waveform: Float32[np.ndarray, " samples"], rate: int, sampling_rate: int
) -> Float32[np.ndarray, " resampled"]:
    """Band-limited resampling of mono sound, without delay."""
    if rate == sampling_rate or not len(waveform):
        return waveform
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=sampling_rate, options=RESAMPLER_OPTIONS)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None]), format="fltp", layout="mono")
    frame.sample_rate = rate
    pieces = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray()[0] for piece in pieces] or [waveform[:0]])


def quantise(waveform: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
    """Steps of 16 bits, as every sound has here."""
    steps = np.clip(np.round(waveform * SAMPLE_STEPS), -SAMPLE_STEPS, SAMPLE_STEPS - 1)
    return (steps / SAMPLE_STEPS).astype(np.float32)


def checked_sound(
    waveform: Float32[np.ndarray, " samples"], path: str | Path, allow_silent: bool
) -> Float32[np.ndarray, " samples"]:
    if not len(waveform):
        raise UnreadableMediaError(f"The sound {path} has no samples, or too few for one of ours. Extract it again.")
    if not allow_silent and not waveform.any():
        raise SilentAudioError(
            f"The sound of {path} is silent: every sample is zero. Extract it again, or allow silent clips if you "
            "mean it."
        )
    return waveform


def existing(path: str | Path) -> str:
    """The path of a file that is there, as text."""
    if not Path(path).is_file():
        raise UnreadableMediaError(f"There is no file {path}. Check the path and that the download is complete.")
    return str(path)
