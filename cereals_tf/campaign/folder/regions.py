"""Annotated regions: `regions.csv`, and what they took."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.regions import Region, labelled_mask, pixels_in
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.rows import (
    CHOSEN,
    REDRAWS,
    RegionName,
    chosen_cells,
    chosen_of,
    number_or_none,
    read_rows,
    redrawn_of,
    write_rows,
)
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import ClickGrid, RegionClicks
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import STRIDE, Box

BILLED = "clicks_billed"
COLUMNS = (
    *CHOSEN,
    "pixels",
    *(f"clicks_{part}" for part in RegionClicks._fields),
    "seconds",
    BILLED,
)
ASSISTED = "assisted"
"""A column more, where a model helped to draw some of the regions."""


@dataclass(frozen=True)
class Annotated:
    """A region that is annotated, and what that took.

    Attributes:
        chosen: Where, in pixels of the campaign's image size, and why.
        pixels: Those that no earlier region had labelled.
        clicks: Of the polygons drawn, in cells that no earlier region had labelled.
        seconds: What people needed; None where nobody measured.
        clicks_billed: What it took from the account of clicks; None where version 0.1 annotated it.
        assisted: Whether a model drew some of it, whose vertices are not among the clicks.
        redraws: The earlier region that it draws again, None where it is new.
    """

    chosen: Chosen
    pixels: int
    clicks: RegionClicks[int]
    seconds: float | None = None
    clicks_billed: int | None = None
    assisted: bool = False
    redraws: RegionName | None = None

    @property
    def region(self) -> Region:
        """Where it is."""
        return self.chosen.region

    def bill(self, options: Options) -> int:
        """Return what it took from the account of clicks."""
        if self.clicks_billed is not None:
            return self.clicks_billed
        return int(self.clicks.of(options.drawn_clicks))


def write_regions(path: Path, regions: Sequence[Annotated]) -> None:
    """Write regions.csv atomically."""
    rows = [
        (
            *chosen_cells(region.chosen),
            region.pixels,
            *region.clicks,
            region.seconds,
            region.clicks_billed,
        )
        for region in regions
    ]
    columns = COLUMNS
    if any(region.assisted for region in regions):
        columns = (*columns, ASSISTED)
        rows = [(*row, int(region.assisted)) for row, region in zip(rows, regions, strict=True)]
    if any(region.redraws for region in regions):
        columns = (*columns, REDRAWS)
        rows = [(*row, region.redraws) for row, region in zip(rows, regions, strict=True)]
    write_rows(path, columns, rows)


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
        int(row[BILLED]) if row.get(BILLED) else None,
        row.get(ASSISTED) == "1",
        redrawn_of(row),
    )


class Account:
    """Bills one region after the other, for what none before it covers.

    What is drawn again takes its clicks again, but no pixels.

    Args:
        images: The images, at the size that the regions are in.
        labelled: The regions of each image that were annotated before.
        options: The campaign's options, which say what counts.
    """

    def __init__(
        self,
        images: Iterable[ImageEntry],
        labelled: Mapping[str, Sequence[Box]],
        options: Options,
    ) -> None:
        self._entries = {entry.image_id: entry for entry in images}
        self._labelled = labelled
        self._options = options
        self._masks: dict[str, np.ndarray] = {}

    def take(self, region: Region) -> np.ndarray:
        """Return which of a region's cells are new, bool [rows, columns]; they are taken now."""
        image_id, box = region
        entry = self._entries[image_id]
        if image_id not in self._masks:
            before = self._labelled.get(image_id, ())
            self._masks[image_id] = labelled_mask(before, entry.height, entry.width)
        covered = self._masks[image_id][box.cell_slices]
        new = ~covered
        covered[:] = True
        return new

    def annotated(
        self,
        chosen: Chosen,
        new: np.ndarray,
        grid: ClickGrid,
        seconds: float | None = None,
        assisted: bool = False,
        redraws: RegionName | None = None,
    ) -> Annotated:
        """Return a region with what its new cells took.

        Args:
            chosen: The region.
            new: What `take` gave for it.
            grid: The clicks of its image.
            seconds: What people needed; None where nobody measured.
            assisted: Whether a model drew some of it.
            redraws: The earlier region that it draws again.
        """
        box, options = chosen.region.box, self._options
        clicks = grid.region(*box, counted=np.ones_like(new) if redraws else new)
        billed = int(options.bill(int(clicks.of(options.drawn_clicks))))
        pixels = pixels_in(box, new)
        return Annotated(chosen, pixels, clicks, seconds, billed, assisted, redraws)


def trained_on(regions: Sequence[Annotated], excluded: Mapping[str, bool]) -> list[Annotated]:
    """Return the regions but those of excluded images whose value is True."""
    return [region for region in regions if not excluded.get(region.region.image_id)]


def costed(regions: Sequence[Annotated], unit: str) -> list[Annotated]:
    """Return the regions whose cost is known in a unit, `clicks` or `seconds`."""
    if unit == "clicks":
        return [region for region in regions if not region.assisted]
    return [region for region in regions if region.seconds is not None]


def cost_per_pixel(regions: Sequence[Annotated], options: Options) -> float | None:
    """Return what the polygons of a pixel took on the average of these regions, None if unknown.

    It is in clicks that count, or in seconds, as the campaign's costs are.
    """
    known = [region for region in costed(regions, options.cost_unit) if not region.redraws]
    pixels = sum(region.pixels for region in known)
    if not pixels:
        return None
    if options.cost_unit == "seconds":
        return sum(region.seconds or 0.0 for region in known) / pixels
    return sum(int(region.clicks.of(options.drawn_clicks)) for region in known) / pixels


def cost_per_position(regions: Sequence[Annotated], unit: str) -> float:
    """Return what a position of 8x8 pixels took on the average of these regions, in a unit."""
    known = costed(regions, unit)
    if unit == "clicks":
        taken = float(sum(region.clicks.vertices for region in known))
    else:
        taken = sum(region.seconds or 0.0 for region in known)
    return taken * STRIDE**2 / max(1, sum(region.region.box.area for region in known))


def cost_per_click(regions: Sequence[Annotated], unit: str) -> float:
    """Return what a vertex took on the average of these regions, in a unit."""
    if unit == "clicks":
        return 1.0
    vertices = sum(region.clicks.vertices for region in regions if region.seconds is not None)
    return sum(region.seconds or 0.0 for region in regions) / max(1, vertices)
