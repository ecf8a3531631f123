"""The oracle: annotates regions by reading the ground truth, and counts what it took."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import CommittedRound, regions_of
from cereals_tf.campaign.folder.regions import Account, Annotated
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import ClickGrid
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split


@dataclass(frozen=True)
class Oracle:
    """Annotates the regions of the round in progress, see `Annotator`.

    Attributes:
        options: The campaign's options.
        rounds: The committed rounds.
        train: The train split.
    """

    options: Options
    rounds: Sequence[CommittedRound]
    train: Split

    def annotate(self, choose: Callable[[], list[Chosen]]) -> list[Annotated]:
        """Annotate what `choose` chooses, at once."""
        before = boxes_by_image(done.region for done in regions_of(self.rounds))
        return annotate(self.train, choose(), before, self.options)

    def labelled(self) -> Split:
        """Return the train split: it has all labels."""
        return self.train


def annotate(
    split: Split,
    chosen: Sequence[Chosen],
    labelled: Mapping[str, Sequence[Box]],
    options: Options,
) -> list[Annotated]:
    """Annotate regions in the order given, with the clicks of one image in memory at a time.

    Args:
        split: The split.
        chosen: What to annotate.
        labelled: What is annotated already, so that nothing is billed twice.
        options: The campaign's options, which say what counts.
    """
    account = Account(split.images, labelled, options)
    new: dict[str, list[tuple[int, np.ndarray]]] = {}
    for number, each in enumerate(chosen):
        new.setdefault(each.region.image_id, []).append((number, account.take(each.region)))
    annotated = {
        number: account.annotated(chosen[number], cells, grid)
        for image_id, grid in click_grids(split, list(new))
        for number, cells in new[image_id]
    }
    return [annotated[number] for number in range(len(chosen))]


def click_grids(split: Split, image_ids: Sequence[str]) -> Iterator[tuple[str, ClickGrid]]:
    """Yield the click grids of the given images, by what an overlay has of them where there is one.

    What was drawn is known by its cost maps, of which a split with an overlay needs three.
    """
    entries = {entry.image_id: entry for entry in split.images}
    for record in split.records(image_ids):
        image_id = record[records.IMAGE_ID].numpy().decode()
        entry = entries[image_id]
        if split.overlay is None:
            grid = records.click_grid_of(record, entry.height, entry.width)
        else:
            maps = split.clicks(record, *split.size(record)).numpy()
            grid = ClickGrid.of_maps(maps, entry.height, entry.width)
        yield image_id, grid
