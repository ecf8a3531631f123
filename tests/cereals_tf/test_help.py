"""Help: complete, in the order of work, and no wider than the terminal."""

import re
import shlex

import pytest

from cereals_tf import cli
from cereals_tf.campaign.options import GROUPS as OPTION_GROUPS
from cereals_tf.campaign.options import OPTIONS
from cereals_tf.help import help_on, overview
from cereals_tf.reproduce.grid import SET_BY_GRID
from cereals_tf.usage import COMMANDS, GROUPS, command_named


def unwrapped(text):
    return " ".join(text.split())


def typed_for(found):
    value = r"\[=\S+\]" if found.bare else r"=\S+"
    return rf"--{found.name}{'' if found.form is bool else value}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_all_that_can_be_typed(name):
    text, command = help_on(name), command_named(name)
    assert unwrapped(command.summary) in unwrapped(text)
    for found in command.arguments:
        assert re.search(rf"^  \[?{found.name.upper()}\]? +\S", text, re.M)
    for found in command.all_options:
        assert re.search(rf"^  {typed_for(found)}\s+\S", text, re.M), found.name
    for found in command.by_name.values():
        assert len(found.help) > 10 and unwrapped(found.help) in unwrapped(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_can_be_typed(name):
    example = command_named(name).example
    assert example and help_on(name).endswith(example)
    for line in re.findall(r"cereals [^)\n]*", example):
        assert cli.parse(shlex.split(line)[1:]).function is COMMANDS[name]


@pytest.mark.parametrize("columns", [48, 80, 133])
def test_help_is_as_wide_as_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = overview().splitlines()
    for name in COMMANDS:
        text, _, _ = help_on(name).partition("Example:")
        lines += text.splitlines()
    wide = [line for line in lines if len(line) > columns]
    assert all(len(line.split()) == 1 or line.startswith("  cereals ") for line in wide), wide
    assert max(map(len, lines)) > 0.9 * columns


def test_all_commands_in_the_order_of_work():
    titles = re.findall(r"^(\w[^:\n]*):$", overview(), re.M)
    assert titles == [*GROUPS, "Example"]
    assert re.findall(r"^  (\w+)(?=  )", overview(), re.M) == list(COMMANDS)


def test_options_of_a_campaign_in_the_order_of_work():
    text = help_on("start")
    titles = re.findall(r"^(\w[^:\n]*):$", text, re.M)
    assert titles == ["Options", *OPTION_GROUPS, "Example"]
    listed = re.findall(r"^  --(\w+)", text, re.M)
    own = ["data", "annotations", "no_estimate"]
    assert listed == [*own, *(name for names in OPTION_GROUPS.values() for name in names)]
    assert set(listed) == {*own, *(found.name for found in OPTIONS)}


def test_help_says_what_an_option_needs_and_its_default():
    text = unwrapped(help_on("start"))
    assert "0 to 1. Only with --fusion=convex. Default: 0.75." in text
    assert "drawn from it. Default: 0." in text


def test_help_of_a_grid_has_no_options_that_the_grid_sets():
    listed = set(re.findall(r"^  --(\w+)=", help_on("reproduce"), re.M))
    assert {"regions", "informations", "epochs"} <= listed
    assert not listed & {*SET_BY_GRID, "annotator", "cost_unit"}
