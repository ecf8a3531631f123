"""Choosing a round's regions: at random for round 0, else by score over the whole pool."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.fusion import UNSCALED, Scale
from cereals_tf.acquisition.information import random_windows
from cereals_tf.acquisition.lots import Lots
from cereals_tf.acquisition.plugins import find_fusion
from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import (
    Chosen,
    Price,
    Selection,
    Windows,
    best_first,
    select,
)
from cereals_tf.campaign.options import COST_UNITS, Options
from cereals_tf.campaign.pool.draw import draw, drawn_tiles
from cereals_tf.campaign.pool.files import WindowScores, load_scores, path_of
from cereals_tf.campaign.pool.pool import Pool, PoolImage, region_of
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.text import counted
from cereals_tf.trainers.randomness import derive_seed


def choose_initial(pool: Pool) -> list[Chosen]:
    """Draw the regions of round 0 with the seed.

    Raises:
        UserError: More is asked for than the train split has.
    """
    amount, seed = pool.options.initial, initial_seed(pool)
    if amount.unit == "regions":
        return _initial_regions(pool, int(amount.number), seed)
    order = np.random.default_rng(seed).permutation(len(pool.images))
    return whole_images(pool, order[: initial_count(pool)])


def initial_seed(pool: Pool) -> int:
    """Return what round 0 is drawn with."""
    return derive_seed(pool.options.seed, 0, "initial")


def initial_count(pool: Pool) -> int:
    """Return how many whole images round 0 annotates.

    Raises:
        UserError: More than the train split has.
    """
    amount, images = pool.options.initial, len(pool.images)
    count = int(amount.number)
    if amount.unit == "%":
        count = max(1, int(amount.number * images / 100))
    if count > images:
        raise UserError(f"--initial={amount}: the train split has {counted(images, 'image')}")
    return count


def whole_images(pool: Pool, places: np.ndarray) -> list[Chosen]:
    """Return images as regions, in order, given their places among the pool's, int [N]."""
    images = pool.images
    entries = (images[place] for place in sorted(places.tolist()))
    return [Chosen(Region(one.image_id, Box(0, 0, one.height, one.width))) for one in entries]


def _initial_regions(pool: Pool, count: int, seed: int) -> list[Chosen]:
    if pool.options.initial_by == "dense":
        regions = _dense_regions(pool, count, seed)
    else:
        regions = [region for region, _ in islice(drawn_tiles(pool, 0), count)]
    if len(regions) < count:
        fitting = counted(len(regions), "region fits", "regions fit")
        raise UserError(f"--initial={pool.options.initial}: only {fitting}")
    return list(map(Chosen, regions))


def _dense_regions(pool: Pool, count: int, seed: int) -> list[Region]:
    def windows(key: int, entry: ImageEntry) -> Windows:
        allowed = pool.allowed(entry)
        numbers = random_windows(seed, key, allowed.shape)
        size = region_of(pool.options, entry)
        frame = frame_of(pool, entry)
        return Windows(entry.image_id, *size, numbers, numbers, numbers, allowed, frame=frame)

    drawn = (windows(*image) for image in pool.numbered)
    return [chosen.region for chosen in best_first(drawn, limit=count)]


def choose_drawn(
    pool: Pool, price: Price, budget: float, round_number: int, cost_per_pixel: float | None = None
) -> list[Chosen]:
    """Draw tiles of the pool within the budget, see `draw`.

    Raises:
        UserError: The budget does not pay for any.
    """
    selection = draw(pool, price, budget, round_number, cost_per_pixel)
    return _refuse_poor(pool.options, selection, budget)


def choose_scored(
    pool: Pool,
    folder: Path,
    price: Price,
    budget: float,
    round_number: int,
    correction: float = 1.0,
) -> list[Chosen]:
    """Select regions of the scored pool within the budget, see `select_scored`.

    Args:
        pool: What there is to choose from.
        folder: The window scores that `score_pool` wrote.
        price: What a region takes from the budget, see `select`.
        budget: The budget, in the unit of `price`.
        round_number: The round.
        correction: Factor on what a chosen region is estimated to take.

    Raises:
        UserError: The budget does not pay for any candidate.
    """

    def corrected(chosen: Chosen) -> Chosen:
        assert chosen.cost is not None
        return chosen._replace(cost=chosen.cost * correction)

    def corrected_price(chosen: Chosen, new: np.ndarray | None) -> float:
        return price(corrected(chosen), new)

    selection = select_scored(pool, folder, corrected_price, budget, round_number)
    return list(map(corrected, _refuse_poor(pool.options, selection, budget)))


