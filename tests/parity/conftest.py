"""Golden values of the original VideoLLaMA2 code, kept beside the checkout; without them these tests are skipped."""

import json

import pytest
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def golden_dir(shared_dir):
    return shared_dir / "golden" / "videollama2"


@pytest.fixture(scope="session")
def golden(golden_dir):
    return load_file(golden_dir / "io.safetensors")


@pytest.fixture(scope="session")
def towers(golden_dir):
    return json.loads((golden_dir / "towers.json").read_text())
