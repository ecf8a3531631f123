"""Tables of the page, and how numbers are shown in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

UNKNOWN = "n/a"


class Column(NamedTuple):
    """A column's heading; the first column names the rows and has no unit."""

    name: str
    unit: str = ""


class Shaded(NamedTuple):
    """A cell whose background shows its value, from 0 to 1."""

    text: str
    value: float


class Bar(NamedTuple):
    """A cell with a number and its interval drawn beside zero; places are from 0 to 1.

    Attributes:
        text: The number in words.
        low: Where the interval begins.
        middle: Where the number is.
        high: Where the interval ends.
        zero: Where zero is.
        sign: 1 or -1 if the interval is above or below zero, 0 if it holds it.
    """

    text: str
    low: float
    middle: float
    high: float
    zero: float
    sign: int


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        name: Its id in the page.
        columns: The headings.
        rows: The cells of each row.
        groups: Headings above some columns: (heading, unit, how many columns).
        last: A row that sums the others up.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Shaded | Bar]]
    groups: Sequence[tuple[str, str, int]] = ()
    last: Sequence[str | Shaded] = ()


def decimal(value: float | None, places: int = 2) -> str:
    """Return a number as it is shown, `n/a` where there is none."""
    return UNKNOWN if value is None else f"{round(value, places) + 0.0:,.{places}f}"


def clock(seconds: float) -> str:
    """Return a time as hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def duration(seconds: float) -> str:
    """Return a time in words of its two largest units, as `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
