"""People as annotators: the round waits until what they drew is collected."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cereals_tf.acquisition.regions import Region, boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.annotator import WaitingError
from cereals_tf.campaign.annotators.oracle import annotate
from cereals_tf.campaign.folder.annotations import AnnotationStore, RegionAnnotation
from cereals_tf.campaign.folder.campaign import (
    REGIONS,
    REQUEST,
    Campaign,
    CommittedRound,
    regions_of,
)
from cereals_tf.campaign.folder.regions import Account, Annotated, costed
from cereals_tf.campaign.folder.request import own_window, read_request, write_request
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.data_prep.annotated_image import encode_label
from cereals_tf.data_prep.clicks import click_grid, click_map
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box, cells
from cereals_tf.data_prep.polygons import Polygon, scaled
from cereals_tf.trainers.split import Overlay, Split


class Asked(NamedTuple):
    """A region of a request, where what was drawn in it is kept, and if it was drawn before."""

    number: int
    region: Region
    store: AnnotationStore
    again: bool


class Answer(NamedTuple):
    """A region's rectangle in the campaign's pixels, what was drawn in it, and if it was before."""

    box: Box
    annotation: RegionAnnotation
    again: bool


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

    def annotate(self, choose: Callable[[], list[Chosen]]) -> list[Annotated]:
        """Ask for what `choose` chooses, or take in what was asked for before.

        Labels that the data set has of train's images are round 0, with what `start` brought from
        elsewhere; those of images that were added are part of the first round that sees them.
        """
        before = regions_of(self.rounds)
        known = {done.region for done in before}
        brought = [one for one in labelled_images(self.train) if one.region not in known]
        boxes = boxes_by_image(known)
        whole = annotate(self.train, brought, boxes, self.campaign.options)
        if self.campaign.request() is None:
            if whole and not self.rounds:
                return whole
            write_request(self.campaign.working / REQUEST, choose())
        asked = waiting(self.campaign)
        assert asked
        if asked.missing:
            raise WaitingError(asked.text())
        before = [*before, *whole]
        regions = list(self._annotated(asked.request, before))
        self._refuse_useless([*before, *regions])
        return [*whole, *regions]

    def labelled(self) -> Split:
        """Return the train split with what was drawn in place of what its records hold.

        The round in progress is included once its annotations are taken in.
        """
        working = self.campaign.working
        sources = [(done.request, done.annotations, done.redraws) for done in self.rounds]
        if (working / REGIONS).exists() and (working / REQUEST).exists():
            request = read_request(working / REQUEST)
            sources.append((request, self.campaign.annotations, self.campaign.redraws()))
        asked: dict[str, list[Asked]] = {}
        for request, store, redraws in sources:
            for number, chosen in enumerate(request):
                part = Asked(number, chosen.region, store, number in redraws)
                asked.setdefault(chosen.region.image_id, []).append(part)
        ignore_id = self.train.data.classes.ignore_id
        unit, crossings = self.campaign.options.cost_unit, self.train.crossings
        labels, costs = {}, {}
        for image_id, parts in asked.items():
            original, resized = self._entries[image_id]
            if answers := [answer for part in parts if (answer := self._answer(part))]:
                labels[image_id] = encode_label(label_of(original, answers, ignore_id))
                costs[image_id] = costs_of(original, resized, answers, unit, crossings)
        return replace(self.train, overlay=Overlay(labels, costs)) if labels else self.train

    @cached_property
    def _entries(self) -> dict[str, tuple[ImageEntry, ImageEntry]]:
        """The images at their original and at the campaign's size."""
        originals = self.train.data.images[self.train.name]
        pairs = zip(originals, self.train.images, strict=True)
        return {original.image_id: (original, resized) for original, resized in pairs}

    def _answer(self, asked: Asked) -> Answer | None:
        """Return what was drawn in a region, None if it is skipped.

        Raises:
            UserError: The annotation is missing, damaged, or that of another region.
        """
        number, region, store, again = asked
        annotation = store.read(number)
        if annotation is None:
            return None
        original, _ = self._entries[region.image_id]
        window = own_window(region.box, original, self.train.image_size)
        if (annotation.image_id, annotation.window) != (region.image_id, window):
            raise UserError(
                f"{store.folder}: the annotation of region {number} is in "
                f"{annotation.image_id!r} at {tuple(annotation.window)}, {REQUEST} asks for "
                f"{region.image_id!r} at {tuple(window)}"
            )
        return Answer(region.box, annotation, again)

    def _annotated(
        self, request: Sequence[Chosen], before: Iterable[Annotated]
    ) -> Iterator[Annotated]:
        """Yield the regions of a request that are not skipped, and what they took."""
        labelled = boxes_by_image(done.region for done in before)
        account = Account(self.train.images, labelled, self.campaign.options)
        redraws, store = self.campaign.redraws(), self.campaign.annotations
        for number, chosen in enumerate(request):
            answer = self._answer(Asked(number, chosen.region, store, number in redraws))
            if answer:
                original, resized = self._entries[chosen.region.image_id]
                polygons = scaled(answer.annotation.polygons, *_factors(original, resized))
                grid = click_grid(polygons, resized.height, resized.width)
                new = account.take(chosen.region)
                seconds, assisted = answer.annotation.seconds, answer.annotation.assisted
                again = redraws.get(number)
                yield account.annotated(chosen, new, grid, seconds, assisted, again)

    def _refuse_useless(self, regions: Sequence[Annotated]) -> None:
        """Raise UserError if nothing can be learnt from all the regions so far."""
        folder, options = self.campaign.folder, self.campaign.options
        if not regions:
            raise UserError(
                f"{folder}: all regions of round 0 are skipped, expected one or more to train on; "
                "annotate some of them and run: cereals collect; or start a campaign with another "
                "--seed"
            )
        if costed(regions, options.cost_unit):
            return
        if options.cost_unit == "clicks":
            raise UserError(
                f"{folder}: a model helped to draw all regions, so that nobody knows what they "
                "took in clicks, expected one or more drawn by hand; collect such annotations, or "
                "start a campaign with --cost_unit=seconds"
            )
        raise UserError(
            f"{folder}: no annotation says how long it took, expected seconds of one or more "
            f"as the campaign has --cost_unit={options.cost_unit}; collect annotations that "
            "have them, or start a campaign with --cost_unit=clicks"
        )


