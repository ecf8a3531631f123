"""Regions as the rows of a CSV file; a cell is empty where its value is None."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.grid import Box

CHOSEN = ("image_id", "y", "x", "height", "width", "score", "information", "cost_estimated")
"""The columns of a chosen region."""

REDRAWS = "redraws"
"""A column more, where regions of earlier rounds are drawn again: the `RegionName` of each."""

Row = TypeVar("Row")


class RegionName(NamedTuple):
    """A region's only name in a campaign: its round, and its number in what that asked for."""

    round: int
    number: int

    def __str__(self) -> str:
        """Return it as users type it."""
        return f"{self.round}:{self.number}"


def redrawn_of(row: Mapping[str, str]) -> RegionName | None:
    """Return which region a row draws again, None for a new one.

    Raises:
        ValueError: The cell is not of its type.
    """
    cell = row.get(REDRAWS)
    if not cell:
        return None
    number, _, place = cell.partition(":")
    return RegionName(int(number), int(place))


def chosen_cells(chosen: Chosen) -> tuple[Any, ...]:
    """Return the values of the columns `CHOSEN`."""
    image_id, box = chosen.region
    return (image_id, *box, chosen.score, chosen.information, chosen.cost)


def chosen_of(row: Mapping[str, str]) -> Chosen:
    """Return the chosen region that a row holds.

    Raises:
        KeyError: A column is missing.
        ValueError: A cell is not of its type.
    """
    box = Box(*(int(row[name]) for name in ("y", "x", "height", "width")))
    return Chosen(
        Region(row["image_id"], box),
        score=number_or_none(row["score"]),
        information=number_or_none(row["information"]),
        cost=number_or_none(row["cost_estimated"]),
    )


def number_or_none(cell: str) -> float | None:
    """Return the number in a cell, None if it is empty."""
    return float(cell) if cell else None


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def read_rows(path: Path, parse: Callable[[Mapping[str, str]], Row]) -> list[Row]:
    """Read a CSV file, each row as `parse` makes of its cells by column.

    Raises:
        UserError: Not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [parse(_whole(row)) for row in csv.DictReader(file)]
    except KeyError as error:
        raise UserError(f"{path}: cannot be read: it has no column {error}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _whole(row: dict[str, str | None]) -> dict[str, str]:
    whole = {name: cell for name, cell in row.items() if cell is not None}
    for name in row:
        if name not in whole:
            raise ValueError(f"a row ends before {name!r}")
    return whole
