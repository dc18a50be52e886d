"""`import aurora_trl` is free: it resolves names on first use and loads no framework."""

import json
import subprocess
import sys

import pytest


MAX_SECONDS = 0.3
HEAVY = {"torch", "numpy", "transformers", "trl", "datasets", "peft", "accelerate", "cv2", "matplotlib"}
PROBE = """
import json, sys, time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
json.dump([seconds, sorted(set(sys.modules) & set({heavy!r}))], sys.stdout)
"""


def probe(module: str) -> tuple[float, list[str]]:
    code = PROBE.format(module=module, heavy=sorted(HEAVY))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    seconds, loaded = json.loads(run.stdout)
    return seconds, loaded


@pytest.mark.parametrize("module", ["aurora_trl", "aurora_trl.answer", "aurora_trl.data", "aurora_trl.reasoning"])
def test_the_import_loads_no_framework(module):
    assert probe(module)[1] == []


def test_the_import_is_fast():
    assert min(probe("aurora_trl")[0] for _ in range(3)) < MAX_SECONDS


def test_every_public_name_is_listed_and_resolvable():
    import aurora_trl

    assert set(aurora_trl.__all__) <= set(dir(aurora_trl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aurora_trl.nothing  # noqa: B018
