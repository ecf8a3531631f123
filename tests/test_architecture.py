"""What holds in all folders: imports go one way, values cannot be changed. Read from the source."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"cereals_tf.data_prep": 0, "cereals_tf.trainers": 1, "cereals_tf": 2}
FOLDERS = {name: ROOT / name.rpartition(".")[2] for name in LAYERS}
CAMPAIGN = "cereals_tf.campaign"
WINGS = {
    name: level
    for level, name in enumerate(
        f"{CAMPAIGN}.{wing}" for wing in ("options", "folder", "pool", "annotators", "learning")
    )
}
"""The wings of a campaign, each of which may know those before it; what is in no wing knows all."""


@cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(name, levels, otherwise):
    """Return the level of the innermost package that a module belongs to."""
    owners = [owner for owner in levels if name == owner or name.startswith(f"{owner}.")]
    return levels[max(owners, key=len)] if owners else otherwise


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package):
    for path in FOLDERS[package].rglob("*.py"):
        for name in imported(path):
            assert level(name, LAYERS, 0) <= LAYERS[package], f"{path} imports {name}"


@pytest.mark.parametrize("wing", WINGS)
def test_the_wings_of_a_campaign_know_only_those_before_them(wing):
    below = {name: at for name, at in WINGS.items() if at <= WINGS[wing]}
    folder = ROOT / wing.replace(".", "/")
    paths = list(folder.rglob("*.py")) or [folder.with_suffix(".py")]
    for path in paths:
        for name in imported(path):
            inside = name.startswith(f"{CAMPAIGN}.")
            assert not inside or level(name, below, None) is not None, f"{path} imports {name}"


def test_models_use_keras_alone():
    for path in (ROOT / "cereals_tf" / "models").rglob("*.py"):
        assert not [name for name in imported(path) if name.startswith("tensorflow")], path


GROWING = {"CvatImage", "FitState", "Slot", "SourceLog", "_Image"}
"""The dataclasses that are filled or counted up as the work goes on; all others are values."""


def test_values_cannot_be_changed():
    changeable = set()
    for path in (path for folder in FOLDERS.values() for path in folder.rglob("*.py")):
        for node in nodes(path):
            decorators = map(ast.unparse, getattr(node, "decorator_list", []))
            made = [each for each in decorators if each.startswith("dataclass")]
            if made and "frozen=True" not in made[0]:
                changeable.add(node.name)
    assert changeable == GROWING
