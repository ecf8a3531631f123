"""Regions of complete rounds that are drawn again."""

import os
import shutil
import signal

import numpy as np
import pytest

from cereals_tf.annotation.tasks import request_id, request_ids
from cereals_tf.campaign import reopen as reopening
from cereals_tf.campaign.annotators.people import Answer, costs_of, label_of
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import BusyError, Campaign, regions_of
from cereals_tf.campaign.folder.regions import read_regions
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.campaign.reopen import region_names, reopen
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import run_campaign, step_campaign
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon

OPTIONS = {"annotator": "files", "initial": "6regions", "budget": "5%", "epochs": 1}


@pytest.fixture(scope="module")
def begun(tmp_path_factory, begin, unlabelled_data, draw):
    """The campaign of `spoilt`."""
    folder = tmp_path_factory.mktemp("spoilt") / "campaign"
    campaign = begin(folder, unlabelled_data, image_size="", **OPTIONS)
    assert step_campaign(campaign) is None
    draw(campaign)
    right = campaign.annotations.read(2)
    campaign.annotations.write(
        RegionAnnotation(2, right.image_id, right.window, np.zeros_like(right.label), [], None)
    )
    assert step_campaign(campaign, ask=True).number == 0
    return campaign


@pytest.fixture
def spoilt(begun, tmp_path):
    """A campaign whose round 0 has the truth but for region 2, which is all of class 0."""
    shutil.copytree(begun.folder, tmp_path / "campaign")
    return Campaign.open(tmp_path / "campaign")


def label_in(campaign, region):
    """Return what the next training sees in a region."""
    reader = Round(campaign).annotator.labelled()
    (record,) = reader.records([region.image_id])
    return reader.label(record).numpy()[region.box.slices]


def test_what_is_drawn_again_counts_from_the_next_training_on(
    spoilt, draw, truth, cereals, refused, following, snapshot
):
    first = spoilt.round(0)
    before, own = snapshot(first.folder), spoilt.request()
    region = first.regions[2].region
    status, _, said = cereals("reopen", spoilt.folder, "--regions=0:2,4")
    assert status == 0
    again = f"{len(own)},{len(own) + 1}"
    assert f"drawn again: {len(own)} (region 0:2), {len(own) + 1} (region 0:4)\n" in said
    tasks = f"{spoilt.folder}-tasks-001-again"
    assert following(said) == ["tasks", str(spoilt.folder), tasks, f"--regions={again}"]
    assert [asked.region for asked in spoilt.request()[-2:]] == [
        region,
        first.regions[4].region,
    ]
    assert request_ids(waiting(spoilt))[-1] == request_id(own)  # tasks that are out stay valid
    assert "0:2: is reopened already" in refused("reopen", spoilt.folder, "--regions=0:2")
    assert not label_in(spoilt, region).any()

    status, _, said = cereals(*following(said))
    assert status == 0 and "2 regions to annotate" in said
    assert following(said) == ["collect", str(spoilt.folder), tasks, "--format=labelme"]
    draw(spoilt, range(len(own)))
    assert following(cereals("status", spoilt.folder)[2]) == following(said)
    draw(spoilt)
    spoilt.annotations.skip(len(own) + 1, first.regions[4].region)
    done = step_campaign(spoilt)
    assert done.number == 1 and snapshot(first.folder) == before
    y, x, height, width = region.box
    expected = truth[region.image_id][0][y : y + height, x : x + width]
    np.testing.assert_array_equal(label_in(spoilt, region), expected)
    assert first.annotations.read(2).label.max() == 0
    (redrawn,) = [found for found in done.regions if found.redraws]
    assert (redrawn.region, redrawn.redraws, redrawn.pixels) == (region, (0, 2), 0)
    assert redrawn.clicks_billed >= 1 and first.regions[2].clicks_billed == 1
    assert read_regions(done.folder / "regions.csv") == done.regions
    assert done.skipped == []
    everything = regions_of(spoilt.rounds())
    assert done.metrics.regions == len(everything) - 1 == 6 + len(own)
    assert done.metrics.pixels == sum(found.region.box.area for found in everything) - 256
    assert done.metrics.clicks == sum(found.clicks_billed for found in everything)


