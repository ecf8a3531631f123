"""Annotated regions: `regions.csv`, and what they took."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.regions import Region, labelled_mask
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.rows import (
    CHOSEN,
    chosen_cells,
    chosen_of,
    number_or_none,
    read_rows,
    write_rows,
)
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import STRIDE, Box, cells

COLUMNS = (*CHOSEN, "pixels", *(f"clicks_{part}" for part in RegionClicks._fields), "seconds")
ASSISTED = "assisted"
"""A column more, where a model helped to draw some of the regions."""


@dataclass(frozen=True)
class Annotated:
    """A region that is annotated, and what that took.

    Attributes:
        chosen: Where, in pixels of the campaign's image size, and why.
        pixels: Those that no earlier region had labelled.
        clicks: Of the polygons drawn.
        seconds: What people needed; None where nobody measured.
        assisted: Whether a model drew some of it, whose vertices are not among the clicks.
    """

    chosen: Chosen
    pixels: int
    clicks: RegionClicks[int]
    seconds: float | None = None
    assisted: bool = False

    @property
    def region(self) -> Region:
        """Where it is."""
        return self.chosen.region


def write_regions(path: Path, regions: Sequence[Annotated]) -> None:
    """Write regions.csv atomically."""
    rows = [
        (*chosen_cells(region.chosen), region.pixels, *region.clicks, region.seconds)
        for region in regions
    ]
    if not any(region.assisted for region in regions):
        write_rows(path, COLUMNS, rows)
        return
    marked = [(*row, int(region.assisted)) for row, region in zip(rows, regions, strict=True)]
    write_rows(path, (*COLUMNS, ASSISTED), marked)


def read_regions(path: Path) -> list[Annotated]:
    """Read regions.csv.

    Raises:
        UserError: Not such a file.
    """
    return read_rows(path, _annotated)


def _annotated(row: Mapping[str, str]) -> Annotated:
    return Annotated(
        chosen_of(row),
        int(row["pixels"]),
        RegionClicks(*(int(row[f"clicks_{part}"]) for part in RegionClicks._fields)),
        number_or_none(row.get("seconds", "")),
        row.get(ASSISTED) == "1",
    )


class NewPixels:
    """Counts the pixels of one region after the other that none before it covers.

    Args:
        images: The images, at the size that the regions are in.
        labelled: The regions of each image that were annotated before.
    """

    def __init__(self, images: Iterable[ImageEntry], labelled: Mapping[str, Sequence[Box]]) -> None:
        self._entries = {entry.image_id: entry for entry in images}
        self._labelled = labelled
        self._masks: dict[str, np.ndarray] = {}

    def take(self, region: Region) -> int:
        """Return the pixels that this region adds, which belong to it from now on."""
        image_id, box = region
        entry = self._entries[image_id]
        if image_id not in self._masks:
            before = self._labelled.get(image_id, ())
            self._masks[image_id] = labelled_mask(before, entry.height, entry.width)
        new = labelled_mask([box], entry.height, entry.width) & ~self._masks[image_id]
        self._masks[image_id] |= new
        return int(_cell_sides(entry.height) @ new @ _cell_sides(entry.width))


def _cell_sides(length: int) -> np.ndarray:
    """Return the pixels that each cell along an image's side has, the last one maybe fewer."""
    return np.minimum(STRIDE, length - STRIDE * np.arange(cells(length)))


def costed(regions: Sequence[Annotated], unit: str) -> list[Annotated]:
    """Return the regions whose cost is known in a unit, `clicks` or `seconds`."""
    if unit == "clicks":
        return [region for region in regions if not region.assisted]
    return [region for region in regions if region.seconds is not None]


def cost_per_click(regions: Sequence[Annotated], unit: str) -> float:
    """Return what a vertex took on the average of these regions, in a unit."""
    if unit == "clicks":
        return 1.0
    vertices = sum(region.clicks.vertices for region in regions if region.seconds is not None)
    return sum(region.seconds or 0.0 for region in regions) / max(1, vertices)
