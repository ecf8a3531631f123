"""Images and classes that come in while a campaign is under way."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
from PIL import Image

from cereals_tf import api
from cereals_tf.campaign.annotators.annotator import WaitingError
from cereals_tf.campaign.annotators.people import People
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import write_regions
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import step_campaign
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy


@pytest.fixture(scope="session")
def more(tmp_path_factory):
    """Three more scenes of 64x96."""
    folder = tmp_path_factory.mktemp("more")
    write_toy(folder / "streets", train_images=2, val_images=1, height=64, width=96, seed=9)
    return folder / "streets"


@pytest.fixture
def campaign(tmp_path, three_rounds):
    """A copy of a finished campaign, on a copy of its data set."""
    data = shutil.copytree(three_rounds.data_folder, tmp_path / "data")
    path = shutil.copytree(three_rounds.folder, tmp_path / "campaign") / "campaign.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": str(data)}))
    return Campaign.open(path.parent)


def copied(campaign, name, **changes):
    """Copy a campaign beside it, its description changed."""
    folder = shutil.copytree(campaign.folder, campaign.folder.with_name(name))
    content = json.loads((folder / "campaign.json").read_text())
    (folder / "campaign.json").write_text(json.dumps(content | changes))
    return Campaign.open(folder)


def test_images_are_added_between_rounds(campaign, more, cereals, following, snapshot, outcome):
    other = copied(campaign, "other")
    before = snapshot(campaign.folder.parent)
    line = ("add", campaign.folder, more, "--dataset=cityscapes", "--prefix=june/")
    status, out, err = cereals(*line)
    assert (status, out) == (0, "")
    assert "from round 3 on with 3 images of train (all labelled) more" in err
    assert following(err) == ["step", str(campaign.folder)]
    after = snapshot(campaign.folder.parent)
    changed = [path for path in before if after.get(path) != before[path]]
    assert changed == ["campaign/campaign.json"]
    campaign = Campaign.open(campaign.folder)
    ids = [entry.image_id for entry in campaign.data.images["train"]]
    assert ids[:4] == [entry.image_id for entry in other.data.images["train"]]
    assert len(ids) == 7 and all(image_id.startswith("june/") for image_id in ids[4:])
    assert [len(campaign.data_at(number).images["train"]) for number in (0, 2, 3)] == [4, 4, 7]
    assert len(PreparedData.open(campaign.data_folder).images["train"]) == 7
    status = json.loads(cereals("status", campaign.folder, "--json")[1])
    assert status["stale"] == {str(n): ["chose from 4 of the 7 images of train"] for n in range(3)}
    # whether everything was there from the start or came after round 2, round 3 finds the same
    (change,) = json.loads((campaign.folder / "campaign.json").read_text())["changes"]
    early = copied(campaign, "early", changes=[change | {"round": 0}])
    pools = [Round(one).pool for one in (campaign, early)]
    assert pools[0].candidates == pools[1].candidates and len(pools[0].candidates) > 3
    assert pools[0].taken == pools[1].taken
    done, same, without = map(step_campaign, (campaign, early, other))
    assert outcome(done.folder) == outcome(same.folder) != outcome(without.folder)
    assert done.metrics.pixels_percent < without.metrics.pixels_percent
    assert cereals("evaluate", campaign.folder, "--round=0")[0] == 0
    assert cereals("move", campaign.folder, f"--data={campaign.data_folder}")[0] == 0
    started = api.Campaign.start(
        campaign.folder.with_name("new"),
        data=campaign.data_folder,
        **{"model": "tiny_plugin:build", "cost_model": "tiny_plugin:build"},
    )
    assert len(started.opened.data.images["train"]) == 7
    assert started.opened.data_fingerprint == started.opened.data.fingerprint


def test_an_addition_that_is_killed(campaign, more, step_and_die, cereals):
    line = ("add", campaign.folder, more, "--dataset=cityscapes", "--prefix=x/", "--split=val")
    kills = [
        ("cereals_tf.data_prep.shards", "Place.write", False, []),
        ("cereals_tf.data_prep.shards", "Place.write", True, []),
        ("cereals_tf.data_prep.prepare", "_describe", True, []),
        ("cereals_tf.campaign.add", "add", True, ["added-001"]),
        ("cereals_tf.campaign.folder.campaign", "write_atomically", False, ["added-001"]),
        ("cereals_tf.campaign.folder.campaign", "write_atomically", True, ["added-001"]),
    ]
    for module, name, finishes, there in kills:
        before = (campaign.folder / "campaign.json").read_text()
        kill = SimpleNamespace(module=module, name=name, call=1, finishes=finishes)
        status = step_and_die(campaign, kill, *line)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, name
        assert [path.name for path in campaign.data_folder.glob("added-*")] == there, name
        now = Campaign.open(campaign.folder)
        last = kill.module.endswith("campaign") and finishes
        assert (len(now.data.images["val"]) == 5) is last
        assert last or (campaign.folder / "campaign.json").read_text() == before
    assert "already" in cereals(*line)[2]
    assert not list(campaign.data_folder.glob(".*"))
    assert cereals("inspect", campaign.data_folder, "--verify")[0] == 0
    reasons = json.loads(cereals("status", campaign.folder, "--json")[1])["stale"]["2"]
    assert reasons == ["was measured on 2 of the 5 images of val"]


def test_a_class_is_added(campaign, cereals, weights_of, refused):
    assert cereals("add", campaign.folder, "--add_class=tram,kiosk")[0] == 0
    cereals("set", campaign.folder, "--warm_start")
    now = Campaign.open(campaign.folder)
    names = campaign.classes.names
    assert now.classes.names == (*names, "tram", "kiosk")
    assert now.classes_at(2) == campaign.classes
    assert len(set(now.classes.palette)) == len(now.classes)
    said = refused("add", now.folder, "--add_class=tram")
    assert "--add_class=tram: expected the name of a new class" in said
    done = step_campaign(now)
    assert [*done.metrics.iou_per_class] == [*now.classes.names]
    outputs = [
        Models.of(now, one).load_round(SEGMENTATION, one).output.shape[-1] for one in now.rounds()
    ]
    assert outputs == [len(names)] * 3 + [len(names) + 2]
    for arguments in (("evaluate", now.folder, "--round=1"), ("evaluate", now.folder)):
        assert cereals(*arguments)[0] == 0
    assert cereals("report", now.folder)[0] == 0


def test_what_add_refuses(campaign, more, refused, tmp_path):
    folder = campaign.folder
    with campaign.lock():
        pass
    assert "SOURCE is missing" in refused("add", folder)
    assert "--split: has an effect only with a SOURCE" in refused("add", folder, "--split=val")
    said = refused("add", folder, more, "--dataset=cityscapes")
    assert "whose ids are taken" in said
    said = refused("add", folder, more / "leftImg8bit", "--prefix=x/")
    assert "3 of 3 images have no annotation" in said
    with campaign.lock():
        assert "is working on" in refused("add", folder, "--add_class=tram")


@pytest.fixture
def people(tmp_path, begin):
    """A campaign of people that has not begun, on four images without labels."""
    streets = tmp_path / "streets"
    write_toy(streets, train_images=4, val_images=2, height=64, width=96, seed=1)
    shutil.rmtree(streets / "gtFine" / "train")
    prepare(streets, tmp_path / "data", "cityscapes")
    return begin(tmp_path / "campaign", tmp_path / "data", annotator="files")


def test_labels_that_come_with_images_are_part_of_the_next_round(people, more):
    """Of a campaign of people, who are not asked for what is labelled."""
    opened = api.Campaign.open(people.folder)
    added = opened.add(more, dataset="cityscapes", prefix="june/")
    assert (added.round, added.images, added.labelled) == (0, 3, 3)
    done = step_campaign(opened.opened)
    assert {region.region.image_id[:5] for region in done.regions} == {"june/"}
    opened.add(more, dataset="cityscapes", prefix="july/")
    plain = opened.add(more / "leftImg8bit", prefix="august/")
    assert (plain.round, plain.labelled) == (1, 0)
    now = opened.opened
    next_round = Round(now)
    candidates = next_round.pool.candidates
    assert len(candidates) == 7 and not any(one.startswith("july/") for one in candidates)
    now.working.mkdir()
    train = open_split(now, "train")
    asked = [done.regions[0].chosen]
    with pytest.raises(WaitingError):
        People(now, now.rounds(), train).annotate(lambda: asked)
    now.annotations.skip(0, asked[0].region)
    regions = People(now, now.rounds(), train).annotate(lambda: asked)
    assert sorted(region.region.image_id[:5] for region in regions) == ["july/"] * 3
    assert all(region.clicks_billed > 1 for region in regions)
    write_regions(now.working / "regions.csv", regions)
    done = CommittedRound(now.working.rename(people.folder / "rounds" / "001"))
    assert [*done.named] == [RegionName(1, 1), RegionName(1, 2), RegionName(1, 3)]


def test_images_that_are_smaller_than_a_region_are_refused(begin, tmp_path, toy_data):
    data = shutil.copytree(toy_data, tmp_path / "data")
    options = {"image_size": "", "region": "64x96", "budget": "100%", "annotator": "files"}
    campaign = begin(tmp_path / "campaign", data, **options)
    (tmp_path / "small").mkdir()
    Image.new("RGB", (96, 56)).save(tmp_path / "small" / "a.png")
    with pytest.raises(UserError, match="--region=64x96: larger than the image 'a'"):
        api.Campaign.open(campaign.folder).add(tmp_path / "small")
    assert not list(data.glob("*added*"))
