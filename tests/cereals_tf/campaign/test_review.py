"""Regions whose labels look wrong to models that have not seen them."""

import csv
import json
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import BusyError, Campaign
from cereals_tf.campaign.folder.regions import write_regions
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.campaign.learning.unseen import Unseen, by_folds
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.review import disbelief, first_names, judge, review, scores
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.targets import downscale_label

FAST = {
    "annotator": "files",
    "region": "16",
    "initial": "8regions",
    "epochs": 1,
    "min_steps": 2,
    "batch_size": 2,
    "width_multiplier": 0.03,
}


CLASSES = Classes(("a", "b", "c", "d"), ((0, 0, 0),) * 4, 255)


def slow_disbelief(logits, label):
    """The same, by its definition: class ids and values, a position at a time."""
    found = []
    for row, class_id in zip(logits.tolist(), label.tolist(), strict=True):
        whole = math.fsum(math.exp(value) for value in row)
        p = [math.exp(value) / whole for value in row]
        likelihood = -math.log(p[class_id])
        found.append((class_id, likelihood + math.fsum(each * math.log(each) for each in p)))
    return found


def slow_scores(regions):
    """The same, by its definition, of what `slow_disbelief` gives of each region."""
    found = []
    for place, region in enumerate(regions):
        others = [pair for each in regions[:place] + regions[place + 1 :] for pair in each]
        surplus = []
        for class_id, value in region:
            usual = [other for of_class, other in others if of_class == class_id]
            surplus.append(value - (math.fsum(usual) / len(usual) / 2 if usual else 0))
        found.append(math.fsum(surplus) / len(surplus))
    return found


def test_disbelief_is_likelihood_less_entropy():
    draw = np.random.default_rng(0)
    logits, label = draw.normal(0, 3, (50, 3)).astype(np.float32), draw.integers(0, 3, 50)
    label = label.astype(np.uint8)
    sums, counts = disbelief(logits, label, 4)
    pairs = slow_disbelief(logits, label)
    for class_id in range(4):
        values = [value for of_class, value in pairs if of_class == class_id]
        assert counts[class_id] == len(values)
        assert sums[class_id] == pytest.approx(math.fsum(values), rel=1e-6)
    assert disbelief(np.zeros((3, 4), np.float32), label[:3], 4)[0] == pytest.approx(0)
    drawn = [
        disbelief(logits, (logits + draw.gumbel(size=logits.shape)).argmax(axis=-1), 4)[0].sum()
        for _ in range(2000)
    ]
    assert np.mean(drawn) / 50 == pytest.approx(0, abs=0.02)  # labels as the model expects them


def test_scores_are_above_what_is_usual_for_the_class_in_other_regions():
    draw = np.random.default_rng(1)
    regions = [
        (draw.normal(0, 3, (count, 4)), draw.integers(0, 4, count)) for count in (1, 6, 9, 20)
    ]
    regions[3][1][0] = 3
    regions[:3] = [(logits, np.minimum(label, 2)) for logits, label in regions[:3]]
    found = scores([disbelief(*region, 4) for region in regions])
    assert found == pytest.approx(slow_scores([slow_disbelief(*region) for region in regions]))
    assert scores([]) == []


def test_a_region_is_judged_by_its_labelled_positions():
    label = np.full((4, 6), 255, np.uint8)
    label[1:3, 2:4] = [[0, 0], [0, 1]]
    logits = np.zeros((4, 6, 3), np.float32)
    logits[..., 2] = 5
    region = Region("a", Box(8, 16, 16, 16))
    found = judge(RegionName(0, 1), region, Unseen({}, logits, label), CLASSES)
    assert (found.share, found.labelled, found.seen) == (1.0, 0, 2)
    (alone,) = scores([found.disbelief])
    pairs = slow_disbelief(logits[1:3, 2:4].reshape(4, 3), label[1:3, 2:4].ravel())
    assert alone == pytest.approx(np.mean([value for _, value in pairs]))
    assert (found.label.shape, found.predicted.tolist()) == ((2, 2), [[2, 2], [2, 2]])
    logits[1:3, 2:4, 2] = -5
    logits[1, 2:4, 0] = logits[2, 2, 0] = logits[2, 3, 1] = 5
    found = judge(RegionName(0, 1), region, Unseen({}, logits, label), CLASSES)
    assert (found.share, found.labelled, found.seen) == (0.0, None, None)
    assert scores([found.disbelief])[0] < 0
    label[2, 3] = 3  # a class that the model does not know
    found = judge(RegionName(0, 1), region, Unseen({}, logits, label), CLASSES)
    assert found.disbelief[1].tolist() == [3, 0, 0, 0]
    empty = judge(
        RegionName(0, 1), Region("a", Box(0, 0, 8, 8)), Unseen({}, logits, label), CLASSES
    )
    assert empty is None


KILLS = [
    ("cereals_tf.campaign.learning.unseen", "_predicted", 2, False),
    ("cereals_tf.data_prep.files", "sync_tree", 1, True),
]
"""Where a review dies: between two models, and before its page has its name."""


