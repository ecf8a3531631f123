import json
from dataclasses import fields
from pathlib import Path

import pytest

from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.errors import UserError
from cereals_tf.reproduce.grid import (
    LINEAR_COST_MODEL,
    FusionSetting,
    Grid,
    plan,
    region_size,
)
from cereals_tf.usage import command_named

PAPER = json.loads(
    Path(__file__).parents[3].joinpath("cereals_tf/reproduce/paper_table1.json").read_text()
)


def test_default_grid_has_the_cells_of_table_1():
    cells = Grid().cells(2048)
    plain = {(c.information, c.size) for c in cells if c.fusion.kind == "none"}
    sizes = ("image", "512x512", "256x256", "128x128")
    informations = [*PAPER["information_only"], "random_grid"]
    assert plain == {(i, s) for i in informations for s in sizes}
    fused = {(c.information, str(c.fusion), c.cost) for c in cells if c.fusion.kind != "none"}
    equations = {
        "eq3": "ratio",
        "eq4": "product",
        "eq5_alpha0.5": "convex0.5",
        "eq5_alpha0.75": "convex0.75",
        "eq5_alpha0.9": "convex0.9",
    }
    assert fused == {
        (information, equations[equation], cost)
        for information, rows in PAPER["fused_c95"].items()
        for equation, costs in rows.items()
        for cost in costs
    }
    assert len(cells) == len(plain) + len(fused) == 36


@pytest.mark.parametrize(
    ("text", "width", "size"),
    [
        ("image", 100, "image"),
        ("1/4", 2048, "512x512"),
        ("1/16", 256, "16x16"),
        ("1/16", 64, "8x8"),
        ("1/3", 100, "32x32"),
        ("64", 256, "64x64"),
        ("64x128", 256, "64x128"),
    ],
)
def test_region_sizes(text, width, size):
    assert region_size(text, width) == size


@pytest.mark.parametrize("text", ["", "1/0", "2/4", "60", "1/4x", "half"])
def test_region_sizes_that_are_none(text):
    with pytest.raises(UserError, match="--regions"):
        region_size(text, 256)


def test_sizes_that_become_the_same_are_refused():
    with pytest.raises(UserError, match="same size"):
        Grid().cells(64)


@pytest.mark.parametrize(
    "chosen",
    [
        {"informations": ()},
        {"informations": ("entropie",)},
        {"informations": ("random", "random")},
        {"regions": ()},
        {"fusions": ("none",)},
        {"fusions": ("convex",)},
        {"fusions": ("convex1.5",)},
        {"costs": ("true",)},
        {"repeats": 0},
        {"rounds": 0},
    ],
)
def test_wrong_grids(chosen):
    (name,) = chosen
    with pytest.raises(UserError, match=f"--.*{name}"):
        Grid(**chosen)


def test_plan_has_each_repeat_behind_its_reference():
    grid = Grid(("entropy", "random"), ("image",), ("convex0.75",), "1/4", ("gt",), 2, 3)
    planned = plan(grid, Options(seed=5, epochs=7), 64)
    assert [one.name for one in planned] == [
        "reference-seed5",
        "entropy-image-none-seed5",
        "random-image-none-seed5",
        "entropy-16x16-convex0.75-gt-seed5",
        "reference-seed6",
        "entropy-image-none-seed6",
        "random-image-none-seed6",
        "entropy-16x16-convex0.75-gt-seed6",
    ]
    reference, fused = planned[0].options, planned[3].options
    assert (str(reference.initial), reference.seed, planned[0].rounds) == ("100%", 5, 1)
    assert (fused.region, fused.fusion, fused.alpha, fused.cost) == ((16, 16), "convex", 0.75, "gt")
    assert {one.options.epochs for one in planned} == {7}


def test_only_campaigns_that_use_estimates_train_the_real_cost_model():
    for recipe, expected in (("paper", LINEAR_COST_MODEL), ("fast", "")):
        planned = plan(Grid(), Options.by_recipe(recipe=recipe), 256)
        models = {(one.cell and one.cell.cost) or None: one.options.cost_model for one in planned}
        assert models == {"est": "", "gt": expected, None: expected}


@pytest.mark.parametrize(
    "option", [{"region": "16"}, {"fusion": "ratio"}, {"alpha": 0.5}, {"cost": "gt"}]
)
def test_options_that_the_grid_sets_are_refused(option):
    (name,) = option
    with pytest.raises(UserError, match=f"--{name}=.*use --"):
        plan(Grid(), Options.of(**option), 256)


@pytest.mark.parametrize(
    ("grid", "option"),
    [
        ({"informations": ("entropy", "random")}, {"committee": 5}),
        ({}, {"model": "own:model", "backbone": "mobilenet"}),
        ({"costs": ("gt",)}, {"cost_model": "own:model"}),
        ({"fusions": ()}, {"cost_model": "own:model"}),
        ({"regions": ("image",), "fusions": ()}, {"max_overlap": 0.5}),
    ],
)
def test_options_without_effect_in_the_whole_grid_are_refused(grid, option):
    *_, name = option
    with pytest.raises(UserError, match=f"--{name}: has an effect only"):
        plan(Grid(**grid), Options.of(**option), 256)
    assert plan(Grid(), Options.of(**{name: option[name]}), 256)


def test_what_a_recipe_brings_along_may_have_no_effect():
    """Nobody chose that `fast` corrects bills, which baselines do not have."""
    grid = Grid(informations=("random_grid",), fusions=())
    base = Options.by_recipe(recipe="fast")
    assert all(one.options.correct_bill for one in plan(grid, base, 256))
    with pytest.raises(UserError, match="--selection: has an effect only"):
        plan(grid, base.but(selection="power"), 256)


def test_fusion_reads_back_what_it_prints():
    for text in ("ratio", "product", "convex0.5", "convex0", "convex1", "module:function2"):
        assert str(FusionSetting.parse(text)) == text


def test_the_command_has_the_grids_defaults():
    typed = {found.name: found.default for found in command_named("reproduce").options}
    for field in fields(Grid):
        default = field.default
        shown = ",".join(default) if isinstance(default, tuple) else default
        assert typed[field.name] == shown


def test_a_recipe_may_have_a_fusion_of_its_own():
    """Which each cell of the grid has in its place; what was typed is refused."""
    base = Options.by_recipe(recipe="fast")
    grid = Grid(("entropy",), ("16",), ("product",), "16", ("est",), 1, 1)
    found = {one.options.fusion for one in plan(grid, base, 64) if one.cell}
    assert found == {"none", "product"}
    with pytest.raises(UserError, match="--fusion=none: the grid sets it"):
        plan(grid, base.but(fusion="none"), 64)
