import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from aurora_trl.data import media, video
from aurora_trl.data.media import MaskMismatchError, MissingAudioError, SilentAudioError, UnreadableMediaError


SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample clips are not here")


def sine(hertz, seconds, rate, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def write_video(path, num_frames, fps, sound=None, sound_rate=44_100):
    """Frame i is a flat gray of 20 · i; the sound is stereo."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=fps)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        if sound is not None:
            audio = container.add_stream("pcm_s16le", rate=sound_rate, layout="stereo")
        for i in range(num_frames):
            picture = np.full((48, 64, 3), 20 * i, np.uint8)
            picture[:24, :32] = (200, 30, 30)  # top left is red
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
        if sound is not None:
            samples = np.ascontiguousarray((sound * 32767).astype(np.int16).reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = sound_rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def test_a_frame_is_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6, 3), (255, 0, 10), np.uint8))  # OpenCV writes BGR
    frame = media.read_frame(tmp_path / "a.png")
    assert frame.shape == (4, 6, 3)
    assert frame[0, 0].tolist() == [10, 0, 255]


def test_bad_pictures(tmp_path):
    for size, name in ((4, "a.png"), (5, "b.png")):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, size, 3), np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UnreadableMediaError, match=r"one size, but .*b\.png has \(4, 5\)"):
        media.read_frames([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(UnreadableMediaError, match=r"picture .*broken\.jpg is cut off"):
        media.read_frame(tmp_path / "broken.jpg")
    with pytest.raises(UnreadableMediaError, match="There is no file"):
        media.read_frame(tmp_path / "none.jpg")
    with pytest.raises(UnreadableMediaError, match="empty"):
        media.read_frames([])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 1), (48_000, 2)])
def test_all_audio_comes_out_alike(tmp_path, rate, channels, subtype):
    soundfile.write(tmp_path / "a.wav", sine(1000, 1.0, rate, channels), rate, subtype=subtype)
    waveform = media.read_audio(tmp_path / "a.wav")
    assert waveform.shape == (16_000,)
    assert waveform.dtype == np.float32
    assert np.array_equal(waveform * 2**15, np.round(waveform * 2**15)), "16 bit whatever the file was"
    inner = slice(400, -400)
    assert np.allclose(waveform[inner], sine(1000, 1.0, 16_000)[inner, 0], atol=2e-4), "no gain, no delay"


def test_mixing_down_is_the_mean(tmp_path):
    left_only = sine(500, 0.1, 16_000, 2) * (1, 0)
    soundfile.write(tmp_path / "a.wav", left_only, 16_000, subtype="FLOAT")
    assert np.allclose(media.read_audio(tmp_path / "a.wav"), left_only[:, 0] / 2, atol=1e-4)


def test_no_aliasing(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(10_000, 1.0, 48_000), 48_000)
    waveform = media.read_audio(tmp_path / "a.wav", allow_silent=True)
    assert np.abs(waveform[400:-400]).max() < 1e-3


def test_loud_audio_stays_in_range(tmp_path):
    soundfile.write(tmp_path / "a.wav", 3 * sine(100, 0.1, 16_000), 16_000, subtype="FLOAT")
    waveform = media.read_audio(tmp_path / "a.wav")
    assert waveform.max() == pytest.approx(1 - 2**-15)
    assert waveform.min() == -1


def test_bad_audio(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 16_000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(SilentAudioError, match=r"silent\.wav is silent"):
        media.read_audio(tmp_path / "silent.wav")
    assert media.read_audio(tmp_path / "silent.wav", allow_silent=True).shape == (800,)
    with pytest.raises(UnreadableMediaError, match="no samples"):
        media.read_audio(tmp_path / "empty.wav")
    with pytest.raises(UnreadableMediaError, match=r"Cannot read the sound .*text\.wav"):
        media.read_audio(tmp_path / "text.wav")


def test_any_value_but_zero_is_the_object(tmp_path):
    gray = np.zeros((4, 6), np.uint8)
    gray[1, 2] = 45
    opaque = np.zeros((4, 6, 4), np.uint8)
    opaque[..., 3] = 255
    opaque[3, 5, 1] = 1
    cv2.imwrite(str(tmp_path / "0.png"), gray)
    cv2.imwrite(str(tmp_path / "1.png"), opaque)
    masks = media.read_masks([tmp_path / "0.png", tmp_path / "1.png"], 2, (4, 6))
    assert masks.dtype == bool
    assert np.argwhere(masks).tolist() == [[0, 1, 2], [1, 3, 5]]
    assert media.read_masks([], 3, (4, 6)).shape == (3, 4, 6)
    assert not media.read_masks([], 3, (4, 6)).any()


def test_bad_masks(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(MaskMismatchError, match="1 masks for 2 frames"):
        media.read_masks([tmp_path / "0.png"], 2, (4, 6))
    with pytest.raises(MaskMismatchError, match=r"has the size \(4, 6\), its frame \(6, 4\)"):
        media.read_masks([tmp_path / "0.png"], 1, (6, 4))


def shades(clip):
    return [round(float(frame[40, 50].mean()) / 20) for frame in clip.frames]


def test_video_gives_the_first_frame_of_each_slot(tmp_path):
    path = write_video(tmp_path / "a.mkv", 12, 4, sine(1000, 3.0, 44_100, 2))
    clip = video.read_video(path, num_frames=3)
    assert shades(clip) == [0, 4, 8]
    assert np.allclose(clip.timestamps, [0, 1, 2], atol=1e-3)
    assert clip.fps == 4
    assert clip.duration == pytest.approx(3.0, abs=0.01)
    assert clip.frames.shape == (3, 48, 64, 3)
    assert clip.frames[0, 5, 5, 0] > 150 > 90 > clip.frames[0, 5, 5, 2], "red, top left"
    assert clip.waveform.shape == (48_000,)
    assert np.allclose(clip.waveform[400:-400], sine(1000, 3.0, 16_000)[400:-400, 0], atol=1e-3)


def test_slots_without_a_frame_of_their_own_repeat(tmp_path):
    clip = video.read_video(write_video(tmp_path / "a.mkv", 3, 1), num_frames=6, allow_silent=True)
    assert shades(clip) == [0, 0, 1, 1, 2, 2]
    assert np.allclose(clip.timestamps, [0, 0, 1, 1, 2, 2], atol=1e-3)
    one = video.read_video(write_video(tmp_path / "b.mkv", 1, 1), num_frames=3, allow_silent=True)
    assert shades(one) == [0, 0, 0]


def test_a_turned_video_comes_out_upright(tmp_path):
    """Phones store the picture as the sensor sees it, and in the track header how to turn it."""
    path = write_video(tmp_path / "a.mp4", 2, 1)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    clockwise = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *clockwise)
    path.write_bytes(content)
    frame = video.read_video(path, num_frames=1, allow_silent=True).frames[0]
    assert frame.shape == (64, 48, 3)
    assert frame[5, 40, 0] > 150 > 90 > frame[5, 40, 2], "red, now top right"
    assert frame[5, 5, 0] < 90


def test_video_sound_is_missing_or_silent(tmp_path):
    mute = write_video(tmp_path / "mute.mkv", 4, 4)
    with pytest.raises(MissingAudioError, match="no sound track"):
        video.read_video(mute)
    assert video.read_video(mute, allow_silent=True).waveform is None
    silent = write_video(tmp_path / "silent.mkv", 4, 4, np.zeros((44_100, 2)))
    with pytest.raises(SilentAudioError, match="is silent"):
        video.read_video(silent)
    assert video.read_video(silent, allow_silent=True).waveform.shape == (16_000,)


def test_bad_videos(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    soundfile.write(tmp_path / "a.wav", sine(100, 0.1, 16_000), 16_000)
    with pytest.raises(UnreadableMediaError, match=r"Cannot read the video .*text\.mp4"):
        video.read_video(tmp_path / "text.mp4")
    with pytest.raises(UnreadableMediaError, match="has no pictures"):
        video.read_video(tmp_path / "a.wav")
    with pytest.raises(UnreadableMediaError, match="There is no file"):
        video.read_video(tmp_path / "none.mp4")
    whole = write_video(tmp_path / "a.mkv", 12, 4, sine(1000, 3.0, 44_100, 2))
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[:300])
    with pytest.raises(UnreadableMediaError, match=r"cut\.mkv"):
        video.read_video(tmp_path / "cut.mkv")
    with pytest.raises(ValueError, match="num_frames=0"):
        video.read_video(whole, num_frames=0)


@needs_samples
def test_sample_clips():
    clip = video.read_video(SAMPLES / "clips" / "-67UNKFmRLk.mp4")
    assert clip.frames.shape == (10, 360, 450, 3)
    assert np.allclose(clip.timestamps, range(10))
    assert clip.waveform.shape == (160_000,)
    with pytest.raises(MissingAudioError):
        video.read_video(SAMPLES / "clips" / "output_v_3V9tzjyr51I.mp4")
    with pytest.raises(SilentAudioError):
        video.read_video(SAMPLES / "clips" / "sample_demo_9.mp4")
    assert len(video.read_video(SAMPLES / "clips" / "sample_demo_3.mp4", num_frames=4).frames) == 4


@needs_samples
def test_sample_frames_and_masks():
    for folder, frame, mask, share in (
        ("refavs_frame", "7.jpg", "00007.png", 0.042),
        ("avsbench_s4", "0.jpg", "0.png", 0.115),
    ):
        picture = media.read_frame(SAMPLES / folder / frame)
        masks = media.read_masks([SAMPLES / folder / mask], 1, picture.shape[:2])
        assert masks.mean() == pytest.approx(share, abs=0.001)
        assert media.read_audio(SAMPLES / folder / "audio.wav").ndim == 1
