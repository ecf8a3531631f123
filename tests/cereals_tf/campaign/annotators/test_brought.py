"""Campaigns of people that begin with what is annotated elsewhere, against the data set's truth."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.people import People
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign, regions_of
from cereals_tf.campaign.folder.request import own_window, write_request
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split


@pytest.fixture
def begin_with(begin, tmp_path):
    """Starts a campaign of people with annotations from elsewhere."""

    def start(annotations, data, **options) -> Campaign:
        one = begin(tmp_path / "plain", data, annotator="files", **options)
        return start_campaign(tmp_path / "new", data, one.options, annotations)

    return start


@pytest.fixture
def renamed_data(toy_data, tmp_path):
    """Copies the data set with other names of its classes."""

    def copy(names: dict[str, str]):
        def renamed(content):
            if isinstance(content, dict):
                return {names.get(key, key): renamed(value) for key, value in content.items()}
            if isinstance(content, list):
                return [renamed(value) for value in content]
            return names.get(content, content) if isinstance(content, str) else content

        folder = tmp_path / "renamed"
        shutil.copytree(toy_data, folder)
        content = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps(renamed(content)))
        return folder

    return copy


def labels_of(split: Split) -> dict[str, np.ndarray]:
    """Read the labels of a split at the images' own size, what was drawn over what was known."""
    return {
        record[records.IMAGE_ID].numpy().decode(): split.label(record).numpy()
        for record in split.records()
    }


def taken_in(campaign: Campaign):
    """Return the regions of round 0 and the labels it is trained on, at the images' own size."""
    people = People(campaign, [], open_split(campaign, "train"))
    regions = people.annotate(lambda: pytest.fail("nobody is asked"))
    (campaign.working / "regions.csv").touch()
    return regions, labels_of(replace(people.labelled(), image_size=None))


def test_a_campaign_goes_on_with_the_regions_of_another(
    three_rounds, toy_data, begin_with, cereals, following
):
    campaign = begin_with(three_rounds.folder, toy_data)
    status, _, said = cereals("status", campaign.folder)
    assert status == 0 and following(said) == ["step", str(campaign.folder)]
    regions, labels = taken_in(campaign)
    expected = regions_of(three_rounds.rounds())
    assert [done.region for done in regions] == [done.region for done in expected]
    for done, before in zip(regions, expected, strict=True):
        assert (done.pixels, done.clicks, done.clicks_billed) == (
            before.pixels,
            before.clicks,
            before.clicks_billed,
        )
    ignore_id = campaign.data.classes.ignore_id
    for entry in campaign.data.images["train"]:
        truth = labels_of(Split(campaign.data, "train"))[entry.image_id]
        windows = [
            own_window(done.region.box, entry, campaign.image_size)
            for done in expected
            if done.region.image_id == entry.image_id
        ]
        if windows:
            known = np.zeros(truth.shape, bool)
            for window in windows:
                known[window.slices] = True
            np.testing.assert_array_equal(labels[entry.image_id], np.where(known, truth, ignore_id))


def test_what_people_drew_is_brought_with_its_seconds_in_the_new_classes(
    begin, begin_with, toy_data, renamed_data, tmp_path
):
    """At another image size and with classes in another order; one region is skipped, one small."""
    earlier = begin(tmp_path / "earlier", annotator="files", image_size="")
    first = earlier.data.images["train"][0].image_id
    boxes = [Box(16, 16, 16, 24), Box(16, 8, 32, 32), Box(0, 0, 8, 8), Box(56, 88, 8, 8)]
    with earlier.lock():
        earlier.working.mkdir()
    request = [Chosen(Region(first, box), 0.5, 1.0, 2.0) for box in boxes]
    write_request(earlier.working / "request.csv", request)
    rng = np.random.default_rng(0)
    drawn = {}
    for number in (0, 1, 3):
        label = rng.integers(0, 3, boxes[number][2:]).astype(np.uint8)
        label[0, 0] = earlier.data.classes.ignore_id
        drawn[number] = label
        seconds = 4.5 if number == 1 else None
        earlier.annotations.write(
            RegionAnnotation(number, first, boxes[number], label, [], seconds, number == 0)
        )
    earlier.annotations.skip(2, Region(first, boxes[2]))
    names = earlier.data.classes.names
    others = [name for name in names if name != "train"]  # a split is called so too
    data = renamed_data(dict(zip(others, others[::-1], strict=True)))
    renamed = PreparedData.open(data).classes.names
    assert sorted(renamed) == sorted(names) and renamed != names

    campaign = begin_with(earlier.folder, data, image_size="32x48")
    regions, labels = taken_in(campaign)
    assert [done.region.box for done in regions] == [Box(8, 8, 8, 8), Box(8, 8, 16, 8)]
    assert [(done.seconds, done.assisted) for done in regions] == [(None, True), (4.5, False)]
    expected = np.full((64, 96), campaign.data.classes.ignore_id, np.uint8)
    for number, box in ((0, Box(16, 16, 16, 16)), (1, Box(16, 16, 32, 16))):
        of_image = np.full((64, 96), campaign.data.classes.ignore_id, np.uint8)
        of_image[boxes[number].slices] = drawn[number]
        part = of_image[box.slices]
        known = part != campaign.data.classes.ignore_id
        expected[box.slices][known] = [renamed.index(names[number]) for number in part[known]]
    np.testing.assert_array_equal(labels[first], expected)