def test_where_no_round_waits_corrections_are_a_round(spoilt, draw, cereals, following, tmp_path):
    draw(spoilt)
    run_campaign(spoilt, 2, 1.0)
    assert spoilt.request() is None
    status, _, said = cereals("reopen", spoilt.folder, "--regions=0:2")
    assert status == 0 and "round 2 waits for 1 region in 1 image;" in said
    assert following(said) == ["tasks", str(spoilt.folder), f"{spoilt.folder}-tasks-002"]
    draw(spoilt)
    done = step_campaign(spoilt)
    assert done.number == 2 and [found.redraws for found in done.regions] == [(0, 2)]
    assert label_in(spoilt, done.regions[0].region).any()
    assert reopen(spoilt, [RegionName(2, 0)]).redraws == {0: (2, 0)}
    assert cereals("report", spoilt.folder, tmp_path / "report")[0] == 0


def test_what_cannot_be_drawn_again_is_refused(spoilt, draw, three_rounds, refused):
    for typed, said in {
        "0:6": "0:6: was not annotated in a complete round",
        "1:0": "1:0: was not annotated in a complete round",
        "2": "expected ROUND:NUMBER",
        "0:a": "expected ROUND:NUMBER",
        "0:1,0:1": "0:1: is reopened already",
    }.items():
        assert said in refused("reopen", spoilt.folder, f"--regions={typed}")
    assert "an oracle annotates" in refused("reopen", three_rounds.folder, "--regions=0:0")
    with spoilt.lock(), pytest.raises(BusyError):
        reopen(spoilt, [RegionName(0, 0)])
    draw(spoilt)
    (spoilt.working / "regions.csv").touch()
    assert "round 1 is in training" in refused("reopen", spoilt.folder, "--regions=0:0")


@pytest.mark.parametrize("finishes", [False, True])
def test_a_kill_leaves_the_campaign_as_before_or_as_after(spoilt, snapshot, monkeypatch, finishes):
    before = snapshot(spoilt.folder)
    written = reopening.write_request

    def die(*arguments):
        if finishes:
            written(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        monkeypatch.setattr(reopening, "write_request", die)
        reopen(spoilt, [RegionName(0, 2)])
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    asked = waiting(spoilt)
    assert asked.redraws == ({len(asked.request) - 1: (0, 2)} if finishes else {})
    if not finishes:
        after = snapshot(spoilt.folder)
        after[".lock"] = before[".lock"]
        assert after == before
    else:
        with pytest.raises(UserError, match="is reopened already"):
            reopen(spoilt, [RegionName(0, 2)])


def test_regions_are_named_by_round_and_number():
    assert region_names("0:3,7, 1:2") == [(0, 3), (0, 7), (1, 2)]
    assert [str(name) for name in region_names("10:0")] == ["10:0"]


def test_a_second_drawing_counts_throughout():
    """Also where it ignores what was labelled; where nobody knows its clicks, the first's stay."""
    entry = ImageEntry("a", 16, 16, 0)
    square = np.array([[1.0, 1], [6, 1], [6, 6], [1, 6]])

    def answer(box, value, again, polygons=(), assisted=False, seconds=None):
        label = np.full(box[2:], value, np.uint8)
        drawn = RegionAnnotation(0, "a", box, label, polygons, seconds, assisted)
        return Answer(box, drawn, again)

    left, right = Box(0, 0, 16, 8), Box(0, 8, 16, 8)
    first = answer(left, 1, False, [Polygon(1, square)], seconds=3.0)
    beside = answer(right, 2, False, [Polygon(2, square + np.array([8, 0]))])
    assert (label_of(entry, [first, answer(left, 255, False)], 255)[:, :8] == 1).all()
    assert (label_of(entry, [first, answer(left, 255, True)], 255) == 255).all()
    assert (label_of(entry, [beside, answer(left, 0, False)], 1) == [[0] * 8 + [2] * 8]).all()
    by_hand, helped = (answer(left, 2, True, (), assisted, 5.0) for assisted in (False, True))
    for redrawn, clicks in ((by_hand, 0), (helped, 4)):
        costs = costs_of(entry, entry, [first, redrawn, beside], "clicks")
        assert costs[..., 0].sum(axis=0).tolist() == [clicks, 4]
        costs = costs_of(entry, entry, [first, redrawn, beside], "seconds")
        assert costs[..., 0].sum(axis=0).tolist() == [5.0, 0.0]
