"""Selecting regions: globally best first, with non-maximum suppression, within a budget.

Suppression acts within one image only. So each image's greedy sequence can be found on its own,
and merging the sequences by rank gives the global order exactly. One image's windows are in memory
at a time: once the budget is spent on what was seen of a list, whatever ranks lower than the first
region it does not pay for can never be chosen, and is not looked at in the images to come.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np

from cereals_tf.acquisition.composition import SELECTIONS, Composition
from cereals_tf.acquisition.lots import Lots
from cereals_tf.acquisition.regions import Region, cut_off
from cereals_tf.data_prep.grid import STRIDE, Box, cells


class Windows(NamedTuple):
    """The dense windows of one image with their scores; all arrays are [rows, columns].

    Attributes:
        image_id: the image's id, unique in the pool.
        height: the windows' height in pixels.
        width: the windows' width in pixels.
        score: float, larger is better; need not be finite where not allowed.
        information: float, what the score was made of.
        cost: float, what the score was made of, in clicks.
        allowed: bool, which windows are candidates.
        lots: settle ties, the lower goes first; None: image id, y and x settle them.
        classes: int >= 0, the class that most of a window is predicted to be, where that counts.
        unlabelled: bool [h, w], the image's cells that are not labelled, where windows may share
            some of them; None: no two windows that are chosen do.
        frame: the image's height and width in pixels, where windows that reach over its edge are
            cut off; None: none does.
    """

    image_id: str
    height: int
    width: int
    score: np.ndarray
    information: np.ndarray
    cost: np.ndarray
    allowed: np.ndarray
    lots: Lots | None = None
    classes: np.ndarray | None = None
    unlabelled: np.ndarray | None = None
    frame: tuple[int, int] | None = None


class Chosen(NamedTuple):
    """A region that is to be annotated, and why.

    Attributes:
        region: where.
        score: its fused score; like what follows, None where the region was drawn at random.
        information: its information, summed over it.
        cost: what annotating it is estimated to take, in clicks or seconds.
    """

    region: Region
    score: float | None = None
    information: float | None = None
    cost: float | None = None


Price = Callable[[Chosen, np.ndarray | None], float]
"""What a region takes from a budget, given which of its cells are new, bool [rows, columns].

