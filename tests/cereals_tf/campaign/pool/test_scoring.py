"""Scoring the pool: batches, what is left to do, shares of several processes."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.oracle import click_grids
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool import calibration, scoring
from cereals_tf.campaign.pool.calibration import pool_rank_correlation
from cereals_tf.campaign.pool.choose import choose_scored
from cereals_tf.campaign.pool.files import (
    WindowScores,
    load_scores,
    path_of,
    price_in,
    save_scores,
)
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.pool.scoring import plan_batches, score_pool
from cereals_tf.campaign.pool.share import ALL, Share, parse_share
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import fitted_options
from cereals_tf.data_prep.dataset import ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.trainers.split import Split

MIXED = (("a", 5, 64, 96), ("b", 4, 72, 80), ("c", 2, 64, 96))
"""Cities of the mixed data set: name, images, height, width."""


@pytest.fixture(scope="module")
def mixed_data(tmp_path_factory):
    """Eleven train images, the sizes of which change twice."""
    folder = tmp_path_factory.mktemp("mixed")
    for seed, (city, images, height, width) in enumerate(MIXED):
        write_toy(folder / city, images, 1, height, width, seed)
        for kind in ("leftImg8bit", "gtFine"):
            target = folder / "streets" / kind
            shutil.copytree(folder / city / kind / "val", target / "val", dirs_exist_ok=True)
            for path in (folder / city / kind / "train" / "toytown").iterdir():
                (target / "train" / city).mkdir(parents=True, exist_ok=True)
                path.rename(target / "train" / city / path.name.replace("toytown", city))
    prepare(folder / "streets", folder / "data", "cityscapes")
    return folder / "data"


@pytest.fixture
def pool_of(mixed_data, plugin_folder, monkeypatch):
    """Makes a pool, two of its images labelled in part and one in full, and a scorer for it."""
    monkeypatch.setattr(scoring, "PIXELS_PER_BATCH", 2 * 64 * 96)

    def make(**chosen) -> tuple[Pool, Scorer]:
        models = {"model": "tiny_plugin:build", "cost_model": "tiny_plugin:build"}
        options = Options.of(**({"region": "16x24", "committee": 3} | models | chosen))
        data = PreparedData.open(mixed_data)
        reader = Split(data, "train")
        ids = [entry.image_id for entry in reader.images]
        labelled = {
            ids[1]: [Box(0, 0, 64, 96)],
            ids[2]: [Box(8, 16, 16, 24)],
            ids[6]: [Box(56, 0, 16, 24)],
        }
        models = map(Models.at(Path(), options, data.classes).random, TASKS)
        scorer = Scorer(*models, options.information, options.committee)
        return Pool(options, reader, labelled), scorer

    return make


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


sizes = st.lists(st.sampled_from([(8, 8), (8, 16), (256, 1024), (512, 1024), (1024, 2048)]))


@given(sizes, st.booleans())
def test_batches_are_neighbours_of_one_size_that_fit(sizes, draws):
    images = [ImageEntry(str(n), *size, 0) for n, size in enumerate(sizes)]
    pool = Pool(Options.of(region="8"), SimpleNamespace(images=images), {})
    batches = plan_batches(pool, SimpleNamespace(draws=draws))
    assert [place for batch in batches for place in batch] == list(enumerate(images))
    for n, batch in enumerate(batches):
        pixels = [place.entry.height * place.entry.width for place in batch]
        assert len({(place.entry.height, place.entry.width) for place in batch}) == 1
        assert len(batch) == 1 or (sum(pixels) <= 512 * 1024 and not draws)
        for following in batches[n + 1 : n + 2]:
            entry, after = batch[0].entry, following[0].entry
            fits = sum(pixels) + pixels[0] <= 512 * 1024
            assert draws or not fits or (entry.height, entry.width) != (after.height, after.width)


@given(st.lists(st.integers(), max_size=30), st.integers(1, 12))
def test_shards_are_equal_parts_of_the_whole(items, count):
    parts = [Share(number, count).of(items) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items == ALL.of(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parse_share(f"{count}/{count}") == Share(count, count) == parse_share(f"0/{count}")


@pytest.mark.parametrize(
    "text", ["", "1", "5/4", "1/0", "0/0", "-1/4", "1/4/2", "a/b", "1.0/2", " 1/2", "²/4"]
)
def test_other_shards_are_refused(text, refused, tmp_path):
    with pytest.raises(UserError, match="expected I/N, I from 1 to N"):
        parse_share(text)
    if text:
        assert "--shard" in refused("score", tmp_path, f"--shard={text}")


@pytest.mark.parametrize(
    "options",
    [
        {"information": "entropy"},
        {"information": "bald", "budget": "100clicks"},
        {"information": "random", "cost": "gt", "region": "image"},
    ],
    ids=lambda options: options["information"],
)
def test_whatever_was_done_before_the_files_are_the_same(tmp_path, pool_of, options):
    pool, scorer = pool_of(**options)
    assert score_pool(pool, scorer, 2, tmp_path / "whole") == 10
    expected = bytes_of(tmp_path / "whole")
    wanted = {place.number for place in pool.candidates.values()}
    assert set(expected) == {f"{number:08d}.npy" for number in wanted}

    shared = tmp_path / "shared"
    for number in (3, 1, 2, 3):
        score_pool(pool, scorer, 2, shared, Share(number, 3))
    assert bytes_of(shared) == expected

    resumed = tmp_path / "resumed"
    score_pool(pool, scorer, 2, resumed, Share(2, 4))
    for name in sorted(expected)[::2]:
        (resumed / name).unlink(missing_ok=True)
    kept = {path: path.stat().st_mtime_ns for path in resumed.iterdir()}
    score_pool(pool, scorer, 2, resumed)
    assert bytes_of(resumed) == expected
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_committee_draws_anew_for_each_seed_round_and_image(tmp_path, pool_of):
    pool, scorer = pool_of(information="bald", committee=2)
    pools = {0: pool, 1: replace(pool, options=replace(pool.options, seed=1))}
    found = []
    for seed, number in ((0, 1), (0, 2), (0, 3), (1, 1)):
        score_pool(pools[seed], scorer, number, tmp_path / f"{seed}-{number}")
        found.append(bytes_of(tmp_path / f"{seed}-{number}"))
    for one, other in itertools.combinations(found, 2):
        assert all(one[name] != other[name] for name in one)
    image = next(iter(pool.reader.records().map(pool.reader.image)))
    maps = [scoring.image_maps(pool.options, scorer, image_id, image, 1)[0] for image_id in "aba"]
    assert (maps[0] == maps[2]).all() and (maps[0] != maps[1]).any()


def test_images_in_batches_score_as_alone(tmp_path, pool_of, monkeypatch):
    pool, scorer = pool_of()
    score_pool(pool, scorer, 1, tmp_path / "batches")
    monkeypatch.setattr(scoring, "PIXELS_PER_BATCH", 1)
    assert {len(batch) for batch in plan_batches(pool, scorer)} == {1}
    score_pool(pool, scorer, 1, tmp_path / "alone")
    for path in (tmp_path / "batches").iterdir():
        paths = (path, tmp_path / "alone" / path.name)
        pairs = zip(*(load_scores(each, pool.options) for each in paths), strict=True)
        for found, expected in list(pairs)[:2]:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_size", [None, (60, 90)])
def test_prices_are_what_the_oracle_counts(tmp_path, pool_of, image_size):
    pool, scorer = pool_of(budget="50clicks", clicks="vertices+corners")
    pool = replace(pool, reader=replace(pool.reader, image_size=image_size), taken={})
    score_pool(pool, scorer, 1, tmp_path)
    price = price_in("clicks", pool, tmp_path)
    grids = dict(click_grids(pool.reader, list(pool.candidates)))
    prices = []
    for image_id, grid in grids.items():
        for y, x in ((0, 0), (8, 16), (40, 56)):
            chosen = Chosen(Region(image_id, Box(y, x, 16, 24)), 0.0, 0.0, 0.0)
            clicks = grid.region(y, x, 16, 24).of(("vertices", "corners"))
            prices.append(price(chosen, None))
            assert prices[-1] == max(1, clicks)
            new = np.arange(6).reshape(2, 3) % 4 > 0
            clicks = grid.region(y, x, 16, 24, new).of(("vertices", "corners"))
            assert price(chosen, new) == max(1, clicks)
    assert len(set(prices)) > 5


@pytest.mark.parametrize("cost", ["est", "gt"])
def test_ranks_in_the_pool_are_those_of_every_free_window(tmp_path, pool_of, monkeypatch, cost):
    """Against windows that are counted one by one, of all images and of a sample."""
    pool, scorer = pool_of(cost=cost)
    score_pool(pool, scorer, 1, tmp_path)
    pairs = {}
    for image_id, grid in click_grids(pool.reader, list(pool.candidates)):
        number, entry = pool.candidates[image_id]
        scores = load_scores(path_of(tmp_path, number), pool.options)
        pairs[image_id] = [
            (scores.cost_estimated[row, column], clicks.vertices + clicks.intersections)
            for row, column in np.argwhere(pool.allowed(entry))
            for unlabelled in [pool.unlabelled(entry)[row : row + 2, column : column + 3]]
            for clicks in [grid.region(8 * row, 8 * column, 16, 24, unlabelled)]
        ]

    def correlation(image_ids):
        columns = zip(*(pair for each in image_ids for pair in pairs[each]), strict=True)
        return pytest.approx(rank_correlation(*map(np.array, columns)), abs=1e-9)

    assert pool_rank_correlation(pool, tmp_path, 1) == correlation(pairs)
    monkeypatch.setattr(calibration, "SAMPLE", 3)
    found = pool_rank_correlation(pool, tmp_path, 1)
    assert any(found == correlation(some) for some in itertools.combinations(pairs, 3))
    assert pool_rank_correlation(pool, tmp_path, 1) == found


def test_pixels_that_are_labelled_are_not_paid(pool_of):
    pool, _ = pool_of(max_overlap=0.5)
    image_id = pool.reader.images[2].image_id
    price = price_in("pixels", pool, Path())
    assert price(Chosen(Region(image_id, Box(0, 0, 16, 24))), None) == 16 * 24 - 64
    assert price(Chosen(Region(image_id, Box(32, 0, 16, 24))), None) == 16 * 24
    new = np.eye(2, 3, dtype=bool)
    assert price(Chosen(Region(image_id, Box(0, 0, 16, 24))), new) == 2 * 64


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"region": "image", "budget": "9%"}, "5944 pixels .* of 64x96 pixels, which takes 6144"),
        ({"region": "64", "budget": "5%"}, "which takes 4096 pixels .*, nor of 1 other sizes"),
        ({"region": "image", "budget": "3clicks"}, "3 clicks do not pay .*nor of 1 other sizes"),
        ({"region": "8", "budget": "1clicks", "clicks": "corners+region"}, "takes 4 clicks"),
    ],
)
def test_a_budget_that_pays_for_nothing_of_some_size_is_refused_at_the_start(
    mixed_data, options, named
):
    with pytest.raises(UserError, match=f"--budget={options['budget']}: .*{named}"):
        fitted_options(Options.of(**options), PreparedData.open(mixed_data))


def test_images_that_no_budget_pays_for_do_not_stop_the_others(mixed_data):
    """The dearest image has the best score; it takes more clicks than a round may."""
    reader = Split(PreparedData.open(mixed_data), "train")
    budget = sorted(entry.clicks for entry in reader.images)[-2]
    options = Options.of(region="image", budget=f"{budget}clicks", fusion="none", cost="gt")
    taken: dict[str, list[Box]] = {}
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        while len(taken) < len(reader.images) - 1:
            rounds += 1
            pool = Pool(options, reader, taken)
            for number, entry in pool.candidates.values():
                clicks = np.full((1, 1), entry.clicks, np.float32)
                save_scores(path_of(Path(folder), number), WindowScores(clicks, clicks, clicks))
            price = price_in("clicks", pool, Path(folder))
            for image_id, box in (
                each.region
                for each in choose_scored(pool, Path(folder), price, float(budget), rounds)
            ):
                taken[image_id] = [box]
        with pytest.raises(UserError, match="not pay for any region that is left, the cheapest"):
            choose_scored(Pool(options, reader, taken), Path(folder), price, float(budget), 9)


def test_clicks_are_kept_only_where_they_count(tmp_path, pool_of):
    pool, scorer = pool_of()
    score_pool(pool, scorer, 1, tmp_path)
    assert load_scores(path_of(tmp_path, 0), pool.options).clicks is None


def test_a_model_that_gives_nan_is_refused_by_image(tmp_path, pool_of):
    pool, scorer = pool_of()
    weights = scorer.cost.trainable_variables[-1]
    weights.assign(np.full(weights.shape, np.nan))
    with pytest.raises(UserError, match=r"a_000000_000000: the models of round 4 give NaN"):
        score_pool(pool, scorer, 5, tmp_path)


DRIVER = '''
"""For each line of stdin, runs its command lines at once; one may die when it saves a second time.
"""

import json
import os
import signal
import sys

from cereals_tf import cli
from cereals_tf.data_prep.quiet import load_tensorflow

load_tensorflow()
from cereals_tf.campaign.pool import scoring


def dying(save):
    calls = []

    def save_or_die(*args):
        calls.append(args)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(*args)

    return save_or_die


for line in sys.stdin:
    children = []
    for arguments, dies in json.loads(line):
        child = os.fork()
        if not child:
            signal.alarm(300)
            if dies:
                scoring.save_scores = dying(scoring.save_scores)
            os._exit(cli.main(arguments))
        children.append(child)
    print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)
'''
"""TensorFlow is imported once, which is slow, and used only after the fork."""


@pytest.fixture
def in_processes(plugin_folder):
    """Runs command lines in processes at once, some of which die; returns how each ended."""
    command = [sys.executable, "-c", DRIVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen(command, cwd=plugin_folder, text=True, **pipes)

    def run(*jobs):
        driver.stdin.write(json.dumps(jobs) + "\n")
        driver.stdin.flush()
        return json.loads(driver.stdout.readline())

    yield run
    driver.communicate()


@pytest.mark.long
def test_shares_of_several_processes_make_the_same_round(
    tmp_path, first_round, in_processes, cereals, refused
):
    options = {"information": "vote_entropy", "committee": 3, "epochs": 1, "budget": "60clicks"}
    alone, shared = (first_round(tmp_path / name, **options) for name in ("alone", "shared"))
    step_campaign(alone)
    folder = str(shared.folder)

    def share(shard, dies=False):
        return ["score", folder, f"--shard={shard}"], dies

    (status,) = in_processes(share("1/1", dies=True))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    found = shared.working / "scratch" / "scores"
    assert len(list(found.glob("[0-9]*.npy"))) < 3
    assert in_processes(share("1/2"), share("2/2"), share("2/2")) == [0, 0, 0]
    assert len(list(found.glob("[0-9]*.npy"))) == 3
    times = {path: path.stat().st_mtime_ns for path in found.glob("[0-9]*.npy")}
    status, out, err = cereals("score", folder, "--shard=1/1")
    assert (status, out) == (0, "") and "3 images are scored" in err
    assert {path: path.stat().st_mtime_ns for path in times} == times

    (found / "00000002.npy").unlink(missing_ok=True)
    with shared.lock(shared=True):
        assert "another process is working" in refused("step", folder)
    with shared.lock():
        assert f"process {os.getpid()} is working" in refused("score", folder)
    step_campaign(shared)
    files = [campaign.round(1).folder / "regions.csv" for campaign in (alone, shared)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not shared.working.exists()


def test_scores_are_for_rounds_that_are_still_to_choose(first_round, begin, tmp_path, refused):
    new = begin(tmp_path / "new")
    assert "round 0 is drawn at random" in refused("score", new.folder)
    campaign = first_round(tmp_path / "begun")
    begun = Round(campaign)
    begun.refuse_scoring()
    shutil.copytree(campaign.round(0).folder, campaign.round(0).folder.with_name("001"))
    with pytest.raises(UserError, match="the regions of round 1 are chosen already"):
        begun.refuse_scoring()
    shutil.rmtree(campaign.round(1).folder)
    campaign.working.mkdir()
    shutil.copy(campaign.round(0).folder / "regions.csv", campaign.working)
    assert "the regions of round 1 are chosen already" in refused("score", campaign.folder)


def test_an_empty_pool_has_no_scores(begin, tmp_path, cereals):
    campaign = begin(tmp_path / "all", initial="100%", epochs=1)
    step_campaign(campaign)
    status, _, err = cereals("score", campaign.folder, "--shard=1/3")
    assert status == 0 and "0 images are scored" in err
    assert not campaign.working.exists()


def test_scorers_share_the_lock_with_each_other_alone(first_round):
    campaign = first_round()
    with campaign.lock(shared=True), campaign.lock(shared=True):
        refused = pytest.raises(UserError, match="another process is working")
        with refused, campaign.lock():
            pass
    with campaign.lock():
        refused = pytest.raises(UserError, match=f"process {os.getpid()} is working")
        with refused, campaign.lock(shared=True):
            pass
