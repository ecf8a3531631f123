"""Tests of the description of options that the command line, the checks and the code share."""

from dataclasses import dataclass

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import (
    Need,
    check_options,
    number,
    one_of,
    option,
    options_of,
    parse_option,
    refuse_without_effect,
)


@dataclass(frozen=True)
class Brush:
    """Options of a brush."""

    shape: str = option("round", "Its shape.", one_of("round", "flat"))
    width: float = option(
        2.0,
        "Its width, millimetres.",
        number(0, 10, above=True),
        Need("--shape=flat", lambda values: values["shape"] == "flat"),
    )


def test_a_dataclass_describes_its_options():
    shape, width = options_of(Brush)
    assert (shape.name, shape.type, shape.default, shape.help) == (
        "shape",
        str,
        "round",
        "Its shape.",
    )
    assert width.type is float and width.needs.text == "--shape=flat"


def test_a_value_that_breaks_its_rule_is_refused():
    check_options(Brush(width=10.0))
    for wrong in (Brush(width=0.0), Brush(width=10.5)):
        with pytest.raises(UserError, match=r"--width=.*expected a number above 0, at most 10"):
            check_options(wrong)
    with pytest.raises(UserError, match="--shape=star: expected one of round, flat"):
        check_options(Brush(shape="star"))


def test_an_option_without_effect_is_refused():
    refuse_without_effect(options_of(Brush), {"shape": "flat", "width": 1.0})
    refuse_without_effect(options_of(Brush), {})
    with pytest.raises(UserError, match=r"--width=1\.0: has no effect, expected --shape=flat"):
        refuse_without_effect(options_of(Brush), {"width": 1.0})


def test_typed_text_becomes_a_value():
    assert parse_option("x", bool, "Yes") is True
    assert parse_option("x", int, "3") == 3
    assert parse_option("x", str, "3") == "3"
    for kind, expected in ((bool, "true or false"), (int, "a whole number"), (float, "a number")):
        with pytest.raises(UserError, match=f"--x=few: expected {expected}"):
            parse_option("x", kind, "few")
