"""Rounds that wait for people, whom the ground truth plays here."""

import importlib
import json
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.acquisition.regions import Region, boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.oracle import annotate, click_grids
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import ROUND_FILES
from cereals_tf.campaign.folder.regions import (
    Annotated,
    cost_per_click,
    costed,
    read_regions,
    write_regions,
)
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.files import price_in
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import score_campaign, step_campaign
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.trainers.evaluation import CostEvaluator
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import click_target
from tests.cereals_tf.conftest import UNKNOWN


def status_of(cereals, campaign):
    status, out, err = cereals("status", campaign.folder, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


KILLS = [
    ("annotators.people", "write_request", False, (), ("request.csv", "regions.csv")),
    ("annotators.people", "write_request", True, ("request.csv",), ("regions.csv",)),
    ("round", "write_regions", False, ("request.csv", "annotations"), ("regions.csv",)),
    ("round", "write_regions", True, ("regions.csv", "annotations"), ("segmentation.keras",)),
    ("round", "Round._evaluate", False, ("cost.keras",), ("metrics.json",)),
]
"""Of a step: where it dies, before or after what it did there, and what is and is not left."""


@pytest.mark.long
def test_people_who_draw_the_truth_are_the_oracle(
    tmp_path, begin, unlabelled_data, three_rounds, draw, step_and_die, weights_of, outcome
):
    campaign = begin(tmp_path / "campaign", unlabelled_data, annotator="files")
    assert campaign.request() is None
    assert step_campaign(campaign) is None
    draw(campaign)
    assert step_campaign(campaign).number == 0
    for module, name, finishes, present, absent in KILLS:
        if campaign.request() is not None:
            draw(campaign, reversed(range(len(campaign.request()))))
        module = f"cereals_tf.campaign.{module}"
        place = SimpleNamespace(module=module, name=name, call=1, finishes=finishes)
        status = step_and_die(campaign, place)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, name
        for file in present:
            assert (campaign.working / file).exists(), (name, file)
        for file in absent:
            assert not (campaign.working / file).exists(), (name, file)
    assert campaign.request() is None
    assert step_campaign(campaign).number == 1
    for number in (0, 1):
        found, expected = campaign.round(number), three_rounds.round(number)
        regions, metrics = outcome(found.folder)
        expected_regions, expected_metrics = outcome(expected.folder)
        assert regions == expected_regions
        assert metrics == expected_metrics | UNKNOWN | {"clicks_percent": None}
        pairs = zip(weights_of(campaign, found), weights_of(three_rounds, expected), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)
        assert {path.name for path in found.folder.iterdir()} == {
            *ROUND_FILES,
            "request.csv",
            "annotations",
        }
        assert found.annotations.annotated().keys() == set(range(len(found.request)))
        assert found.request == [region.chosen for region in found.regions]


def test_people_may_draw_what_is_labelled(tmp_path, begin, three_rounds, draw, outcome):
    campaign = begin(tmp_path / "campaign", annotator="files")
    assert step_campaign(campaign) is None
    draw(campaign)
    assert outcome(step_campaign(campaign).folder) == outcome(three_rounds.round(0).folder)


def test_two_rounds_from_nothing_labelled(
    tmp_path, begin, unlabelled_data, draw, cereals, snapshot
):
    campaign = begin(
        tmp_path / "campaign",
        unlabelled_data,
        annotator="files",
        cost_unit="seconds",
        initial="2images",
        budget="15%",
        epochs=1,
    )
    status, _, err = cereals("step", campaign.folder)
    assert status == 0
    assert "round 0 waits for 2 regions in 2 images\nnext: cereals tasks" in err
    found = status_of(cereals, campaign)
    assert found == {
        "rounds": [],
        "waiting": True,
        "request": {"regions": 2, "annotated": 0, "skipped": 0},
    }
    first, second = campaign.request()
    assert (first.score, first.region.box) == (None, (0, 0, 60, 90))
    draw(campaign, [1], 90.0)
    before = snapshot(campaign.folder)
    for command in (["step"], ["run", "--rounds=3"]):
        status, _, err = cereals(command[0], campaign.folder, *command[1:])
        assert status == 0
        assert "round 0 waits for 1 of 2 regions (1 annotated, 0 skipped)" in err
    status, _, err = cereals("status", campaign.folder)
    assert "round 0 waits for 1 of 2" in err
    with pytest.raises(UserError, match="drawn at random"):
        score_campaign(campaign)
    assert snapshot(campaign.folder) == before

    campaign.annotations.skip(0, first.region)
    assert "round 0 has all its 2 regions" in cereals("status", campaign.folder)[2]
    status, out, err = cereals("step", campaign.folder)
    assert status == 0 and "n/a" in out
    assert f"round 1 waits for {len(campaign.request())} regions" in err
    assert err.splitlines()[-1].startswith("next: cereals tasks")
    metrics = campaign.round(0).metrics
    assert (metrics.regions, metrics.pixels) == (1, 60 * 90)
    assert metrics.clicks_percent is None and metrics.clicks > 0
    (region,) = campaign.round(0).regions
    assert (region.region, region.seconds) == (second.region, 90.0)
    assert campaign.round(0).skipped == [first.region]
    assert status_of(cereals, campaign)["rounds"][0]["clicks_percent"] is None

    with pytest.raises(UserError, match="chosen already"):
        score_campaign(campaign)
    request = campaign.request()
    assert len(request) == 0.15 * 4 * 60 * 90 // 256
    whole = {first.region.image_id, second.region.image_id}
    assert not whole & {asked.region.image_id for asked in request}
    assert all(region.score is not None for region in request)
    draw(campaign, range(1, len(request), 2), 5.0)
    draw(campaign, range(2, len(request), 2))
    campaign.annotations.skip(0, request[0].region)
    assert step_campaign(campaign).number == 1
    assert [(done.chosen, done.seconds) for done in campaign.round(1).regions] == [
        (asked, 5.0 if number % 2 else None) for number, asked in enumerate(request[1:], 1)
    ]
    assert campaign.round(1).metrics.pixels == 60 * 90 + 256 * (len(request) - 1)
    assert step_campaign(campaign) is None
    closed = [asked.region for asked in (*request, *campaign.request())]
    for n, region in enumerate(closed):
        for other in closed[:n]:
            assert region.image_id != other.image_id or not region.box.overlaps(other.box)
    assert not whole & {region.image_id for region in closed}


@pytest.fixture
def waiting_campaign(tmp_path, begin, unlabelled_data):
    """A campaign whose round 0 waits for some regions."""

    def start(**options):
        chosen = {"annotator": "files", "initial": "9regions"} | options
        campaign = begin(tmp_path / "campaign", unlabelled_data, **chosen)
        assert step_campaign(campaign) is None
        return campaign

    return start


def test_an_oracle_without_labels_is_refused(tmp_path, begin, unlabelled_data):
    with pytest.raises(UserError, match=r"--annotator=oracle: .*--annotator=files"):
        begin(tmp_path / "campaign", unlabelled_data)
    assert not list(tmp_path.iterdir())


def test_a_first_round_of_skips_is_refused(waiting_campaign, refused):
    campaign = waiting_campaign()
    for number, asked in enumerate(campaign.request()):
        campaign.annotations.skip(number, asked.region)
    assert "all regions of round 0 are skipped" in refused("step", campaign.folder)
    assert len(campaign.request()) == 9


def test_seconds_that_nobody_measured_are_refused(waiting_campaign, draw, refused):
    campaign = waiting_campaign(cost_unit="seconds")
    draw(campaign)
    line = refused("step", campaign.folder)
    assert "expected seconds" in line and "--cost_unit=clicks" in line


def test_clicks_that_nobody_knows_are_refused(waiting_campaign, draw, refused):
    campaign = waiting_campaign()
    draw(campaign)
    for drawn in campaign.annotations.annotated().values():
        campaign.annotations.write(replace(drawn, assisted=True))
    line = refused("step", campaign.folder)
    assert "a model helped to draw all regions" in line and "--cost_unit=seconds" in line


@pytest.mark.parametrize("other", ["another image", "another place", "damaged"])
def test_an_annotation_of_another_region_is_refused(waiting_campaign, draw, refused, other):
    campaign = waiting_campaign()
    draw(campaign)
    path = campaign.annotations.folder / "00004.json"
    content = json.loads(path.read_text())
    if other == "another image":
        content["image_id"] = content["image_id"][:-1]
    elif other == "another place":
        content["window"][0] += 1
    else:
        content["label"] = ""
    path.write_text(json.dumps(content))
    line = refused("step", campaign.folder)
    assert "annotations" in line and ("region 4" in line or "00004.json" in line)


def test_labels_and_costs_are_those_of_the_regions(waiting_campaign, draw, truth, toy_data):
    campaign = waiting_campaign(cost_unit="seconds")
    request = campaign.request()
    seconds = [7.5] * 5 + [None] * 2 + [0.0, 12.0]
    for number, measured in enumerate(seconds[:7]):
        draw(campaign, [number], measured)
    campaign.annotations.skip(7, request[7].region)
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
    image_id, box = request[8].region
    window = own_window(box, entries[image_id], campaign.image_size)
    label = np.full(window[2:], 1, np.uint8)
    campaign.annotations.write(RegionAnnotation(8, image_id, window, label, [], seconds[8]))
    ignore_id = campaign.data.classes.ignore_id
    annotator = Round(campaign).annotator
    assert annotator.labelled() is annotator.train
    regions = annotator.annotate(list)
    labelled = Split(PreparedData.open(toy_data), "train", campaign.image_size)
    by_oracle = annotate(labelled, request[:7], {}, campaign.options)
    assert [replace(drawn, seconds=None) for drawn in regions[:7]] == by_oracle
    write_regions(campaign.working / "regions.csv", regions)
    reader = annotator.labelled()
    left = set(range(9))
    for record in reader.records():
        image_id = record[records.IMAGE_ID].numpy().decode()
        true = records.resize_label(tf.constant(truth[image_id][0]), (60, 90)).numpy()
        label, costs = reader.label(record).numpy(), reader.cost(record, 60, 90)[..., 0].numpy()
        expected, known = np.full((60, 90), ignore_id, np.uint8), np.zeros((60, 90), bool)
        for number, asked in enumerate(request):
            if asked.region.image_id == image_id:
                y, x, height, width = asked.region.box
                part = (slice(y, y + height), slice(x, x + width))
                expected[part] = 1 if number == 8 else true[part]
                known[part] = number != 7  # skipped; a neighbour's window may reach into it
                here = costs[asked.region.box.cell_slices]
                assert here.sum() == pytest.approx(seconds[number] or 0.0, rel=1e-5)
                if number == 8:
                    np.testing.assert_allclose(here, 12.0 / here.size)
                    costs_of_eight = here
                left.remove(number)
        np.testing.assert_array_equal(label[known], expected[known])
        outside = label[~known] != ignore_id
        assert outside.mean() < 0.1, "more than what the border of a window rounds to"
        assert not costs[~known[::8, ::8]].any()
    assert not left and costs_of_eight.shape == (2, 2)


def test_seconds_follow_the_clicks(waiting_campaign, draw, truth):
    campaign = waiting_campaign(cost_unit="seconds", initial="1images")
    (asked,) = campaign.request()
    image_id = asked.region.image_id
    draw(campaign, seconds=100.0)
    in_clicks = Split(campaign.data, "train", campaign.image_size)
    annotator = Round(campaign).annotator
    write_regions(campaign.working / "regions.csv", annotator.annotate(list))
    in_seconds = annotator.labelled()
    for record in in_seconds.records([image_id]):
        points = np.concatenate([polygon.points for polygon in truth[image_id][1]])
        points = tf.constant(points * [90 / 96, 60 / 64], tf.float32)
        clicks = click_target(points, 60, 90).numpy()
        costs = in_seconds.cost(record, 60, 90)[..., 0].numpy()
        np.testing.assert_allclose(costs, 100 * clicks / clicks.sum(), rtol=1e-5)
        assert not in_clicks.cost(record, 60, 90).numpy().any()


def test_crossings_are_learnt_from_what_people_draw(waiting_campaign, draw, toy_data):
    """Outlines reach over the frame, so that its border's crossings are known as the others."""
    campaign = waiting_campaign(cost_maps="all")
    draw(campaign)
    annotator = Round(campaign).annotator
    regions = annotator.annotate(list)
    write_regions(campaign.working / "regions.csv", regions)
    truth = Split(PreparedData.open(toy_data), "train", campaign.image_size, crossings=True)
    boxes = boxes_by_image(drawn.region for drawn in regions)
    seen = np.zeros(3)
    pairs = zip(annotator.labelled().records(list(boxes)), truth.records(list(boxes)), strict=True)
    for drawn, record in pairs:
        inside = np.zeros((8, 12, 1), bool)
        for box in boxes[record[records.IMAGE_ID].numpy().decode()]:
            inside[box.cell_slices] = True
        found = annotator.labelled().cost(drawn, 60, 90).numpy()
        expected = truth.cost(record, 60, 90).numpy()
        np.testing.assert_array_equal(found, np.where(inside, expected, 0))
        seen += found.sum(axis=(0, 1))
        ((_, grid),) = click_grids(annotator.labelled(), [drawn[records.IMAGE_ID].numpy().decode()])
        np.testing.assert_array_equal(grid.maps, found)
    assert seen.all()


def test_prices_of_people_are_estimates():
    def priced(unit, cost, **options):
        chosen = Options.of(annotator="files", **options)
        pool = SimpleNamespace(options=chosen, leftovers=frozenset())
        region = Region("a", Box(0, 0, 16, 24))
        return price_in(unit, pool, None)(Chosen(region, 0.5, 1.0, cost), None)

    assert priced("clicks", 7.25, budget="30clicks") == 7.25
    assert priced("seconds", 70.5, budget="30seconds", cost_unit="seconds") == 70.5
    assert priced("clicks", 0.0, budget="30clicks") == 1.0
    assert priced("clicks", 7.25, budget="30clicks", clicks="vertices+region") == 11.25
    assert priced("pixels", 0.0) == 16 * 24


def test_a_click_takes_the_mean_of_what_was_measured():
    def regions(*rows):
        return [
            Annotated(Chosen(Region("a", Box(0, 0, 8, 8))), 64, RegionClicks(clicks, 9, 9), seconds)
            for clicks, seconds in rows
        ]

    assert cost_per_click(regions((3, 10.0), (5, None), (1, 8.0)), "seconds") == 4.5
    assert cost_per_click(regions((0, 10.0)), "seconds") == 10.0
    assert cost_per_click(regions((3, 10.0)), "clicks") == 1.0
    assert costed(regions((3, 10.0), (5, None)), "seconds") == regions((3, 10.0))
    assert len(costed(regions((3, 10.0), (5, None)), "clicks")) == 2


def test_val_is_measured_in_the_unit_of_the_costs(toy_data, plugin_folder):
    val = Split(PreparedData.open(toy_data), "val")
    model = importlib.import_module("tiny_plugin").build(1)
    squares = []
    for record in val.records():
        predicted = model(val.image(record)[None], training=False).numpy()[0, ..., 0]
        squares.append((predicted - 2.5 * val.cost(record, 64, 96)[..., 0].numpy()) ** 2)
    found = CostEvaluator(model, val, cost_per_click=2.5).mean_squared_error()
    assert found == pytest.approx(np.mean(squares), rel=1e-4)


def test_labels_that_exist_are_round_0_as_by_the_oracle(
    begin, toy_data, three_rounds, tmp_path, cereals, draw, outcome
):
    (first,) = three_rounds.rounds()[0].regions
    shutil.copytree(toy_data.parent / "streets", tmp_path / "streets")
    for path in (tmp_path / "streets" / "gtFine" / "train").rglob("*_gtFine_*"):
        if not path.name.startswith(first.region.image_id):
            path.unlink()
    options = {"unlabelled_train": True}
    prepare(tmp_path / "streets", tmp_path / "data", "cityscapes", options)
    with pytest.raises(UserError, match=r"--cost_unit=seconds: .* the 1 image of train"):
        begin(tmp_path / "x", tmp_path / "data", annotator="files", cost_unit="seconds")
    campaign = begin(tmp_path / "campaign", tmp_path / "data", annotator="files")
    assert step_campaign(campaign).number == 0
    status, _, said = cereals("step", campaign.folder)
    assert status == 0 and "round 1 waits for" in said
    draw(campaign)
    assert step_campaign(campaign).number == 1
    for done, expected in zip(campaign.rounds(), three_rounds.rounds()[:2], strict=True):
        regions, metrics = outcome(done.folder)
        of_oracle = outcome(expected.folder)
        assert regions == of_oracle[0]
        for name in ("miou", "pixels", "clicks", "cost_mean_squared_error"):
            assert metrics[name] == of_oracle[1][name]
    assert cereals("report", campaign.folder, tmp_path / "report")[0] == 0


def test_regions_that_a_model_helped_to_draw_have_no_known_clicks(tmp_path):
    clicks = RegionClicks(3, 2, 1)
    chosen = [Chosen(Region("a", Box(0, x, 8, 8)), 0.5, 1.0, 2.0) for x in (0, 8, 16)]
    regions = [Annotated(each, 64, clicks, 5.0) for each in chosen]
    write_regions(tmp_path / "plain.csv", regions)
    assert "assisted" not in (tmp_path / "plain.csv").read_text()
    regions[1] = replace(regions[1], assisted=True)
    write_regions(tmp_path / "regions.csv", regions)
    assert read_regions(tmp_path / "regions.csv") == regions
    assert costed(regions, "clicks") == [regions[0], regions[2]]
    assert costed(regions, "seconds") == regions
