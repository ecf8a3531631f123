"""Drawing regions at random so that all pixels of the pool are drawn alike: tiles of a grid."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from cereals_tf.acquisition.lots import Lots
from cereals_tf.acquisition.regions import Region, pixels_in
from cereals_tf.acquisition.selection import Chosen, Price, Selection
from cereals_tf.acquisition.tiling import tiling
from cereals_tf.campaign.pool.pool import Pool, region_of
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.randomness import derive_seed


def draw(
    pool: Pool, price: Price, budget: float, round_number: int, cost_per_pixel: float | None = None
) -> Selection:
    """Draw tiles of a whole pool within a budget, in the manner of `select`.

    Args:
        pool: What there is to draw from.
        price: What a region takes from the budget.
        budget: The budget, in the unit of `price`.
        round_number: The round; the order is drawn from the seed, it and the image.
        cost_per_pixel: What a pixel is expected to cost, in clicks or seconds; None: unknown.
    """
    chosen, spent, counts, cheapest_passed = [], 0.0, Counter[str](), math.inf
    most = pool.options.max_per_image or math.inf
    for region, new in drawn_tiles(pool, round_number):
        if counts[region.image_id] >= most:
            continue
        cost = None if cost_per_pixel is None else cost_per_pixel * pixels_in(region.box, new)
        candidate = Chosen(region, cost=cost)
        amount = price(candidate, new)
        if amount > budget:
            cheapest_passed = min(cheapest_passed, amount)
            continue
        spent += amount
        if spent > budget:
            return Selection(chosen, amount)
        counts[region.image_id] += 1
        chosen.append(candidate)
    return Selection(chosen, cheapest_passed if cheapest_passed < math.inf else None)


def drawn_tiles(pool: Pool, round_number: int) -> Iterator[tuple[Region, np.ndarray]]:
    """Yield the tiles with unlabelled cells in random order, and which cells these are."""
    entries = [image.entry for image in pool.candidates.values()]
    tiles = [tiles_of(pool, entry) for entry in entries]
    lots, places = [], []
    for number, entry in enumerate(entries):
        seed = derive_seed(pool.options.seed, round_number, "tiles", entry.image_id)
        count = len(tiles[number])
        lots.append(Lots(seed).of(np.arange(count, dtype=np.uint64)))
        places.append(np.stack([np.full(count, number), np.arange(count)], axis=1))
    order = np.argsort(np.concatenate([np.empty(0, np.uint64), *lots]), kind="stable")
    for number, place in np.concatenate([np.empty((0, 2), int), *places])[order].tolist():
        entry = entries[number]
        box = tiles[number][place]
        new = pool.unlabelled(entry)[box.cell_slices]
        if new.any():
            yield Region(entry.image_id, box), new


def tiles_of(pool: Pool, entry: ImageEntry) -> list[Box]:
    """Return the tiles of an image, the same in all rounds: those that are left fit together."""
    seed = derive_seed(pool.options.seed, "tiling", entry.image_id)
    return tiling(entry.height, entry.width, *region_of(pool.options, entry), seed)
