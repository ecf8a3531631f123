"""Tests of the description of options that the command line, the checks and the code share."""

from dataclasses import dataclass

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import (
    BOOLEANS,
    KeyOf,
    Need,
    number,
    one_of,
    option,
    options_of,
    parse_option,
    read_options,
    refuse_without_effect,
    written,
)


@dataclass(frozen=True)
class Brush:
    """Options of a brush."""

    shape: str = option("round", "Its shape.", one_of("round", "flat"))
    width: float = option(
        2.0,
        "Its width, millimetres.",
        number(0, 10, above=True),
        Need("with --shape=flat", lambda values: values["shape"] == "flat"),
    )
    colours: tuple[str, ...] = option(
        ("red", "blue"), "Its colours.", lambda text: tuple(text.split("+"))
    )


def test_a_dataclass_describes_its_options():
    shape, width, colours = options_of(Brush)
    assert (shape.name, shape.form, shape.default) == ("shape", str, "round")
    assert width.form is float and width.needs.text == "with --shape=flat" and not shape.needs
    assert (colours.form, colours.default, colours.help) == (str, "red+blue", "Its colours.")


def test_written_forms_are_read():
    read = read_options(Brush, {"width": 10.0, "colours": "green"})
    assert read == Brush("round", 10.0, ("green",))
    assert [written(value) for value in (read.colours, None, 3, True)] == ["green", "", 3, True]


def test_a_value_of_no_option_is_refused():
    for width in (0.0, 10.5, float("nan")):
        with pytest.raises(UserError, match=r"--width=.*expected a number above 0, at most 10"):
            read_options(Brush, {"width": width})
    with pytest.raises(UserError, match="--shape=star: expected one of round, flat"):
        read_options(Brush, {"shape": "star"})


def test_an_option_without_effect_is_refused():
    flat, round_ = {"shape": "flat", "width": 1.0}, {"shape": "round", "width": 1.0}
    refuse_without_effect(options_of(Brush), {"shape", "width"}, flat)
    refuse_without_effect(options_of(Brush), {"shape"}, round_)
    refuse_without_effect(options_of(Brush), {"width"}, round_, flat)
    with pytest.raises(UserError, match="--width: has an effect only with --shape=flat"):
        refuse_without_effect(options_of(Brush), {"width"}, round_)


def test_choices_can_be_the_keys_of_a_registry():
    read = KeyOf("cereals_tf.data_prep.option", "BOOLEANS")
    assert read("yes") == "yes" and read.choices == tuple(BOOLEANS)
    with pytest.raises(ValueError, match="one of true, 1, yes"):
        read("maybe")
    assert [found.choices for found in options_of(Brush)] == [("round", "flat"), (), ()]


def test_typed_text_becomes_a_written_form():
    assert parse_option("x", bool, "Yes") is True
    assert parse_option("x", int, "3") == 3
    assert parse_option("x", str, "3") == "3"
    for form, expected in ((bool, "true or false"), (int, "a whole number"), (float, "a number")):
        with pytest.raises(UserError, match=f"--x=few: expected {expected}"):
            parse_option("x", form, "few")
