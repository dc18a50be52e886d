"""`aurora-trl doctor`: what is wrong with a data set."""

import argparse
from pathlib import Path

from aurora_trl.cli.outcome import Outcome


NUM_EXAMPLES = 5  # shown to people; --json has all
COUNTS = ("rows", "videos_by_uid", "videos_by_vid")


def add(verbs) -> None:
    parser = verbs.add_parser(
        "doctor",
        help="check a data set in the Ref-AVS layout, or its table alone",
        description="Counts rows and videos per split beside the official ones, and looks for rows that can't be "
        "used, missing and unreadable files, masks that don't fit, duplicates, and properties of files that give the "
        "answer away. Changes nothing. Exit code 1 if something would stop training.",
    )
    parser.add_argument(
        "root", metavar="ROOT", nargs="?", help="folder with metadata.csv, media/ and gt_mask/, or 'tiny'"
    )
    parser.add_argument("--metadata", metavar="FILE", help="look at this metadata.csv alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Outcome:
    from aurora_trl.data.doctor import diagnose, diagnose_table
    from aurora_trl.trainers.script import AuroraScriptArguments, data_root

    if (arguments.root is None) == (arguments.metadata is None):
        raise ValueError("Give either ROOT, or --metadata FILE to look at the table alone.")
    if arguments.root and Path(arguments.root).is_file():
        raise ValueError(f"{arguments.root} is a file. To look at a table alone: --metadata {arguments.root}")
    root = None if arguments.root is None else data_root(AuroraScriptArguments(data_root=arguments.root))
    diagnosis = diagnose(root) if root else diagnose_table(arguments.metadata)
    return Outcome(diagnosis.to_json(), text=_render(diagnosis), exit_code=0 if diagnosis.is_healthy else 1)


def _render(diagnosis) -> str:
    lines = ["In brackets: the official table.", f"{'split':<8}" + "".join(f"{name:>24}" for name in COUNTS)]
    for split, counts in diagnosis.splits.items():
        cells = (f"{counts[name]:,} ({counts[f'official_{name}']:,})" for name in COUNTS)
        lines.append(f"{split:<8}" + "".join(f"{cell:>24}" for cell in cells))
    lines += ["", *(f"{name}: {_brief(value)}" for name, value in diagnosis.facts.items()), ""]
    for finding in diagnosis.findings:
        lines.append(f"{finding.level:<8}{finding.code}: {finding.message} {finding.fix}")
        lines += [f"          {example}" for example in finding.examples[:NUM_EXAMPLES]]
    lines.append("Nothing stops training." if diagnosis.is_healthy else "Training would stop at the errors above.")
    return "\n".join(lines)


def _brief(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
