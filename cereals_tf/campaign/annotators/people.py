"""People as annotators: the round waits until what they drew is collected."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Candidate
from cereals_tf.campaign.annotators.annotator import (
    Annotation,
    WaitingError,
    annotated_regions,
    costed,
)
from cereals_tf.campaign.folder.annotations import AnnotationStore, RegionAnnotation
from cereals_tf.campaign.folder.campaign import (
    REGIONS,
    REQUEST,
    AnnotatedRegion,
    Campaign,
    CommittedRound,
)
from cereals_tf.campaign.folder.request import (
    RequestedRegion,
    own_window,
    read_request,
    write_request,
)
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.campaign.pool.pool import regions_by_image
from cereals_tf.data_prep.annotated_image import encode_label
from cereals_tf.data_prep.clicks import click_grid, click_map
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import cells
from cereals_tf.data_prep.polygons import Polygon, scaled
from cereals_tf.trainers.split import Overlay, Split

Asked = tuple[RequestedRegion, AnnotationStore]
"""A region, and where what was drawn in it is kept."""

Drawn = tuple[RequestedRegion, RegionAnnotation]
"""A region, and what was drawn in it."""


@dataclass(frozen=True)
class People:
    """Annotates the regions of the round in progress, see `Annotator`.

    Attributes:
        campaign: The campaign.
        rounds: Its committed rounds.
        train: The train split as it was prepared.
    """

    campaign: Campaign
    rounds: Sequence[CommittedRound]
    train: Split

    def annotate(self, choose: Callable[[], list[Candidate]]) -> list[AnnotatedRegion]:
        """Ask for what `choose` chooses, or take in what was asked for before."""
        if self.campaign.request() is None:
            write_request(self.campaign.working / REQUEST, _numbered(choose()))
        asked = waiting(self.campaign)
        if asked.missing:
            raise WaitingError(asked.text())
        before = [region for done in self.rounds for region in done.regions]
        regions = annotated_regions(
            self._counted(asked.request), self.train.images, regions_by_image(before)
        )
        self._refuse_useless([*before, *regions])
        return regions

    def labelled(self) -> Split:
        """Return the train split with what was drawn in place of what its records hold.

        The round in progress is included once its annotations are taken in.
        """
        working = self.campaign.working
        sources = [(done.request, done.annotations) for done in self.rounds]
        if (working / REGIONS).exists():
            sources.append((read_request(working / REQUEST), self.campaign.annotations))
        asked: dict[str, list[Asked]] = {}
        for region, store in ((region, store) for request, store in sources for region in request):
            asked.setdefault(region.image_id, []).append((region, store))
        ignore_id = self.train.data.classes.ignore_id
        unit = self.campaign.options.cost_unit
        labels, costs = {}, {}
        for image_id, parts in asked.items():
            original, resized = self._entries[image_id]
            if drawn := list(self._drawn(parts)):
                labels[image_id] = encode_label(label_of(original, drawn, ignore_id))
                costs[image_id] = costs_of(original, resized, drawn, unit)
        return replace(self.train, overlay=Overlay(labels, costs))

    @cached_property
    def _entries(self) -> dict[str, tuple[ImageEntry, ImageEntry]]:
        """The images at their original and at the campaign's size."""
        originals = self.train.data.images[self.train.name]
        pairs = zip(originals, self.train.images, strict=True)
        return {original.image_id: (original, resized) for original, resized in pairs}

    def _drawn(self, asked: Iterable[Asked]) -> Iterator[Drawn]:
        """Yield those of the regions that are annotated, and not skipped.

        Raises:
            UserError: An annotation is missing, damaged, or that of another region.
        """
        for region, store in asked:
            annotation = store.read(region.number)
            if annotation is None:
                continue
            original, _ = self._entries[region.image_id]
            window = own_window(region, original, self.train.image_size)
            if (annotation.image_id, annotation.window) != (region.image_id, window):
                raise UserError(
                    f"{store.folder}: the annotation of region {region.number} is in "
                    f"{annotation.image_id!r} at {tuple(annotation.window)}, {REQUEST} asks for "
                    f"{region.image_id!r} at {tuple(window)}"
                )
            yield region, annotation

    def _counted(self, request: Sequence[RequestedRegion]) -> Iterator[Annotation]:
        store = self.campaign.annotations
        for region, annotation in self._drawn((region, store) for region in request):
            original, resized = self._entries[region.image_id]
            polygons = scaled(annotation.polygons, *_factors(original, resized))
            grid = click_grid(polygons, resized.height, resized.width)
            where = Region(region.image_id, *region.box)
            candidate = Candidate(where, region.score, region.information, region.cost_estimated)
            yield Annotation(candidate, grid.region(*region.box), annotation.seconds)

    def _refuse_useless(self, regions: Sequence[AnnotatedRegion]) -> None:
        """Raise UserError if nothing can be learnt from all the regions so far."""
        folder, options = self.campaign.folder, self.campaign.options
        if not regions:
            raise UserError(
                f"{folder}: all regions of round 0 are skipped, expected one or more to train on; "
                "annotate some of them and run: cereals collect; or start a campaign with another "
                "--seed"
            )
        if not costed(options, regions):
            raise UserError(
                f"{folder}: no annotation says how long it took, expected seconds of one or more "
                f"as the campaign has --cost_unit={options.cost_unit}; collect annotations that "
                "have them, or start a campaign with --cost_unit=clicks"
            )


