"""
Runs a policy over rows and says how good it is: generate, segment, score, keep every prediction.

Free generation: an answer without a [SEG] predicts nothing. Knows the policy and the metrics; writes what it is told.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm

from aurora_trl.answer import normalize_category, parse
from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.collator import load_clips
from aurora_trl.metrics import evaluate_clips, frame_iou
from aurora_trl.model.generation import generate_and_segment
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.processing import AuroraProcessor


# A logit whose sigmoid is 0 in float32: what an answer without a [SEG] predicts on every pixel.
NOTHING = -1e4


@dataclass
class EvaluationConfig:
    r"""
    Args:
        output_dir (`str`, *optional*, defaults to `"outputs/evaluation"`): where the report is written.
        protocol (`str`, *optional*, defaults to `"refavs-official"`): how J, F and S are computed; see
            [`aurora_trl.metrics`].
        batch_size (`int`, *optional*, defaults to `16`): clips per generation.
        max_new_tokens (`int`, *optional*, defaults to `150`): length limit of an answer (the released code's value).
        force_seg (`bool`, *optional*, defaults to `False`): append "It is [SEG]." to answers without one; the metrics'
            names then start with "forced/".
        allow_silent (`bool`, *optional*, defaults to `False`): accept rows without sound.
        description (`str`, *optional*): of the progress bar.
    """

    output_dir: str = "outputs/evaluation"
    protocol: str = "refavs-official"
    batch_size: int = 16
    max_new_tokens: int = 150
    force_seg: bool = False
    allow_silent: bool = False
    description: str = "evaluation"


@dataclass(frozen=True)
class Prediction:
    """
    One row's answer and its scores.

    Attributes:
        uid, expression, category: of the row.
        completion (`str`): the answer.
        predicted_category (`str` or `None`): what the answer names.
        is_correct (`bool`): whether that is the row's category.
        is_well_formed, has_seg, is_truncated (`bool`): about the answer's form.
        iou (`float`): mean over frames, at threshold 0.5 and native size.
    """

    uid: str
    expression: str
    category: str
    completion: str
    predicted_category: str | None
    is_correct: bool
    is_well_formed: bool
    has_seg: bool
    is_truncated: bool
    iou: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run over rows, by name, and the prediction of every row, in order."""

    metrics: dict[str, float]
    predictions: list[Prediction]

    def write(self, folder: str | Path) -> Path:
        """Writes `report.json` and `predictions.jsonl`; each appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(prediction)) + "\n" for prediction in self.predictions)
        contents = {"predictions.jsonl": lines, "report.json": json.dumps(self.metrics, indent=2) + "\n"}
        for name, text in contents.items():
            partial = folder / f".{name}.partial"
            partial.write_text(text)
            partial.replace(folder / name)
        return folder / "report.json"


def evaluate_policy(
    model: AuroraModel,
    processor: AuroraProcessor,
    rows: Dataset,
    config: EvaluationConfig | None = None,
) -> Evaluation:
    """
    Greedy answers and masks of every row.

    Args:
        model ([`~aurora_trl.AuroraModel`]):
            The policy; put into evaluation mode, and back.
        processor ([`~aurora_trl.AuroraProcessor`]):
            Its processor.
        rows (`datasets.Dataset`):
            With masks.
        config ([`EvaluationConfig`], *optional*):
            Protocol, batch, length limit.

    Returns:
        [`Evaluation`] with J, F, J&F, S (where they apply), `category_accuracy`, `format_rate`, `missing_seg_rate`,
        `truncated_rate` and `num_rows`.
    """
    config = config or EvaluationConfig()
    predictions: list[Prediction] = []
    was_training = model.training
    model.eval()

    def scored() -> Iterator[tuple[Tensor, Tensor]]:
        for start in tqdm(range(0, len(rows), config.batch_size), desc=config.description, leave=False):
            batch = rows.select(range(start, min(start + config.batch_size, len(rows)))).to_list()
            clips = [clip.to(model.device) for clip in load_clips(batch, processor, config.allow_silent)]
            answers = generate_and_segment(
                model, processor, clips, max_new_tokens=config.max_new_tokens, force_seg=config.force_seg
            )
            for row, clip, answer in zip(batch, clips, answers, strict=True):
                predictions.append(_score(row, clip.gt_masks, answer))
                logits = answer.mask_logits if answer.has_seg else torch.full_like(answer.mask_logits, NOTHING)
                yield logits, clip.gt_masks

    try:
        metrics = evaluate_clips(scored(), protocol=config.protocol, resize=True)
    finally:
        model.train(was_training)
    metrics = {**metrics, **_rates(predictions)}
    if config.force_seg:
        metrics = {f"forced/{name}": value for name, value in metrics.items()}
    return Evaluation(metrics, predictions)


def _score(row: dict, gt_masks: Tensor, answer) -> Prediction:
    parsed = parse(answer.text)
    predicted = parsed.category
    return Prediction(
        uid=row["uid"],
        expression=row["expression"],
        category=row["category"],
        completion=answer.text,
        predicted_category=predicted,
        is_correct=predicted is not None and normalize_category(predicted) == normalize_category(row["category"]),
        is_well_formed=parsed.is_well_formed,
        has_seg=answer.has_seg,
        is_truncated=answer.is_truncated,
        iou=frame_iou(torch.from_numpy(answer.masks), gt_masks.cpu()).mean().item() if answer.has_seg else 0.0,
    )


def _rates(predictions: list[Prediction]) -> dict[str, float]:
    def share(values) -> float:
        return float(np.mean(list(values)))

    visible = [prediction for prediction in predictions if prediction.category != NULL_CATEGORY]
    rates = {
        "category_accuracy": share(prediction.is_correct for prediction in predictions),
        "format_rate": share(prediction.is_well_formed for prediction in predictions),
        "missing_seg_rate": share(not prediction.has_seg for prediction in predictions),
        "truncated_rate": share(prediction.is_truncated for prediction in predictions),
        "num_rows": len(predictions),
    }
    if visible:
        rates["mean_iou"] = share(prediction.iou for prediction in visible)
    return rates