def test_whole_images_of_a_prepared_data_set_are_brought(toy_data, begin_with):
    """What another tool wrote, once it is prepared; its val counts too."""
    campaign = begin_with(toy_data, toy_data, image_size="")
    regions, labels = taken_in(campaign)
    entries = campaign.data.images["train"]
    assert [done.region for done in regions] == [
        Region(entry.image_id, Box(0, 0, entry.height, entry.width)) for entry in entries
    ]
    assert [done.clicks.vertices for done in regions] == [entry.clicks for entry in entries]
    for image_id, truth in labels_of(Split(campaign.data, "train")).items():
        np.testing.assert_array_equal(labels[image_id], truth)


def test_a_started_campaign_says_what_it_brought_and_steps(
    three_rounds, toy_data, plugin_folder, cereals, following, tmp_path
):
    options = json.loads((three_rounds.folder / "campaign.json").read_text())["options"]
    names = ("model", "cost_model", "epochs", "min_steps", "region", "image_size", "budget")
    said = cereals(
        "start",
        tmp_path / "campaign",
        f"--data={toy_data}",
        f"--annotations={three_rounds.folder}",
        "--annotator=files",
        "--no_estimate",
        *(f"--{name}={options[name]}" for name in names),
    )
    assert said[0] == 0, said
    count = len(regions_of(three_rounds.rounds()))
    assert f"{count} annotated regions in " in said[2]
    assert cereals(*following(said[2]))[0] == 0
    campaign = Campaign.open(tmp_path / "campaign")
    assert len(campaign.round(0).regions) == count
    assert campaign.round(0).skipped == []
    assert cereals("step", campaign.folder)[0] == 0
    asked = campaign.request()
    known = {done.region for done in campaign.round(0).regions}
    assert asked and not known & {chosen.region for chosen in asked}


def test_what_cannot_be_brought_is_refused(
    three_rounds, toy_data, begin, renamed_data, tmp_path, snapshot
):
    people = begin(tmp_path / "plain", annotator="files").options
    timed = begin(tmp_path / "timed", annotator="files", cost_unit="seconds").options
    empty = begin(tmp_path / "empty", annotator="files")
    before = snapshot(tmp_path)

    def message(annotations, data=toy_data, options=people):
        with pytest.raises(UserError) as caught:
            start_campaign(tmp_path / "new", data, options, annotations)
        assert not (tmp_path / "new").exists()
        return str(caught.value)

    assert "neither a campaign nor a prepared data set" in message(tmp_path / "nowhere")
    assert "nothing to begin with" in message(empty.folder)
    oracle = three_rounds.options
    assert "has no effect with --annotator=oracle" in message(toy_data, options=oracle)
    assert "nobody measured" in message(toy_data, options=timed)
    assert snapshot(tmp_path) == before

    data = renamed_data({"road": "lava"})
    assert "does not: one or more of 'road'" in message(three_rounds.folder, data)


def test_other_images_are_refused_or_left_out(three_rounds, toy_data, begin, tmp_path, cereals):
    people = begin(tmp_path / "plain", annotator="files").options
    streets = tmp_path / "streets"
    assert cereals("toy", streets, "--train_images=4", "--val_images=2", "--height=64",
                   "--width=96", "--seed=2")[0] == 0  # fmt: skip
    other = tmp_path / "data"
    assert cereals("prepare", streets, other, "--dataset=cityscapes")[0] == 0
    with pytest.raises(UserError, match="has other pictures than "):
        start_campaign(tmp_path / "new", toy_data, people, other)
    assert not (tmp_path / "new").exists()
