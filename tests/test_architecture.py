"""The layering that the folders promise, read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"data_prep": 0, "trainers": 1, "cereals_tf": 2}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        for name in imported(path):
            layer = LAYERS.get(name.partition(".")[0], 0)
            assert layer <= LAYERS[package], f"{path} imports {name}"


def test_models_use_keras_alone():
    for path in (ROOT / "cereals_tf" / "models").rglob("*.py"):
        assert not [name for name in imported(path) if name.startswith("tensorflow")], path
