"""Selection against a brute-force search over all windows of all images."""

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition import selection
from cereals_tf.acquisition.composition import SELECTIONS, compose
from cereals_tf.acquisition.lots import Lots
from cereals_tf.acquisition.regions import Region, allowed_windows, window_grid
from cereals_tf.acquisition.selection import (
    Chosen,
    Windows,
    best_first,
    best_windows,
    select,
    within_budget,
)
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.randomness import derive_seed

STRIDE = 8


def shared_area(a, b):
    one, other = a.box, b.box
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    return max(height, 0) * max(width, 0) if a.image_id == b.image_id else 0


def slow_best_first(pool, max_overlap):
    """Search every window of every image anew for each pick."""
    limit = Fraction(max_overlap)
    left = {
        Region(w.image_id, Box(row * STRIDE, column * STRIDE, w.height, w.width)): w.score[
            row, column
        ]
        for w in pool
        for row, column in np.argwhere(w.allowed)
    }
    while left:
        highest = max(left.values())
        best = min(region for region, score in left.items() if score == highest)
        yield best, left.pop(best)
        left = {
            region: score
            for region, score in left.items()
            if Fraction(shared_area(best, region), region.box.height * region.box.width) <= limit
        }


class FewLots(Lots):
    """Lots of which many are equal."""

    def of(self, places):
        return super().of(places) % 5


