import numpy as np
import pytest
import torch

from aurora_trl.backbones.tiny import build_tiny_processor, tiny_videollama2_config, train_tiny_tokenizer
from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration
from aurora_trl.constants import SAMPLING_RATE


TEXTS = ["The reference is: the striped disc. Please segment it.", "So the target is striped-disc. It is [SEG]."] * 3
# Two seconds and four frames: 2 * 4 * 4 video tokens and 12 * 2 audio tokens.
NUM_FRAMES = 4
AUDIO_SECONDS = 2.0


@pytest.fixture(scope="session")
def tokenizer():
    return train_tiny_tokenizer(TEXTS, vocab_size=400)


@pytest.fixture(scope="session")
def config(tokenizer):
    return tiny_videollama2_config(vocab_size=len(tokenizer), num_frames=NUM_FRAMES)


@pytest.fixture(scope="session")
def processor(tokenizer, config):
    return build_tiny_processor(tokenizer, config, audio_seconds=AUDIO_SECONDS)


@pytest.fixture(scope="session")
def model(config):
    torch.manual_seed(0)
    return VideoLlama2ForConditionalGeneration(config).eval()


@pytest.fixture(scope="session")
def clip():
    """Frames and waveform of noise."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (NUM_FRAMES, 96, 128, 3), dtype=np.uint8)
    waveform = (0.1 * rng.standard_normal(int(AUDIO_SECONDS * SAMPLING_RATE))).astype(np.float32)
    return frames, waveform


@pytest.fixture(scope="session")
def prompt(processor):
    blocks = [{"type": "video"}, {"type": "audio"}, {"type": "text", "text": "The reference is: the striped disc."}]
    return processor.apply_chat_template([{"role": "user", "content": blocks}], add_generation_prompt=True)


@pytest.fixture(scope="session")
def batch(processor, prompt, clip):
    """A left-padded batch: a clip, a text-only prompt, another clip."""
    frames, waveform = clip
    return processor(
        text=[prompt, "It is", prompt + "So the target"],
        videos=[frames, frames[::-1].copy()],
        audio=[waveform, waveform[::-1].copy()],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
