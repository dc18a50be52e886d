"""`aurora-trl evaluate` in one process, in two, and killed in the middle: the same files each time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_trl.evaluation.shards import FOLDER


FILES = ("report.json", "report.md", "predictions.jsonl", "examples.png")
ONE = [sys.executable, "-m", "aurora_trl.cli.main"]
TWO = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc_per_node=2",
    "-m",
    "aurora_trl.cli.main",
]
TIMEOUT = 300


@pytest.fixture(scope="module")
def arguments(data_root):
    options = ["--split", "test_s,test_n", "--batch-size", "4", "--resamples", "50", "--max-new-tokens", "40"]
    return ["evaluate", "tiny", "--data", str(data_root), *options]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(command, arguments, out):
    done = subprocess.run(
        [*command, *arguments, "--out", str(out)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "one"
    assert "Beside Table 1" not in run(ONE, arguments, out), "only with both of its splits"
    return out


def test_the_report_names_no_machine(whole):
    assert json.loads((whole / "report.json").read_text())["checkpoint"] == "tiny"


def assert_same(folder: Path, other: Path):
    for name in FILES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert not (folder / FOLDER).exists()


def test_two_processes_give_the_files_of_one(arguments, whole, tmp_path):
    stdout = run(TWO, arguments, tmp_path / "two")
    assert stdout.count("# Evaluation") == 1, "only the first process speaks"
    assert_same(tmp_path / "two", whole)


def test_a_killed_evaluation_goes_on(arguments, whole, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [*ONE, *arguments, "--out", str(out)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    shard = out / FOLDER / "shard-0.jsonl"
    deadline = time.monotonic() + TIMEOUT
    while not (shard.exists() and shard.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "report.json").exists()
    finished = shard.read_bytes().count(b"\n")
    run(ONE, arguments, out)
    assert finished >= 2
    assert_same(out, whole)
