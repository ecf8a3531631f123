"""Taking in what annotators drew: everything is checked before anything is stored."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.drawn import EMPTY, Drawn, Shape, painted
from cereals_tf.annotation.tasks import label_ids, labels_digest, request_id
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.folder.waiting import Waiting, refuse_not_waiting
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.sources.labelme import BACKGROUND
from cereals_tf.data_prep.text import shown

_MAX_PROBLEMS = 5
_MAX_LISTED = 20


@dataclass(frozen=True)
class Collected:
    """What a campaign's round has after a collection.

    Attributes:
        waiting: What the round has.
        new: How many regions this collection added.
        changed: How many regions it replaced by something else.
    """

    waiting: Waiting
    new: int
    changed: int

    @property
    def summary(self) -> str:
        """What came in and what is missing, for the user to read."""
        waiting = self.waiting
        parts = [
            f"{len(waiting.annotated)} of {len(waiting.request)} regions are annotated "
            f"({self.new} new, {self.changed} changed)"
        ]
        if waiting.skipped:
            parts.append(f"regions skipped: {_listed(sorted(waiting.skipped))}")
        if waiting.missing:
            parts.append(f"regions missing: {_listed(waiting.missing)}")
        return "; ".join(parts)


def _listed(numbers: Sequence[int]) -> str:
    more = len(numbers) - _MAX_LISTED
    listed = ", ".join(map(str, numbers[:_MAX_LISTED]))
    return f"{listed} and {more} more" if more > 0 else listed


def collect(
    campaign: Campaign, drawings: Sequence[Drawn], partial: bool = False, skip: Sequence[int] = ()
) -> Collected:
    """Store what was drawn inside the regions that the campaign's round asked for.

    Args:
        campaign: A campaign that waits.
        drawings: What came back.
        partial: Keep pixels without a shape as ignored, instead of refusing them.
        skip: Numbers of regions that nobody will annotate, whatever was drawn there.

    Raises:
        UserError: The campaign is busy or does not wait, or a drawing is not of what was asked for,
            of an unknown class or leaves a part of a region empty. Nothing was stored then.
    """
    refuse_not_waiting(campaign)
    with campaign.lock():
        request = refuse_not_waiting(campaign).request
        for number in skip:
            if number >= len(request):
                raise UserError(f"--skip={number}: the request has regions 0 to {len(request) - 1}")
        check = _Checked(campaign, request, partial, skip)
        annotations = [found for drawn in drawings for found in check.annotations(drawn)]
        check.refuse_problems()
        store = campaign.annotations
        before = store.annotated()
        for annotation in annotations:
            store.write(annotation)
        taken = before.keys() | {annotation.number for annotation in annotations}
        declined = {number for drawn in drawings if drawn.skipped for number in drawn.regions}
        for number in sorted({*skip, *(declined - taken)}):
            store.skip(number, request[number].region)
        new = sum(annotation.number not in before for annotation in annotations)
        changed = sum(
            annotation.number in before and not _same(annotation, before[annotation.number])
            for annotation in annotations
        )
        return Collected(refuse_not_waiting(campaign), new, changed)


def _same(one: RegionAnnotation, other: RegionAnnotation) -> bool:
    return np.array_equal(one.label, other.label) and one.seconds == other.seconds


class _Checked:
    """Turns drawings into annotations, and gathers what is wrong with them."""

    def __init__(
        self,
        campaign: Campaign,
        request: Sequence[Chosen],
        partial: bool,
        skip: Sequence[int],
    ) -> None:
        self._round = len(campaign.rounds())
        self._request_id = request_id(request)
        self._classes: Classes = campaign.data.classes
        self._ids = label_ids(self._classes)
        self._image_size = campaign.image_size
        self._entries: dict[str, ImageEntry] = {
            entry.image_id: entry for entry in campaign.data.images["train"]
        }
        self._request = request
        self._partial = partial
        self._skip = frozenset(skip)
        self._seen: dict[int, str] = {}
        self._problems: list[str] = []

    def refuse_problems(self) -> None:
        """Raise UserError if any drawing was wrong."""
        if self._problems:
            more = len(self._problems) - _MAX_PROBLEMS
            named = "; ".join(self._problems[:_MAX_PROBLEMS])
            raise UserError(named + (f"; and {more} more" if more > 0 else ""))

    def annotations(self, drawn: Drawn) -> Iterator[RegionAnnotation]:
        """Give the annotations of the regions that are complete in a drawing."""
        problem = self._misplaced(drawn) or self._unknown_class(drawn.shapes)
        if problem:
            self._problems.append(problem)
            return
        if drawn.skipped:
            return
        labels = painted(drawn.shapes, self._ids, *drawn.size)
        for number in sorted(set(drawn.regions) - self._skip):
            window = self._window(number)
            label = labels[window.slices]
            if not self._is_missing(drawn, number, label):
                yield from self._annotation(drawn, number, window, label)

    def _misplaced(self, drawn: Drawn) -> str | None:
        """Return what is wrong with where a drawing belongs."""
        if drawn.round != self._round:
            return (
                f"{drawn.where}: is of round {drawn.round}, the campaign waits for round "
                f"{self._round}"
            )
        if drawn.request != self._request_id:
            return f"{drawn.where}: is of another campaign's request"
        for number in drawn.regions:
            asked = self._request[number].region if 0 <= number < len(self._request) else None
            if asked is None or asked.image_id != drawn.image_id:
                return (
                    f"{drawn.where}: region {number} of the image {shown(drawn.image_id)} was not "
                    "asked for"
                )
        entry = self._entries[drawn.image_id] if drawn.regions else None
        if entry and drawn.size != (entry.height, entry.width):
            return (
                f"{drawn.where}: says that the image is {drawn.size[0]}x{drawn.size[1]} pixels, "
                f"it is {entry.height}x{entry.width}"
            )
        return None

    def _unknown_class(self, shapes: Iterable[Shape]) -> str | None:
        for shape in shapes:
            if shape.class_name not in self._ids:
                return f"{shape.where} has the unknown class name {shown(shape.class_name)}"
        return None

    def _window(self, number: int) -> Box:
        image_id, box = self._request[number].region
        return own_window(box, self._entries[image_id], self._image_size)

    def _is_missing(self, drawn: Drawn, number: int, label: np.ndarray) -> bool:
        """Whether nobody has worked on a region yet."""
        if (label == EMPTY).all():
            return not (drawn.finished and BACKGROUND in self._classes.names)
        return not drawn.finished and drawn.handed_out.get(number) == labels_digest(label)

    def _annotation(
        self, drawn: Drawn, number: int, window: Box, label: np.ndarray
    ) -> Iterator[RegionAnnotation]:
        if number in self._seen:
            self._problems.append(
                f"{drawn.where}: region {number} is drawn in {self._seen[number]} too"
            )
            return
        self._seen[number] = drawn.where
        empty = label == EMPTY
        if empty.any() and BACKGROUND not in self._classes.names and not self._partial:
            self._problems.append(
                f"{drawn.where}: region {number} has no shape on {100 * empty.mean():.2g} % of its "
                "pixels; draw there, or --partial keeps them as ignored"
            )
            return
        rest = self._ids.get(BACKGROUND, self._classes.ignore_id)
        polygons = [
            Polygon(self._ids[shape.class_name], points)
            for shape in drawn.shapes
            for points in shape.outlines
            if _touches(points, window, *drawn.size)
        ]
        yield RegionAnnotation(
            number=number,
            image_id=drawn.image_id,
            window=window,
            label=np.where(empty, rest, label).astype(np.uint8),
            polygons=polygons,
            seconds=drawn.seconds,
        )


def _touches(points: np.ndarray, window: Box, height: int, width: int) -> bool:
    """Whether clicks of a polygon may count in a window; those outside the image are moved in."""
    inside = points.clip(0, [width - 1, height - 1])
    y, x, window_height, window_width = window
    begin, end = np.array([x, y]), np.array([x + window_width, y + window_height])
    return bool((inside.max(axis=0) >= begin).all() and (inside.min(axis=0) <= end).all())
