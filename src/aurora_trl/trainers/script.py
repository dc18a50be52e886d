"""
What the recipes share: their arguments, and how these become a policy, a processor and rows.

A recipe without `--config` reads its YAML under `recipes/tiny/`, which runs on the embedded policy and the generated
data set.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset
from peft import PeftModel
from transformers import TrainingArguments
from trl import ModelConfig, TrlParser

from aurora_trl import tiny_checkpoint
from aurora_trl.answer import render_answer
from aurora_trl.constants import TINY
from aurora_trl.data import attach_completions, synthetic
from aurora_trl.data.readers import load_split, load_splits
from aurora_trl.model.configuration import AuroraConfig
from aurora_trl.model.conversion import join_backbone, read_model_type
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.processing import AuroraProcessor
from aurora_trl.reasoning.cot import read_jsonl
from aurora_trl.reasoning.oracle import OracleAnnotator


logger = logging.getLogger(__name__)

# The word that stands for the generated data set's own chains of thought where a file of answers is asked for.
ORACLE = "oracle"


@dataclass
class AuroraScriptArguments:
    r"""
    What to train on and from what, beside TRL's `ModelConfig` (`model_name_or_path`, LoRA, dtype).

    Args:
        data_root (`str`, *optional*, defaults to `"tiny"`):
            A data set in the layout of Ref-AVS or AVSBench, or a `.jsonl` file; `tiny` generates one.
        num_clips (`int`, *optional*, defaults to `400`):
            Training clips of the generated data set.
        synthetic_seed (`int`, *optional*, defaults to `0`):
            Seed of the generated data set.
        train_split, eval_split (`str`, *optional*, defaults to `"train"` and `"val"`):
            Splits; `recipes/evaluate.py` takes several, with commas between them.
        max_train_rows, max_eval_rows (`int`, *optional*):
            Use only so many rows, chosen by `synthetic_seed`.
        completions (`str`, *optional*):
            JSONL of target answers by uid (chains of thought, reflective paths); `oracle` is the generated data set's
            true reasoning; without it the rows' own `completion`, or else the short answer.
        answer_names_category (`bool`, *optional*, defaults to `False`):
            The short answer is "It is {category} [SEG]." (released code) instead of "It is [SEG]." (paper).
        teacher (`str`, *optional*):
            Policy folder of the teacher (stage 1).
        frozen (`list[str]`, *optional*):
            Prefixes of parameter names that are not trained, besides SAM's image and prompt encoders.
        system_prompt (`str`, *optional*):
            System turn before every prompt.
        sam_checkpoint, sam_variant, sam_image_size (*optional*):
            SAM to join to a bare backbone checkpoint: a `.pth` file, `vit_h`, 224 in the paper's recipe.
    """

    data_root: str = field(
        default=TINY, metadata={"help": "Ref-AVS or AVSBench folder, or .jsonl; 'tiny' generates one."}
    )
    num_clips: int = field(default=400, metadata={"help": "Training clips of the generated data set."})
    synthetic_seed: int = field(default=0, metadata={"help": "Seed of the generated data set."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="val", metadata={"help": "Split to evaluate on."})
    max_train_rows: int | None = field(default=None, metadata={"help": "Use only so many training rows."})
    max_eval_rows: int | None = field(default=None, metadata={"help": "Use only so many evaluation rows."})
    completions: str | None = field(default=None, metadata={"help": "JSONL of target answers by uid."})
    answer_names_category: bool = field(default=False, metadata={"help": "The short answer names the category."})
    teacher: str | None = field(default=None, metadata={"help": "Policy folder of the teacher (stage 1)."})
    frozen: list[str] = field(default_factory=list, metadata={"help": "Prefixes of parameters not to train."})
    system_prompt: str | None = field(default=None, metadata={"help": "System turn before every prompt."})
    sam_checkpoint: str | None = field(default=None, metadata={"help": "SAM .pth file to join to a bare backbone."})
    sam_variant: str = field(default="vit_h", metadata={"help": "vit_h, vit_l or vit_b."})
    sam_image_size: int = field(default=224, metadata={"help": "Side of SAM's input in pixels."})


def parse_recipe(dataclass_types: Sequence[type], default_config: Path, argv: Sequence[str] | None = None) -> tuple:
    """
    Reads `--config FILE.yaml`, or the recipe's own default, then the flags, which override it.

    Args:
        dataclass_types (list of `type`):
            Of the argument groups, `ModelConfig` included where the recipe needs it.
        default_config (`Path`):
            YAML to read when there is no `--config`.
        argv (list of `str`, *optional*):
            Defaults to the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    arguments = [part for word in arguments for part in _split_config(word)]
    if "--config" not in arguments:
        arguments += ["--config", str(default_config)]
    parser = TrlParser(dataclass_types)
    return parser.parse_args_and_config(arguments, fail_with_unknown_args=True)


def _split_config(word: str) -> list[str]:
    """`--config=FILE` as two words, which is how TRL's parser looks for it."""
    return word.split("=", 1) if word.startswith("--config=") else [word]


def run_recipe(main: Callable[[], object]) -> None:
    """Runs a recipe's `main`; a user's mistake ends in one line and exit code 2, as in `aurora-trl`."""
    try:
        main()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        sys.exit(2)


