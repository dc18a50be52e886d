import math

import pytest
import torch

from aurora_trl.backbones.videollama2 import BeatsConfig
from aurora_trl.backbones.videollama2.audio_beats import (
    BeatsAttention,
    BeatsEncoder,
    BeatsLayer,
    BeatsModel,
    BeatsPositionalConv,
    num_audio_tokens,
    relative_position_buckets,
)


CONFIG = BeatsConfig(
    embed_dim=12,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=3,
    conv_pos=6,
    conv_pos_groups=4,
    num_buckets=16,
    max_distance=20,
    num_mel_bins=32,
)


def test_buckets():
    distances = torch.tensor([-1000, -20, -5, -4, -3, -1, 0, 1, 3, 4, 5, 20, 1000])
    # 16 buckets: 8 per side, of which 4 are exact and 4 logarithmic up to distance 20.
    expected = torch.tensor([7, 7, 4, 4, 3, 1, 0, 9, 11, 12, 12, 15, 15])
    assert torch.equal(relative_position_buckets(distances, num_buckets=16, max_distance=20), expected)


def test_position_bias_is_by_key_minus_query():
    encoder = BeatsEncoder(CONFIG)
    bias = encoder.position_bias(5)
    table = encoder.relative_attention_bias.weight
    assert torch.equal(bias[:, 1, 4], table[8 + 3])  # the key comes three later
    assert torch.equal(bias[:, 4, 1], table[3])
    assert torch.equal(bias[:, 2, 2], table[0])


@torch.no_grad()
def test_attention_against_naive_softmax():
    torch.manual_seed(0)
    attention = BeatsAttention(CONFIG)
    attention.grep_a.normal_()
    x, bias = torch.randn(2, 7, 24), torch.randn(3, 7, 7)
    outputs = torch.zeros(2, 7, 24)
    for head in range(3):
        part = slice(8 * head, 8 * (head + 1))
        q, k, v = (p(x)[..., part] for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        for b in range(2):
            for i in range(7):
                gate = attention.grep_linear(q[b, i])
                gate_a, gate_b = torch.sigmoid(gate[:4].sum()), torch.sigmoid(gate[4:].sum())
                scale = gate_a * (gate_b * attention.grep_a[0, head, 0, 0] - 1) + 2
                scores = k[b] @ q[b, i] / math.sqrt(8) + scale * bias[head, i]
                outputs[b, i, part] = scores.softmax(0) @ v[b]
    torch.testing.assert_close(attention(x, bias), attention.out_proj(outputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [5, 6])
@torch.no_grad()
def test_positional_convolution(kernel):
    torch.manual_seed(0)
    config = BeatsConfig(**{**CONFIG.to_dict(), "conv_pos": kernel})
    layer = BeatsPositionalConv(config)
    layer.direction.normal_()
    layer.magnitude.uniform_(0.5, 2)
    layer.bias.normal_()
    x = torch.randn(1, 9, 24)
    kernels = torch.stack(
        [layer.magnitude[0, 0, j] * layer.direction[..., j] / layer.direction[..., j].norm() for j in range(kernel)],
        -1,
    )
    channel, position = 13, 4  # in the third group, whose inputs are channels 12 to 17
    expected = layer.bias[channel]
    for j in range(kernel):
        expected = expected + x[0, position + j - kernel // 2, 12:18] @ kernels[channel, :, j]
    outputs = layer(x)
    assert outputs.shape == x.shape
    torch.testing.assert_close(outputs[0, position, channel], torch.nn.functional.gelu(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("num_frames", "mel", "expected"), [(2998, 128, 1496), (998, 128, 496), (998, 32, 124)])
def test_num_audio_tokens(num_frames, mel, expected):
    assert num_audio_tokens(num_frames, mel) == expected


@torch.no_grad()
def test_model_drops_incomplete_patches():
    model = BeatsModel(CONFIG)
    assert model(torch.randn(2, 70, 32)).shape == (2, num_audio_tokens(70, 32), 24)


@torch.no_grad()
def test_layer_is_post_norm_with_weighted_residuals():
    torch.manual_seed(0)
    layer = BeatsLayer(CONFIG)
    x, bias = torch.randn(1, 4, 24), torch.randn(3, 4, 4)
    weight = 4**0.25  # (2 * layers) ** (1/4)
    y = layer.self_attn_layer_norm(weight * x + layer.self_attn(x, bias))
    z = layer.fc2(torch.nn.functional.gelu(layer.fc1(y)))
    torch.testing.assert_close(layer(x, bias), layer.final_layer_norm(weight * y + z))


@torch.no_grad()
def test_filterbank_is_normalised_and_cut_into_patches_mel_fastest():
    torch.manual_seed(0)
    model = BeatsModel(CONFIG)
    fbank = 15 + 6 * torch.randn(1, 32, 32)
    seen = []
    model.layer_norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(fbank)
    patch = (fbank[0, :16, 16:] - 15.41663) / (2 * 6.55582)
    expected = (model.patch_embedding.weight[:, 0] * patch).sum((1, 2))
    torch.testing.assert_close(seen[0][0, 1], expected, atol=1e-5, rtol=0)
