"""A round's request: the regions that people are asked to annotate, `working/request.csv`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cereals_tf.campaign.folder.rows import read_rows, write_rows
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box


@dataclass(frozen=True)
class RequestedRegion:
    """One row of request.csv: a region, and why it was chosen.

    Positions and sizes are in pixels of the campaign's image size. Score, information and estimated
    cost are as in regions.csv, None for regions drawn at random in round 0.

    Attributes:
        number: From 0 in the order of choice; its only name, together with the round.
        image_id: The image.
        y: Top.
        x: Left.
        height: Rows.
        width: Columns.
        score: By which it was chosen.
        information: Summed over the region.
        cost_estimated: What annotating it takes, in the unit of `--cost_unit`.
    """

    number: int
    image_id: str
    y: int
    x: int
    height: int
    width: int
    score: float | None
    information: float | None
    cost_estimated: float | None

    @property
    def box(self) -> Box:
        """The region's rectangle."""
        return Box(self.y, self.x, self.height, self.width)


def write_request(path: Path, regions: Sequence[RequestedRegion]) -> None:
    """Write request.csv atomically."""
    write_rows(path, RequestedRegion, regions)


def read_request(path: Path) -> list[RequestedRegion]:
    """Read request.csv.

    Raises:
        UserError: Not such a file.
    """
    regions = read_rows(path, RequestedRegion)
    numbers = [region.number for region in regions]
    if numbers != list(range(len(regions))):
        raise UserError(f"{path}: cannot be read: expected regions numbered from 0 in order")
    return regions


def own_window(
    region: RequestedRegion, entry: ImageEntry, image_size: tuple[int, int] | None
) -> Box:
    """Return the smallest rectangle of whole pixels of the original image that covers a region.

    Args:
        region: The region, in pixels of the campaign's image size.
        entry: Its image, at its original size.
        image_size: The campaign's image size, (height, width); None: that of the image.
    """
    height, width = image_size or (entry.height, entry.width)
    top, bottom = _covering(region.y, region.height, height, entry.height)
    left, right = _covering(region.x, region.width, width, entry.width)
    return Box(top, left, bottom - top, right - left)


def _covering(start: int, length: int, size: int, original: int) -> tuple[int, int]:
    """Scale an interval from an axis of `size` to one of `original` pixels, rounding outwards."""
    return start * original // size, -(-(start + length) * original // size)