def select_scored(
    pool: Pool, folder: Path, price: Price, budget: float, round_number: int
) -> Selection:
    """Select regions of the scored pool within the budget, in the order of the selection.

    Args:
        pool: What there is to choose from.
        folder: The window scores that `score_pool` wrote.
        price: What a region takes from the budget, see `select`.
        budget: The budget, in the unit of `price`.
        round_number: The round; lots are drawn from the seed, it, the image and the window.
    """
    options = pool.options
    fusion = find_fusion(options.fusion, vars(options))
    scales = _scales(pool, folder) if fusion.scaled else UNSCALED

    composition = options.composition

    def lots_of(image_id: str) -> Lots | None:
        seed = derive_seed(options.seed, round_number, "lots", image_id)
        return Lots(seed) if composition.draws_lots else None

    def fused(image: PoolImage, scores: WindowScores, allowed: np.ndarray) -> Windows:
        score = np.asarray(fusion.score(scores.information, scores.cost(options), scales))
        return Windows(
            image.entry.image_id,
            *region_of(options, image.entry),
            score,
            scores.information,
            scores.cost_estimated,
            allowed,
            lots_of(image.entry.image_id),
            scores.classes,
            pool.unlabelled(image.entry) if options.max_overlap else None,
            frame_of(pool, image.entry),
        )

    return select(
        (fused(*scored) for scored in _scored(pool, folder)),
        price,
        budget,
        options.max_overlap,
        composition,
        options.max_per_image or None,
    )


def _refuse_poor(options: Options, selection: Selection, budget: float) -> list[Chosen]:
    """Return what is chosen; raise UserError where there is something, but nothing payable."""
    if not selection.chosen and selection.next_price is not None:
        raise UserError(
            f"--budget={options.budget}: does not pay for any region that is left, the cheapest "
            f"takes {selection.next_price:g} of {budget:g}"
        )
    return selection.chosen


def frame_of(pool: Pool, entry: ImageEntry) -> tuple[int, int] | None:
    """Return an image's size where windows may reach over its edge, and are cut off there."""
    return (entry.height, entry.width) if entry.image_id in pool.leftovers else None


def _scored(pool: Pool, folder: Path) -> Iterator[tuple[PoolImage, WindowScores, np.ndarray]]:
    """Yield each image that has candidates, with its window scores and its allowed windows."""
    for image in pool.candidates.values():
        scores = load_scores(path_of(folder, image.number), pool.options)
        yield image, scores, pool.allowed(image.entry)


def _scales(pool: Pool, folder: Path) -> tuple[Scale, Scale]:
    """Return the ranges of information and cost over the candidates of the pool."""
    ranges = []
    for _, scores, allowed in _scored(pool, folder):
        parts = (scores.information[allowed], scores.cost(pool.options)[allowed])
        ranges.append([(part.min(), part.max()) for part in parts])
    if not ranges:
        return Scale(0.0, 0.0), Scale(0.0, 0.0)
    low, high = np.min(ranges, axis=0)[:, 0], np.max(ranges, axis=0)[:, 1]
    return Scale(float(low[0]), float(high[0])), Scale(float(low[1]), float(high[1]))


def budget_of(options: Options, images: Sequence[ImageEntry]) -> tuple[float, str]:
    """Return a round's budget and its unit, `pixels`, `clicks` or `seconds`."""
    amount = options.budget
    if amount.unit in COST_UNITS:
        return amount.number, amount.unit
    pixels = sum(entry.height * entry.width for entry in images)
    whole = 100 if amount.unit == "%" else len(images)
    return amount.number * pixels / whole, "pixels"
