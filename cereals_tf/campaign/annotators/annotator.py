"""Annotators: those who turn a round's chosen regions into annotated ones.

There are two: the oracle (`oracle.py`), who answers at once, and people (`people.py`), for whom the
round waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from cereals_tf.acquisition.regions import Region, labelled_mask
from cereals_tf.acquisition.selection import Candidate
from cereals_tf.campaign.folder.campaign import AnnotatedRegion
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.trainers.split import Split


class WaitingError(Exception):
    """A round waits for people."""


class Annotator(Protocol):
    """Annotates the regions of one round."""

    def annotate(self, choose: Callable[[], list[Candidate]]) -> list[AnnotatedRegion]:
        """Annotate what `choose` chooses.

        Raises:
            WaitingError: The annotations are not complete.
            UserError: They cannot be used.
        """
        ...

    def labelled(self) -> Split:
        """Return the train split with what is annotated up to this round, its regions included.

        What it gives outside the annotated regions is not to be looked at.
        """
        ...


class Annotation(NamedTuple):
    """A region that is annotated, and what that took."""

    candidate: Candidate
    clicks: RegionClicks
    seconds: float | None = None


def annotated_regions(
    annotations: Iterable[Annotation],
    images: Iterable[ImageEntry],
    labelled: Mapping[str, Sequence[Region]],
) -> list[AnnotatedRegion]:
    """Return the rows of regions.csv, in the order given.

    Args:
        annotations: What is annotated now.
        images: The images, at the campaign's size.
        labelled: What was annotated before, so that no pixel is counted twice.
    """
    entries = {entry.image_id: entry for entry in images}
    done = {image_id: list(regions) for image_id, regions in labelled.items()}
    rows = []
    for (region, score, information, cost), clicks, seconds in annotations:
        entry = entries[region.image_id]
        before = done.setdefault(region.image_id, [])
        pixels = _pixels([*before, region], entry) - _pixels(before, entry)
        before.append(region)
        rows.append(AnnotatedRegion(*region, score, information, cost, pixels, *clicks, seconds))
    return rows


def _pixels(regions: Sequence[Region], entry: ImageEntry) -> int:
    """Return the pixels that regions of one image cover together."""
    cell_heights, cell_widths = (
        np.minimum(STRIDE, size - np.arange(0, size, STRIDE))
        for size in (entry.height, entry.width)
    )
    mask = labelled_mask(regions, entry.height, entry.width)
    return int(cell_heights @ mask @ cell_widths)


def costed(options: Options, regions: Sequence[AnnotatedRegion]) -> list[AnnotatedRegion]:
    """Return the regions whose cost is known in the campaign's unit."""
    in_clicks = options.cost_unit == "clicks"
    return [region for region in regions if in_clicks or region.seconds is not None]


def cost_per_click(options: Options, regions: Sequence[AnnotatedRegion]) -> float:
    """Return what a vertex took on the average of these regions, in the campaign's unit."""
    if options.cost_unit == "clicks":
        return 1.0
    known = costed(options, regions)
    vertices = sum(region.clicks_vertices for region in known)
    return sum(region.seconds for region in known) / max(1, vertices)
