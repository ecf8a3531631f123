"""The options of a campaign: every rule, and their way to JSON and back."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.composition import SELECTIONS
from cereals_tf.acquisition.fusion import FUSIONS
from cereals_tf.acquisition.information import MEASURES
from cereals_tf.campaign.options import (
    DRAWN,
    OPTIONS,
    Amount,
    Options,
    Size,
)
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import parse_option
from cereals_tf.models.registry import BACKBONES

WRONG = {
    "recipe": ["", "quick"],
    "region": ["", "12", "16x12", "0", "8x0", "16x16x16", "-16", "1e2", "images", "16 x 16", "٨"],
    "information": ["", "Entropy", "variance", ":function", "module:"],
    "committee": [-1, 0, 1, 256],
    "fusion": ["", "sum", "module:"],
    "alpha": [-0.01, 1.01, math.nan, math.inf],
    "cost": ["", "true"],
    "useless_cost": ["", "refuse"],
    "correct_bill": [],
    "clicks": ["", "vertices,corners", "vertices+", "edges", "vertices+vertices", "region"],
    "region_clicks": [0, -1],
    "selection": ["", "first", "best+power", "power+power", "stratified+power+best"],
    "max_per_image": [-1],
    "max_overlap": [-0.1, 1.0, math.nan],
    "budget": [
        "",
        "5",
        "images",
        "0images",
        "-1images",
        "1.5images",
        "nan%",
        "infclicks",
        "101%",
        "9s",
    ],
    "initial": ["", "10clicks", "2.5regions", "0%", "100.1%", "images10"],
    "initial_by": ["", "coverage2"],
    "seed": [-1],
    "backbone": ["", "VGG16", "resnet50"],
    "model": ["package.module", ":function", "module:"],
    "cost_model": ["module", ":"],
    "weights": [],
    "encoder": ["", "random"],
    "width_multiplier": [0.0, -1.0, 4.5, math.nan, math.inf],
    "image_size": ["7x64", "64x7", "0", "64x", "64,96"],
    "normalization": ["", "layer"],
    "precision": ["", "float16", "bfloat16"],
    "train_on": ["", "patch"],
    "warm_start": [],
    "min_steps": [0],
    "epochs": [0, -1],
    "patience": [0],
    "batch_size": [0],
    "learning_rate": [0.0, -1e-3, math.nan, math.inf],
    "schedule": ["", "linear"],
    "loss_mean": ["", "image"],
    "augment": [],
    "cache": ["", "ram"],
    "annotator": ["", "people"],
    "cost_maps": ["", "three"],
    "discount_void": [],
    "cost_unit": ["", "minutes"],
}
RIGHT = {
    "recipe": ["fast", "best", "paper"],
    "region": ["auto", "image", "8", "16x24"],
    "information": [*MEASURES, "package.module:function"],
    "committee": [2, 255],
    "fusion": [*FUSIONS, "package.module:function"],
    "alpha": [0.0, 0.5, 1.0],
    "cost": ["est", "gt"],
    "useless_cost": ["use", "ignore"],
    "correct_bill": [True, False],
    "clicks": ["corners", "vertices+intersections+corners", "region+vertices"],
    "region_clicks": [1, 30],
    "selection": [*SELECTIONS, "power+stratified", "stratified+power"],
    "max_per_image": [0, 3],
    "max_overlap": [0.0, 0.99],
    "budget": ["1images", "0.1%", "100%", "3000clicks"],
    "initial": ["1images", "100%", "40regions"],
    "initial_by": ["random", "dense"],
    "seed": [0, 10**400],
    "backbone": ["vgg16", "mobilenet"],
    "model": ["", "package.module:function"],
    "cost_model": ["", "module:function"],
    "weights": ["", "imagenet", "any/file.h5"],
    "encoder": ["trained"],
    "width_multiplier": [0.01, 4.0],
    "image_size": ["", "8", "60x90"],
    "normalization": ["auto", "batch", "group", "none"],
    "precision": ["float32", "mixed_bfloat16", "mixed_float16"],
    "train_on": ["mask", "crop", "auto"],
    "warm_start": [False, True],
    "min_steps": [1, 10**6],
    "epochs": [1, 10**6],
    "patience": [1],
    "batch_size": [1],
    "learning_rate": [1e-9, 1.0],
    "schedule": ["constant", "cosine"],
    "loss_mean": ["batch", "all"],
    "augment": [False],
    "cache": ["auto", "memory", "disk", "none"],
    "annotator": ["oracle", "files"],
    "cost_maps": ["vertices"],
    "discount_void": [False],
    "cost_unit": ["clicks"],
}


def test_every_option_has_its_cases():
    assert list(WRONG) == list(RIGHT) == [option.name for option in OPTIONS]


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(UserError) as refusal:
        Options.of(**{name: value})
    message = str(refusal.value)
    assert message.startswith(f"--{name}={value}: expected ")
    assert len(message) > len(f"--{name}={value}: expected ")


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in RIGHT.items() for v in values])
def test_a_right_value_is_kept(name, value):
    assert Options.of(**{name: value}).to_json() == {**Options().to_json(), name: value}


@pytest.mark.parametrize("train_on", ["crop", "auto"])
def test_batches_of_cut_outs_are_refused(train_on):
    with pytest.raises(UserError, match=r"--batch_size=2.*--train_on"):
        Options.of(batch_size=2, train_on=train_on)
    assert Options.of(batch_size=2, train_on="mask").batch_size == 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_crops_are_refused_where_a_backbone_looks_at_the_whole_image(backbone):
    if BACKBONES[backbone].looks_at_whole_image:
        with pytest.raises(UserError, match=f"--train_on=crop: {backbone} looks at the whole"):
            Options.of(backbone=backbone, train_on="crop")
    else:
        assert Options.of(backbone=backbone, train_on="crop").train_on == "crop"


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"annotator": "files", "cost": "gt"}, "--cost=gt: .*--annotator=files"),
        ({"cost_unit": "seconds"}, "--cost_unit=seconds: .*--annotator=oracle"),
        ({"budget": "600seconds"}, "--budget=600seconds: .*--cost_unit=seconds"),
        (
            {"annotator": "files", "cost_unit": "seconds", "budget": "30clicks"},
            "--budget=30clicks: .*--cost_unit=clicks",
        ),
    ],
)
def test_options_that_do_not_go_together(chosen, named):
    with pytest.raises(UserError, match=named):
        Options.of(**chosen)


def test_seconds_of_people():
    options = Options.of(annotator="files", cost_unit="seconds", budget="600seconds")
    assert options.budget == Amount(600, "seconds")
    assert Options.of(annotator="files", budget="3000clicks").cost_unit == "clicks"


def test_a_region_is_billed_one_click_at_least():
    plain, beside = Options(), Options.of(clicks="vertices+region", region_clicks=3)
    assert [plain.bill(drawn) for drawn in (0, 0.5, 7)] == [1, 1, 7]
    assert [beside.bill(drawn) for drawn in (0, 0.5, 7)] == [3, 3.5, 10]
    assert [beside.bill(drawn, "seconds") for drawn in (0.5, 7)] == [1, 7]


NEEDS = {
    "fusion": ("ratio", {"information": "random_grid"}, {"information": "random"}),
    "cost": ("gt", {"information": "random_grid"}, {}),
    "useless_cost": ("ignore", {"information": "random_grid"}, {}),
    "correct_bill": (True, {"information": "random_grid"}, {}),
    "selection": ("power", {"information": "random_grid"}, {}),
    "region_clicks": (5, {"fusion": "none"}, {"clicks": "vertices+region"}),
    "alpha": (0.5, {"fusion": "ratio"}, {"fusion": "convex"}),
    "committee": (5, {"information": "margin"}, {"information": "bald"}),
    "max_overlap": (0.5, {"region": "image"}, {"region": "auto"}),
    "max_per_image": (3, {"region": "image"}, {"region": "auto"}),
    "backbone": ("mobilenet", {"model": "own:model"}, {"cost_model": "own:model"}),
    "width_multiplier": (0.5, {"model": "own:model"}, {}),
    "weights": ("imagenet", {"model": "own:model"}, {"backbone": "mobilenet"}),
    "normalization": ("none", {"model": "own:model"}, {}),
    "encoder": ("frozen", {"model": "own:model"}, {"cost_model": "own:model"}),
    "cost_maps": ("all", {"clicks": "vertices"}, {"recipe": "paper"}),
    "augment": (True, {"encoder": "frozen"}, {"recipe": "paper"}),
    "discount_void": (True, {"cost_model": "own:model"}, {"recipe": "paper"}),
}
"""Options that need others: a value, with what it has no effect, and with what it has one."""


def test_crossings_are_predicted_of_clicks_alone():
    people = {"annotator": "files"}
    assert Options.by_recipe(**people).predicts_crossings
    assert not Options.by_recipe(**people, cost_unit="seconds").predicts_crossings


@pytest.mark.parametrize("name", NEEDS)
def test_what_has_no_effect_is_refused_where_it_is_chosen(name):
    value, without, beside = NEEDS[name]
    with pytest.raises(UserError, match=f"--{name}: has an effect only with(out)?"):
        Options.chosen(**without, **{name: value})
    default = Options().to_json()[name]
    with pytest.raises(UserError, match=f"--{name}: has an effect only with(out)?"):
        Options.chosen(**without, **{name: default})
    assert Options.chosen(**beside, **{name: value}).to_json()[name] == value
    assert Options.of(**without, **{name: value}).to_json()[name] == value  # as campaign.json has


def test_every_need_has_its_case():
    assert set(NEEDS) == {found.name for found in OPTIONS if found.needs}


def test_a_measure_of_ones_own_may_need_a_committee():
    assert Options.chosen(information="own:measure", committee=5).committee == 5


@settings(max_examples=100)
@given(st.fixed_dictionaries({name: st.sampled_from(list(v)) for name, v in RIGHT.items()}))
def test_json_and_back(chosen):
    if chosen["annotator"] == "files":
        chosen["cost"] = "est"
    options = Options.of(**chosen)
    assert Options.of(**json.loads(json.dumps(options.to_json()))) == options


def test_json_lacks_an_option_of_a_later_version():
    assert Options.of(seed=3) == replace(Options(), seed=3)


def test_json_of_a_whole_number_is_a_float():
    written = json.loads(json.dumps(Options.of(alpha=1, width_multiplier=2).to_json()))
    assert Options.of(**written) == Options.of(alpha=1.0, width_multiplier=2.0)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"sed": 3}, "'sed'"),
        ({"seed": "3"}, "seed"),
        ({"seed": 3.0}, "seed"),
        ({"seed": True}, "seed"),
        ({"alpha": True}, "alpha"),
        ({"warm_start": 1}, "warm_start"),
        ({"region": 16}, "region"),
        ({"region": None}, "region"),
        ({"alpha": 7.0}, "alpha"),
    ],
)
def test_wrong_json_is_refused_by_name(content, named):
    with pytest.raises(UserError, match=named):
        Options.of(**content)


@given(st.integers(1, 10**9), st.sampled_from(["images", "clicks"]))
def test_a_budget_of_whole_units(number, unit):
    options = Options.of(budget=f"{number}{unit}")
    assert options.budget == Amount(number, unit)
    assert options.to_json()["budget"] == f"{number}{unit}"


@given(st.floats(1e-6, 100), st.sampled_from(["budget", "initial"]))
def test_an_amount_in_percent(number, name):
    options = Options.of(**{name: f"{number!r}%"})
    assert getattr(options, name) == Amount(number, "%")
    assert Options.of(**options.to_json()) == options


def test_a_start_in_regions():
    assert Options.of(initial="40regions").initial == Amount(40, "regions")


@given(st.integers(8, 5000), st.integers(8, 5000))
def test_sizes(height, width):
    options = Options.of(image_size=f"{height}x{width}", region=f"{8 * height}")
    assert options.image_size == (height, width)
    assert options.region == (8 * height, 8 * height)
    assert Options.of(**options.to_json()) == options


def test_regions_and_image_sizes():
    assert Options().region == "auto" and Options().image_size is None
    assert Options.of(region="image").region == "image"
    assert Options.of(region="16x24").region == Size(16, 24)


def test_click_kinds():
    assert Options.of(clicks="vertices+corners").clicks == ("vertices", "corners")
    assert Options.of(clicks="+".join(DRAWN)).clicks == DRAWN
    assert Options.of(clicks="region+corners").drawn_clicks == ("corners",)


def test_some_options_of_others():
    options = Options.of(region="image", seed=3)
    assert options.but(budget="2images") == Options.of(region="image", seed=3, budget="2images")
    with pytest.raises(UserError, match="--budget=2: expected"):
        options.but(budget="2")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "3", 3),
        (int, "-3", -3),
        (float, "1e-4", 1e-4),
        (float, "1", 1.0),
        (str, "1e3", "1e3"),
        (bool, "true", True),
        (bool, "False", False),
        (bool, "1", True),
        (bool, "no", False),
    ],
)
def test_typed_text_becomes_a_value(kind, text, value):
    found = parse_option("name", kind, text)
    assert found == value and type(found) is kind


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (int, "3.0", "a whole number"),
        (int, "", "a whole number"),
        (float, "much", "a number"),
        (bool, "maybe", "true or false"),
        (bool, "", "true or false"),
    ],
)
def test_typed_text_of_another_kind_is_refused(kind, text, expected):
    with pytest.raises(UserError, match=f"--name={text}: expected {expected}"):
        parse_option("name", kind, text)


def test_the_words_of_all_options_need_no_numpy():
    """`cereals` imports it when it is used: completion should not wait."""
    program = "import sys, cereals_tf.commands; assert not {'numpy', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
