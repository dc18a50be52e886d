"""`aurora-trl synth`: the generated data set."""

import argparse

from aurora_trl.cli.outcome import Outcome


def add(verbs) -> None:
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
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Outcome:
    from aurora_trl.data import synthetic

    root = synthetic.write_dataset(arguments.out, num_clips=arguments.clips, seed=arguments.seed)
    return Outcome({"root": str(root), "clips": arguments.clips, "seed": arguments.seed})