def data_root(arguments: AuroraScriptArguments) -> Path:
    """The data set's folder; the generated one is written on first use, in the user's cache."""
    if arguments.data_root != TINY:
        return Path(arguments.data_root)
    home = Path(os.environ.get("AURORA_TRL_HOME", Path.home() / ".cache" / "aurora_trl"))
    root = home / f"synthetic-{arguments.num_clips}-seed{arguments.synthetic_seed}"
    return synthetic.write_dataset(root, num_clips=arguments.num_clips, seed=arguments.synthetic_seed)


def load_rows(arguments: AuroraScriptArguments, split: str, max_rows: int | None = None) -> Dataset:
    """Rows of one split, at most `max_rows` of them, chosen by `synthetic_seed`."""
    return _at_most(load_split(data_root(arguments), split, arguments.system_prompt), max_rows, arguments)


def load_eval_splits(arguments: AuroraScriptArguments) -> dict[str, Dataset]:
    """Rows of every split of `eval_split`, by name."""
    splits = load_splits(data_root(arguments), arguments.eval_split, arguments.system_prompt)
    return {split: _at_most(rows, arguments.max_eval_rows, arguments) for split, rows in splits.items()}


def _at_most(rows: Dataset, max_rows: int | None, arguments: AuroraScriptArguments) -> Dataset:
    if max_rows is not None and max_rows < len(rows):
        return rows.shuffle(seed=arguments.synthetic_seed).select(range(max_rows))
    return rows


def load_training_rows(arguments: AuroraScriptArguments) -> Dataset:
    """Training rows with their target answers."""
    rows = load_rows(arguments, arguments.train_split, arguments.max_train_rows)
    return with_completions(rows, arguments)


def load_eval_rows(arguments: AuroraScriptArguments, training_args: TrainingArguments) -> Dataset | None:
    """Rows of the evaluation split with their target answers, if the run evaluates."""
    if training_args.eval_strategy == "no":
        return None
    return with_completions(load_rows(arguments, arguments.eval_split, arguments.max_eval_rows), arguments)


def with_completions(rows: Dataset, arguments: AuroraScriptArguments) -> Dataset:
    """Joins the answers of `completions` by uid, or the short answer where there is none."""
    if arguments.completions is None and "completion" in rows.column_names:
        return rows
    if arguments.completions == ORACLE:
        annotator = OracleAnnotator(data_root(arguments))
        return attach_completions(rows, {row["uid"]: annotator.reason(row) for row in rows})
    if arguments.completions is not None:
        records = read_jsonl(Path(arguments.completions))
        return attach_completions(rows, {uid: record["completion"] for uid, record in records.items()})
    named = arguments.answer_names_category
    answers = {row["uid"]: render_answer(row["category"] if named else None) for row in rows}
    return attach_completions(rows, answers)


def policy_folder(name_or_path: str) -> str:
    """The folder that a CHECKPOINT names; `tiny` is the embedded one."""
    return str(tiny_checkpoint()) if name_or_path == TINY else name_or_path


def load_policy(
    model_args: ModelConfig, arguments: AuroraScriptArguments, folder: str | None = None
) -> tuple[AuroraModel, AuroraProcessor]:
    """
    A policy folder as it is, a LoRA folder merged into its base, or a bare backbone joined to a SAM checkpoint.

    Args:
        model_args (`ModelConfig`):
            With `model_name_or_path` and `dtype`.
        arguments ([`AuroraScriptArguments`]):
            With the SAM to join to a bare backbone, and what to freeze.
        folder (`str`, *optional*):
            Instead of `model_name_or_path`.

    Raises:
        ValueError: if the folder is no checkpoint, or a bare backbone comes without `sam_checkpoint`.
    """
    folder = policy_folder(folder or model_args.model_name_or_path)
    adapter_config = Path(folder) / "adapter_config.json"
    if adapter_config.is_file():
        base = json.loads(adapter_config.read_text())["base_model_name_or_path"]
        model, processor = load_policy(model_args, arguments, base)
        try:
            model = PeftModel.from_pretrained(model, folder).merge_and_unload()
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"The LoRA folder {folder} does not fit its base {base}: {error}. It was trained from another base; "
                "correct `base_model_name_or_path` in its adapter_config.json."
            ) from error
    else:
        model, processor = _load_whole(folder, model_args.dtype, arguments)
    # What reports name, and where PEFT looks for the base of a LoRA folder: a path, or it would ask the hub.
    model.name_or_path = model.config._name_or_path = folder
    model.set_frozen(*arguments.frozen)
    return model, processor


def _load_whole(folder: str, dtype: str, arguments: AuroraScriptArguments) -> tuple[AuroraModel, AuroraProcessor]:
    if read_model_type(folder) == AuroraConfig.model_type:
        return AuroraModel.from_pretrained(folder, dtype=dtype), AuroraProcessor.from_pretrained(folder)
    if arguments.sam_checkpoint is None:
        raise ValueError(
            f"{folder} holds a backbone without SAM: give `--sam_checkpoint sam_vit_h_4b8939.pth` (and "
            "`--sam_variant`) to join one."
        )
    return join_backbone(
        folder,
        arguments.sam_checkpoint,
        arguments.sam_variant,
        arguments.sam_image_size,
        dtype,
        arguments.system_prompt,
    )


def load_teacher(model_args: ModelConfig, arguments: AuroraScriptArguments) -> AuroraModel:
    """The teacher of stage 1."""
    if arguments.teacher is None:
        raise ValueError("Stage 1 needs a teacher: train one with recipes/sft.py and pass `--teacher FOLDER`.")
    return load_policy(model_args, arguments, arguments.teacher)[0]
