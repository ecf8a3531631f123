"""Dataclasses as the rows of a CSV file: a column per field, empty where the value is None."""

import csv
import io
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically

Row = TypeVar("Row")


def write_rows(path: Path, kind: type[Row], rows: Sequence[Row]) -> None:
    """Write dataclass objects of one kind atomically.

    Fields are of type str, int, or float or None.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([column.name for column in fields(kind)])
    for row in rows:
        writer.writerow(["" if value is None else value for value in vars(row).values()])
    write_atomically(path, text.getvalue().encode())


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read what `write_rows` wrote; a column whose field has a default may be missing.

    Raises:
        UserError: Not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                kind(**{column.name: _value(column, row) for column in fields(kind)})
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _value(column: Field, row: dict[str, str | None]) -> Any:
    if column.name not in row and column.default is not MISSING:
        return column.default
    text = row[column.name]
    if text is None:
        raise ValueError(f"a row ends before {column.name!r}")
    if column.type is str:
        return text
    if column.type is int:
        return int(text)
    return float(text) if text else None
