"""Settings of every test run: offline, two threads at most, reproducible property tests."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

settings.register_profile("aurora", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("aurora")

SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of golden values and samples beside the checkout; tests that need it are skipped without it."""
    if not SHARED_DIR.is_dir():
        pytest.skip("no folder with golden values beside the checkout")
    return SHARED_DIR
