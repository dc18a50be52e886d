"""
`aurora-trl VERB …`. Every verb teaches itself with `--help`; a user's mistake ends in one line and exit code 2.

Verbs import what they need when they run, so that `aurora-trl --help` is quick.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from aurora_trl.cli import convert, doctor, evaluate, merge, synth
from aurora_trl.cli.outcome import Outcome


def _write(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        text = json.dumps(outcome.result)
    elif outcome.text is not None:
        text = outcome.text.rstrip("\n")
    else:
        width = max(map(len, outcome.result))
        text = "\n".join(f"{name:<{width}}  {value}" for name, value in outcome.result.items())
    sys.stdout.write(text + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="aurora-trl", description="Reasoning audio-visual segmentation, trained with TRL."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in (synth, doctor, evaluate, convert, merge):
        verb.add(verbs)
    arguments = parser.parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # libraries log to stdout, which is for the result alone
            outcome = arguments.run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"aurora-trl: {error}\n")
        return 2
    if outcome.is_shown:
        _write(outcome, arguments.json)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