@st.composite
def pools(draw, max_overlap):
    """Images of several sizes, scores with many ties, and regions acquired before."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    h, w = (STRIDE * int(n) for n in rng.integers(1, 4, 2))
    pool = []
    for index in range(draw(st.integers(1, 3))):
        height, width = (int(n) for n in rng.integers(20, 75, 2))
        rows, columns = window_grid(height, width, h, w)
        image_id = f"image{9 - index}"
        acquired = [
            Box(int(rng.integers(rows)) * STRIDE, int(rng.integers(columns)) * STRIDE, h, w)
            for _ in range(rng.integers(3) if rows and columns else 0)
        ]
        allowed = allowed_windows(acquired, height, width, h, w, max_overlap)
        score = rng.integers(0, 5, (rows, columns)).astype(np.float32)
        score[~allowed] = np.nan
        lots = FewLots(int(rng.integers(100)))
        classes = rng.integers(0, 3, score.shape)
        arrays = (2 * score, 3 * score, allowed, lots, classes)
        pool.append(Windows(image_id, h, w, score, *arrays))
    return pool


def three_pools(max_overlap):
    def joined(parts):
        pool = [windows for part in parts for windows in part]
        return [windows._replace(image_id=f"image{n}") for n, windows in enumerate(pool)]

    return st.lists(pools(max_overlap), min_size=3, max_size=3).map(joined)


def by_place(pool):
    return [windows._replace(lots=None) for windows in pool]


def slow_select(pool, name, price, budget, max_overlap, max_per_image):
    """Look for each image's best window anew for each candidate, and for the next turn's best."""
    composition = compose(name.split("+"))
    lists, passed = {}, []
    for windows in pool:
        ranks = composition.rank(windows)
        keys = composition.lists(windows) if composition.lists else np.zeros(ranks.shape, int)
        left = {
            Box(row * STRIDE, column * STRIDE, windows.height, windows.width): (row, column)
            for row, column in np.argwhere(windows.allowed).tolist()
        }
        places = np.arange(ranks.size, dtype=np.uint64).reshape(ranks.shape)
        lots = windows.lots.of(places)
        own = 0
        while left and own < (max_per_image or len(places.flat)):
            best = min(left, key=lambda box: (-ranks[left[box]], lots[left[box]], box))
            place, region = left.pop(best), Region(windows.image_id, best)
            order = (-ranks[place], lots[place], region)
            if price(region) > budget:
                passed.append(price(region))
            else:
                own += 1
                lists.setdefault(int(keys[place]), []).append(order)
            left = {
                box: place
                for box, place in left.items()
                if Fraction(shared_area(region, Region(windows.image_id, box)), box.area)
                <= Fraction(max_overlap)
            }
    chosen, lists = [], [sorted(each) for each in lists.values()]
    while any(lists):
        chosen += sorted(each.pop(0) for each in lists if each)
    regions, spent = [], 0
    for *_, region in chosen:
        spent += price(region)
        if spent > budget:
            return regions, price(region)
        regions.append(region)
    return regions, min(passed, default=None)


@settings(max_examples=80)
@given(st.data(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_best_first_equals_brute_force(data, max_overlap):
    pool = by_place(data.draw(pools(max_overlap)))
    untouched = [windows.allowed.copy() for windows in pool]
    found = list(best_first(pool, max_overlap))
    assert [(c.region, c.score) for c in found] == list(slow_best_first(pool, max_overlap))
    assert all((c.information, c.cost) == (2 * c.score, 3 * c.score) for c in found)
    for windows, allowed in zip(pool, untouched, strict=True):
        np.testing.assert_array_equal(windows.allowed, allowed)
    for limit in (0, 1, len(found) // 2):
        assert list(best_first(pool, max_overlap, limit)) == found[:limit]


@pytest.mark.parametrize(("overlap", "suppressed"), [(0.0, 2), (0.5, 1), (0.7, 0)])
def test_overlap_equal_to_the_maximum_is_allowed(overlap, suppressed):
    """In one row of 24-pixel windows, neighbours share 2/3 and 1/3."""
    scores = np.array([[9.0, 0, 0, 0, 0, 0]])
    found = list(best_windows(scores, np.ones((1, 6), bool), 24, 24, overlap))
    assert found[:2] == [(0, 0), (0, 1 + suppressed)]


@pytest.mark.parametrize("hundredths", range(100))
def test_overlap_is_compared_with_the_decimal_that_the_user_typed(hundredths):
    """In floating point, 0.29 * 6400 is below 1856."""
    windows = best_windows(np.zeros((1, 101)), np.ones((1, 101), bool), 8, 800, hundredths / 100)
    assert list(islice(windows, 2)) == [(0, 0), (0, 100 - hundredths)]


def test_whole_images():
    sizes = {"a": (100, 75), "b": (64, 30)}
    pool = [
        Windows(name, *size, *np.full((3, 1, 1), len(name) + size[0]), np.ones((1, 1), bool))
        for name, size in sizes.items()
    ]
    assert [c.region for c in best_first(pool)] == [
        Region("a", Box(0, 0, 100, 75)),
        Region("b", Box(0, 0, 64, 30)),
    ]


def test_regions_do_not_overlap_by_default():
    flat = np.ones((3, 1, 4))
    pool = [Windows("a", 8, 16, *flat, np.ones((1, 4), bool))]
    chosen, next_price = select(pool, lambda candidate, new: 1.0, budget=9)
    assert [candidate.region.box.x for candidate in chosen] == [0, 16]
    assert next_price is None


def test_first_windows_of_a_large_map():
    """Sixteen-cell windows on the map of a 1024 x 2048 image, as in the paper."""
    rng = np.random.default_rng(0)
    scores = rng.random(window_grid(1024, 2048, 128, 128)).astype(np.float32)
    allowed = np.ones_like(scores, bool)
    found = list(best_windows(scores, allowed, 128, 128))
    rows, columns = np.array(found).T
    assert (np.diff(scores[rows, columns]) <= 0).all()
    distance = np.maximum(
        np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns)
    ) + 16 * np.eye(len(found), dtype=int)
    assert distance.min() >= 16
    covered = np.zeros_like(allowed)
    for row, column in found:
        covered[max(row - 15, 0) : row + 16, max(column - 15, 0) : column + 16] = True
    assert covered.all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_score_that_is_not_finite(value):
    scores = np.ones((3, 3), np.float32)
    scores[1, 1] = value
    allowed = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match="finite"):
        list(best_windows(scores, allowed, 8, 8))
    with pytest.raises(ValueError, match=r"street7.*finite"):
        list(best_first([Windows("street7", 8, 8, scores, scores, scores, allowed)]))


def candidate(index, cost):
    return Chosen(Region("a", Box(8 * index, 0, 8, 8)), -float(index), 1.0, cost)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 40))
def test_budget_is_never_exceeded_and_never_saved_for_worse_regions(costs, budget):
    candidates = [candidate(index, cost) for index, cost in enumerate(costs)]
    chosen = within_budget(iter(candidates), lambda c: c.cost, budget)
    assert chosen == candidates[: len(chosen)]
    assert sum(c.cost for c in chosen) <= budget
    if len(chosen) < len(candidates):
        assert sum(costs[: len(chosen) + 1]) > budget


def test_budget_of_the_area_of_four_regions():
    scores = np.random.default_rng(0).random((9, 9))
    pool = [Windows("a", 16, 16, scores, scores, scores, np.ones((9, 9), bool))]
    chosen = within_budget(best_first(pool), lambda c: c.region.box.area, 4 * 256)
    assert chosen == list(islice(best_first(pool), 4))


@pytest.mark.parametrize("price", [-1.0, float("nan")])
def test_price_that_is_none(price):
    with pytest.raises(ValueError, match=r"`price`.*Region\("):
        within_budget([candidate(0, price)], lambda c: c.cost, 10.0)


@pytest.fixture
def small_steps(monkeypatch):
    """Sort few windows at a time, and drop what is too dear after every image."""
    monkeypatch.setattr(selection, "_BLOCK", 2)
    monkeypatch.setattr(selection, "_SLACK", 0)


@pytest.mark.usefixtures("small_steps")
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data(), st.sampled_from([0.0, 0.5]), st.integers(0, 2**32 - 1))
def test_selection_equals_brute_force_however_early_it_forgets(data, max_overlap, seed):
    pool = by_place(data.draw(three_pools(max_overlap)))
    everything = [region for region, _ in slow_best_first(pool, max_overlap)]
    rng = np.random.default_rng(seed)
    prices = {region: int(rng.integers(0, 4)) for region in everything}
    for share in (0.0, 0.1, 0.4, 1.0):
        budget = share * sum(prices.values())
        order = rng.permutation(len(pool))
        chosen, next_price = select(
            (pool[n] for n in order), lambda c, new: prices.get(c.region, 2), budget, max_overlap
        )
        regions = [candidate.region for candidate in chosen]
        payable = [region for region in everything if prices[region] <= budget]
        assert regions == within_budget(payable, prices.get, budget)
        left = payable[len(regions) :]
        passed = [price for price in prices.values() if price > budget]
        assert next_price == (prices[left[0]] if left else min(passed, default=None))


@pytest.mark.usefixtures("small_steps")
def test_an_image_late_in_the_pool_may_tie_with_what_is_too_dear():
    """All score alike, so the ids alone decide, and the last image read goes first."""
    flat = np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool)
    pool = [Windows(name, 8, 8, *flat) for name in "edcba"]
    chosen, next_price = select(pool, lambda candidate, new: 1.0, budget=2)
    assert [candidate.region.image_id for candidate in chosen] == ["a", "b"]
    assert next_price == 1.0


@pytest.mark.usefixtures("small_steps")
def test_of_scores_below_0_the_best_is_chosen_too():
    pool = [
        Windows(name, 8, 8, *np.full((3, 1, 3), score), np.ones((1, 3), bool))
        for name, score in (("a", -1.0), ("b", 0.0))
    ]
    chosen, _ = select(pool, lambda candidate, new: 1.0, budget=1)
    assert [candidate.region.image_id for candidate in chosen] == ["b"]


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("name", [*SELECTIONS, "power+stratified"])
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data(), st.sampled_from([0.0, 0.5]), st.sampled_from([None, 1, 3]))
def test_every_composition_equals_brute_force(name, data, max_overlap, max_per_image):
    pool = data.draw(three_pools(max_overlap))
    rng = np.random.default_rng(len(pool))
    regions, _ = slow_select(pool, name, lambda region: 0, 1, max_overlap, None)
    prices = {region: int(rng.integers(0, 4)) for region in sorted(regions)}
    for share in (0.0, 0.03, 0.3, 1.0):
        budget = share * sum(prices.values())
        found = select(
            (pool[n] for n in rng.permutation(len(pool))),
            lambda chosen, new: prices[chosen.region],
            budget,
            max_overlap,
            compose(name.split("+")),
            max_per_image,
        )
        expected = slow_select(pool, name, prices.get, budget, max_overlap, max_per_image)
        assert ([chosen.region for chosen in found.chosen], found.next_price) == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["best", "first"], "one of best, .* joined by"),
        (["best", "power"], "one that draws and one of several lists"),
        (["stratified", "best"], "one that draws and one of several lists"),
        (["power", "power"], "one that draws and one of several lists"),
        (["power", "stratified", "best"], "one that draws and one of several lists"),
    ],
)
def test_ways_to_compose_that_do_not_go_together(names, said):
    with pytest.raises(ValueError, match=said):
        compose(names)


def test_power_draws_in_proportion_to_the_score():
    """Chi-squared with 3 degrees of freedom; 16.27 is exceeded with a chance of 0.1 %."""
    scores, allowed = np.float32([[1, 2, 0, 5, 2, -3]]), np.ones((1, 6), bool)
    counts = np.zeros(6)
    for key in range(2000):
        windows = Windows("a", 8, 8, scores, scores, scores, allowed, Lots(derive_seed(key)))
        chosen = select(
            [windows], lambda each, new: 1.0, 1.0, composition=SELECTIONS["power"]
        ).chosen
        assert chosen[0].score == scores[0, chosen[0].region.box.x // 8]
        counts[chosen[0].region.box.x // 8] += 1
    assert not counts[[2, 5]].any()
    expected = 2000 * scores[0, [0, 1, 3, 4]] / 10
    assert ((counts[[0, 1, 3, 4]] - expected) ** 2 / expected).sum() < 16.27


def slow_overlapping(pool, budget, max_overlap):
    """Take the best window that is left, pixel by pixel, and pay for what it adds."""
    ground = {windows.image_id: windows.unlabelled.repeat(8, 0).repeat(8, 1) for windows in pool}
    left, whole = {image_id: mask.copy() for image_id, mask in ground.items()}, budget
    for region, score in slow_best_first(pool, max_overlap):
        image_id, box = region
        new = int(left[image_id][box.slices].sum())
        if not new:
            continue
        share = new / ground[image_id][box.slices].sum()
        left[image_id][box.slices] = False
        if new > whole:
            continue
        budget -= new
        if budget < 0:
            return
        yield region, 3 * score * share


@settings(max_examples=20)
@given(st.data(), st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 2**32 - 1))
def test_cells_that_windows_share_are_paid_once(data, max_overlap, seed):
    pool, rng = by_place(data.draw(three_pools(max_overlap))), np.random.default_rng(seed)
    for place, windows in enumerate(pool):
        sides = windows.height // STRIDE - 1, windows.width // STRIDE - 1
        unlabelled = rng.random(np.add(windows.score.shape, sides)) < 0.7
        pool[place] = windows._replace(unlabelled=unlabelled)

    def price(chosen, new):
        assert new.any()
        return 64.0 * new.sum()

    for budget in (1000, 5000, np.inf):
        found = select(pool, price, budget, max_overlap).chosen
        expected = list(slow_overlapping(pool, budget, max_overlap))
        assert [chosen.region for chosen in found] == [region for region, _ in expected]
        costs = [cost for _, cost in expected]
        np.testing.assert_allclose([chosen.cost for chosen in found], costs, rtol=1e-12)


def test_windows_that_reach_over_the_edge_end_there():
    flat = np.ones((2, 3))
    windows = Windows("a", 16, 24, flat, flat, flat, np.ones((2, 3), bool), frame=(20, 36))
    found = best_first([windows], max_overlap=0.9)
    expected = [(y, x, min(16, 20 - y), min(24, 36 - x)) for y in (0, 8) for x in (0, 8, 16)]
    assert [chosen.region.box for chosen in found] == expected
