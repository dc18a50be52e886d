import warnings

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from aurora_trl.backbones.videollama2 import VideoLlama2FeatureExtractor
from aurora_trl.backbones.videollama2.audio_features import kaldi_fbank


@pytest.fixture
def waveform():
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 16000
    return (0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * rng.standard_normal(8000)).astype(np.float32)


@pytest.mark.parametrize("num_mel_bins", [32, 128])
def test_against_the_numpy_kaldi_spectrogram(waveform, num_mel_bins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about empty filters
        filters = mel_filter_bank(
            257, num_mel_bins, 20, 8000, 16000, mel_scale="kaldi", triangularize_in_mel_space=True
        )
    expected = spectrogram(
        waveform * 2**15,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        mel_floor=1.192092955078125e-07,
        log_mel="log",
        remove_dc_offset=True,
    ).T
    actual = kaldi_fbank(torch.from_numpy(waveform) * 2**15, num_mel_bins)
    assert actual.shape == expected.shape == (48, num_mel_bins)
    torch.testing.assert_close(actual, torch.from_numpy(expected).float(), atol=2e-3, rtol=0)


def test_silence_is_the_floor():
    torch.testing.assert_close(kaldi_fbank(torch.zeros(400), 32), torch.full((1, 32), -15.9424), atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5])
def test_every_clip_gets_one_length(seconds):
    extractor = VideoLlama2FeatureExtractor(feature_size=32, audio_seconds=1.0)
    waveform = np.full(int(seconds * 16000), 0.1, dtype=np.float32)
    waveform[::2] *= -1
    features = extractor([waveform], return_tensors="pt")["input_features"]
    assert features.shape == (1, extractor.num_frames, 32) == (1, 98, 32)
    is_padding = features[0, :, -1] < -15
    assert is_padding.any() == (seconds < 1)
    assert not is_padding[: int(seconds * 100) - 2].any()


def test_one_waveform_and_a_list_of_it_are_alike(waveform):
    extractor = VideoLlama2FeatureExtractor(feature_size=32, audio_seconds=0.5)
    one = extractor(waveform, return_tensors="np")["input_features"]
    many = extractor([waveform, waveform], return_tensors="np")["input_features"]
    assert isinstance(one, np.ndarray)
    assert np.array_equal(one[0], many[1])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(0, np.float32), "is empty"),
        (np.zeros(8000, np.float32), "is silent"),
        (np.concatenate([np.zeros(16000), np.ones(10)]), "is silent in its first 1 s"),
        (np.array([0.1, np.nan]), "NaN or infinite"),
        (np.array([0.1, np.inf]), "NaN or infinite"),
        (np.ones((2, 100)), r"mono.*\(2, 100\)"),
        (np.ones(100, np.int16), "floats in .*int16"),
    ],
)
def test_bad_waveforms(bad, message):
    extractor = VideoLlama2FeatureExtractor(audio_seconds=1.0)
    with pytest.raises(ValueError, match=message):
        extractor([bad])


def test_silence_can_be_allowed_but_not_nan():
    extractor = VideoLlama2FeatureExtractor(feature_size=32, audio_seconds=1.0)
    features = extractor([np.zeros(0, np.float32), np.zeros(99)], allow_silent=True, return_tensors="pt")
    assert features["input_features"].shape == (2, 98, 32)
    with pytest.raises(ValueError, match="NaN"):
        extractor([np.array([np.nan])], allow_silent=True)


def test_other_rates_are_refused(waveform):
    with pytest.raises(ValueError, match="44100 Hz.*resample"):
        VideoLlama2FeatureExtractor()([waveform], sampling_rate=44100)
    with pytest.raises(ValueError, match="sampling_rate=8000"):
        VideoLlama2FeatureExtractor(sampling_rate=8000)


def test_waveforms_are_scaled_to_16_bit(waveform):
    features = VideoLlama2FeatureExtractor(feature_size=32, audio_seconds=0.5)(waveform)["input_features"]
    assert torch.equal(features[0], kaldi_fbank(torch.from_numpy(waveform) * 32768, 32))
