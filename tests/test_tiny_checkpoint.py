"""The embedded checkpoint: small, loadable, and better than any policy that does not look and listen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_trl import AuroraModel, AuroraProcessor, tiny_checkpoint
from aurora_trl.data import load_refavs, synthetic
from aurora_trl.evaluation import EvaluationConfig, evaluate_policy


ROOT = Path(__file__).resolve().parents[1]


def test_it_is_small_and_whole():
    folder = tiny_checkpoint()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
    model, processor = AuroraModel.from_pretrained(folder), AuroraProcessor.from_pretrained(folder)
    assert model.seg_token_id == processor.seg_token_id


def test_it_answers_in_form_and_better_than_a_guess(tmp_path):
    """Held-out clips of another seed. Of two or three objects a guess names the right one less than 0.42 times."""
    root = synthetic.write_dataset(tmp_path / "data", num_clips=1, num_eval_clips=16, seed=11)
    folder = tiny_checkpoint()
    rows = load_refavs(root, "test_s").select(range(40))
    model, processor = AuroraModel.from_pretrained(folder), AuroraProcessor.from_pretrained(folder)
    metrics = evaluate_policy(model, processor, rows, EvaluationConfig(max_new_tokens=120, batch_size=20)).metrics
    assert metrics["format_rate"] > 0.9
    assert metrics["missing_seg_rate"] < 0.1
    assert metrics["mean_iou"] > 0.3


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run_on_a_generated_clip(script, tmp_path):
    root = synthetic.write_dataset(tmp_path / "data", num_clips=1, num_eval_clips=1, seed=2)
    row = load_refavs(root, "train")[0]
    out = tmp_path / "out"
    command = [sys.executable, str(script), row["frames"][0], "--audio", row["audio"], "--out", str(out)]
    done = subprocess.run(
        [*command, "--text", row["expression"]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in out.iterdir()} >= {"answer.json", "sheet.png", "overlay_00.png"}


def test_the_trainer_imports_from_anywhere(tmp_path):
    code = "from aurora_trl import AuroraGRPOTrainer as T; from trl import GRPOTrainer as S; assert issubclass(T, S)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