def test_rounds_are_judged_by_the_model_before(
    three_rounds, cereals, tmp_path, snapshot, refused, dying
):
    status, out, err = cereals("review", three_rounds.folder, "--json")
    assert status == 0
    rows = json.loads(out)["regions"]
    train = open_split(three_rounds, "train")
    expected = {}
    for before, done in zip(three_rounds.rounds(), three_rounds.rounds()[1:], strict=False):
        model = load_segmentation(three_rounds, before)
        for number, annotated in enumerate(done.regions):
            (record,) = train.records([annotated.region.image_id])
            logits = model(train.image(record)[None], training=False)[0].numpy()
            label = downscale_label(train.label(record)).numpy()
            inside = annotated.region.box.cell_slices
            known = label[inside] != 255
            pairs = slow_disbelief(logits[inside][known], label[inside][known])
            expected[f"{done.number}:{number}"] = pairs
    expected = dict(zip(expected, slow_scores(list(expected.values())), strict=True))
    assert {row["region"]: row["score"] for row in rows} == pytest.approx(expected, abs=1e-4)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)

    before = snapshot(three_rounds.folder)
    for module, name, call, finishes in KILLS:
        kill = {"module": module, "name": name, "call": call, "finishes": finishes}
        status = dying(kill, "review", three_rounds.folder, tmp_path / "review")
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, name
        assert not (tmp_path / "review").exists()
        assert snapshot(three_rounds.folder) == before
    status, out, err = cereals("review", three_rounds.folder, tmp_path / "review", "--most=2")
    assert status == 0 and all(row["region"] in out for row in rows[:2])
    assert "next:" not in err  # the oracle would read the same labels again
    with (tmp_path / "review" / "review.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["region"] for row in listed] == [row["region"] for row in rows]
    page = (tmp_path / "review" / "index.html").read_text()
    assert page.count("<img") == 2 and "data:image" in page and "cereals reopen" not in page
    assert snapshot(three_rounds.folder) == before
    assert "is not empty" in refused("review", three_rounds.folder, tmp_path / "review")
    assert "--folds=1" in refused("review", three_rounds.folder, "--folds=1")
    with three_rounds.lock(), pytest.raises(BusyError):
        review(three_rounds, 0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, unlabelled_data, draw) -> Campaign:
    """A campaign of heads whose round 0 is annotated, but for its models. Not to be changed."""
    folder = tmp_path_factory.mktemp("review")
    data = shutil.copytree(unlabelled_data, folder / "data")
    campaign = start_campaign(folder / "campaign", data, Options.chosen(**FAST))
    assert step_campaign(campaign) is None
    draw(campaign)
    as_if_complete(campaign)
    return campaign


def as_if_complete(campaign):
    regions = Round(campaign).annotator.annotate(list)
    write_regions(campaign.working / "regions.csv", regions)
    campaign.working.rename(campaign.folder / "rounds" / "000")


def predictions(campaign, scratch: Path):
    """Return what heads of two folds predict in every region."""
    found = {}
    labelled, val = Round(campaign).annotator.labelled(), open_split(campaign, "val")
    for unseen in by_folds(campaign, first_names(campaign), labelled, val, 2, scratch):
        for name, done in unseen.regions.items():
            found[name] = done.region.image_id, unseen.logits[done.region.box.cell_slices]
    return found


def test_heads_do_not_see_the_labels_that_they_judge(drawn, tmp_path, cereals, following):
    before = predictions(drawn, tmp_path / "before")
    assert before.keys() == first_names(drawn).keys() and len(before) == 8
    image_id, _ = before[RegionName(0, 0)]
    folder = shutil.copytree(drawn.folder, tmp_path / "campaign")
    changed = Campaign.open(folder)
    store = changed.round(0).annotations
    for number, annotation in store.annotated().items():
        if annotation.image_id == image_id:
            label = np.zeros_like(annotation.label)
            store.write(RegionAnnotation(number, image_id, annotation.window, label, [], None))
    after = predictions(changed, tmp_path / "after")
    same = {name: bool((before[name][1] == after[name][1]).all()) for name in before}
    for name, (of_image, _) in before.items():
        if of_image == image_id:
            assert same[name], "a head saw the labels that it judges"
    assert not all(same.values()), "no head saw the labels of the other folds"
    line = ("review", changed.folder, tmp_path / "page", "--folds=2", "--most=3")
    status, out, said = cereals(*line)
    assert status == 0 and "cereals reopen" in (tmp_path / "page" / "index.html").read_text()
    assert not (changed.folder / "tensorboard").exists()
    worst = following(said)
    assert worst[:2] == ["reopen", str(changed.folder)]
    rows = csv.DictReader((tmp_path / "page" / "review.csv").open(newline=""))
    doubted = [row["region"] for row in list(rows)[:3] if float(row["score"]) > 0]
    assert worst[2] == f"--regions={','.join(doubted)}" and doubted
    assert all(name in out for name in doubted)
