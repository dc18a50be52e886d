import pytest
import torch
import torch.nn.functional as F

from aurora_trl.backbones.videollama2.connector import RegNetBlock, STCConnector, num_video_tokens


@pytest.mark.parametrize(
    ("num_frames", "image_size", "patch_size", "expected"),
    [(8, 384, 14, 676), (10, 384, 14, 845), (16, 384, 14, 1352), (10, 112, 14, 80), (5, 98, 14, 18)],
)
def test_num_video_tokens(num_frames, image_size, patch_size, expected):
    assert num_video_tokens(num_frames, image_size, patch_size) == expected


@pytest.mark.parametrize(("num_frames", "side"), [(4, 6), (5, 7)])
def test_connector_makes_that_many(num_frames, side):
    patches = torch.randn(2, num_frames, side**2, 8)
    tokens = STCConnector(8, 16, depth=2)(patches)
    assert tokens.shape == (2, num_video_tokens(num_frames, side * 14, 14), 16)


@torch.no_grad()
def test_token_order_is_time_row_column():
    """With pointwise stages a token sees only its own 2x2x2 patches, so it can be computed alone."""
    torch.manual_seed(0)
    connector = STCConnector(8, 8, depth=0)
    patches = torch.randn(1, 4, 36, 8)
    tokens = connector(patches).unflatten(1, (2, 3, 3))
    cube = patches.unflatten(2, (6, 6))[:, 2:4, 4:6, 0:2].permute(0, 4, 1, 2, 3)
    expected = connector.readout(connector.sampler(cube).flatten(1))
    torch.testing.assert_close(tokens[:, 1, 2, 0], expected)


@torch.no_grad()
def test_regnet_block_formula():
    torch.manual_seed(0)
    block = RegNetBlock(8, 12)
    x = torch.randn(2, 8, 5, 5)

    def norm(x, layer):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) / (var + 1e-5).sqrt() * layer.bn.weight[:, None, None] + layer.bn.bias[:, None, None]

    y = F.silu(norm(F.conv2d(x, block.conv1.conv.weight), block.conv1))
    y = F.silu(norm(F.conv2d(y, block.conv2.conv.weight, padding=1, groups=12), block.conv2))
    pooled = y.mean((2, 3))
    hidden = F.silu(pooled @ block.se.fc1.weight[:, :, 0, 0].T + block.se.fc1.bias)
    assert hidden.shape == (2, 2)  # a quarter of the block's input channels
    gate = torch.sigmoid(hidden @ block.se.fc2.weight[:, :, 0, 0].T + block.se.fc2.bias)
    y = norm(F.conv2d(y * gate[:, :, None, None], block.conv3.conv.weight), block.conv3)
    shortcut = norm(F.conv2d(x, block.downsample.conv.weight), block.downsample)
    torch.testing.assert_close(block(x), F.silu(y + shortcut), atol=1e-5, rtol=0)
