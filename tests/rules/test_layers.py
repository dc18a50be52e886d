"""
Architecture: a module imports only from layers above its own (CONTRIBUTING.md), also where it imports lazily.

Read from the syntax tree: nothing is imported here.
"""

import ast
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "aurora_trl"

# Top to bottom. Modules of one line may not import each other; a sub-package is one entry and free inside.
LAYERS = (
    ("constants", "types"),
    ("answer", "losses", "metrics"),
    ("rewards", "viz"),
    ("backbones",),
    ("model",),
    # Two lines for what CONTRIBUTING.md writes as one: the oracle annotator reads the synthetic scenes.
    ("data",),
    ("reasoning",),
    ("trainers", "evaluation"),
    ("cli",),
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}

# Third-party packages and the topmost layer that may import them; whatever is below may, too.
FIRST_LAYER_OF = {
    "torch": "losses",
    "cv2": "losses",
    "transformers": "backbones",
    "segment_anything": "model",
    "datasets": "data",
    "soundfile": "data",
    "av": "data",
    "urllib": "data",
    "http": "data",
    "requests": "data",
    "trl": "trainers",
    "accelerate": "trainers",
    "argparse": "cli",
    "gradio": "cli",
}
# "module imports package": reason.
ALLOWED: dict[str, str] = {}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def public_homes() -> dict[str, str]:
    """The `_HOME_OF` table of the package's `__init__`, by syntax."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "_HOME_OF"
    )
    return ast.literal_eval(table)


def imported(path: Path) -> set[str]:
    """Absolute dotted names of everything a file imports: `from a import b` is "a.b"."""
    package = ["aurora_trl", *path.relative_to(PACKAGE).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"aurora_trl(\.\w+)+", str(node.value)):
            # The tables of lazily resolved names, and importlib.import_module("aurora_trl.…").
            names.add(node.value)
    return names


def layer_of(name: str) -> str | None:
    """The layer of an imported dotted name; None for a name of the package itself, such as `tiny_checkpoint`."""
    homes = public_homes()
    first = name.split(".")[1]
    if first in homes:
        first = homes[first].split(".")[1]
    return first if first in DEPTH else None


def test_every_module_has_a_layer():
    unknown = {dotted(path).split(".")[0] for path in MODULES} - set(DEPTH)
    assert not unknown, f"Give these a line in LAYERS, here and in CONTRIBUTING.md: {sorted(unknown)}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_from_layers_above(path):
    own = dotted(path).split(".")[0]
    wrong = []
    for name in sorted(imported(path)):
        if name.split(".")[0] == "aurora_trl" and "." in name:
            layer = layer_of(name)
            is_allowed = layer is None or layer == own or DEPTH[layer] < DEPTH[own]
        else:
            first = FIRST_LAYER_OF.get(name.split(".")[0])
            is_allowed = first is None or DEPTH[own] >= DEPTH[first]
        if not is_allowed and f"{dotted(path)} imports {name}" not in ALLOWED:
            wrong.append(f"{dotted(path)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_allow_list_is_used():
    used = {f"{dotted(path)} imports {name}" for path in MODULES for name in imported(path)}
    assert set(ALLOWED) <= used


def test_the_contributors_guide_names_every_layer():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert not [name for name in DEPTH if name not in guide]
