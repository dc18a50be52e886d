"""
Pictures of answers: masks over frames, sheets that compare candidates with the truth, curves.

Arrays in, uint8 RGB pictures out. Knows no files, no models and no loggers; writing or sending a picture is the
caller's business.
"""

import textwrap
import warnings
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


TRUTH_COLOR = (255, 255, 255)
CANDIDATE_COLOR = (255, 60, 160)
ALPHA = 0.5
CONTOUR_SHARE = 120  # one pixel of outline per so many pixels of height
TILE_HEIGHT = 112  # pixels of one frame in a sheet
GAP = 4  # pixels between frames
DPI = 100
FONT_SIZE = 9.0  # points
CHARACTER_WIDTH = 0.56  # of the font size, an average of DejaVu Sans
LINE_HEIGHT = 1.4  # of the font size


def overlay_masks(
    frames: UInt8[np.ndarray, "t h w 3"],
    masks: Bool[np.ndarray, "t h w"],
    color: tuple[int, int, int] = CANDIDATE_COLOR,
    alpha: float = ALPHA,
) -> UInt8[np.ndarray, "t h w 3"]:
    """
    Tint the masked part of each frame and outline it.

    Args:
        frames (`np.ndarray`):
            RGB pictures, left as they are.
        masks (`np.ndarray`):
            True inside the object.
        color (`tuple[int, int, int]`, *optional*, defaults to pink):
            RGB of tint and outline.
        alpha (`float`, *optional*, defaults to `0.5`):
            Strength of the tint: 0 leaves only the outline, 1 hides the object.
    """
    tint = np.array(color, np.float32)
    tinted = np.where(masks[..., None], (1 - alpha) * frames + alpha * tint, frames).round().astype(np.uint8)
    thickness = max(1, frames.shape[1] // CONTOUR_SHARE)
    for picture, mask in zip(tinted, masks, strict=True):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, color, thickness)
    return tinted


def contact_sheet(
    frames: UInt8[np.ndarray, "t h w 3"],
    gt_masks: Bool[np.ndarray, "t h w"] | None,
    candidates: Sequence[tuple[str, Bool[np.ndarray, "t h w"] | None]],
    title: str = "",
    tile_height: int = TILE_HEIGHT,
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """
    One row of frames per answer, the truth first, each with its text underneath.

    Args:
        frames (`np.ndarray`):
            RGB pictures of the clip.
        gt_masks (`np.ndarray` or `None`):
            True masks; `None` shows the bare frames.
        candidates (sequence of `(caption, pred_masks)`):
            The answers; `None` instead of masks says that the answer had no [SEG].
        title (`str`, *optional*, defaults to `""`):
            Text under the first row, usually the expression.
        tile_height (`int`, *optional*, defaults to `112`):
            Pixels of one frame.
    """
    truth = frames if gt_masks is None else overlay_masks(frames, gt_masks, TRUTH_COLOR)
    first = _film_strip(truth, tile_height)
    width = first.shape[1]
    label = "frames" if gt_masks is None else "truth"
    parts = [first, _render_text(f"{label}: {title}" if title else label, width, bold=True)]
    for caption, pred_masks in candidates:
        if pred_masks is None:
            shown, caption = (frames // 3).astype(np.uint8), f"(no mask) {caption}"
        else:
            shown = overlay_masks(frames, pred_masks)
        parts += [_film_strip(shown, tile_height), _render_text(caption, width)]
    return np.concatenate(parts)


def stack_pictures(
    pictures: Sequence[UInt8[np.ndarray, "_h _w 3"]],
) -> UInt8[np.ndarray, "stack_h stack_w 3"]:
    """
    Pictures of any width below each other, on white.

    Args:
        pictures (sequence of `np.ndarray`): RGB pictures, at least one.
    """
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate(
        [np.pad(p, ((0, 2 * GAP), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    )


def plot_curves(
    curves: Mapping[str, Sequence[float]], title: str = "", size: tuple[int, int] = (640, 360)
) -> UInt8[np.ndarray, "h w 3"]:
    """
    Draw curves over their steps.

    Args:
        curves (`Mapping[str, Sequence[float]]`):
            Values by name; NaN leaves a gap.
        title (`str`, *optional*, defaults to `""`):
            Heading.
        size (`tuple[int, int]`, *optional*, defaults to `(640, 360)`):
            Width and height of the picture in pixels.
    """
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        marker = "o" if len(values) == 1 else None
        axes.plot(np.arange(len(values)), values, label=name, marker=marker, linewidth=1.6)
    axes.set_title(title, fontsize=FONT_SIZE + 1, parse_math=False)
    axes.set_xlabel("step", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        axes.legend(fontsize=FONT_SIZE - 1, frameon=False)
    return _rasterise(figure)


def _film_strip(frames: UInt8[np.ndarray, "t h w 3"], tile_height: int) -> UInt8[np.ndarray, "strip_h strip_w 3"]:
    """Frames side by side on white."""
    height, width = frames.shape[1:3]
    tile_width = max(1, round(width * tile_height / height))
    way = cv2.INTER_AREA if tile_height < height else cv2.INTER_LINEAR
    tiles = [cv2.resize(frame, (tile_width, tile_height), interpolation=way) for frame in frames]
    margins = ((GAP, GAP), (0, GAP), (0, 0))
    strip = np.concatenate([np.pad(tile, margins, constant_values=255) for tile in tiles], axis=1)
    return np.pad(strip, ((0, 0), (GAP, 0), (0, 0)), constant_values=255)


def _render_text(text: str, width: int, bold: bool = False) -> UInt8[np.ndarray, "text_h w 3"]:
    """Wrapped black text on white; what the font has no sign for is drawn as a box."""
    text = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
    pixels = FONT_SIZE * DPI / 72  # 72 points per inch
    per_line = max(8, int((width - 4 * GAP) / (CHARACTER_WIDTH * pixels)))
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, per_line) or [""]] or [""]
    height = round(LINE_HEIGHT * pixels * len(lines)) + 2 * GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.text(
        2 * GAP / width,
        1 - GAP / height,
        "\n".join(lines),
        fontsize=FONT_SIZE,
        fontweight="bold" if bold else "normal",
        va="top",
        parse_math=False,
        linespacing=1.25,
    )
    return _rasterise(figure)[:height, :width]


def _rasterise(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
