"""
The whole paper on the embedded default, from nothing: generated data, stage 0, teacher, stage 1, stage 2, GRPO, and
after each stage its numbers on held-out clips.

    python recipes/demo.py                     # everything, on two CPU cores
    python recipes/demo.py --output_dir DIR
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import distill
import evaluate
import grpo
import pretrain
import reflect
import sft
from rich.console import Console
from rich.table import Table
from transformers import HfArgumentParser

from aurora_trl.trainers.script import run_recipe


HERE = Path(__file__).parent / "tiny"
MARKER = ".demo"  # of a folder that the next demo may replace
COLUMNS = ("J", "F", "J&F", "category_accuracy", "format_rate")


@dataclass
class DemoConfig:
    """Where the run is written; a folder of an earlier demo is replaced."""

    output_dir: str = "outputs/demo"


class Demo:
    """The stages in order; each starts from the folder of the one before."""

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self.console = Console()
        self.start = time.monotonic()
        self.results: list[tuple[str, float, dict[str, float]]] = []

    def folder(self, name: str) -> str:
        return str(self.output_dir / name)

    def announce(self, text: str) -> None:
        self.console.rule(f"[{(time.monotonic() - self.start) / 60:4.1f} min] {text}")

    def recipe(self, module, config: str, **flags):
        pairs = [(f"--{name}", str(value)) for name, value in flags.items()]
        return module.main(["--config", str(HERE / config), *(word for pair in pairs for word in pair)])

    def evaluate(self, stage: str, folder: str) -> None:
        evaluation = self.recipe(
            evaluate,
            "evaluate.yaml",
            model_name_or_path=folder,
            output_dir=self.folder(f"evaluation/{stage}"),
            description=stage,
        )
        self.results.append((stage, time.monotonic() - self.start, evaluation.metrics))

    def run(self) -> Table:
        base, teacher, stage1, stage2, stage3 = map(self.folder, ("base", "teacher", "stage1", "stage2", "grpo"))
        self.announce("stage 0: what released checkpoints arrive with (towers, SAM, language)")
        self.recipe(pretrain, "pretrain.yaml", output_dir=base)
        self.announce("teacher: segmentation only")
        self.recipe(sft, "teacher.yaml", model_name_or_path=base, output_dir=teacher)
        self.evaluate("teacher", teacher)
        self.announce("stage 1: chains of thought, [SEG] feature distilled")
        self.recipe(distill, "distill.yaml", model_name_or_path=teacher, teacher=teacher, output_dir=stage1)
        self.evaluate("stage 1", stage1)
        self.announce("stage 2: reflective paths from stage 1's own failures")
        paths = self.folder("reflect")
        self.recipe(reflect, "reflect.yaml", model_name_or_path=stage1, output_dir=paths)
        answers = Path(paths) / "stage2.jsonl"
        self.recipe(sft, "sft.yaml", model_name_or_path=stage1, completions=answers, output_dir=stage2)
        self.evaluate("stage 2", stage2)
        self.announce("stage 3: GRPO")
        self.recipe(grpo, "grpo.yaml", model_name_or_path=stage2, output_dir=stage3)
        self.evaluate("stage 3 (GRPO)", stage3)
        return self.table()

    def table(self) -> Table:
        table = Table(title="held-out clips of seen categories, protocol refavs-official")
        for name in ("stage", *COLUMNS, "minutes"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for stage, seconds, metrics in self.results:
            # The teacher does not reason: its short answer has no "the target is" to score.
            shown = COLUMNS[:3] if stage == "teacher" else COLUMNS
            values = [f"{metrics[name]:.3f}" if name in shown else "–" for name in COLUMNS]
            table.add_row(stage, *values, f"{seconds / 60:.1f}")
        return table


def main(argv=None):
    (config,) = HfArgumentParser(DemoConfig).parse_args_into_dataclasses(sys.argv[1:] if argv is None else argv)
    output_dir = Path(config.output_dir)
    if output_dir.is_dir() and any(output_dir.iterdir()):
        if not (output_dir / MARKER).is_file():
            raise ValueError(f"{output_dir} holds something else than an earlier demo. Choose another --output_dir.")
        shutil.rmtree(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / MARKER).touch()
    demo = Demo(output_dir)
    demo.console.print(demo.run())
    pictures = sorted((output_dir / "grpo" / "rollouts").glob("*.png"))
    demo.console.print(f"Pictures of rollouts: {', '.join(map(str, pictures))}")
    return demo.results


if __name__ == "__main__":
    run_recipe(main)
