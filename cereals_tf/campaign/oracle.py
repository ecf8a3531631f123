"""The oracle: annotates regions by reading the ground truth, and counts what it took."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Candidate
from cereals_tf.campaign.annotator import Annotation, annotated_regions
from cereals_tf.campaign.pool import regions_by_image
from cereals_tf.campaign.state import AnnotatedRegion, CommittedRound
from data_prep import records
from data_prep.clicks import ClickGrid, RegionClicks, click_grid
from data_prep.dataset import ImageEntry
from data_prep.polygons import scaled
from trainers.inputs import ImageReader


def click_grid_of(record: dict[str, tf.Tensor], entry: ImageEntry) -> ClickGrid:
    """Return the click grid of one parsed record at the size that `entry` states."""
    factor_y = entry.height / int(record[records.IMAGE_HEIGHT])
    factor_x = entry.width / int(record[records.IMAGE_WIDTH])
    polygons = scaled(records.polygons_of(record), factor_y, factor_x)
    return click_grid(polygons, entry.height, entry.width)


def click_grids(reader: ImageReader, image_ids: Sequence[str]) -> dict[str, ClickGrid]:
    """Return the click grids of the given images."""
    return dict(_each_click_grid(reader, image_ids))


def _each_click_grid(
    reader: ImageReader, image_ids: Sequence[str]
) -> Iterator[tuple[str, ClickGrid]]:
    entries = {entry.image_id: entry for entry in reader.images}
    for record in reader.records(image_ids):
        image_id = record[records.IMAGE_ID].numpy().decode()
        yield image_id, click_grid_of(record, entries[image_id])


def counted(clicks: RegionClicks, kinds: Iterable[str]) -> int | np.ndarray:
    """Return the sum of the kinds of clicks that count, elementwise."""
    return sum(getattr(clicks, kind) for kind in kinds)


@dataclass(frozen=True)
class Oracle:
    """Annotates the regions of the round in progress, see `Annotator`.

    Attributes:
        rounds: The committed rounds.
        train: The train split.
    """

    rounds: Sequence[CommittedRound]
    train: ImageReader

    def annotate(self, choose: Callable[[], list[Candidate]]) -> list[AnnotatedRegion]:
        """Annotate what `choose` chooses, at once."""
        before = (region for done in self.rounds for region in done.regions)
        return annotate(self.train, choose(), regions_by_image(before))

    def labelled(self) -> ImageReader:
        """Return the train split: it has all labels."""
        return self.train


def annotate(
    reader: ImageReader,
    candidates: Sequence[Candidate],
    labelled: Mapping[str, Sequence[Region]],
) -> list[AnnotatedRegion]:
    """Annotate regions in the order given.

    Args:
        reader: The split.
        candidates: What to annotate.
        labelled: What is annotated already, so that no pixel is counted twice.
    """
    clicks = _clicks_of_regions(reader, [candidate.region for candidate in candidates])
    annotations = (Annotation(candidate, clicks[candidate.region]) for candidate in candidates)
    return annotated_regions(annotations, reader.images, labelled)


def _clicks_of_regions(
    reader: ImageReader, regions: Iterable[Region]
) -> dict[Region, RegionClicks]:
    """Count the clicks of regions, with the click grid of one image in memory at a time."""
    by_image: dict[str, list[Region]] = {}
    for region in regions:
        by_image.setdefault(region.image_id, []).append(region)
    return {
        region: grid.region(*region[1:])
        for image_id, grid in _each_click_grid(reader, list(by_image))
        for region in by_image[image_id]
    }
