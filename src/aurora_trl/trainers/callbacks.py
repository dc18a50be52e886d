"""What a run leaves behind for people to look at."""

from pathlib import Path

import cv2
from torch import Tensor

from aurora_trl.data.collator import read_row
from aurora_trl.data.media import labelled_frames
from aurora_trl.viz import contact_sheet


def write_rollout_picture(
    output_dir: str, step: int, rows: list[dict], completions: list, rewards_per_func: Tensor, num_generations: int
) -> Path:
    """The first group of a rollout: frames with a truth, truth, each candidate's mask, its answer and its rewards."""
    group = rows[:num_generations]
    frames, _ = read_row(group[0], allow_silent=True)
    captions = []
    for completion, rewards in zip(completions[:num_generations], rewards_per_func.tolist(), strict=False):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        captions.append(f"{' + '.join(f'{reward:.2f}' for reward in rewards)}: {text}")
    candidates = [(caption, row["pred_masks"]) for caption, row in zip(captions, group, strict=True)]
    sheet = contact_sheet(
        frames[labelled_frames(group[0]["masks"], len(frames))],
        group[0]["gt_masks"],
        candidates,
        title=group[0].get("expression", ""),
    )
    path = Path(output_dir) / "rollouts" / f"step_{step:06d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return path
