"""Choosing regions, against loops over every window of every image."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from cereals_tf.acquisition.lots import Lots
from cereals_tf.acquisition.regions import Region, pixels_in
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.oracle import click_grids
from cereals_tf.campaign.folder.regions import Account
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import COST, SEGMENTATION
from cereals_tf.campaign.options import Options, Size
from cereals_tf.campaign.pool.choose import budget_of, choose_initial, choose_scored
from cereals_tf.campaign.pool.draw import tiles_of
from cereals_tf.campaign.pool.files import WindowScores, load_scores, price_in, save_scores
from cereals_tf.campaign.pool.pool import Pool, region_of, resolve_region
from cereals_tf.campaign.pool.scoring import image_maps, score_pool
from cereals_tf.data_prep.dataset import ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.split import Split

ROUND = 3


class ScoredPool(NamedTuple):
    """A scored pool: what `choose_scored` is given."""

    options: Options
    reader: Split
    labelled: dict[str, list[Region]]
    scorer: Scorer
    scores: Path


def decided(model, bias):
    """Give a model weights that make its outputs differ from place to place."""
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 1, variable.shape))
    model.trainable_variables[-1].assign(np.full(model.output.shape[-1], bias))
    return model


@pytest.fixture(scope="module")
def pool_of(toy_data, plugin_folder, tmp_path_factory):
    """Scores a pool with models of random weights, some of it labelled already."""

    def score(image_size="60x90", taken=None, **chosen) -> ScoredPool:
        defaults = {"region": "16x24", "committee": 4, "model": "tiny_plugin:build"}
        defaults["cost_model"] = "tiny_plugin:build"
        options = Options.of(**(defaults | chosen), image_size=image_size)
        data = PreparedData.open(toy_data)
        size = (60, 90) if image_size else None
        reader = Split(data, "train", size)
        first, second, third, _ = reader.images
        labelled = {
            first.image_id: [Box(0, 0, first.height, first.width)],
            second.image_id: [
                Box(8, 16, 16, 24),
                Box(32, 56, 16, 24),
            ],
            third.image_id: [Box(40, 0, 16, 24)],
            **(taken or {}),
        }
        models = Models.at(tmp_path_factory.getbasetemp(), options, data.classes)
        segmentation = decided(models.random(SEGMENTATION), bias=0.0)
        cost = decided(models.random(COST), bias=4.0)
        predicts = options.composition.needs_classes
        scorer = Scorer(segmentation, cost, options.information, options.committee, predicts)
        scores = tmp_path_factory.mktemp("scores")
        score_pool(Pool(options, reader, labelled), scorer, ROUND, scores)
        return ScoredPool(options, reader, labelled, scorer, scores)

    return score


@pytest.fixture(scope="module")
def entropy_pool(pool_of):
    """Scores by entropy and estimated cost, on images that 8 does not divide."""
    return pool_of()


@pytest.fixture(scope="module")
def true_cost_pool(pool_of):
    """The same scored by the ground truth's clicks, on images as they are."""
    return pool_of(image_size="", cost="gt", clicks="vertices+intersections+corners")


def windows(entry, height, width):
    """Yield the corners of all dense windows of an image, in pixels."""
    for y in range(0, entry.height - height + 1, 8):
        for x in range(0, entry.width - width + 1, 8):
            yield y, x


