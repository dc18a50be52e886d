"""Size budgets: a file that grows past its limit is split, a function is cut. Commented-out code is ruff's (ERA)."""

import ast
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # without the docstring
MAX_RECIPE_MAIN_LINES = 40
MAX_EXAMPLE_LINES = 80

# "path" or "path::function": reason. An entry that is no longer needed fails the test.
ALLOWED: dict[str, str] = {}

FOLDERS = ("src", "recipes", "examples", "benchmarks", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path):
    """Name and number of lines of every function, its docstring and nested functions' docstrings not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield node.name, length


def over_budget(path: Path) -> dict[str, str]:
    name, found = name_of(path), {}
    limit = MAX_EXAMPLE_LINES if name.startswith("examples/") else MAX_FILE_LINES
    num_lines = len(path.read_text().splitlines())
    if num_lines > limit:
        found[name] = f"{num_lines} lines, at most {limit}"
    for function, length in functions(path):
        is_main = name.startswith("recipes/") and function == "main"
        limit = MAX_RECIPE_MAIN_LINES if is_main else MAX_FUNCTION_LINES
        if length > limit:
            found[f"{name}::{function}"] = f"{length} lines, at most {limit}"
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_and_function_sizes(path):
    assert not {key: size for key, size in over_budget(path).items() if key not in ALLOWED}


def test_the_allow_list_is_used():
    assert set(ALLOWED) <= {key for path in FILES for key in over_budget(path)}


def test_there_is_no_utils_module():
    assert not [name_of(path) for path in FILES if path.stem in {"utils", "util", "helpers", "common", "misc"}]
