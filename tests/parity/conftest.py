"""Golden values of the original VideoLLaMA2 code, kept beside the checkout; without them these tests are skipped."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file


GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "videollama2"


@pytest.fixture(scope="session")
def golden_dir():
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden values at {GOLDEN}")
    return GOLDEN


@pytest.fixture(scope="session")
def golden(golden_dir):
    return load_file(golden_dir / "io.safetensors")


@pytest.fixture(scope="session")
def towers(golden_dir):
    return json.loads((golden_dir / "towers.json").read_text())
