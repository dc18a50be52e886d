"""`aurora-trl evaluate`: J, F, S and more of a policy, or of predictions that are there already."""

import argparse
from pathlib import Path

from aurora_trl.cli.outcome import Outcome


SPLIT = "test_s"
GENERATING = ("force_seg", "allow_silent", "max_new_tokens", "batch_size")


def add(verbs) -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="J, F, J&F, S of a policy, under every protocol",
        description="Free generation on every row of the splits. Writes report.json, report.md, predictions.jsonl "
        "(run lengths of the masks, text, scores) and examples.png to OUT. A run that was killed goes on where it "
        "stopped; under `accelerate launch -m aurora_trl.cli.main evaluate …` several processes share the rows. With "
        "--predictions nothing is generated: the report is made again from a predictions.jsonl, or from another "
        "program's masks.",
        epilog="examples: aurora-trl evaluate tiny --data data --split test_s --out report | aurora-trl evaluate "
        "--predictions report/predictions.jsonl --data data --split test_s --out again",
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", nargs="?", help="policy or LoRA folder; 'tiny' is the embedded one"
    )
    parser.add_argument("--predictions", metavar="FILE", help="score this predictions.jsonl, without a model")
    parser.add_argument("--data", metavar="ROOT", help="Ref-AVS or AVSBench folder, .jsonl file, or 'tiny'")
    parser.add_argument("--split", help="one, or several with commas between (default: test_s)")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--protocol", help="heads the report (default: refavs-official)")
    parser.add_argument("--force-seg", action="store_true", help="append 'It is [SEG].' where an answer has none")
    parser.add_argument("--allow-silent", action="store_true", help="accept rows without sound")
    parser.add_argument("--max-new-tokens", type=int, help="length limit of an answer (default: 150)")
    parser.add_argument("--batch-size", type=int, help="clips per generation (default: 16)")
    parser.add_argument("--resamples", type=int, dest="num_resamples", help="draws of the bootstrap (default: 1000)")
    parser.add_argument("--dtype", default="auto", help="of the weights: bfloat16, float32 (default: as saved)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Outcome:
    from aurora_trl.evaluation.markdown import render_report
    from aurora_trl.evaluation.report import finite

    if (arguments.checkpoint is None) == (arguments.predictions is None):
        raise ValueError("Give either a CHECKPOINT to run, or --predictions FILE to score.")
    evaluation, is_first = _rescore(arguments) if arguments.predictions else _evaluate(arguments)
    if not is_first:
        return Outcome({}, is_shown=False)
    result = {
        "report": str(Path(arguments.out) / "report.json"),
        "protocol": evaluation.protocol_name,
        **{name: finite(value) for name, value in evaluation.metrics.items()},
    }
    return Outcome(result, text=render_report(evaluation.report))


def _given(arguments: argparse.Namespace, *names: str) -> dict:
    """The options that were given; the others keep the defaults of what they are passed to."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _data_root(arguments: argparse.Namespace) -> Path | None:
    from aurora_trl.trainers.script import AuroraScriptArguments, data_root

    return None if arguments.data is None else data_root(AuroraScriptArguments(data_root=arguments.data))


def _rescore(arguments: argparse.Namespace):
    from aurora_trl.data.readers import find_new_categories, load_splits
    from aurora_trl.evaluation import evaluate_predictions

    if unused := [name for name in GENERATING if getattr(arguments, name)]:
        raise ValueError(
            f"{', '.join(unused)} change how answers are made; --predictions are made already. Drop them."
        )
    if arguments.split is not None and arguments.data is None:
        raise ValueError("--split says which rows of --data the predictions are of: give --data, too, or drop it.")
    if Path(arguments.out).resolve() == Path(arguments.predictions).resolve().parent:
        raise ValueError(f"{arguments.out} is where the predictions are: the report beside them would be replaced.")
    root = _data_root(arguments)
    evaluation = evaluate_predictions(
        arguments.predictions,
        load_splits(root, arguments.split or SPLIT) if root else None,
        new_categories=find_new_categories(root) if root else (),
        **_given(arguments, "protocol", "num_resamples"),
    )
    evaluation.write(arguments.out)
    return evaluation, True


def _evaluate(arguments: argparse.Namespace):
    from trl import ModelConfig

    from aurora_trl.data.readers import find_new_categories, load_splits
    from aurora_trl.evaluation import EvaluationConfig, evaluate_policy
    from aurora_trl.evaluation.runner import process_state
    from aurora_trl.trainers.script import AuroraScriptArguments, load_policy

    if arguments.data is None:
        raise ValueError("A checkpoint is evaluated on data: give --data ROOT.")
    config = EvaluationConfig(
        **_given(arguments, "protocol", "force_seg", "allow_silent", "max_new_tokens", "batch_size", "num_resamples")
    )
    root, state = _data_root(arguments), process_state()
    split = arguments.split or SPLIT
    splits = load_splits(root, split)  # first: a mistake in the data shows before the weights are loaded
    model_args = ModelConfig(model_name_or_path=arguments.checkpoint, dtype=arguments.dtype)
    model, processor = load_policy(model_args, AuroraScriptArguments())
    if processor.system_prompt is not None:
        splits = load_splits(root, split, processor.system_prompt)
    evaluation = evaluate_policy(
        model.to(state.device),
        processor,
        splits,
        config,
        folder=arguments.out,
        new_categories=find_new_categories(root),
    )
    return evaluation, state.is_main_process
