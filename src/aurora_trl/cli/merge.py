"""`aurora-trl merge`: a LoRA folder into the weights of its base."""

import argparse
from pathlib import Path

from aurora_trl.cli.outcome import Outcome


def add(verbs) -> None:
    parser = verbs.add_parser(
        "merge",
        help="a LoRA folder and its base to one folder",
        description="Writes the policy of a LoRA folder, whose base is named in its adapter_config.json, as one "
        "folder of merged weights. Its answers are those of the two together, up to rounding.",
    )
    parser.add_argument("src", metavar="SRC", help="LoRA folder, as a recipe with --use_peft writes it")
    parser.add_argument("dst", metavar="DST", help="folder to write; must not hold a checkpoint already")
    parser.add_argument("--dtype", default="auto", help="of the weights: bfloat16, float32 (default: as saved)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Outcome:
    from trl import ModelConfig

    from aurora_trl.trainers.script import AuroraScriptArguments, load_policy

    src, dst = Path(arguments.src), Path(arguments.dst)
    if not (src / "adapter_config.json").is_file():
        raise ValueError(f"{src} is no LoRA folder: it has no adapter_config.json, so there is nothing to merge.")
    if (dst / "config.json").exists():
        raise ValueError(f"{dst} holds a checkpoint already. Choose another folder, or delete this one.")
    model_args = ModelConfig(model_name_or_path=str(src), dtype=arguments.dtype)
    model, processor = load_policy(model_args, AuroraScriptArguments())
    model.save_pretrained(dst)
    processor.save_pretrained(dst)
    return Outcome({"folder": str(dst)})
