"""A round's request: the regions that people are asked to annotate, `working/request.csv`.

A region's number, from 0 in the order of choice, is its only name, together with the round. Regions
of earlier rounds that are to be drawn again come after those that were chosen.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.rows import (
    CHOSEN,
    REDRAWS,
    RegionName,
    chosen_cells,
    chosen_of,
    read_rows,
    redrawn_of,
    write_rows,
)
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box

NUMBER = "number"


def write_request(
    path: Path, regions: Sequence[Chosen], redraws: Mapping[int, RegionName] = {}
) -> None:
    """Write request.csv atomically.

    Args:
        path: The file.
        regions: What is asked for.
        redraws: What earlier regions some of them, by number, draw again.
    """
    rows = [(number, *chosen_cells(region)) for number, region in enumerate(regions)]
    if not redraws:
        write_rows(path, (NUMBER, *CHOSEN), rows)
        return
    named = [(*row, redraws.get(number)) for number, row in enumerate(rows)]
    write_rows(path, (NUMBER, *CHOSEN, REDRAWS), named)


def read_redraws(path: Path) -> dict[int, RegionName]:
    """Read of request.csv which earlier regions are drawn again, by number.

    Raises:
        UserError: Not such a file.
    """
    rows = read_rows(path, lambda row: (int(row[NUMBER]), redrawn_of(row)))
    return {number: name for number, name in rows if name}


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
