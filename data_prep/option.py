"""Options: each a field of a dataclass, with its default, how it is read, its needs and its help.

The command line, the checks and the code all read this one description.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from cereals_tf.data_prep.errors import UserError

Options = TypeVar("Options")
Read = Callable[[Any], Any]
"""Turns an option's written form into its value; its ValueError says what was expected."""


class Need(NamedTuple):
    """What an option needs of the others to have an effect.

    Attributes:
        text: That in the words of the command line, as `with --fusion=convex`.
        met: Tells from the values of all options by name.
    """

    text: str
    met: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: Its name, as a field and on the command line.
        form: The type of its written form: bool, int, float or str.
        default: The written form of its default.
        help: What it says or does, with its unit.
        needs: What it needs to have an effect; None: nothing.
        fixed: Why it cannot change later; empty: it can.
    """

    name: str
    form: type
    default: Any
    help: str
    _read: Read = lambda form: form
    needs: Need | None = None
    fixed: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that it can be, where these can be listed."""
        return tuple(getattr(self._read, "choices", ()))

    @property
    def repeated(self) -> bool:
        """Whether it is an argument that takes all that is typed from its place on."""
        return self.form == Sequence[str]

    @property
    def bare(self) -> str:
        """What it is if it is typed without a value; empty: that is refused."""
        return "true" if self.form is bool else getattr(self._read, "bare", "")

    def read(self, form: Any) -> Any:
        """Return the value of a written form.

        Raises:
            UserError: It is no such value.
        """
        if type(form) not in ((float, int) if self.form is float else (self.form,)):
            raise UserError(f"{self.name}: {form!r} is not of type {self.form.__name__}")
        try:
            return self._read(form)
        except ValueError as error:
            raise UserError(f"--{self.name}={form}: expected {error}") from None


def option(
    default: Any,
    help_text: str,
    read: Read = lambda form: form,
    needs: Need | None = None,
    *,
    fixed: str = "",
) -> Any:
    """Return a field of a dataclass that is an option; see `Option`."""
    about = {"help": help_text, "read": read, "needs": needs, "fixed": fixed}
    return field(default=default, metadata=about)


def options_of(kind: type) -> tuple[Option, ...]:
    """Return the options that are fields of a dataclass, in order."""
    return tuple(
        Option(
            found.name,
            type(written(found.default)),
            written(found.default),
            found.metadata["help"],
            found.metadata["read"],
            found.metadata["needs"],
            found.metadata["fixed"],
        )
        for found in fields(kind)
        if "read" in found.metadata
    )


def read_options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Return an instance of a dataclass of options.

    Args:
        kind: The dataclass.
        given: Written forms of options that it has, by name; the others have their defaults.

    Raises:
        UserError: An unknown option, or a value that is none of its option's; it is named.
    """
    known = {found.name: found for found in options_of(kind)}
    for name in given:
        if name not in known:
            raise UserError(f"unknown option {name!r}")
    return kind(**{name: known[name].read(form) for name, form in given.items()})


def refuse_without_effect(
    options: Iterable[Option], given: Collection[str], *cases: Mapping[str, Any]
) -> None:
    """Refuse an option that was given although it has no effect beside the others.

    Args:
        options: Options.
        given: Names of those that were given.
        cases: Written forms of all options by name, in each case that there is; what has an effect
            in one of them is not refused.

    Raises:
        UserError: The first such option is named, with what it needs.
    """
    for found in options:
        if found.name in given and found.needs and not any(map(found.needs.met, cases)):
            raise UserError(f"--{found.name}: has an effect only {found.needs.text}")


def written(value: Any) -> Any:
    """Return the form that an option's value has in a file or on the command line."""
    if value is None:
        return ""
    if type(value) is tuple:
        return "+".join(value)
    return value if isinstance(value, bool | int | float) else str(value)


def one_of(*choices: str) -> Read:
    """Return what reads one of these texts."""
    return _OneOf(choices)


@dataclass(frozen=True)
class _OneOf:
    choices: Sequence[str]

    def __call__(self, text: str) -> str:
        return _chosen(text, self.choices)


@dataclass(frozen=True)
class KeyOf:
    """Reads a key of a registry, whose module is imported where the keys are wanted.

    Attributes:
        module: The module's name.
        registry: The name of a mapping in it.
    """

    module: str
    registry: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The keys."""
        return tuple(getattr(import_module(self.module), self.registry))

    @property
    def words(self) -> str:
        """The keys, each with the `help` of its entry."""
        entries = getattr(import_module(self.module), self.registry)
        return "; ".join(f"{name} ({entry.help})" for name, entry in entries.items())

    def __call__(self, text: str) -> str:
        """Return a key.

        Raises:
            ValueError: There is no such key; lists those that there are.
        """
        return _chosen(text, self.choices)


def _chosen(text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"one of {', '.join(filter(None, choices))}")
    return text


@dataclass(frozen=True)
class Share:
    """Reads a share in percent, as `2%`; without a value, the option stands for 100%."""

    bare: str = "100%"

    def __call__(self, text: str) -> str:
        """Check a share.

        Raises:
            ValueError: It is none.
        """
        self.of(text)
        return text

    def of(self, text: str) -> float:
        """Return a share from 0 to 1; 0 for no text."""
        if text.lower() in BOOLEANS:
            return float(BOOLEANS[text.lower()])
        try:
            share = float(text.removesuffix("%")) / 100 if text else 0.0
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1 or (text and not text.endswith("%")):
            raise ValueError("a share in percent, as 2%")
        return share


def number(low: float, high: float = math.inf, above: bool = False) -> Read:
    """Return what reads a finite number from `low` (or above it) to `high`."""
    if high == math.inf:
        limits = f"above {low:g}" if above else f"at least {low:g}"
    else:
        limits = f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"

    def read(found: float) -> float:
        if not low <= found <= high or found == math.inf or (above and found == low):
            raise ValueError(f"a number {limits}")
        return found

    return read


BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
"""What may be typed for a boolean option."""


def parse_option(name: str, form: type, text: str) -> Any:
    """Turn what was typed for an option into its written form.

    Raises:
        UserError: Not of that type.
    """
    if form is bool:
        if text.lower() not in BOOLEANS:
            raise UserError(f"--{name}={text}: expected true or false")
        return BOOLEANS[text.lower()]
    try:
        return form(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[form]
        raise UserError(f"--{name}={text}: expected {expected}") from None