def covered(boxes, entry):
    """Return which pixels lie in a region."""
    mask = np.zeros((entry.height, entry.width), bool)
    for y, x, height, width in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def all_windows(pool):
    """Return every candidate window of the pool as (region, information, estimated cost, cost)."""
    found = []
    for key, entry in enumerate(pool.reader.images):
        height, width = region_of(pool.options, entry)
        mask = covered(pool.labelled.get(entry.image_id, []), entry)
        boxes = [Box(y, x, height, width) for y, x in windows(entry, height, width)]
        boxes = [box for box in boxes if not mask[box.slices].any()]
        if not boxes:
            ys, xs = range(0, entry.height, 8), range(0, entry.width, 8)
            boxes = [
                Box(y, x, min(height, entry.height - y), min(width, entry.width - x))
                for y in ys[: len(ys) - -(height // -8) + 1]
                for x in xs[: len(xs) - -(width // -8) + 1]
            ]
            boxes = [box for box in boxes if not mask[box.slices].all()]
        if boxes:
            scores = load_scores(pool.scores / f"{key:08d}.npy", pool.options)
            arrays = [scores.information, scores.cost_estimated, scores.cost(pool.options)]
            for box in boxes:
                values = (float(array[box.y // 8, box.x // 8]) for array in arrays)
                found.append((Region(entry.image_id, box), *values))
    return found


def lots_of(pool, regions):
    """Return what settles ties between regions, before their order does."""
    if pool.options.selection == ("by_id",):
        return [0] * len(regions)
    whole = Pool(pool.options, pool.reader, pool.labelled)
    columns = {entry.image_id: whole.allowed(entry).shape[1] for entry in pool.reader.images}
    lots = (
        Lots(derive_seed(pool.options.seed, ROUND, "lots", region.image_id)) for region in regions
    )
    places = (box.y // 8 * columns[image_id] + box.x // 8 for image_id, box in regions)
    return [lot.of(place) for lot, place in zip(lots, places, strict=True)]


def brute_force(pool, price, budget):
    """Return the regions that METHOD asks for, by the definitions."""
    everything = all_windows(pool)
    information, _, cost = (np.array(column) for column in list(zip(*everything, strict=True))[1:])
    gain = (information - information.min()) / (information.max() - information.min())
    saving = 1 - (cost - cost.min()) / (cost.max() - cost.min())
    alpha = pool.options.alpha
    fused = {
        "none": information,
        "ratio": information / (cost + 4),
        "product": gain * saving,
        "convex": alpha * gain + (1 - alpha) * saving,
    }[pool.options.fusion]
    regions = [window[0] for window in everything]
    ranked = sorted(zip(-fused, lots_of(pool, regions), regions, strict=True))
    entries = {entry.image_id: entry for entry in pool.reader.images}
    chosen, blocked, spent = [], [], 0.0
    for *_, region in ranked:
        entry = entries[region.image_id]
        same_image = [other.box for other in blocked if other.image_id == region.image_id]
        if (covered(same_image, entry) & covered([region.box], entry)).any():
            continue
        blocked.append(region)
        if price(region) > budget:
            continue
        spent += price(region)
        if spent > budget:
            break
        chosen.append(region)
    return chosen


def choose(pool, price, budget):
    return choose_scored(
        Pool(pool.options, pool.reader, pool.labelled),
        pool.scores,
        lambda candidate, new: price(candidate.region),
        budget,
        ROUND,
    )


def area(region):
    return region.box.height * region.box.width


def price_in_clicks(pool) -> Callable[[Region], float]:
    grids = dict(click_grids(pool.reader, [entry.image_id for entry in pool.reader.images]))
    return lambda region: float(grids[region.image_id].region(*region.box).vertices)


@pytest.mark.parametrize("fusion", ["none", "ratio", "product", "convex"])
@pytest.mark.parametrize("fixture", ["entropy_pool", "true_cost_pool"])
def test_the_best_regions_are_those_of_brute_force(request, fixture, fusion):
    pool = request.getfixturevalue(fixture)
    pool = pool._replace(options=replace(pool.options, fusion=fusion, alpha=0.4))
    by_clicks = price_in_clicks(pool)
    everything = brute_force(pool, area, np.inf)
    assert len(everything) > 15
    assert [candidate.region for candidate in choose(pool, area, np.inf)] == everything
    for price in (area, by_clicks):
        first = price(everything[0])
        total = sum(map(price, everything))
        for budget in (first, 0.3 * total, 0.8 * total):
            chosen = [candidate.region for candidate in choose(pool, price, budget)]
            payable = [region for region in everything if price(region) <= budget]
            assert chosen == brute_force(pool, price, budget) == payable[: len(chosen)]
            assert sum(map(price, chosen)) <= budget
            rest = payable[: len(chosen) + 1]
            assert sum(map(price, rest)) > budget or len(chosen) == len(payable)


def test_a_correction_is_of_what_the_chosen_are_estimated_to_take(entropy_pool):
    pool = Pool(entropy_pool.options, entropy_pool.reader, entropy_pool.labelled)

    def price(candidate, new):
        return candidate.cost

    def chosen(budget, *factor):
        return choose_scored(pool, entropy_pool.scores, price, budget, ROUND, *factor)

    everything = chosen(np.inf)
    budget = sum(candidate.cost for candidate in everything) / 2
    assert 0 < len(chosen(budget)) < len(everything)
    assert chosen(4 * budget, 4.0) == [
        candidate._replace(cost=4 * candidate.cost) for candidate in chosen(budget)
    ]


def test_the_regions_tell_why_they_were_chosen(entropy_pool):
    rows = {window[0]: window[1:] for window in all_windows(entropy_pool)}
    chosen = choose(entropy_pool, area, np.inf)
    for region, _, information, cost in chosen:
        assert (information, cost) == rows[region][:2]
    assert all(first.score >= second.score for first, second in pairwise(chosen))


@pytest.mark.parametrize("fusion", ["none", "ratio"])
def test_ties_are_settled_by_lot_or_by_place(entropy_pool, tmp_path, fusion):
    for path in entropy_pool.scores.iterdir():
        parts = load_scores(path, entropy_pool.options)[:2]
        save_scores(tmp_path / path.name, WindowScores(*(np.rint(part / 4) for part in parts)))
    found = {}
    for selection, seed in (("best", 0), ("best", 1), ("by_id", 0), ("by_id", 1)):
        options = replace(entropy_pool.options, fusion=fusion, selection=(selection,), seed=seed)
        pool = entropy_pool._replace(options=options, scores=tmp_path)
        chosen = choose(pool, area, np.inf)
        assert len({candidate.score for candidate in chosen}) < len(chosen) / 2
        found[selection, seed] = [candidate.region for candidate in chosen]
        assert found[selection, seed] == brute_force(pool, area, np.inf)
    assert found["by_id", 0] == found["by_id", 1]
    assert len({tuple(regions) for regions in found.values()}) == 3


def test_a_window_is_of_the_class_that_most_of_it_is_predicted_to_be(pool_of):
    pool = pool_of(selection="power+stratified")
    images = {record["image/id"].numpy().decode(): record for record in pool.reader.records()}
    classes = set()
    for key, entry in list(enumerate(pool.reader.images))[1:]:
        image = pool.reader.image(images[entry.image_id])
        predicted = pool.scorer.segmentation(image[None]).numpy()[0].argmax(-1)
        unlabelled = ~covered(pool.labelled.get(entry.image_id, []), entry)[::8, ::8]
        scores = load_scores(pool.scores / f"{key:08d}.npy", pool.options)
        for y, x in windows(entry, 16, 24):
            cut = np.s_[y // 8 : y // 8 + 2, x // 8 : x // 8 + 3]
            found = scores.classes[y // 8, x // 8]
            if unlabelled[cut].any():
                assert found == np.bincount(predicted[cut][unlabelled[cut]]).argmax()
                classes.add(found)
    assert len(classes) > 1


def test_power_draws_from_the_seed_and_the_round(pool_of, monkeypatch):
    pool = pool_of(selection="power")
    chosen = choose(pool, area, np.inf)
    assert choose(pool, area, np.inf) == chosen
    assert [each.score for each in chosen] != sorted((each.score for each in chosen), reverse=True)
    assert choose(pool._replace(options=replace(pool.options, seed=1)), area, np.inf) != chosen
    monkeypatch.setattr(f"{__name__}.ROUND", ROUND + 1)
    assert choose(pool, area, np.inf) != chosen


@pytest.mark.parametrize("selection", ["stratified", "power+stratified"])
def test_classes_take_turns(pool_of, tmp_path, selection):
    pool, rng, classes = pool_of(selection=selection), np.random.default_rng(0), {}
    for number, entry in list(enumerate(pool.reader.images))[1:]:
        scores = load_scores(pool.scores / f"{number:08d}.npy", pool.options)
        drawn = rng.integers(0, 3, scores.classes.shape).astype(np.float32)
        save_scores(tmp_path / f"{number:08d}.npy", scores._replace(classes=drawn))
        classes[entry.image_id] = drawn
    turns, taken = [], Counter()
    for image_id, box in (
        each.region for each in choose(pool._replace(scores=tmp_path), area, 1e6)
    ):
        found = classes[image_id][box.y // 8, box.x // 8]
        turns.append(taken[found])
        taken[found] += 1
    assert turns == sorted(turns) and len(taken) == 3


@pytest.mark.parametrize("selection", ["best", "power+stratified"])
def test_no_more_than_so_many_of_an_image(pool_of, selection):
    pool = pool_of(selection=selection, max_per_image=2)
    counts = Counter(each.region.image_id for each in choose(pool, area, np.inf))
    assert list(counts.values()) == [2, 2, 2]


def test_a_budget_below_the_best_region_is_refused(entropy_pool):
    with pytest.raises(UserError, match=r"--budget=5%: .* takes 384 of 383"):
        choose(entropy_pool, area, 383)


@pytest.mark.parametrize("fixture", ["entropy_pool", "true_cost_pool"])
def test_regions_lie_in_their_image_and_overlap_nothing(request, fixture):
    pool = request.getfixturevalue(fixture)
    painted = {
        entry.image_id: covered(pool.labelled.get(entry.image_id, []), entry).astype(int)
        for entry in pool.reader.images
    }
    for region in (candidate.region for candidate in choose(pool, area, np.inf)):
        y, x, _, _ = region.box
        part = painted[region.image_id][y : y + 16, x : x + 24]
        assert part.shape == (16, 24)
        assert (y % 8, x % 8) == (0, 0)
        part += 1
    assert max(mask.max() for mask in painted.values()) == 1


@pytest.mark.parametrize("max_overlap", [0.0, 0.5])
@pytest.mark.parametrize("selection", ["best", "stratified"])
def test_where_no_free_window_is_left_the_unlabelled_cells_compete(pool_of, max_overlap, selection):
    """Of an image all but the partial cells at its edges is labelled, of one a checkerboard."""
    ids = pool_of().labelled
    _, second, third = ids
    board = [Box(y, x, 8, 8) for y in range(0, 60, 8) for x in range(y % 16, 88, 16) if y < 56]
    taken = {second: [Box(0, 0, 56, 88)], third: board}
    pool = pool_of(taken=taken, max_overlap=max_overlap, selection=selection)
    whole = Pool(pool.options, pool.reader, pool.labelled)
    assert whole.leftovers >= {second} and (third in whole.leftovers) == (max_overlap == 0)
    chosen = choose(pool, area, np.inf)
    if max_overlap == 0 and selection == "best":
        assert [each.region for each in chosen] == brute_force(pool, area, np.inf)
    entry = pool.reader.images[1]
    own = [each.region.box for each in chosen if each.region.image_id == second]
    assert {(box.y + box.height == 60) or (box.x + box.width == 90) for box in own} == {True}
    assert covered([*own, Box(0, 0, 56, 88)], entry)[56:].any()


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"region": "16x24"}, [(60, 90), (64, 96), (6, 40)]),
        ({"region": "16x24", "max_overlap": 0.5, "selection": "power"}, [(60, 90), (33, 31)]),
        ({"region": "image", "budget": "90%"}, [(60, 90), (16, 300), (6, 6)]),
        ({"region": "8", "selection": "stratified", "max_per_image": 3}, [(20, 30), (6, 6)]),
    ],
)
def test_round_after_round_everything_is_labelled_and_paid_once(tmp_path, options, images):
    """Scores are drawn; what is labelled is looked up pixel by pixel."""
    options = Options.of(**{"budget": "25%"} | options)
    entries = [ImageEntry(f"image{n}", *size, 0) for n, size in enumerate(images)]
    reader = SimpleNamespace(images=entries)
    painted = {entry.image_id: np.zeros((entry.height, entry.width), int) for entry in entries}
    total = sum(entry.height * entry.width for entry in entries)
    taken: dict[str, list[Box]] = {}
    rng, labelled, rounds = np.random.default_rng(0), 0, 0
    while True:
        rounds += 1
        pool, folder = Pool(options, reader, taken), tmp_path / str(rounds)
        folder.mkdir()
        for place in pool.candidates.values():
            shape = pool.allowed(place.entry).shape
            parts = [rng.random(shape, np.float32) for _ in range(3)]
            parts = parts if options.composition.needs_classes else parts[:2]
            classes = {"classes": np.rint(parts.pop())} if len(parts) > 2 else {}
            save_scores(folder / f"{place.number:08d}.npy", WindowScores(*parts, **classes))
        budget, unit = budget_of(options, entries)
        chosen = choose_scored(pool, folder, price_in(unit, pool, folder), budget, rounds)
        if not chosen:
            break
        account = Account(entries, taken, options)
        spent = 0
        for image_id, box in (each.region for each in chosen):
            new = account.take(Region(image_id, box))
            part = painted[image_id][box.slices]
            assert part.shape == box[2:] and (part == 0).any()
            assert pixels_in(box, new) == (part == 0).sum()
            spent += pixels_in(box, new)
            part += 1
        for image_id, box in (each.region for each in chosen):
            taken.setdefault(image_id, []).append(box)
        assert 0 < spent <= budget
        labelled += spent
        assert labelled == sum((mask > 0).sum() for mask in painted.values())
    assert labelled == total and not pool.candidates


def test_regions_may_overlap_up_to_a_share(pool_of):
    pool = pool_of(max_overlap=0.5)
    chosen = [candidate.region for candidate in choose(pool, area, np.inf)]
    entries = {entry.image_id: entry for entry in pool.reader.images}
    shares = []
    for n, region in enumerate(chosen):
        entry = entries[region.image_id]
        own = [other.box for other in chosen[:n] if other.image_id == region.image_id]
        for other in [*pool.labelled.get(region.image_id, []), *own]:
            shared = covered([region.box], entry) & covered([other], entry)
            shares.append(shared.sum() / area(region))
    assert max(shares) == 0.5
    first = pool.reader.images[0].image_id
    assert not Pool(pool.options, pool.reader, pool.labelled).leftovers
    assert first not in {region.image_id for region in chosen}


@pytest.mark.parametrize("fixture", ["entropy_pool", "true_cost_pool"])
def test_score_files_hold_sums_over_what_is_unlabelled(request, fixture):
    pool = request.getfixturevalue(fixture)
    names = sorted(path.name for path in pool.scores.iterdir())
    assert names == ["00000001.npy", "00000002.npy", "00000003.npy"]
    images = {
        record["image/id"].numpy().decode(): pool.reader.image(record)
        for record in pool.reader.records()
    }
    grids = dict(click_grids(pool.reader, list(images)))
    for key, entry in list(enumerate(pool.reader.images))[1:]:
        maps = image_maps(pool.options, pool.scorer, entry.image_id, images[entry.image_id], 3)
        unlabelled = ~covered(pool.labelled.get(entry.image_id, []), entry)[::8, ::8]
        scores = load_scores(pool.scores / f"{key:08d}.npy", pool.options)
        rows, columns = scores.information.shape
        assert rows * columns == len(list(windows(entry, 16, 24)))
        for y, x in windows(entry, 16, 24):
            cut = np.s_[y // 8 : y // 8 + 2, x // 8 : x // 8 + 3]
            sums = [part[cut][unlabelled[cut]].sum() for part in maps]
            found = [part[y // 8, x // 8] for part in (scores.information, scores.cost_estimated)]
            np.testing.assert_allclose(found, sums, rtol=1e-5, atol=1e-6)
            cost = sums[1] if pool.options.cost == "est" else 0
            if pool.options.cost == "gt":
                cost = sum(grids[entry.image_id].region(y, x, 16, 24, unlabelled[cut]))
            found = scores.cost(pool.options)[y // 8, x // 8]
            np.testing.assert_allclose(found, cost, rtol=1e-5)


@pytest.mark.parametrize("information", ["vote_entropy", "bald", "margin", "least_confidence"])
def test_every_measure_scores_and_goes_on_alike(pool_of, information):
    pool = pool_of(information=information)
    before = {path.name: path.read_bytes() for path in pool.scores.iterdir()}
    for path in sorted(pool.scores.iterdir()):
        values = load_scores(path, pool.options).information
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() > 0
    (pool.scores / "00000002.npy").unlink()
    arguments = (Pool(pool.options, pool.reader, pool.labelled), pool.scorer)
    score_pool(*arguments, 3, pool.scores)
    assert {path.name: path.read_bytes() for path in pool.scores.iterdir()} == before
    if information in ("vote_entropy", "bald"):
        (pool.scores / "00000002.npy").unlink()
        score_pool(*arguments, 4, pool.scores)
        assert (pool.scores / "00000002.npy").read_bytes() != before["00000002.npy"]


def test_random_information_is_uniform_over_windows(pool_of, tmp_path):
    pool = pool_of(information="random", model="tiny_plugin:build_certain")
    drawn = []
    for round_number in range(1, 15):
        scores = tmp_path / str(round_number)
        whole = Pool(pool.options, pool.reader, pool.labelled)
        score_pool(whole, pool.scorer, round_number, scores)
        for path in scores.iterdir():
            drawn.append(load_scores(path, pool.options).information)
    numbers = np.sort(np.concatenate([part.ravel() for part in drawn]))
    assert len(numbers) > 2000
    assert len(np.unique(numbers)) > 0.99 * len(numbers)
    ideal = (np.arange(len(numbers)) + 0.5) / len(numbers)
    assert np.abs(numbers - ideal).max() < 1.95 / np.sqrt(len(numbers))
    place_means = np.mean(drawn, axis=0)
    assert np.abs(place_means - 0.5).max() < 5 / np.sqrt(12 * len(drawn))


@pytest.mark.parametrize("information", ["vote_entropy", "bald"])
def test_a_committee_needs_dropout(pool_of, information):
    with pytest.raises(UserError, match=f"--information={information}: needs a model with dropout"):
        pool_of(information=information, model="tiny_plugin:build_certain")


def test_whole_images(pool_of):
    pool = pool_of(region="image")
    _, second, third, fourth = pool.reader.images
    chosen = [candidate.region for candidate in choose(pool, area, np.inf)]
    assert chosen == brute_force(pool, area, np.inf)
    assert {image_id for image_id, _ in chosen} == {
        entry.image_id for entry in (second, third, fourth)
    }
    labelled = {second.image_id: [Box(0, 0, 60, 90)]}
    score_pool(Pool(pool.options, pool.reader, labelled), pool.scorer, 3, pool.scores)
    pool = pool._replace(labelled=labelled)
    chosen = [candidate.region for candidate in choose(pool, area, np.inf)]
    assert chosen == brute_force(pool, area, np.inf)
    assert len(chosen) == 3 and third.image_id in {region.image_id for region in chosen}
    assert [candidate.region for candidate in choose(pool, area, 2 * 60 * 90)] == chosen[:2]


def initial(reader, **options) -> list[Chosen]:
    return choose_initial(Pool(Options.of(**{"region": "16x24"} | options), reader, {}))


@pytest.fixture(scope="module")
def reader(toy_data):
    return Split(PreparedData.open(toy_data), "train", (60, 90))


@pytest.mark.parametrize(
    ("amount", "count"),
    [("1images", 1), ("3images", 3), ("4images", 4), ("10%", 1), ("50%", 2), ("99%", 3)],
)
def test_a_start_of_whole_images(reader, amount, count):
    chosen = initial(reader, initial=amount)
    ids = [candidate.region.image_id for candidate in chosen]
    assert len(ids) == len(set(ids)) == count
    assert {entry.image_id for entry in reader.images} >= set(ids)
    assert {candidate.region.box for candidate in chosen} == {(0, 0, 60, 90)}
    assert {candidate[1:] for candidate in chosen} == {(None, None, None)}


@pytest.mark.parametrize("initial_by", ["random", "dense"])
def test_a_start_of_regions(reader, initial_by):
    options = {"initial": "20regions", "initial_by": initial_by}
    chosen = [candidate.region for candidate in initial(reader, **options)]
    assert len(set(chosen)) == 20
    for entry in reader.images:
        own = [region for region in chosen if region.image_id == entry.image_id]
        inside = covered([region.box for region in own], entry).sum()
        assert inside == sum(map(area, own))
        tiles = tiles_of(Pool(Options.of(region="16x24"), reader, {}), entry)
        for region in own:
            assert region.box in tiles if initial_by == "random" else area(region) == 16 * 24


@pytest.mark.parametrize("amount", ["2images", "10regions"])
def test_a_start_follows_from_the_seed(reader, amount):
    drawn = [tuple(initial(reader, initial=amount, seed=seed)) for seed in range(30)]
    assert drawn == [tuple(initial(reader, initial=amount, seed=seed)) for seed in range(30)]
    assert len(set(drawn)) > 4
    assert len({candidate.region.image_id for part in drawn for candidate in part}) == 4


@pytest.mark.parametrize(
    ("amount", "region", "found"),
    [
        ("5images", "16", "4 images"),
        ("401regions", "16x24", "regions fit"),
        ("5regions", "image", "only 4 regions fit"),
    ],
)
def test_more_than_there_is_at_the_start_is_refused(reader, amount, region, found):
    with pytest.raises(UserError, match=f"--initial={amount}: .*{found}"):
        initial(reader, initial=amount, region=region)


def test_shares_are_not_rounded_below_whole_images(reader):
    images = reader.images * 25
    for count in range(1, 100):
        budget, unit = budget_of(Options.of(budget=f"{count}images"), images)
        assert (budget, unit) == (count * 60 * 90, "pixels")
        assert budget_of(Options.of(budget=f"{count}%"), images) == (budget, unit)
    assert budget_of(Options.of(budget="30clicks"), images) == (30, "clicks")
    images = reader.images * 6 + reader.images[:2]
    assert budget_of(Options.of(budget="15images"), images)[0] >= 15 * 60 * 90


def test_the_default_region_is_an_eighth_of_the_shortest_side(reader):
    entry = reader.images[0]
    sizes = {(60, 90): 8, (2048, 1024): 128, (720, 960): 88, (9, 8): 8}
    for (height, width), side in sizes.items():
        images = [replace(entry, height=4096, width=4096), replace(entry, height=height)]
        images[1] = replace(images[1], width=width)
        assert resolve_region("auto", images) == (side, side)


def test_a_region_larger_than_an_image_is_refused(reader):
    for region in (Size(64, 24), Size(16, 96), Size(64, 64)):
        with pytest.raises(UserError, match=f"--region={region}: larger than the image .*60x90"):
            resolve_region(region, reader.images)
    with pytest.raises(UserError, match="--region=8: larger than the image 'thin' of 6x200"):
        resolve_region("auto", [*reader.images, ImageEntry("thin", 6, 200, 0)])
    assert resolve_region(Size(56, 88), reader.images) == Size(56, 88)
    assert resolve_region("image", reader.images) == "image"
