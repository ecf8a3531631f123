"""Options: each a field of a dataclass, with its default, its rule, its needs and its help.

The command line, the checks and the code all read this one description.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from cereals_tf.data_prep.errors import UserError

Rule = Callable[[Any], str | None]
"""Returns what a value should have been, or None if it is right."""


class Need(NamedTuple):
    """What an option needs of the others to have an effect.

    Attributes:
        text: That in the words of the command line, as `--fusion=convex`.
        met: Tells from the values of all options by name.
    """

    text: str
    met: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: Its name, as a field and on the command line.
        type: bool, int, float or str.
        default: Its default, of this type.
        help: What it says or does, with its unit.
        rule: Which values are right.
        needs: What it needs to have an effect; None: nothing.
    """

    name: str
    type: type
    default: Any
    help: str
    rule: Rule
    needs: Need | None = None

    def check(self, value: Any) -> None:
        """Raise UserError if a value breaks the rule."""
        expected = self.rule(value)
        if expected:
            raise UserError(f"--{self.name}={value}: expected {expected}")


def option(
    default: Any, help_text: str, rule: Rule = lambda value: None, needs: Need | None = None
) -> Any:
    """Return a field of a dataclass that is an option; see `Option`."""
    return field(default=default, metadata={"help": help_text, "rule": rule, "needs": needs})


def options_of(kind: type) -> tuple[Option, ...]:
    """Return the options that are fields of a dataclass, in order."""
    return tuple(
        Option(found.name, found.type, found.default, **found.metadata)
        for found in fields(kind)
        if found.default is not MISSING and "rule" in found.metadata
    )


def check_options(values: Any) -> None:
    """Check each option of a dataclass's instance by its rule.

    Raises:
        UserError: A value breaks its rule; the option is named.
    """
    for found in options_of(type(values)):
        found.check(getattr(values, found.name))


def refuse_without_effect(options: tuple[Option, ...], given: Mapping[str, Any]) -> None:
    """Refuse an option that was given although it has no effect beside the others.

    Raises:
        UserError: The first such option is named, with what it needs.
    """
    values = {found.name: found.default for found in options} | dict(given)
    for found in options:
        if found.name in given and found.needs and not found.needs.met(values):
            raise UserError(
                f"--{found.name}={given[found.name]}: has no effect, expected "
                f"{found.needs.text} beside it"
            )


def one_of(*choices: str) -> Rule:
    """Return the rule that a value is one of these."""
    return lambda value: None if value in choices else f"one of {', '.join(choices)}"


def number(low: float, high: float = math.inf, above: bool = False) -> Rule:
    """Return the rule that a value is from `low` (or above it) to `high`, and finite."""

    def rule(value: float) -> str | None:
        right = low <= value <= high and value != math.inf and not (above and value == low)
        if high == math.inf:
            limits = f"above {low:g}" if above else f"at least {low:g}"
        else:
            limits = f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"
        return None if right else f"a number {limits}"

    return rule


def accepted_by(parse: Callable[[str], Any]) -> Rule:
    """Return the rule that a function takes a value; its ValueError says what it wants."""

    def rule(value: str) -> str | None:
        try:
            parse(value)
        except ValueError as error:
            return str(error)
        return None

    return rule


BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
"""What may be typed for a boolean option."""


def parse_option(name: str, kind: type, text: str) -> Any:
    """Turn what was typed for an option into a value of its type.

    Raises:
        UserError: Not of that type.
    """
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise UserError(f"--{name}={text}: expected true or false")
        return BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"--{name}={text}: expected {expected}") from None