def labelled_images(train: Split) -> list[Chosen]:
    """Return the images whose labels people brought along, whole, none where all have labels.

    All: of the data set as it was prepared.
    """
    if train.data.parts[""].labelled(train.name):
        return []
    known = {entry.image_id for entry in train.data.images[train.name] if entry.labelled}
    return [
        Chosen(Region(entry.image_id, Box(0, 0, entry.height, entry.width)))
        for entry in train.images
        if entry.image_id in known
    ]


def _factors(original: ImageEntry, resized: ImageEntry) -> tuple[float, float]:
    return resized.height / original.height, resized.width / original.width


def label_of(image: ImageEntry, answers: Sequence[Answer], ignore_id: int) -> np.ndarray:
    """Return the label of an image of which some regions are annotated.

    Where regions meet, a later one counts, except for what it ignores; where one is drawn again, it
    counts throughout.

    Args:
        image: The image at its original size.
        answers: Its annotated regions, at least one, in the order of annotation.
        ignore_id: The id of what is in no region, or ignored there.

    Returns:
        uint8 [H, W], train ids at the original size.
    """
    label = np.full((image.height, image.width), ignore_id, np.uint8)
    for _, annotation, again in answers:
        known = again | (annotation.label != ignore_id)
        label[annotation.window.slices][known] = annotation.label[known]
    return label


def costs_of(
    original: ImageEntry,
    resized: ImageEntry,
    answers: Sequence[Answer],
    unit: str,
    crossings: bool = False,
) -> np.ndarray:
    """Return what the positions of an image cost whose regions are annotated in part.

    Clicks are those that `cereals_tf.trainers.split.Split` would count. A region's seconds are
    shared out among its positions by their clicks, evenly where it has none.

    Args:
        original: The image at its original size.
        resized: The image at the campaign's size, [H, W].
        answers: Its annotated regions in order of annotation; where they meet, the later counts.
        unit: `clicks` or `seconds`.
        crossings: Whether the crossings of each position's left and top edge are maps of their own,
            of clicks.

    Returns:
        float32 [ceil(H/8), ceil(W/8), 1 or 3], 0 where nothing is known.
    """
    maps = 3 if crossings else 1
    costs = np.zeros((cells(resized.height), cells(resized.width), maps), np.float32)
    for box, annotation, again in answers:
        if again and annotation.assisted and unit == "clicks":
            continue  # what is known is of the first drawing
        inside = box.cell_slices
        clicks = _clicks(annotation.polygons, original, resized, crossings)[inside]
        if unit == "clicks":
            costs[inside] = clicks
        elif annotation.seconds is not None:
            shares = clicks if clicks.any() else np.ones_like(clicks)
            costs[inside] = annotation.seconds * shares / shares.sum()
    return costs


def _clicks(
    polygons: Sequence[Polygon], original: ImageEntry, resized: ImageEntry, crossings: bool
) -> np.ndarray:
    """Return the clicks per position of a resized image, rounded as `Split` does."""
    if crossings:
        drawn = scaled(polygons, *_factors(original, resized))
        return click_grid(drawn, resized.height, resized.width).maps
    points = np.concatenate([np.empty((0, 2)), *(polygon.points for polygon in polygons)])
    scale = np.array([resized.width, resized.height], np.float32)
    scale /= np.array([original.width, original.height], np.float32)
    clicks = click_map(points.astype(np.float32) * scale, resized.height, resized.width)
    return clicks[:, :, None]
