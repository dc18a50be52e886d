"""
Runs a policy over splits: generate, segment, score, keep every prediction.

Free generation: an answer without a [SEG] predicts nothing. Batches are cut the same way whatever the number of
processes is, so several processes give the single process's report to the last digit, and none of them counts a row
twice; a run that was killed goes on where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm

from aurora_trl import tiny_checkpoint
from aurora_trl.constants import TINY
from aurora_trl.data.collator import clip_key, load_clips
from aurora_trl.evaluation.pictures import write_examples
from aurora_trl.evaluation.predictions import FORCED, FREE, Prediction
from aurora_trl.evaluation.report import DEFAULT_RESAMPLES, Evaluation
from aurora_trl.evaluation.scoring import require_truth, score_answer
from aurora_trl.evaluation.shards import Shards, digest_policy
from aurora_trl.metrics import resolve_protocol
from aurora_trl.model.generation import generate_and_segment
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.processing import AuroraProcessor


@dataclass
class EvaluationConfig:
    r"""
    Args:
        output_dir (`str`, *optional*, defaults to `"outputs/evaluation"`): where the report is written.
        protocol (`str`, *optional*, defaults to `"refavs-official"`): whose J, F and S head the report, which has all
            others, too; see [`aurora_trl.metrics`].
        batch_size (`int`, *optional*, defaults to `16`): clips per generation.
        max_new_tokens (`int`, *optional*, defaults to `150`): length limit of an answer (the released code's value).
        force_seg (`bool`, *optional*, defaults to `False`): append "It is [SEG]." to answers without one: another
            protocol, whose name then ends in "+forced-seg".
        allow_silent (`bool`, *optional*, defaults to `False`): accept rows without sound.
        num_resamples (`int`, *optional*, defaults to `1000`): draws of the bootstrap that gives the intervals.
        description (`str`, *optional*): of the progress bar.
    """

    output_dir: str = "outputs/evaluation"
    protocol: str = "refavs-official"
    batch_size: int = 16
    max_new_tokens: int = 150
    force_seg: bool = False
    allow_silent: bool = False
    num_resamples: int = DEFAULT_RESAMPLES
    description: str = "evaluation"


@dataclass(frozen=True)
class _Batch:
    """Rows of one split that are answered together, and the number of each row's clip."""

    number: int
    split: str
    rows: list[dict[str, Any]]
    clips: list[int]


def process_state() -> PartialState:
    """The processes of this run; on a machine without an accelerator they compute, and talk, on the CPU."""
    return PartialState(cpu=not torch.accelerator.is_available())


def evaluate_policy(
    model: AuroraModel,
    processor: AuroraProcessor,
    rows: Dataset | Mapping[str, Dataset],
    config: EvaluationConfig | None = None,
    folder: str | Path | None = None,
    new_categories: Collection[str] = (),
) -> Evaluation:
    """
    Greedy answers and masks of every row.

    Under `accelerate launch` each process answers its share of the batches; all of them get the whole result.

    Args:
        model ([`~aurora_trl.AuroraModel`]):
            The policy; put into evaluation mode, and back.
        processor ([`~aurora_trl.AuroraProcessor`]):
            Its processor.
        rows (`datasets.Dataset` or `Mapping[str, Dataset]`):
            With masks; of one split, or of several by name.
        config ([`EvaluationConfig`], *optional*):
            Protocol, batch, length limit.
        folder (`str` or `Path`, *optional*):
            Where the report is written, and an unfinished run of the same policy, rows and settings is continued.
        new_categories (collection of `str`, *optional*):
            Categories that the report also gives on their own: those of the unseen split that are not in train.

    Returns:
        [`Evaluation`]: metrics, report and the prediction of every row, in order.

    Raises:
        ValueError: for an unknown protocol, no rows, a row without truth, or a folder with another unfinished run.
    """
    config = config or EvaluationConfig()
    protocol = resolve_protocol(config.protocol)
    splits = rows if isinstance(rows, Mapping) else {"rows": rows}
    if config.batch_size < 1 or config.num_resamples < 1 or config.max_new_tokens < 1:
        raise ValueError(
            f"batch_size={config.batch_size}, num_resamples={config.num_resamples} and "
            f"max_new_tokens={config.max_new_tokens} must all be at least 1."
        )
    if not splits or not all(map(len, splits.values())):
        raise ValueError(f"There is nothing to evaluate in {', '.join(splits) or 'no split'}: a split has no rows.")
    state = process_state()
    batches = list(_cut(splits, config.batch_size))
    rows = [row for batch in batches for row in batch.rows]
    for row in rows:
        require_truth(row)
    shards = None
    if folder is not None:
        shards = Shards(Path(folder), _identify(model, processor, batches, config), state.process_index)
    state.wait_for_everyone()
    finished = shards.read() if shards else {}
    state.wait_for_everyone()  # nobody writes before everybody has read what was there
    own = [batch for batch in batches if batch.number % state.num_processes == state.process_index]
    records = _answer([batch for batch in own if batch.number not in finished], model, processor, config, shards)
    finished |= dict(gather_object(list(records.items())))
    if missing := sorted({batch.number for batch in batches} - set(finished)):
        raise ValueError(
            f"{len(missing)} of {len(batches)} batches were finished where this process can't see them. Give all "
            f"processes one output folder, or delete {folder} to start anew."
        )
    predictions = [Prediction.from_json(record) for number in sorted(finished) for record in finished[number]]
    evaluation = Evaluation(
        predictions=predictions,
        protocol=protocol,
        new_categories=frozenset(new_categories),
        num_resamples=config.num_resamples,
        settings={
            "checkpoint": _name(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "batch_size": config.batch_size,
            "max_new_tokens": config.max_new_tokens,
        },
    )
    if shards and state.is_main_process:
        evaluation.write(folder)
        write_examples(Path(folder) / "examples.png", rows, predictions)
        shards.remove()
    state.wait_for_everyone()
    return evaluation


def _name(model: AuroraModel) -> str:
    """The policy's folder; the embedded one has the same name on every machine."""
    folder = str(model.name_or_path)
    return TINY if folder == str(tiny_checkpoint()) else folder


def _cut(splits: Mapping[str, Dataset], batch_size: int) -> Iterator[_Batch]:
    """Batches never cross splits, and clips are numbered in the order of their first row."""
    numbers: dict[tuple, int] = {}
    batch_number = 0
    for split, dataset in splits.items():
        for start in range(0, len(dataset), batch_size):
            rows = dataset.select(range(start, min(start + batch_size, len(dataset)))).to_list()
            clips = [numbers.setdefault((split, *clip_key(row)), len(numbers)) for row in rows]
            yield _Batch(batch_number, split, rows, clips)
            batch_number += 1


def _identify(
    model: AuroraModel, processor: AuroraProcessor, batches: list[_Batch], config: EvaluationConfig
) -> dict[str, Any]:
    """What makes two runs give the same predictions."""

    def digest(value: Any) -> str:
        return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

    return {
        "policy": digest_policy(model),
        "configuration": digest(model.config.to_dict()),
        "processor": digest([processor.backbone_processor.to_dict(), processor.sam_image_size]),
        "rows": digest([[batch.split, row] for batch in batches for row in batch.rows]),
        "files": digest([_stamp(path) for batch in batches for row in batch.rows for path in _paths(row)]),
        "batch_size": config.batch_size,
        "max_new_tokens": config.max_new_tokens,
        "force_seg": config.force_seg,
        "allow_silent": config.allow_silent,
    }


def _paths(row: Mapping[str, Any]) -> list[str]:
    paths = (*row["frames"], row.get("video"), row["audio"], *(row["masks"] or ()))
    return [path for path in paths if path is not None]


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of a file: one that was repaired has others."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _answer(
    batches: list[_Batch],
    model: AuroraModel,
    processor: AuroraProcessor,
    config: EvaluationConfig,
    shards: Shards | None,
) -> dict[int, list[dict[str, Any]]]:
    """Records of each batch by its number, written to the shard as they come."""
    records = {}
    was_training = model.training
    model.eval()
    if shards:
        shards.open()
    is_quiet = not process_state().is_main_process
    try:
        for batch in tqdm(batches, desc=config.description, leave=False, disable=is_quiet):
            # Through JSON, as those of an unfinished run: the report is the same either way.
            text = json.dumps([p.to_json() for p in _predict(batch, model, processor, config)])
            records[batch.number] = json.loads(text)
            if shards:
                shards.append(batch.number, records[batch.number])
    finally:
        model.train(was_training)
        if shards:
            shards.close()
    return records


def _predict(
    batch: _Batch, model: AuroraModel, processor: AuroraProcessor, config: EvaluationConfig
) -> Iterator[Prediction]:
    clips = [clip.to(model.device) for clip in load_clips(batch.rows, processor, config.allow_silent)]
    answers = generate_and_segment(
        model, processor, clips, max_new_tokens=config.max_new_tokens, force_seg=config.force_seg
    )
    for row, number, answer in zip(batch.rows, batch.clips, answers, strict=True):
        yield score_answer(
            row,
            batch.split,
            number,
            answer.text,
            answer.mask_logits if answer.has_seg else None,
            tuple(answer.mask_logits.shape),
            answer.is_truncated,
            FORCED if config.force_seg else FREE,
        )
