"""Taking in what annotators drew: everything is checked before anything is stored."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.annotation.doubts import doubts_about
from cereals_tf.annotation.drawn import EMPTY, Drawn, Shape, painted
from cereals_tf.annotation.holes import Hole, draw_holes
from cereals_tf.annotation.tasks import label_ids, labels_digest, request_ids, to_second
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.annotators import short_names
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.folder.waiting import Waiting, refuse_not_waiting
from cereals_tf.data_prep.clicks import may_click_in
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import Problem, SourceLog, refuse
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.data_prep.sources.labelme import BACKGROUND, IGNORE
from cereals_tf.data_prep.text import counted, shown

_MAX_LISTED = 20
_UNKNOWN = "shapes of unknown classes"
_MISPLACED = "files and tasks that are of something else"
_INCOMPLETE = "regions that are not complete"
_TWICE = "regions that are drawn twice"


@dataclass(frozen=True)
class Collected:
    """What a campaign's round has after a collection.

    Attributes:
        waiting: What the round has.
        new: How many regions this collection added.
        changed: How many regions it replaced by something else.
        reasons: Why regions of what came back are missing, by number.
        ignored: What share of regions has no shape and is ignored, by number, above 0, at most 1.
        doubts: What is implausible of what was drawn, by region.
        second: How many regions a second annotator drew of what came back.
    """

    waiting: Waiting
    new: int
    changed: int
    reasons: Mapping[int, str]
    ignored: Mapping[int, float]
    doubts: Sequence[str] = ()
    second: int = 0

    @property
    def summary(self) -> str:
        """What came in and what is missing, for the user to read."""
        waiting = self.waiting
        parts = [
            f"{len(waiting.annotated)} of "
            f"{counted(len(waiting.request), 'region is', 'regions are')} annotated "
            f"({self.new} new, {self.changed} changed)"
        ]
        if self.second:
            parts.append(f"{self.second} drawn by a second annotator")
        if self.ignored:
            most = max(self.ignored, key=lambda number: self.ignored[number])
            parts.append(
                f"parts without a shape are ignored in {_regions(self.ignored)}, at "
                f"most {_percent(self.ignored[most])} of one (region {most})"
            )
        if waiting.skipped:
            parts.append(f"regions skipped: {_listed(sorted(waiting.skipped))}")
        if waiting.missing:
            parts.append(f"regions missing: {self._missing()}")
        return "; ".join(parts)

    def _missing(self) -> str:
        """Return the numbers of missing regions, those of a reason together."""
        of_reason: dict[str, list[int]] = {}
        for number in self.waiting.missing:
            of_reason.setdefault(self.reasons.get(number, ""), []).append(number)
        return ", ".join(
            _listed(numbers) + (f" ({reason})" if reason else "")
            for reason, numbers in of_reason.items()
        )


def _listed(numbers: Sequence[int]) -> str:
    more = len(numbers) - _MAX_LISTED
    listed = ", ".join(map(str, numbers[:_MAX_LISTED]))
    return f"{listed} and {more} more" if more > 0 else listed


def _regions(numbers: Collection[int]) -> str:
    return f"region{'s' * (len(numbers) > 1)} {_listed(sorted(numbers))}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def refuse_loss(loss: str) -> None:
    """Refuse to lose what was drawn.

    Raises:
        UserError: Says what would be lost.
    """
    raise UserError(f"{loss}; --force if that is meant")


def collect(
    campaign: Campaign,
    drawings: Sequence[Drawn],
    partial: float = 0.0,
    skip: Sequence[int] = (),
    say: Callable[[Sequence[Problem]], None] = refuse,
    holes: Path | None = None,
    agree: Callable[[str], object] = refuse_loss,
) -> Collected:
    """Store what was drawn inside the regions that the campaign's round asked for.

    Args:
        campaign: A campaign that waits.
        drawings: What came back.
        partial: The share of a region's pixels, 0 to 1, that may have no shape and is ignored then.
        skip: Numbers of regions that nobody will annotate, whatever was drawn there.
        say: Told what is wrong, before anything is stored. What it does not raise an error for is
            left out: a drawing with a wrong shape, or a region that is not complete.
        holes: A folder for pictures of regions that have parts without a shape.
        agree: Told what drawn work would be lost, before anything is stored: that of regions that
            are skipped, or that somebody else drew before.

    Raises:
        UserError: The campaign is busy or does not wait, or what `say` or `agree` raises. Nothing
            was stored then.
    """
    refuse_not_waiting(campaign)
    with campaign.lock():
        campaign = campaign.reopened()
        asked = refuse_not_waiting(campaign)
        request = asked.request
        for number in skip:
            if number >= len(request):
                raise UserError(f"--skip={number}: the request has regions 0 to {len(request) - 1}")
        ids = request_ids(asked)
        second_ids = list(map(to_second, ids))
        again = [drawn for drawn in drawings if drawn.request in second_ids]
        drawings = [drawn for drawn in drawings if drawn.request not in second_ids]
        check = _Checked(campaign, asked, ids, partial, skip)
        annotations = [found for drawn in drawings for found in check.annotations(drawn)]
        check_again = _Checked(campaign, asked, second_ids, partial, skip)
        second = [found for drawn in again for found in check_again.annotations(drawn)]
        if holes and check.holes:
            draw_holes(campaign, check.holes, holes)
        say([*check.log.problems, *check_again.log.problems])
        store = campaign.annotations
        before = store.annotated()
        losses = [
            *_losses(annotations, before, {*skip} & (before.keys() | check.given_up)),
            *_losses(second, campaign.second_annotations.annotated(), ()),
        ]
        for loss in losses:
            agree(f"{campaign.folder}: {loss}")
        fresh = [
            annotation
            for annotation in annotations
            if annotation.number not in before or not _same(annotation, before[annotation.number])
        ]
        doubts = [*check.doubts, *_unlike_prediction(campaign, fresh)]
        for annotation in annotations:
            store.write(annotation)
        for annotation in second:
            campaign.second_annotations.write(annotation)
        taken = before.keys() | {annotation.number for annotation in annotations}
        declined = {number for drawn in drawings if drawn.skipped for number in drawn.regions}
        for number in sorted({*skip, *(declined - taken)}):
            store.skip(number, request[number].region)
        new = sum(annotation.number not in before for annotation in fresh)
        changed = len(fresh) - new
        now = refuse_not_waiting(campaign)
        doubts += check_again.doubts
        return Collected(now, new, changed, check.reasons, check.ignored, doubts, len(second))


def _losses(
    annotations: Sequence[RegionAnnotation],
    before: Mapping[int, RegionAnnotation],
    given_up: Collection[int],
) -> Iterator[str]:
    """Say what drawn work a collection would lose."""
    if given_up:
        yield f"--skip gives up what is drawn in {_regions(given_up)}"
    by_others: dict[tuple[str, str], list[int]] = {}
    for annotation in annotations:
        was = before.get(annotation.number)
        if was and was.annotator not in ("", annotation.annotator) and not _same(annotation, was):
            of_both = was.annotator, annotation.annotator
            by_others.setdefault(of_both, []).append(annotation.number)
    for pair, numbers in by_others.items():
        was_by, now_by = map(short_names(pair).__getitem__, pair)
        yield (
            f"what {shown(now_by)} drew would replace what {shown(was_by)} drew, in "
            f"{_regions(numbers)}"
        )


def _unlike_prediction(campaign: Campaign, drawn: Sequence[RegionAnnotation]) -> Iterable[str]:
    if not drawn or not campaign.rounds():
        return ()
    load_tensorflow()
    from cereals_tf.annotation.prediction import unlike_prediction

    return unlike_prediction(campaign, drawn)


def _same(one: RegionAnnotation, other: RegionAnnotation) -> bool:
    return np.array_equal(one.label, other.label) and one.seconds == other.seconds


class _Checked:
    """Turns drawings into annotations.

    Attributes:
        log: Is told of what is wrong with them.
        reasons: Why a region is missing, by number.
        ignored: What share of a region has no shape, by number.
        holes: Where a region has no shape, by number.
        given_up: Numbers of regions that are drawn and to be skipped.
        doubts: What is implausible of the regions' polygons.
    """

    def __init__(
        self,
        campaign: Campaign,
        asked: Waiting,
        ids: Sequence[str],
        partial: float,
        skip: Sequence[int],
    ) -> None:
        self.log = SourceLog()
        self.reasons: dict[int, str] = {}
        self.ignored: dict[int, float] = {}
        self.holes: dict[int, Hole] = {}
        self.given_up: set[int] = set()
        self.doubts: list[str] = []
        self._round = asked.round
        self._request_ids = ids
        self._classes: Classes = campaign.data.classes
        self._ids = label_ids(self._classes)
        self._image_size = campaign.image_size
        self._entries: dict[str, ImageEntry] = {
            entry.image_id: entry for entry in campaign.data.images["train"]
        }
        self._request = asked.request
        self._partial = partial
        self._skip = frozenset(skip)
        self._seen: dict[int, str] = {}

    def annotations(self, drawn: Drawn) -> Iterator[RegionAnnotation]:
        """Give the annotations of the regions that are complete in a drawing."""
        if misplaced := self._misplaced(drawn):
            self.log.invalid(_MISPLACED, misplaced)
            return
        numbers = sorted(set(drawn.regions) - self._skip)
        if problems := [*drawn.problems, *self._unknown_classes(drawn.shapes)]:
            self.log.problems += problems
            self.reasons |= dict.fromkeys(numbers, "what came back has problems")
            return
        if drawn.skipped:
            return
        labels = painted(drawn.shapes, self._ids, *drawn.size)
        for number in sorted(drawn.regions):
            window = self._window(number)
            label = labels[window.slices]
            reason = self._missing(drawn, number, label)
            if number in self._skip:
                if not reason:
                    self.given_up.add(number)
            elif reason:
                self.reasons.setdefault(number, reason)
            else:
                yield from self._annotation(drawn, number, window, label)

    def _misplaced(self, drawn: Drawn) -> str | None:
        """Return what is wrong with where a drawing belongs."""
        if drawn.round != self._round:
            return (
                f"{drawn.where}: is of round {drawn.round}, the campaign waits for round "
                f"{self._round}"
            )
        if drawn.request not in self._request_ids:
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

    def _unknown_classes(self, shapes: Iterable[Shape]) -> list[Problem]:
        return [
            Problem(
                _UNKNOWN,
                f"{shape.where} has the unknown class name {shown(shape.class_name)}, expected one "
                f"of the round's classes or {IGNORE}",
            )
            for shape in shapes
            if shape.class_name not in self._ids
        ]

    def _window(self, number: int) -> Box:
        image_id, box = self._request[number].region
        return own_window(box, self._entries[image_id], self._image_size)

    def _missing(self, drawn: Drawn, number: int, label: np.ndarray) -> str:
        """Return why nobody seems to have worked on a region yet; empty if somebody has."""
        if (label == EMPTY).all():
            if drawn.finished and BACKGROUND in self._classes.names:
                return ""
            return "nothing is drawn there"
        if not drawn.finished and drawn.handed_out.get(number) == labels_digest(label):
            return "unchanged from the prediction: tick done if it is right"
        return ""

    def _annotation(
        self, drawn: Drawn, number: int, window: Box, label: np.ndarray
    ) -> Iterator[RegionAnnotation]:
        if number in self._seen:
            self.log.invalid(
                _TWICE, f"{drawn.where}: region {number} is drawn in {self._seen[number]} too"
            )
            return
        self._seen[number] = drawn.where
        empty = label == EMPTY
        if empty.any() and BACKGROUND not in self._classes.names:
            self.holes[number] = Hole(drawn.image_id, window, empty)
            if empty.mean() > self._partial:
                self.log.invalid(
                    _INCOMPLETE,
                    f"{drawn.where}: region {number} has no shape on {_percent(empty.mean())} of "
                    "its pixels; draw there, or --partial keeps them as ignored",
                )
                self.reasons[number] = "not complete"
                return
            self.ignored[number] = float(empty.mean())
        rest = self._ids.get(BACKGROUND, self._classes.ignore_id)
        touching = [
            (shape, points)
            for shape in drawn.shapes
            for points in shape.outlines
            if may_click_in(window, points, *drawn.size)
        ]
        self.doubts += [
            f"region {number}: {doubt}"
            for shape in {id(shape): shape for shape, _ in touching}.values()
            for doubt in doubts_about(shape, *drawn.size)
        ]
        polygons = [
            Polygon(self._ids[shape.class_name], points)
            for shape, points in touching
            if not shape.by_model
        ]
        yield RegionAnnotation(
            number=number,
            image_id=drawn.image_id,
            window=window,
            label=np.where(empty, rest, label).astype(np.uint8),
            polygons=polygons,
            seconds=drawn.seconds,
            assisted=any(shape.by_model for shape, _ in touching),
            annotator=drawn.annotator,
        )
