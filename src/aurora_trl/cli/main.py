"""
`aurora-trl VERB …`. Every verb teaches itself with `--help`; a user's mistake ends in one line and exit code 2.

Verbs import what they need when they run, so that `aurora-trl --help` is quick.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence


def _add_synth(verbs) -> None:
    parser = verbs.add_parser(
        "synth",
        help="write the generated data set in the Ref-AVS layout",
        description="Writes clips with sound, masks and expressions in the Ref-AVS layout; the same arguments give "
        "the same files. Read them with `aurora_trl.data.load_refavs(OUT, split)`.",
    )
    parser.add_argument("out", metavar="OUT", help="folder to write; reused if it holds the same data set")
    parser.add_argument("--clips", type=int, default=200, help="training clips (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_synth)


def _synth(arguments: argparse.Namespace) -> dict:
    from aurora_trl.data import synthetic

    root = synthetic.write_dataset(arguments.out, num_clips=arguments.clips, seed=arguments.seed)
    return {"root": str(root), "clips": arguments.clips, "seed": arguments.seed}


def _add_evaluate(verbs) -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="J, F, J&F of a policy on one split",
        description="Free generation on every row of a split; writes report.json and predictions.jsonl to OUT.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="policy folder; 'tiny' is the embedded one")
    parser.add_argument("--data", required=True, metavar="ROOT", help="data set in the Ref-AVS layout")
    parser.add_argument("--split", default="test_s", help="train, val, test_s, test_u or test_n (default: test_s)")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--protocol", default="refavs-official", help="how numbers are computed")
    parser.add_argument("--force-seg", action="store_true", help="append the closing sentence where it is missing")
    parser.add_argument("--max-new-tokens", type=int, default=150, help="length limit of an answer (default: 150)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> dict:
    from aurora_trl import AuroraModel, AuroraProcessor
    from aurora_trl.data import load_refavs
    from aurora_trl.evaluation import EvaluationConfig, evaluate_policy
    from aurora_trl.trainers.script import policy_folder

    rows = load_refavs(arguments.data, arguments.split)
    folder = policy_folder(arguments.checkpoint)
    config = EvaluationConfig(
        output_dir=arguments.out,
        protocol=arguments.protocol,
        force_seg=arguments.force_seg,
        max_new_tokens=arguments.max_new_tokens,
    )
    model, processor = AuroraModel.from_pretrained(folder), AuroraProcessor.from_pretrained(folder)
    evaluation = evaluate_policy(model, processor, rows, config)
    return {"report": str(evaluation.write(arguments.out)), "protocol": arguments.protocol, **evaluation.metrics}


def _write(result: dict, as_json: bool) -> None:
    if as_json:
        text = json.dumps(result)
    else:
        width = max(map(len, result))
        text = "\n".join(f"{name:<{width}}  {value}" for name, value in result.items())
    sys.stdout.write(text + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="aurora-trl", description="Reasoning audio-visual segmentation, trained with TRL."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for add in (_add_synth, _add_evaluate):
        add(verbs)
    arguments = parser.parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # libraries log to stdout, which is for the result alone
            result = arguments.run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"aurora-trl: {error}\n")
        return 2
    _write(result, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
