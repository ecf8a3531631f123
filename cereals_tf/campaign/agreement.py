"""How far two annotators of the same regions agree."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cereals_tf.campaign.folder.annotations import AnnotationStore, RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.trainers.evaluation import Iou, iou


class Pair(NamedTuple):
    """A region as two annotators drew it."""

    name: RegionName
    first: RegionAnnotation
    second: RegionAnnotation

    def confusion(self, num_classes: int) -> np.ndarray:
        """Count the pixels that both gave a class, int64 [C, C]: the first's by the second's."""
        one, other = self.first.label.astype(int), self.second.label.astype(int)
        known = (one < num_classes) & (other < num_classes)
        pairs = one[known] * num_classes + other[known]
        counts = np.bincount(pairs, minlength=num_classes**2)
        return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree, over the pixels that both of a region gave a class.

    Attributes:
        regions: The share of such pixels where they agree, 0 to 1, by region.
        all: IoU of the first's and the second's labels.
        by_annotator: The same over the regions of one of them, whoever the other was.
    """

    regions: Mapping[RegionName, float]
    all: Iou
    by_annotator: Mapping[str, Iou]


def agreement(campaign: Campaign) -> Agreement | None:
    """Return how far annotators agree, in all rounds so far; None where no region has two.

    Raises:
        UserError: An annotation is damaged.
    """
    count = len(campaign.data.classes)
    regions: dict[RegionName, float] = {}
    total = np.zeros((count, count), np.int64)
    of_annotator: dict[str, np.ndarray] = {}
    for pair in _pairs(campaign):
        confusion = pair.confusion(count)
        if confusion.any():
            regions[pair.name] = float(np.trace(confusion) / confusion.sum())
        total += confusion
        for drawn in {pair.first.annotator, pair.second.annotator}:
            of_annotator[drawn] = of_annotator.get(drawn, 0) + confusion
    if not regions:
        return None
    return Agreement(regions, iou(total), {name: iou(of) for name, of in of_annotator.items()})


def _pairs(campaign: Campaign) -> Iterator[Pair]:
    stores: list[tuple[AnnotationStore, AnnotationStore]] = [
        (done.annotations, done.second_annotations) for done in campaign.rounds()
    ]
    if campaign.working.exists():
        stores.append((campaign.annotations, campaign.second_annotations))
    for number, (first_store, second_store) in enumerate(stores):
        drawn = first_store.numbers()
        for place, second in second_store.annotated().items():
            first = first_store.read(place) if place in drawn else None
            if first:
                yield Pair(RegionName(number, place), first, second)
