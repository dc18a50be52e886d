"""
The spatial-temporal convolution (STC) connector of VideoLLaMA2, version 3.5: RegNet stage, 3-D down-sampling, RegNet
stage, MLP. Module names are those of the released checkpoints. Knows nothing of frames, prompts or towers.
"""

from jaxtyping import Float
from torch import Tensor, nn

from aurora_trl.backbones.videollama2.configuration import STC_STRIDE


# RegNet's squeeze-and-excitation ratio, relative to a block's input channels (timm `RegStage` default).
SE_RATIO = 0.25


class ConvNormAct(nn.Module):
    """Convolution, layer norm over channels, optionally SiLU. `bn` is the checkpoints' name of the norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1, has_act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.bn = nn.LayerNorm(out_channels)
        self.act = nn.SiLU() if has_act else nn.Identity()

    def forward(self, x: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h w"]:
        x = self.conv(x).permute(0, 2, 3, 1)  # (n, h, w, c_out)
        return self.act(self.bn(x)).permute(0, 3, 1, 2)


class SqueezeExcitation(nn.Module):
    """Channel gates from the mean over the plane."""

    def __init__(self, channels: int, hidden_channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        self.act = nn.SiLU()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class RegNetBlock(nn.Module):
    """1x1, 3x3 depthwise, squeeze-and-excitation, 1x1; projected shortcut only where the width changes."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, 1)
        self.conv2 = ConvNormAct(out_channels, out_channels, 3, groups=out_channels)
        self.se = SqueezeExcitation(out_channels, round(in_channels * SE_RATIO))
        self.conv3 = ConvNormAct(out_channels, out_channels, 1, has_act=False)
        has_projection = in_channels != out_channels
        self.downsample = ConvNormAct(in_channels, out_channels, 1, has_act=False) if has_projection else nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: Float[Tensor, "n c_in h w"]) -> Float[Tensor, "n c_out h w"]:
        return self.act(self.conv3(self.se(self.conv2(self.conv1(x)))) + self.downsample(x))


def _regnet_stage(depth: int, in_channels: int, out_channels: int) -> nn.Sequential:
    stage = nn.Sequential()
    for i in range(depth):
        stage.add_module(f"b{i + 1}", RegNetBlock(in_channels if i == 0 else out_channels, out_channels))
    return stage


class STCConnector(nn.Module):
    """
    Patch features of a clip → language model tokens, ordered by time, then row, then column.

    Args:
        in_channels (`int`):
            Width of the vision tower.
        out_channels (`int`):
            Width of the language model.
        depth (`int`):
            RegNet blocks per stage.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int):
        super().__init__()
        self.s1 = _regnet_stage(depth, in_channels, out_channels)
        self.sampler = nn.Sequential(nn.Conv3d(out_channels, out_channels, STC_STRIDE, stride=STC_STRIDE), nn.SiLU())
        self.s2 = _regnet_stage(depth, out_channels, out_channels)
        self.readout = nn.Sequential(
            nn.Linear(out_channels, out_channels), nn.GELU(), nn.Linear(out_channels, out_channels)
        )

    def forward(self, patches: Float[Tensor, "b t n c_in"]) -> Float[Tensor, "b m c_out"]:
        b, t, n, _ = patches.shape
        side = int(n**0.5)
        x = patches.flatten(0, 1).transpose(1, 2).unflatten(-1, (side, side))  # (b*t, c_in, side, side)
        x = self.s1(x).unflatten(0, (b, t)).transpose(1, 2)  # (b, c_out, t, side, side)
        x = self.sampler(x).transpose(1, 2)  # (b, t', c_out, side', side')
        merged_t = x.shape[1]
        x = self.s2(x.flatten(0, 1)).flatten(2).transpose(1, 2)  # (b*t', side'*side', c_out)
        return self.readout(x.reshape(b, merged_t * x.shape[1], -1))


def num_video_tokens(num_frames: int, image_size: int, patch_size: int) -> int:
    """Tokens per clip: every `STC_STRIDE` frames, rows and columns of patches become one, remainders are dropped."""
    return (num_frames // STC_STRIDE) * (image_size // patch_size // STC_STRIDE) ** 2


__all__ = ["STCConnector", "num_video_tokens"]
