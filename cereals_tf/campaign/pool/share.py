"""A share of the pool's scoring, for several processes at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cereals_tf.data_prep.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """One of some equal shares of a sequence.

    Attributes:
        number: Which one, from 1 to `count`.
        count: How many there are.
    """

    number: int
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this share: neighbours, at most one more than any other share has."""
        first, end = (
            len(items) * number // self.count for number in (self.number - 1, self.number)
        )
        return items[first:end]


ALL = Share(1, 1)
"""The whole."""

Score = Callable[[Share], int]
"""Scores a share of a pool, and returns how many images it has."""


def parse_share(text: str) -> Share:
    """Parse `--shard`, the I-th of N shares as I/N; who counts from 0 means the last one by it.

    Raises:
        UserError: Not of this form, or there is no such share.
    """
    parts = text.split("/")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        number, count = map(int, parts)
        if number <= count > 0:
            return Share(number or count, count)
    raise UserError(f"--shard={text}: expected I/N, I from 1 to N, as 1/4 to 4/4")
