"""The oracle: annotates regions by reading the ground truth, and counts what it took."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Candidate
from cereals_tf.campaign.annotators.annotator import Annotation, annotated_regions
from cereals_tf.campaign.folder.campaign import AnnotatedRegion, CommittedRound
from cereals_tf.campaign.pool.pool import regions_by_image
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import ClickGrid, RegionClicks
from cereals_tf.trainers.split import Split


def click_grids(split: Split, image_ids: Sequence[str]) -> Iterator[tuple[str, ClickGrid]]:
    """Yield the click grids of the given images, with one in memory at a time."""
    entries = {entry.image_id: entry for entry in split.images}
    for record in split.records(image_ids):
        image_id = record[records.IMAGE_ID].numpy().decode()
        entry = entries[image_id]
        yield image_id, records.click_grid_of(record, entry.height, entry.width)


@dataclass(frozen=True)
class Oracle:
    """Annotates the regions of the round in progress, see `Annotator`.

    Attributes:
        rounds: The committed rounds.
        train: The train split.
    """

    rounds: Sequence[CommittedRound]
    train: Split

    def annotate(self, choose: Callable[[], list[Candidate]]) -> list[AnnotatedRegion]:
        """Annotate what `choose` chooses, at once."""
        before = (region for done in self.rounds for region in done.regions)
        return annotate(self.train, choose(), regions_by_image(before))

    def labelled(self) -> Split:
        """Return the train split: it has all labels."""
        return self.train


def annotate(
    reader: Split,
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


def _clicks_of_regions(reader: Split, regions: Iterable[Region]) -> dict[Region, RegionClicks]:
    """Count the clicks of regions, with the click grid of one image in memory at a time."""
    by_image: dict[str, list[Region]] = {}
    for region in regions:
        by_image.setdefault(region.image_id, []).append(region)
    return {
        region: grid.region(*region[1:])
        for image_id, grid in click_grids(reader, list(by_image))
        for region in by_image[image_id]
    }
