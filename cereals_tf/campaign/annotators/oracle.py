"""The oracle: annotates regions by reading the ground truth, and counts what it took."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cereals_tf.acquisition.regions import Region, boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import CommittedRound, regions_of
from cereals_tf.campaign.folder.regions import Annotated, NewPixels
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import ClickGrid, RegionClicks
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split


@dataclass(frozen=True)
class Oracle:
    """Annotates the regions of the round in progress, see `Annotator`.

    Attributes:
        rounds: The committed rounds.
        train: The train split.
    """

    rounds: Sequence[CommittedRound]
    train: Split

    def annotate(self, choose: Callable[[], list[Chosen]]) -> list[Annotated]:
        """Annotate what `choose` chooses, at once."""
        before = boxes_by_image(done.region for done in regions_of(self.rounds))
        return annotate(self.train, choose(), before)

    def labelled(self) -> Split:
        """Return the train split: it has all labels."""
        return self.train


def annotate(
    split: Split, chosen: Sequence[Chosen], labelled: Mapping[str, Sequence[Box]]
) -> list[Annotated]:
    """Annotate regions in the order given.

    Args:
        split: The split.
        chosen: What to annotate.
        labelled: What is annotated already, so that no pixel is counted twice.
    """
    clicks = _clicks_of_regions(split, [each.region for each in chosen])
    pixels = NewPixels(split.images, labelled)
    return [Annotated(each, pixels.take(each.region), clicks[each.region]) for each in chosen]


def _clicks_of_regions(split: Split, regions: Iterable[Region]) -> dict[Region, RegionClicks[int]]:
    """Count the clicks of regions, with the click grid of one image in memory at a time."""
    boxes = boxes_by_image(regions)
    return {
        Region(image_id, box): grid.region(*box)
        for image_id, grid in click_grids(split, list(boxes))
        for box in boxes[image_id]
    }


def click_grids(split: Split, image_ids: Sequence[str]) -> Iterator[tuple[str, ClickGrid]]:
    """Yield the click grids of the given images."""
    entries = {entry.image_id: entry for entry in split.images}
    for record in split.records(image_ids):
        image_id = record[records.IMAGE_ID].numpy().decode()
        entry = entries[image_id]
        yield image_id, records.click_grid_of(record, entry.height, entry.width)
