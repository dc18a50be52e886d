"""docs/paper.md leads from every equation and table to code that exists and to a recipe or test that exists."""

import ast
import importlib
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "paper.md"
NUM_EQUATIONS = NUM_TABLES = 8
NOT_BUILT = "—"

# Whose docstring carries "Eq. (n)". Equations 1, 4 and 5 are TRL's, whose docstrings know nothing of this paper.
OWN_EQUATION_CODE = {
    2: "aurora_trl.losses.seg_distillation_loss",
    3: "aurora_trl.answer.render_reflective",
    6: "aurora_trl.AuroraDistillTrainer",
    7: "aurora_trl.AuroraSFTTrainer",
    8: "aurora_trl.AuroraGRPOTrainer",
}

TEXT = INDEX.read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| Paper"))
]
CODE_NAMES = sorted(set(re.findall(r"`((?:aurora_trl|trl)\.[\w.]+)`", TEXT)))
PLACES = sorted(set(re.findall(r"`((?:recipes|tests|examples|benchmarks)/[^`]+)`", TEXT)))


def resolve(name: str):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # A missing dependency of an existing module is another failure than a name that is no module.
            if not f"{module_name}.".startswith(f"{error.name}."):
                raise
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_equation_and_table_has_a_row():
    first_cells = {row[0] for row in ROWS}
    expected = {f"Eq. ({n})" for n in range(1, NUM_EQUATIONS + 1)} | {f"Table {n}" for n in range(1, NUM_TABLES + 1)}
    assert expected <= first_cells


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_leads_somewhere(row):
    _, _, code, place = row
    if (code, place) != (NOT_BUILT, NOT_BUILT):
        assert any(f"`{name}`" in code for name in CODE_NAMES)
        assert any(f"`{name}`" in place for name in PLACES)


@pytest.mark.parametrize("name", CODE_NAMES)
def test_every_name_exists(name):
    assert resolve(name) is not None


@pytest.mark.parametrize("place", PLACES)
def test_every_recipe_and_test_exists(place):
    path, _, function = place.partition("::")
    assert (ROOT / path).is_file()
    if function:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", OWN_EQUATION_CODE)
def test_the_docstring_carries_the_equation(number):
    name = OWN_EQUATION_CODE[number]
    assert f"`{name}`" in next(row[2] for row in ROWS if row[0] == f"Eq. ({number})")
    assert re.search(rf"Eq\. \(?{number}\)?", resolve(name).__doc__)


def test_dead_names_are_noticed():
    with pytest.raises(AttributeError):
        resolve("aurora_trl.losses.nothing")
    with pytest.raises(AttributeError):
        resolve("aurora_trl.nothing")
