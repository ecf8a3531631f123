"""Tiles drawn from a pool: within the budget, disjoint round after round, all alike."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from cereals_tf.acquisition.regions import pixels_in
from cereals_tf.acquisition.tiling import tiling
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.draw import draw, tiles_of
from cereals_tf.campaign.pool.files import price_in
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import Box

ENTRIES = [ImageEntry(f"image{n}", *size, 0) for n, size in enumerate([(60, 90)] * 3 + [(6, 50)])]
TOTAL = 3 * 60 * 90 + 6 * 50


def pool_of(taken=None, **options):
    options = Options.of(**{"region": "16x24", "information": "random_grid"} | options)
    return Pool(options, SimpleNamespace(images=ENTRIES), taken or {})


def area(chosen, new):
    return float(pixels_in(chosen.region.box, new))


@pytest.mark.parametrize("taken", [{}, {"image1": [Box(8, 16, 32, 32)]}])
def test_round_after_round_the_tiles_cover_everything_once(taken):
    painted = {entry.image_id: np.zeros((entry.height, entry.width), int) for entry in ENTRIES}
    for image_id, boxes in taken.items():
        for box in boxes:
            painted[image_id][box.slices] = 1
    taken = {image_id: list(boxes) for image_id, boxes in taken.items()}
    for round_number in range(1, 20):
        pool = pool_of(taken)
        found = draw(pool, price_in("pixels", pool, None), TOTAL / 7, round_number)
        spent = 0
        for image_id, box in (chosen.region for chosen in found.chosen):
            assert box in tiles_of(pool, next(e for e in ENTRIES if e.image_id == image_id))
            part = painted[image_id][box.slices]
            spent += (part == 0).sum()
            assert (part == 0).any()
            part[:] = 1
            taken.setdefault(image_id, []).append(box)
        assert spent <= TOTAL / 7
        if not found.chosen:
            break
    assert all(mask.all() for mask in painted.values())
    assert (found.next_price, pool.candidates) == (None, {})


def test_a_draw_follows_from_the_seed_and_the_round():
    drawn = {
        (seed, number): tuple(draw(pool_of(seed=seed), area, 4000, number).chosen)
        for seed in (0, 1)
        for number in (1, 2)
    }
    assert len(set(drawn.values())) == 4
    assert tuple(draw(pool_of(seed=1), area, 4000, 2).chosen) == drawn[1, 2]
    tilings = [tiles_of(pool_of(seed=seed), ENTRIES[0]) for seed in range(9)]
    assert tilings[0] in [tiling(60, 90, 16, 24, seed) for seed in range(200)]
    assert len(set(map(tuple, tilings))) > 3


def test_all_images_are_drawn_alike():
    """Chi-squared with 2 degrees of freedom; 13.8 is exceeded with a chance of 0.1 %."""
    counts = Counter(
        chosen.region.image_id
        for seed in range(300)
        for chosen in draw(pool_of(seed=seed), lambda chosen, new: 1.0, 1, 1).chosen
        if chosen.region.image_id != "image3"
    )
    expected = counts.total() / 3
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 13.8


def test_tiles_that_no_budget_pays_for_are_passed_over():
    found = draw(pool_of(), area, 200, 1)
    assert 0 < sum(each.region.box.area for each in found.chosen) <= 200
    found = draw(pool_of({"image3": [Box(0, 0, 6, 50)]}, region="image"), area, 200, 1)
    assert (found.chosen, found.next_price) == ([], 60 * 90)


def test_no_more_than_so_many_of_an_image_and_their_cost():
    found = draw(pool_of(max_per_image=2), area, np.inf, 1, cost_per_pixel=0.01)
    assert set(Counter(each.region.image_id for each in found.chosen).values()) == {2}
    for (_, box), score, information, cost in found.chosen:
        assert (score, information) == (None, None)
        assert cost == pytest.approx(0.01 * box.area)
