"""Selecting regions: globally best first, with non-maximum suppression, within a budget.

Suppression acts within one image only. So each image's greedy sequence can be found on its own,
and merging the sequences by score gives the global order exactly. One image's windows are in memory
at a time: once the budget is spent on what was seen, whatever scores less than the first region it
does not pay for can never be chosen, and is not looked at in the images to come.
Ties break by image id, then y, then x.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple, TypeVar

import numpy as np

from cereals_tf.acquisition.regions import Region
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
    """

    image_id: str
    height: int
    width: int
    score: np.ndarray
    information: np.ndarray
    cost: np.ndarray
    allowed: np.ndarray


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


def best_windows(
    scores: np.ndarray,
    allowed: np.ndarray,
    region_height: int,
    region_width: int,
    max_overlap: float = 0.0,
    floor: float = -math.inf,
) -> Iterator[tuple[int, int]]:
    """Yield the windows of one image best first, each suppressing what it overlaps.

    Args:
        scores: float [rows, columns], finite where allowed.
        allowed: bool [rows, columns], the candidates.
        region_height: the windows' height in pixels.
        region_width: the windows' width in pixels.
        max_overlap: in [0, 1], the share of a window's area that any one window yielded before
            may cover. No window is yielded twice.
        floor: windows that score less are not yielded.

    Yields:
        (row, column) in the grid of windows; of equal scores first the upper, then the left one.

    Raises:
        ValueError: the score of an allowed window is NaN or infinite.
    """
    if not np.isfinite(scores[allowed]).all():
        raise ValueError("`scores` must be finite wherever `allowed`. Received: NaN or infinity")
    kept = ~_suppressed(region_height, region_width, max_overlap)
    down, right = kept.shape[0] // 2, kept.shape[1] // 2
    left = np.ascontiguousarray(allowed & (scores >= floor))
    is_left = memoryview(left.reshape(-1))
    while (places := np.flatnonzero(left)).size:
        for place in _best_to_worst(places, scores.reshape(-1)[places]):
            if is_left[place]:
                row, column = divmod(place, left.shape[1])
                yield row, column
                above, before = max(0, down - row), max(0, right - column)
                near = left[row - down + above : row + down + 1, column - right + before :]
                near = near[:, : 2 * right + 1 - before]
                near &= kept[above:, before:][: near.shape[0], : near.shape[1]]


def _best_to_worst(places: np.ndarray, values: np.ndarray) -> list[int]:
    """Return the places with the `_BLOCK` best values, and their equals, in order.

    What these suppress need not be sorted, and that is most of a map.
    """
    if len(values) > _BLOCK:
        best = values >= np.partition(values, -_BLOCK)[-_BLOCK]
        places, values = places[best], values[best]
    return places[np.argsort(-values, kind="stable")].tolist()


_BLOCK = 512


class Selection(NamedTuple):
    """What a budget pays for.

    Attributes:
        chosen: the candidates, best first.
        next_price: what the best candidate that is left would take; None where none is left.
    """

    chosen: list[Chosen]
    next_price: float | None


def select(
    pool: Iterable[Windows],
    price: Callable[[Chosen], float],
    budget: float,
    max_overlap: float = 0.0,
) -> Selection:
    """Choose the best candidates of a whole pool, each suppressing what it overlaps.

    Strictly in order: the first candidate that is too dear ends the selection, for to skip it would
    trade it for a cheaper but worse one.

    Args:
        pool: the windows of each image, read once and one image at a time.
        price: what a candidate takes from the budget, in the unit of `budget`, >= 0. Called for
            the candidates of an image when that image is read.
        budget: the most that all prices together may come to.
        max_overlap: see `best_windows`.

    Returns:
        Candidates by descending score, then ascending image id, y and x.

    Raises:
        ValueError: the score of an allowed window is NaN or infinite, or a price is negative or
            NaN; the message names the image.
    """
    best: list[tuple[Chosen, float]] = []
    affordable, floor = 0, -math.inf
    for windows in pool:
        best += _until_spent(_candidates(windows, max_overlap, floor), price, budget)
        if len(best) > 2 * affordable + _SLACK:
            affordable = _keep_affordable(best, budget)
            floor = _score(best[affordable][0]) if affordable < len(best) else -math.inf
    affordable = _keep_affordable(best, budget)
    chosen = [candidate for candidate, _ in best[:affordable]]
    return Selection(chosen, best[affordable][1] if affordable < len(best) else None)


def _until_spent(
    candidates: Iterable[Chosen], price: Callable[[Chosen], float], budget: float
) -> Iterator[tuple[Chosen, float]]:
    """Yield candidates of one image with their prices, up to the first that is too dear."""
    spent = 0.0
    for candidate in candidates:
        amount = price(candidate)
        yield candidate, amount
        spent += amount
        if spent > budget:
            return


def _score(candidate: Chosen) -> float:
    """Return a candidate's score, which all but the regions of round 0 have."""
    assert candidate.score is not None
    return candidate.score


_SLACK = 1000
"""How many candidates more than twice the affordable ones are collected before they are sorted."""


def _keep_affordable(best: list[tuple[Chosen, float]], budget: float) -> int:
    """Sort candidates with their prices, and drop all behind the first that is too dear.

    Returns:
        How many the budget pays for.
    """
    best.sort(key=lambda priced: (-_score(priced[0]), priced[0].region))
    affordable = len(within_budget(best, itemgetter(1), budget))
    del best[affordable + 1 :]
    return affordable


def best_first(
    pool: Iterable[Windows], max_overlap: float = 0.0, limit: int | None = None
) -> Iterator[Chosen]:
    """Yield the candidates of a whole pool best first, each suppressing what it overlaps.

    Args:
        pool: the windows of each image, read once and one image at a time.
        max_overlap: see `best_windows`.
        limit: yield no more than so many; all where None.

    Yields:
        Candidates by descending score, then ascending image id, y and x.

    Raises:
        ValueError: the score of an allowed window is NaN or infinite; the message names its image.
    """
    budget = math.inf if limit is None else limit
    yield from select(pool, lambda candidate: 1.0, budget, max_overlap).chosen


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


def _candidates(windows: Windows, max_overlap: float, floor: float) -> Iterator[Chosen]:
    """Yield the candidates of one image that score at least `floor`, best first."""
    image_id, height, width, score, information, cost, allowed = windows
    try:
        for row, column in best_windows(score, allowed, height, width, max_overlap, floor):
            yield Chosen(
                Region(image_id, Box(row * STRIDE, column * STRIDE, height, width)),
                float(score[row, column]),
                float(information[row, column]),
                float(cost[row, column]),
            )
    except ValueError as error:
        raise ValueError(f"Image {image_id}: {error}") from error


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
