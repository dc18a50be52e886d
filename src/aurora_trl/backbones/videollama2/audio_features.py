"""
Log-mel filterbank as `torchaudio.compliance.kaldi.fbank` computes it, and the feature extractor around it.
Reads no files; BEATs' own normalisation is in `audio_beats`.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoFeatureExtractor, BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from aurora_trl.backbones.videollama2.configuration import VideoLlama2Config
from aurora_trl.constants import SAMPLING_RATE


# Kaldi's defaults, at 16 kHz: 25 ms frames every 10 ms, spectrum of the next power of two.
FRAME_LENGTH = 400
FRAME_SHIFT = 160
FFT_LENGTH = 512
PREEMPHASIS = 0.97
POVEY_POWER = 0.85
LOW_FREQUENCY = 20.0
# Smallest energy that a logarithm is taken of: float32's epsilon.
ENERGY_FLOOR = torch.finfo(torch.float32).eps
# AURORA pads the 10 s of a clip with zeros to the 30 s that VideoLLaMA2 was trained with.
AUDIO_SECONDS = 30.0
# Kaldi, and so BEATs, expects samples in the range of 16-bit integers.
WAVEFORM_SCALE = 2**15


@lru_cache
def _mel_filters(num_mel_bins: int) -> Float[Tensor, "bins mel"]:
    with warnings.catch_warnings():
        # With 128 bins the lowest filter lies between two bins of the spectrum; BEATs was trained with it.
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        filters = mel_filter_bank(
            num_frequency_bins=FFT_LENGTH // 2 + 1,
            num_mel_filters=num_mel_bins,
            min_frequency=LOW_FREQUENCY,
            max_frequency=SAMPLING_RATE / 2,
            sampling_rate=SAMPLING_RATE,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    return torch.from_numpy(filters).float()


def kaldi_fbank(waveform: Float[Tensor, "... samples"], num_mel_bins: int) -> Float[Tensor, "... frames mel"]:
    """
    Log-mel energies of 25 ms frames every 10 ms; frames that would pass the end are dropped.

    Args:
        waveform (`torch.Tensor`):
            Mono at 16 kHz, already scaled to the range of 16-bit integers, at least 400 samples.
        num_mel_bins (`int`):
            Number of triangular filters between 20 Hz and 8 kHz.
    """
    frames = waveform.unfold(-1, FRAME_LENGTH, FRAME_SHIFT)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(FRAME_LENGTH, periodic=False, device=waveform.device).pow(POVEY_POWER)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * previous) * window, n=FFT_LENGTH)
    energies = spectrum.abs().square() @ _mel_filters(num_mel_bins).to(waveform.device)
    return energies.clamp(min=ENERGY_FLOOR).log()


class VideoLlama2FeatureExtractor(SequenceFeatureExtractor):
    r"""
    Waveforms → filterbanks of one fixed length.

    Args:
        feature_size (`int`, *optional*, defaults to 128):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 16000):
            The only rate that is accepted.
        audio_seconds (`float`, *optional*, defaults to 30.0):
            Waveforms are padded with zeros, or cut, to this length. The padding is not masked, as in the original.
    """

    model_input_names = ["input_features"]

    def __init__(
        self,
        feature_size: int = 128,
        sampling_rate: int = SAMPLING_RATE,
        audio_seconds: float = AUDIO_SECONDS,
        **kwargs,
    ):
        kwargs.setdefault("padding_value", 0.0)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, **kwargs)
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(
                f"sampling_rate={sampling_rate}: BEATs takes {SAMPLING_RATE} Hz only, resample the sound."
            )
        self.audio_seconds = audio_seconds

    @property
    def num_samples(self) -> int:
        return round(self.audio_seconds * self.sampling_rate)

    @property
    def num_frames(self) -> int:
        """Filterbank frames of every clip."""
        return 1 + (self.num_samples - FRAME_LENGTH) // FRAME_SHIFT

    def _fit(self, waveform: np.ndarray | Tensor, allow_silent: bool) -> Float[Tensor, " samples"]:
        """Checks one waveform, pads or cuts it."""
        waveform = torch.as_tensor(waveform)
        if waveform.ndim != 1 or not waveform.is_floating_point():
            raise ValueError(
                f"A waveform must be mono floats in [-1, 1], got shape {tuple(waveform.shape)} of {waveform.dtype}: "
                "average the channels, and divide integers by their range."
            )
        fitted = torch.zeros(self.num_samples)
        fitted[: len(waveform)] = waveform[: self.num_samples]
        if not fitted.isfinite().all():
            raise ValueError("The waveform holds NaN or infinite samples: repair or drop this clip.")
        if not allow_silent and not fitted.any():
            what = "is silent" if len(waveform) else "is empty"
            raise ValueError(
                f"The waveform {what} in its first {self.audio_seconds:g} s: give the clip's sound, or pass "
                "`allow_silent=True`."
            )
        return fitted

    def __call__(
        self,
        audio: np.ndarray | Tensor | Sequence[np.ndarray | Tensor],
        sampling_rate: int | None = None,
        allow_silent: bool = False,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            audio (`np.ndarray` or `list[np.ndarray]`):
                Mono waveforms, floats in [-1, 1].
            sampling_rate (`int`, *optional*):
                Rate of `audio`, to have it checked.
            allow_silent (`bool`, *optional*, defaults to `False`):
                Accept waveforms that are empty or all zero.

        Returns:
            `BatchFeature` with `input_features`, (b, frames, mel).

        Raises:
            ValueError: if a waveform is silent, empty, not finite, not mono or has another rate.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(f"The sound has {sampling_rate} Hz, BEATs takes {self.sampling_rate} Hz: resample it.")
        if isinstance(audio, (np.ndarray, Tensor)):
            audio = [audio] if audio.ndim == 1 else list(audio)
        waveforms = torch.stack([self._fit(waveform, allow_silent) for waveform in audio])
        fbank = kaldi_fbank(waveforms * WAVEFORM_SCALE, self.feature_size)
        return BatchFeature({"input_features": fbank}, tensor_type=return_tensors)


AutoFeatureExtractor.register(VideoLlama2Config, VideoLlama2FeatureExtractor)

__all__ = ["VideoLlama2FeatureExtractor", "kaldi_fbank"]