def _numbered(candidates: Sequence[Candidate]) -> list[RequestedRegion]:
    return [
        RequestedRegion(number, *region, score, information, cost)
        for number, (region, score, information, cost) in enumerate(candidates)
    ]


def _factors(original: ImageEntry, resized: ImageEntry) -> tuple[float, float]:
    return resized.height / original.height, resized.width / original.width


def label_of(image: ImageEntry, drawn: Sequence[Drawn], ignore_id: int) -> np.ndarray:
    """Return the label of an image of which some regions are annotated.

    Where regions meet, a later one counts, except for what it ignores.

    Args:
        image: The image at its original size.
        drawn: Its annotated regions, at least one, in the order of annotation.
        ignore_id: The id of what is in no region, or ignored there.

    Returns:
        uint8 [H, W], train ids at the original size.
    """
    label = np.full((image.height, image.width), ignore_id, np.uint8)
    for _, annotation in drawn:
        y, x, height, width = annotation.window
        known = annotation.label != ignore_id
        label[y : y + height, x : x + width][known] = annotation.label[known]
    return label


def costs_of(
    original: ImageEntry, resized: ImageEntry, drawn: Sequence[Drawn], unit: str
) -> np.ndarray:
    """Return what the positions of an image cost whose regions are annotated in part.

    Clicks are those that `cereals_tf.trainers.targets.click_target` would count. A region's seconds
    are shared out among its positions by their clicks, evenly where it has none.

    Args:
        original: The image at its original size.
        resized: The image at the campaign's size, [H, W].
        drawn: Its annotated regions, in the order of annotation; where they meet, the later counts.
        unit: `clicks` or `seconds`.

    Returns:
        float32 [ceil(H/8), ceil(W/8)], 0 where nothing is known.
    """
    costs = np.zeros((cells(resized.height), cells(resized.width)), np.float32)
    for region, annotation in drawn:
        inside = region.box.cell_slices
        clicks = _clicks(annotation.polygons, original, resized)[inside]
        if unit == "clicks":
            costs[inside] = clicks
        elif annotation.seconds is not None:
            shares = clicks if clicks.any() else np.ones_like(clicks)
            costs[inside] = annotation.seconds * shares / shares.sum()
    return costs


def _clicks(polygons: Sequence[Polygon], original: ImageEntry, resized: ImageEntry) -> np.ndarray:
    """Return the clicks per position of a resized image, rounded as `Split.points` does."""
    points = np.concatenate([np.empty((0, 2)), *(polygon.points for polygon in polygons)])
    scale = np.float32([resized.width, resized.height])
    scale /= np.float32([original.width, original.height])
    return click_map(np.float32(points) * scale, resized.height, resized.width)
