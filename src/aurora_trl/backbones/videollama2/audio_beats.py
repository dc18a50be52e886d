"""
The BEATs audio encoder (Chen et al., 2022), inference form: post-norm transformer over 16x16 patches of a log-mel
filterbank with gated relative position bias. The filterbank itself is computed in `audio_features`.

The original's dropout, layer drop and gradient scaling are left out.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from aurora_trl.backbones.videollama2.configuration import BEATS_PATCH_SIZE, BeatsConfig


# Statistics of AudioSet filterbanks with waveforms scaled to 16 bit (BEATs `preprocess`).
FBANK_MEAN = 15.41663
FBANK_STD = 6.55582
# Added to the squared norm of the positional convolution's kernel (VideoLLaMA2's BEATs).
WEIGHT_NORM_EPS = 1e-6
# Size of the gate's two halves in `grep_linear`'s output (WavLM's gated relative position bias).
GATE_SIZE = 4


def relative_position_buckets(
    distances: Int[Tensor, "..."], num_buckets: int, max_distance: int
) -> Int[Tensor, "..."]:
    """
    T5's bidirectional buckets of key position minus query position: the upper half is for keys after the query, near
    distances have a bucket each, far ones share logarithmic ones.
    """
    half = num_buckets // 2
    num_exact = half // 2
    size = distances.abs()
    log_ratio = (size.clamp(min=1).float() / num_exact).log() / math.log(max_distance / num_exact)
    far = (num_exact + (log_ratio * (half - num_exact)).long()).clamp(max=half - 1)
    return (distances > 0).long() * half + torch.where(size < num_exact, size, far)


class BeatsAttention(nn.Module):
    """Self-attention whose relative position bias each query scales by a gate of its own."""

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        head_dim = config.hidden_size // self.num_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.add_module(name, nn.Linear(config.hidden_size, config.hidden_size))
        self.grep_linear = nn.Linear(head_dim, 2 * GATE_SIZE)
        self.grep_a = nn.Parameter(torch.ones(1, self.num_heads, 1, 1))

    def forward(self, x: Float[Tensor, "b l d"], position_bias: Float[Tensor, "h l l"]) -> Float[Tensor, "b l d"]:
        q, k, v = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (b, h, l, d/h)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        gates = self.grep_linear(q).unflatten(-1, (2, GATE_SIZE)).sum(-1).sigmoid()
        gate_a, gate_b = gates.chunk(2, dim=-1)  # (b, h, l, 1)
        scale = gate_a * (gate_b * self.grep_a - 1.0) + 2.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=scale * position_bias)
        return self.out_proj(x.transpose(1, 2).flatten(2))


class BeatsLayer(nn.Module):
    """Post-norm layer with DeepNorm's weight on the residual."""

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.residual_weight = (2 * config.num_hidden_layers) ** 0.25
        self.self_attn = BeatsAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Float[Tensor, "b l d"], position_bias: Float[Tensor, "h l l"]) -> Float[Tensor, "b l d"]:
        x = self.self_attn_layer_norm(self.residual_weight * x + self.self_attn(x, position_bias))
        return self.final_layer_norm(self.residual_weight * x + self.fc2(F.gelu(self.fc1(x))))


class BeatsPositionalConv(nn.Module):
    """Convolutional position embedding; its kernel is normalised for each of its taps over all channels."""

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.groups = config.conv_pos_groups
        channels_per_group = config.hidden_size // self.groups
        self.magnitude = nn.Parameter(torch.ones(1, 1, config.conv_pos))
        self.direction = nn.Parameter(torch.empty(config.hidden_size, channels_per_group, config.conv_pos))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        squared_norm = self.direction.square().sum(dim=(0, 1), keepdim=True)
        weight = self.magnitude * self.direction * torch.rsqrt(squared_norm + WEIGHT_NORM_EPS)
        padding = weight.shape[-1] // 2
        convolved = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=padding, groups=self.groups)
        return F.gelu(convolved[..., : x.shape[1]]).transpose(1, 2)  # an even kernel yields one step too many


class BeatsEncoder(nn.Module):
    """The transformer; one table of relative position biases serves all layers."""

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.config = config
        self.pos_conv = BeatsPositionalConv(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.relative_attention_bias = nn.Embedding(config.num_buckets, config.num_attention_heads)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.num_hidden_layers))

    def position_bias(self, length: int) -> Float[Tensor, "h l l"]:
        """Bias of every pair (query, key), before the queries' gates."""
        device = self.relative_attention_bias.weight.device
        distances = torch.arange(1 - length, length, device=device)
        buckets = relative_position_buckets(distances, self.config.num_buckets, self.config.max_distance)
        position = torch.arange(length, device=device)
        pairs = position[None, :] - position[:, None] + length - 1
        return self.relative_attention_bias(buckets).T[:, pairs]

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        x = self.layer_norm(x + self.pos_conv(x))
        position_bias = self.position_bias(x.shape[1])
        for layer in self.layers:
            x = layer(x, position_bias)
        return x


class BeatsModel(nn.Module):
    """
    BEATs without its classifier.

    Example:

    ```python
    >>> features = BeatsModel(BeatsConfig())(fbank)  # (b, frames, 128) → (b, frames // 16 * 8, 768)
    ```
    """

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, BEATS_PATCH_SIZE, stride=BEATS_PATCH_SIZE, bias=False)
        self.layer_norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)
        self.post_extract_proj = nn.Linear(config.embed_dim, config.hidden_size)
        self.encoder = BeatsEncoder(config)

    def forward(self, fbank: Float[Tensor, "b frames mel"]) -> Float[Tensor, "b n d"]:
        # Rounded to the weights' type before it is normalised, as the original does.
        fbank = (fbank.to(self.patch_embedding.weight.dtype) - FBANK_MEAN) / (2 * FBANK_STD)
        x = self.patch_embedding(fbank.unsqueeze(1)).flatten(2).transpose(1, 2)  # (b, n, embed_dim), mel fastest
        return self.encoder(self.post_extract_proj(self.layer_norm(x)))


def num_audio_tokens(num_frames: int, num_mel_bins: int) -> int:
    """Patches of a filterbank; what is left over at the end is dropped."""
    return (num_frames // BEATS_PATCH_SIZE) * (num_mel_bins // BEATS_PATCH_SIZE)


__all__ = ["BeatsModel", "num_audio_tokens"]
