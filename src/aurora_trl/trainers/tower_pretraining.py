"""
Stage 0 of the embedded default: eyes and ears for the random tiny backbone.

Released towers (SigLIP, BEATs) and their connectors arrive pre-trained. The tiny ones learn here, each on its own, to
give every video and audio token the direction of the word embeddings that are true of it. Without it a tiny policy
learns the grammar of the answers in 50 steps, but in 300 neither to look nor to listen (docs/log.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_trl.backbones.videollama2.configuration import BEATS_PATCH_SIZE, STC_STRIDE
from aurora_trl.data.media import read_audio, read_frames
from aurora_trl.data.scene import COLORS, DURATION, LOUD_DB, SHAPES, SOFT_DB, Scene
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.trainers.pretraining import optimize


# What a token can be told to say, as the tokenizer writes it inside a sentence.
SEEN_WORDS = (*(f" {color}" for color in COLORS), *(f"-{shape}" for shape in SHAPES), " left", " right")
HEARD_WORDS = (
    *(f" {color}" for color in COLORS),
    *(f"-{shape}" for shape in SHAPES),
    " loud",
    " soft",
    " first",
    " last",
)
# Between the two levels of the generated sounds.
LOUD_FROM_DB = (LOUD_DB + SOFT_DB) / 2


@dataclass
class TowerPretrainingConfig:
    r"""
    Args:
        tower_steps (`int`, *optional*, defaults to `300`): optimizer steps, for each tower with its connector.
        tower_batch_size (`int`, *optional*, defaults to `16`): clips per step.
        tower_learning_rate (`float`, *optional*, defaults to `2e-3`): peak of a one-cycle schedule.
        tower_seed (`int`, *optional*, defaults to `0`): seed of the order.
    """

    tower_steps: int = 300
    tower_batch_size: int = 16
    tower_learning_rate: float = 2e-3
    tower_seed: int = 0


def patch_words(scene: Scene, progress: float, grid: int) -> Tensor:
    """
    Which words are true of each patch of a frame: those of the object that covers the patch's center.

    Args:
        scene (`Scene`): what happens in the clip.
        progress (`float`): moment of the frame, from 0 to 1.
        grid (`int`): patches per side.

    Returns:
        `torch.Tensor` of shape (grid², words), 0 or 1.
    """
    centers = (np.arange(grid) + 0.5) / grid
    x, y = np.meshgrid(centers, centers)
    truth = torch.zeros(grid * grid, len(SEEN_WORDS))
    for obj in scene.objects:
        place = (1 - progress) * np.array(obj.start) + progress * np.array(obj.end)
        inside = torch.from_numpy(np.hypot(x - place[0], y - place[1]).ravel() < obj.radius)
        for word in {f" {obj.color}", f"-{obj.shape}", f" {obj.side}"} & set(SEEN_WORDS):
            truth[inside, SEEN_WORDS.index(word)] = 1
    return truth


def sound_words(scene: Scene, num_steps: int) -> Tensor:
    """
    Which words are true of what is heard at each time step of a clip.

    Returns:
        `torch.Tensor` of shape (num_steps, words), 0 or 1.
    """
    times = torch.arange(num_steps) * (DURATION / num_steps) + DURATION / num_steps / 2
    truth = torch.zeros(num_steps, len(HEARD_WORDS))
    for i in scene.sounding:
        obj = scene.objects[i]
        words = {f" {obj.color}", f"-{obj.shape}", " loud" if obj.sound.level_db > LOUD_FROM_DB else " soft"}
        words |= {word for word, j in ((" first", 0), (" last", -1)) if scene.sounding[j] == i}
        heard = (times >= obj.sound.onset) & (times <= obj.sound.offset)
        for word in words:
            truth[heard, HEARD_WORDS.index(word)] = 1
    return truth


class WordProbe(nn.Module):
    """Is a word true of a token? By the token's similarity to the word's embedding."""

    def __init__(self, embedding: nn.Embedding, word_ids: Sequence[int]):
        super().__init__()
        self.embedding = embedding
        self.word_ids = list(word_ids)
        self.bias = nn.Parameter(torch.zeros(len(self.word_ids)))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.embedding.weight[self.word_ids].T + self.bias


def pretrain_towers(
    policy: AuroraModel,
    processor: Any,
    rows: Sequence[dict[str, Any]],
    scenes: dict[str, tuple],
    config: TowerPretrainingConfig,
) -> None:
    """
    Trains towers, connectors and the embeddings of their words, in place.

    Args:
        policy ([`~aurora_trl.AuroraModel`]):
            With a tiny VideoLLaMA2.
        processor ([`~aurora_trl.backbones.videollama2.VideoLlama2Processor`]):
            The backbone's processor.
        rows (`datasets.Dataset`):
            Of the generated data set.
        scenes (`dict`):
            Of [`~aurora_trl.data.synthetic.read_scenes`].
        config ([`TowerPretrainingConfig`]):
            Steps, batch, learning rate.
    """
    backbone = policy.model
    torch.manual_seed(config.tower_seed)
    rng = np.random.default_rng(config.tower_seed)
    clips = list({row["audio"]: (row, scenes[row["uid"]][0]) for row in rows}.values())
    probes = [
        WordProbe(
            backbone.get_input_embeddings(),
            [processor.tokenizer.encode(word, add_special_tokens=False)[-1] for word in words],
        )
        for words in (SEEN_WORDS, HEARD_WORDS)
    ]

    grid = backbone.config.vision_config.image_size // backbone.config.vision_config.patch_size
    moments = np.linspace(0, 1, processor.num_frames)

    def draw_videos() -> tuple[Tensor, Tensor]:
        chosen = [clips[index] for index in rng.integers(len(clips), size=config.tower_batch_size)]
        inputs = processor(videos=[read_frames(row["frames"]) for row, _ in chosen])["pixel_values_videos"]
        per_patch = torch.stack(
            [torch.stack([patch_words(scene, moment, grid) for moment in moments]) for _, scene in chosen]
        )
        per_patch = per_patch.unflatten(2, (grid, grid)).permute(0, 4, 1, 2, 3)  # (b, words, t, grid, grid)
        per_token = F.max_pool3d(per_patch, STC_STRIDE).flatten(2).transpose(1, 2)
        return torch.as_tensor(np.stack(inputs)), per_token

    waveforms = (read_audio(row["audio"]) for row, _ in clips)
    features = torch.cat([processor.feature_extractor([waveform])["input_features"] for waveform in waveforms])
    bands = backbone.config.audio_config.num_mel_bins // BEATS_PATCH_SIZE
    num_steps = processor.num_audio_tokens // bands

    def draw_sounds() -> tuple[Tensor, Tensor]:
        indices = rng.integers(len(clips), size=config.tower_batch_size)
        truth = torch.stack([sound_words(clips[index][1], num_steps) for index in indices])
        return features[indices], truth.repeat_interleave(bands, dim=1)

    def train(parts: Sequence[nn.Module], draw: Callable, encode: Callable, probe: WordProbe, name: str) -> None:
        def losses(step: int) -> dict[str, Tensor]:
            inputs, truth = draw()
            return {"loss": F.binary_cross_entropy_with_logits(probe(encode(inputs).pooler_output), truth)}

        parameters = [parameter for part in (*parts, probe) for parameter in part.parameters()]
        optimize(parameters, losses, config.tower_learning_rate, config.tower_steps, name)

    seen, heard = probes
    train(
        [backbone.vision_tower, backbone.mm_projector], draw_videos, backbone.get_video_features, seen, "vision tower"
    )
    train(
        [backbone.audio_tower, backbone.mm_projector_a], draw_sounds, backbone.get_audio_features, heard, "audio tower"
    )
    # A token that means a word and the output that says it start as one, as in models with tied embeddings.
    with torch.no_grad():
        policy.lm_head.weight.copy_(backbone.get_input_embeddings().weight)