None: all those that were not labelled before the selection.
"""


def best_windows(
    ranks: np.ndarray,
    allowed: np.ndarray,
    region_height: int,
    region_width: int,
    max_overlap: float = 0.0,
    floor: float = -math.inf,
    lots: Lots | None = None,
) -> Iterator[tuple[int, int]]:
    """Yield the windows of one image best first, each suppressing what it overlaps.

    Args:
        ranks: float [rows, columns], higher is better; finite where allowed.
        allowed: bool [rows, columns], the candidates.
        region_height: the windows' height in pixels.
        region_width: the windows' width in pixels.
        max_overlap: in [0, 1], the share of a window's area that any one window yielded before
            may cover. No window is yielded twice.
        floor: windows that rank lower are not yielded.
        lots: of equal ranks the window with the lower lot goes first. Without lots, or of equal
            ones, first the upper, then the left one.

    Yields:
        (row, column) in the grid of windows.

    Raises:
        ValueError: the rank of an allowed window is NaN or infinite.
    """
    if not np.isfinite(ranks[allowed]).all():
        raise ValueError("`ranks` must be finite wherever `allowed`. Received: NaN or infinity")
    kept = ~_suppressed(region_height, region_width, max_overlap)
    down, right = kept.shape[0] // 2, kept.shape[1] // 2
    left = np.ascontiguousarray(allowed & (ranks >= floor))
    is_left = memoryview(left.reshape(-1))
    while (places := np.flatnonzero(left)).size:
        for place in _best_to_worst(places, ranks.reshape(-1)[places], lots):
            if is_left[place]:
                row, column = divmod(place, left.shape[1])
                yield row, column
                above, before = max(0, down - row), max(0, right - column)
                near = left[row - down + above : row + down + 1, column - right + before :]
                near = near[:, : 2 * right + 1 - before]
                near &= kept[above:, before:][: near.shape[0], : near.shape[1]]


def _best_to_worst(places: np.ndarray, ranks: np.ndarray, lots: Lots | None) -> list[int]:
    """Return the places with the `_BLOCK` best ranks, and their equals, in order.

    What these suppress need not be sorted, and that is most of a map.
    """
    if len(ranks) > _BLOCK:
        best = ranks >= np.partition(ranks, -_BLOCK)[-_BLOCK]
        places, ranks = places[best], ranks[best]
    order = np.argsort(-ranks, kind="stable")
    ordered = ranks[order]
    if lots and (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((lots.of(places.astype(np.uint64)), -ranks))
    return places[order].tolist()


_BLOCK = 512


class Selection(NamedTuple):
    """What a budget pays for.

    Attributes:
        chosen: the regions, in the order in which they were taken.
        next_price: what the next one would take, or the cheapest of those that were passed over
            if there is no next one; None where none is left.
    """

    chosen: list[Chosen]
    next_price: float | None


def select(
    pool: Iterable[Windows],
    price: Price,
    budget: float,
    max_overlap: float = 0.0,
    composition: Composition = SELECTIONS["best"],
    max_per_image: int | None = None,
) -> Selection:
    """Choose regions of a whole pool, each suppressing what it overlaps.

    The candidates are each image's regions as `best_windows` yields them. They are taken by rank,
    or, where there are lists, in turn from each: the first of each list, then the second of each.
    Strictly in order: the first candidate that is too dear ends the selection, for to skip it would
    trade it for a cheaper but worse one. Only what the whole budget does not pay for is passed
    over, as no other selection would get beyond it. Where windows may share cells, each is new to
    the first candidate of its image that has it, and who has no new ones is no candidate. Of
    several lists every candidate is priced whole, since not all before it need be chosen.

    Args:
        pool: the windows of each image, read once and one image at a time.
        price: what a candidate takes from the budget, in its unit, >= 0. Called for the candidates
            of an image when that image is read.
        budget: the most that all prices together may come to.
        max_overlap: see `best_windows`.
        composition: what ranks windows, and which lists there are.
        max_per_image: no more than so many of an image, those that rank highest, are candidates;
            None: all.

    Returns:
        Regions by turn, descending rank, lot, and ascending image id, y and x.

    Raises:
        ValueError: the score of an allowed window is NaN or infinite, or a price is negative or
            NaN; the message names the image.
    """
    lists: dict[int, _List] = defaultdict(_List)
    cheapest_passed = math.inf
    for windows in pool:
        ranks = composition.rank(windows)
        keys = composition.lists(windows) if composition.lists else None
        own = {key: lists[key] for key in _present(keys, windows.allowed)}
        floor = min((each.floor for each in own.values()), default=math.inf)
        spent = dict.fromkeys(own, 0.0)
        found = _candidates(windows, ranks, keys, max_overlap, floor)
        left = math.inf if max_per_image is None else max_per_image
        for key, rank, lot, chosen, new in found:
            amount = price(chosen, new)
            if amount > budget:
                cheapest_passed = min(cheapest_passed, amount)
                continue
            if key in spent and rank >= own[key].floor:
                own[key].candidates.append(_Candidate(-rank, lot, chosen, amount))
                spent[key] += amount
                if spent[key] > budget:
                    del spent[key]
            left -= 1
            if not spent or not left:
                break
        for each in own.values():
            each.forget(budget)
    selection = _in_turn(lists.values(), budget)
    if selection.next_price is None and cheapest_passed < math.inf:
        return selection._replace(next_price=cheapest_passed)
    return selection


def best_first(
    pool: Iterable[Windows], max_overlap: float = 0.0, limit: int | None = None
) -> list[Chosen]:
    """Return the candidates of a whole pool best first, each suppressing what it overlaps.

    Args:
        pool: the windows of each image, read once and one image at a time.
        max_overlap: see `best_windows`.
        limit: return no more than so many; all where None.

    Raises:
        ValueError: the score of an allowed window is NaN or infinite; the message names its image.
    """
    budget = math.inf if limit is None else limit
    return select(pool, lambda chosen, new: 1.0, budget, max_overlap).chosen


def _present(keys: np.ndarray | None, allowed: np.ndarray) -> list[int]:
    """Return the lists that an image has candidates in; without keys there is one, 0."""
    return [0] if keys is None else np.flatnonzero(np.bincount(keys[allowed])).tolist()


def _candidates(
    windows: Windows, ranks: np.ndarray, keys: np.ndarray | None, max_overlap: float, floor: float
) -> Iterator[tuple[int, float, int, Chosen, np.ndarray | None]]:
    """Yield list, rank, lot and new cells of an image's candidates, best first down to `floor`."""
    ground = None if windows.unlabelled is None else _Ground(windows.unlabelled)
    size, lots, columns = (windows.height, windows.width), windows.lots, windows.score.shape[1]
    try:
        for place in best_windows(ranks, windows.allowed, *size, max_overlap, floor, lots):
            box = _box(windows, *place)
            cost, new = float(windows.cost[place]), None
            if ground:
                new, share = ground.take(box)
                if not share:
                    continue
                new, cost = (new, share * cost) if keys is None else (None, cost)
            score, information = float(windows.score[place]), float(windows.information[place])
            chosen = Chosen(Region(windows.image_id, box), score, information, cost)
            key = 0 if keys is None else int(keys[place])
            lot = 0 if lots is None else lots.of(place[0] * columns + place[1])
            yield key, float(ranks[place]), lot, chosen, new
    except ValueError as error:
        raise ValueError(f"Image {windows.image_id}: {error}") from error


