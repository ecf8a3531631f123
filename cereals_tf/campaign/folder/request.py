"""A round's request: the regions that people are asked to annotate, `working/request.csv`.

A region's number, from 0 in the order of choice, is its only name, together with the round.
"""

from collections.abc import Sequence
from pathlib import Path

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.rows import CHOSEN, chosen_cells, chosen_of, read_rows, write_rows
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box

NUMBER = "number"


def write_request(path: Path, regions: Sequence[Chosen]) -> None:
    """Write request.csv atomically."""
    rows = [(number, *chosen_cells(region)) for number, region in enumerate(regions)]
    write_rows(path, (NUMBER, *CHOSEN), rows)


def read_request(path: Path) -> list[Chosen]:
    """Read request.csv: the regions, each at the place of its number.

    Raises:
        UserError: Not such a file.
    """
    rows = read_rows(path, lambda row: (int(row[NUMBER]), chosen_of(row)))
    if [number for number, _ in rows] != list(range(len(rows))):
        raise UserError(f"{path}: cannot be read: expected regions numbered from 0 in order")
    return [region for _, region in rows]


def own_window(box: Box, entry: ImageEntry, image_size: tuple[int, int] | None) -> Box:
    """Return the smallest rectangle of whole pixels of the original image that covers a region.

    Args:
        box: The region, in pixels of the campaign's image size.
        entry: Its image, at its original size.
        image_size: The campaign's image size, (height, width); None: that of the image.
    """
    height, width = image_size or (entry.height, entry.width)
    top, bottom = _covering(box.y, box.height, height, entry.height)
    left, right = _covering(box.x, box.width, width, entry.width)
    return Box(top, left, bottom - top, right - left)


def _covering(start: int, length: int, size: int, original: int) -> tuple[int, int]:
    """Scale an interval from an axis of `size` to one of `original` pixels, rounding outwards."""
    return start * original // size, -(-(start + length) * original // size)
