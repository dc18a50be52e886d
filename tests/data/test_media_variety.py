"""Files as people have them: any container, variable frame rates, odd sizes, turned photographs, chosen moments."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from aurora_trl.data import collator, load_refavs, media, video
from aurora_trl.data.headers import picture_size
from aurora_trl.data.media import MaskMismatchError, MissingAudioError, UnreadableMediaError
from aurora_trl.data.validation import validate_rows


def write_timed(path, times, size=(48, 64), codec="mpeg4", pix_fmt="yuv420p"):
    """Frame i is a flat gray of 20 · i, shown from times[i] milliseconds on; a tone of 0.5 s beside it."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=1000)
        track.height, track.width, track.pix_fmt = *size, pix_fmt
        track.time_base = track.codec_context.time_base = Fraction(1, 1000)
        audio_codec = "libopus" if path.suffix == ".webm" else "aac"
        audio = container.add_stream(audio_codec, rate=48_000, layout="mono")
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(track.encode(frame))
        container.mux(track.encode())
        tone = (0.4 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 48_000, 0
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=48_000)
        fifo = av.AudioFifo()
        for piece in [*resampler.resample(sound), *resampler.resample(None)]:
            fifo.write(piece)
        while chunk := fifo.read(960 if audio_codec == "libopus" else 1024, partial=True):
            container.mux(audio.encode(chunk))
        container.mux(audio.encode())
    return path


def shades(clip):
    return [round(frame.mean() / 20) for frame in clip.frames]


def test_a_variable_frame_rate_is_read_by_time(tmp_path):
    """Five frames in the first 0.4 s, then one per second: equal slots are equal in time, not in frames."""
    path = write_timed(tmp_path / "a.mkv", [0, 100, 200, 300, 400, 1400, 2400, 3400])
    clip = video.read_video(path, num_frames=4)
    assert clip.duration == pytest.approx(3.4, abs=0.2)
    assert shades(clip) == [0, 5, 6, 7]
    assert np.allclose(clip.timestamps, [0, 1.4, 2.4, 3.4], atol=2e-3)


def test_frames_at_given_seconds_are_those_shown_then(tmp_path):
    path = write_timed(tmp_path / "a.mkv", [0, 1000, 2000, 3000])
    clip = video.read_video(path, seconds=[0, 0.9, 1.0, 2.5, 3.0])
    assert shades(clip) == [0, 0, 1, 2, 3]
    assert np.allclose(clip.timestamps, [0, 0, 1, 2, 3], atol=2e-3)
    for seconds, message in [([-1], "Choose"), ([99], "the video lasts"), ([2, 1], "do not ascend"), ([], "Choose")]:
        with pytest.raises(ValueError, match=message):
            video.read_video(path, seconds=seconds)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.webm"])
def test_containers(tmp_path, name):
    codec = "libvpx" if name.endswith("webm") else "mpeg4"
    clip = video.read_video(write_timed(tmp_path / name, [0, 500, 1000, 1500], codec=codec), num_frames=4)
    assert shades(clip) == [0, 1, 2, 3]
    sound = clip.waveform[1000:7000]
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 16_000 / len(sound) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("size", [(35, 53), (2, 2), (97, 3)])
def test_odd_sizes(tmp_path, size):
    path = write_timed(tmp_path / "a.mkv", [0, 500], size=size, codec="ffv1", pix_fmt="bgr0")
    assert video.read_video(path, num_frames=2).frames.shape == (2, *size, 3)


def test_a_turned_photograph_comes_out_upright(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:5, :5] = 255  # top left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    frame = media.read_frame(tmp_path / "a.jpg")
    assert frame.shape == (30, 20, 3)
    assert frame[2, 17].min() > 200, "now top right"
    assert frame[2, 2].max() < 50
    assert picture_size(tmp_path / "a.jpg") == (20, 30)
    assert picture_size(tmp_path / "a.jpg", is_turned=False) == (30, 20)


def test_a_turned_photograph_and_its_upright_mask_pass_the_door(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / "m.png"), np.full((30, 20), 255, np.uint8))
    row = {"prompt": [], "category": "cat", "frames": [str(tmp_path / "a.jpg")], "masks": [str(tmp_path / "m.png")]}
    validate_rows([row], needs_completion=False, allow_silent=True)
    cv2.imwrite(str(tmp_path / "m.png"), np.full((20, 30), 255, np.uint8))
    with pytest.raises(MaskMismatchError):
        validate_rows([row], needs_completion=False, allow_silent=True)


def test_a_video_is_checked_at_the_door(tmp_path):
    path = write_timed(tmp_path / "a.mkv", [0, 1000, 2000])
    header = video.probe_video(path)
    assert (header.size, header.has_sound) == ((64, 48), True)
    assert header.duration == pytest.approx(2.0, abs=0.2)
    row = {"prompt": [], "category": "cat", "frames": [], "masks": [], "video": str(path)}
    validate_rows([row], needs_completion=False)
    with pytest.raises(ValueError, match="the video lasts"):
        validate_rows([{**row, "seconds": [0.0, 99.0]}], needs_completion=False)
    with av.open(str(tmp_path / "mute.mkv"), "w") as container:
        track = container.add_stream("mpeg4", rate=4)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        container.mux(track.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(track.encode())
    with pytest.raises(MissingAudioError, match="has no sound track"):
        validate_rows([{**row, "video": str(tmp_path / "mute.mkv")}], needs_completion=False)
    validate_rows([{**row, "video": str(tmp_path / "mute.mkv")}], needs_completion=False, allow_silent=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_that_is_cut_off_is_no_picture(tmp_path, suffix):
    """Decoders make one of it, with grey where the rest was."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: len(content) * 8 // 10])
    for read in (media.read_frame, picture_size):
        with pytest.raises(UnreadableMediaError, match="cut off"):
            read(path)
    path.write_bytes(content + b"some program's signature")
    assert media.read_frame(path).shape == (64, 64, 3)


def test_grey_values_are_kept_for_the_protocols_that_look_at_them(tmp_path):
    grey = np.zeros((4, 4), np.uint8)
    grey[0] = 45
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 256)
    masks = media.read_grey_masks([tmp_path / "grey.png", None, tmp_path / "deep.png"], 3, (4, 4))
    assert masks[0, 0].tolist() == [45] * 4
    assert not masks[1].any(), "a frame without truth"
    assert masks[2, 0].tolist() == [255] * 4
    assert media.labelled_frames([tmp_path / "grey.png", None, tmp_path / "deep.png"], 3) == [0, 2]
    assert media.labelled_frames([], 3) == [0, 1, 2], "an empty truth is one"
    with pytest.raises(MaskMismatchError):
        media.read_grey_masks([None], 3, (4, 4))


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path):
    content = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    content[16:24] = b"\x7f\xff\xff\xff" * 2
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(UnreadableMediaError, match=r"huge\.png"):
        media.read_frame(tmp_path / "huge.png")


def test_a_clip_is_decoded_once_for_all_its_rows(synthetic_root, processor, monkeypatch):
    rows = load_refavs(synthetic_root, "train").to_list()[:6]
    read = []
    read_frames = collator.read_frames
    monkeypatch.setattr(collator, "read_frames", lambda paths: read.append(paths[0]) or read_frames(paths))
    clips = collator.load_clips([*rows, *rows], processor)
    assert sorted(read) == sorted({row["frames"][0] for row in rows})
    assert clips[0] is clips[6], "rows of one group share one object"
    assert clips[0] is not clips[1], "another expression is another prompt"