def _box(windows: Windows, row: int, column: int) -> Box:
    box = Box(row * STRIDE, column * STRIDE, windows.height, windows.width)
    return cut_off(box, *windows.frame) if windows.frame else box


class _Ground:
    """The unlabelled cells of an image, each of which one candidate has."""

    def __init__(self, unlabelled: np.ndarray) -> None:
        self._before, self._left = unlabelled, unlabelled.copy()

    def take(self, box: Box) -> tuple[np.ndarray, float]:
        """Return a region's new cells, and their share of the unlabelled ones in it."""
        left = self._left[box.cell_slices]
        new = left.copy()
        left[:] = False
        return new, float(new.sum() / max(1, self._before[box.cell_slices].sum()))


class _Candidate(NamedTuple):
    """A region that may be chosen; of a list, the least goes first."""

    minus_rank: float
    lot: int
    chosen: Chosen
    price: float


_SLACK = 1000
"""How many candidates more than twice the affordable ones are collected before they are sorted."""


class _List:
    """The candidates of one list, of which those that can never be chosen are forgotten.

    Attributes:
        candidates: in any order.
        floor: what ranks lower can never be chosen.
    """

    def __init__(self) -> None:
        self.candidates: list[_Candidate] = []
        self.floor = -math.inf
        self._affordable = 0

    def forget(self, budget: float) -> None:
        """Forget all behind the first that is too dear, once they are many."""
        if len(self.candidates) > 2 * self._affordable + _SLACK:
            self.in_order(budget)

    def in_order(self, budget: float) -> list[_Candidate]:
        """Return the candidates in order, up to the first that is too dear."""
        self.candidates.sort()
        self._affordable = len(within_budget(self.candidates, attrgetter("price"), budget))
        del self.candidates[self._affordable + 1 :]
        if self._affordable < len(self.candidates):
            self.floor = -self.candidates[-1].minus_rank
        return self.candidates


def _in_turn(lists: Iterable[_List], budget: float) -> Selection:
    """Choose the first of each list, the better ones first, then the second of each, and so on."""
    turns = sorted(turn for each in lists for turn in enumerate(each.in_order(budget)))
    candidates = [candidate for _, candidate in turns]
    affordable = within_budget(candidates, attrgetter("price"), budget)
    left = candidates[len(affordable) :]
    chosen = [candidate.chosen for candidate in affordable]
    return Selection(chosen, left[0].price if left else None)


Priced = TypeVar("Priced")


def within_budget(
    candidates: Iterable[Priced], price: Callable[[Priced], float], budget: float
) -> list[Priced]:
    """Return the longest run of candidates from the first on that the budget pays for.

    Args:
        candidates: best first.
        price: what a candidate takes from the budget, in the unit of `budget`, >= 0.
        budget: the most that all prices together may come to.

    Returns:
        The affordable candidates; empty where the first is too dear.

    Raises:
        ValueError: a price is negative or NaN.
    """
    chosen, spent = [], 0.0
    for candidate in candidates:
        amount = price(candidate)
        if not amount >= 0:
            raise ValueError(f"`price` must be >= 0. Received: {amount} for {candidate}")
        spent += amount
        if spent > budget:
            break
        chosen.append(candidate)
    return chosen


def _suppressed(height: int, width: int, max_overlap: float) -> np.ndarray:
    """Return which windows a window suppresses, by their offset in cells from it.

    Args:
        height: the windows' height in pixels.
        width: the windows' width in pixels.
        max_overlap: see `best_windows`.

    Returns:
        bool, both sizes odd; the centre is the window itself.
    """
    offset_y = np.abs(np.arange(1 - cells(height), cells(height)) * STRIDE)
    offset_x = np.abs(np.arange(1 - cells(width), cells(width)) * STRIDE)
    shared = np.outer(height - offset_y, width - offset_x)
    suppressed = shared / (height * width) > max_overlap
    suppressed[cells(height) - 1, cells(width) - 1] = True
    return suppressed
