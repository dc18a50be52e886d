"""
F over 255 thresholds: one histogram per frame against 255 passes over its pixels.

    python -m benchmarks.f_measure [--frames 40] [--size 256] [--repeats 3] [--json]
"""

import argparse
import json
import statistics
import sys
import time

import torch

from aurora_trl.constants import F_BETA_SQUARED, F_LAST_THRESHOLD, F_NUM_THRESHOLDS
from aurora_trl.metrics import f_measure


def f_by_passes(mask_logits: torch.Tensor, gt_masks: torch.Tensor) -> float:
    """The definition, as the official evaluation computes it: every threshold looks at every pixel."""
    probabilities = mask_logits.sigmoid()
    thresholds = torch.linspace(0, F_LAST_THRESHOLD, F_NUM_THRESHOLDS)
    curves = []
    for frame, truth in zip(probabilities, gt_masks, strict=True):
        if not truth.any():
            continue
        curve = []
        for threshold in thresholds:
            pred = (frame >= threshold).double()
            hits = (pred * truth).sum()
            precision, recall = hits / (pred.sum() + 1e-20), hits / (truth.sum() + 1e-20)
            f = (1 + F_BETA_SQUARED) * precision * recall / (F_BETA_SQUARED * precision + recall)
            curve.append(f.nan_to_num(0.0))
        curves.append(torch.stack(curve))
    return torch.stack(curves).mean(0).max().item()


def seconds_of(function, *arguments) -> tuple[float, float]:
    start = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - start, value


def measure(num_frames: int, size: int, repeats: int) -> dict[str, float]:
    """Interleaved: both see the same noise of the machine."""
    generator = torch.Generator().manual_seed(0)
    gt_masks = torch.rand(num_frames, size, size, generator=generator) > 0.7
    mask_logits = torch.randn(num_frames, size, size, generator=generator) + 2 * gt_masks
    f_measure(mask_logits, gt_masks)
    pairs = [
        (seconds_of(f_by_passes, mask_logits, gt_masks), seconds_of(f_measure, mask_logits, gt_masks))
        for _ in range(repeats)
    ]
    (_, slow_value), (_, fast_value) = pairs[0]
    return {
        "speedup": statistics.median(slow / fast for (slow, _), (fast, _) in pairs),
        "passes_seconds": min(slow for (slow, _), _ in pairs),
        "histogram_seconds": min(fast for _, (fast, _) in pairs),
        "difference": abs(slow_value - fast_value),
    }


def main(argv=None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    result = measure(arguments.frames, arguments.size, arguments.repeats)
    text = (
        json.dumps(result) if arguments.json else "\n".join(f"{name:<20}{value:.3g}" for name, value in result.items())
    )
    sys.stdout.write(text + "\n")
    return result


if __name__ == "__main__":
    main()
