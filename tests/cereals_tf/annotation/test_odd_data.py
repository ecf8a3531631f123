"""Ids and class names that files, XML and the tools must carry through, and a background class."""

import json

import numpy as np
import pytest
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.labelme import LABELS
from cereals_tf.campaign.folder.request import write_request
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.prepare import prepare

IDS = ["dots..", "a%2Fb", "a/b", 'it\'s "q" <&>', "日本/ä", "x" * 120 + "/" + "y" * 120]
NAMES = ["_background_", "<b> & \"q\" 'x'", "日本, #1"]


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("odd"), NAMES)


def prepared(folder, names):
    """Prepares images that have one square of a class on their background."""
    source = folder / "source"
    rng = np.random.default_rng(5)
    for split, ids in (("train", IDS), ("val", ["v"])):
        for image_id in ids:
            for kind in ("images", "labels"):
                (source / split / kind / image_id).parent.mkdir(parents=True, exist_ok=True)
            label = np.zeros([24, 40], np.uint8)
            label[6:15, 9:30] = rng.integers(1, 3)
            label[20:, 36:] = 255
            pixels = rng.integers(0, 255, [24, 40, 3], np.uint8)
            Image.fromarray(pixels).save(source / split / "images" / f"{image_id}.png")
            Image.fromarray(label).save(source / split / "labels" / f"{image_id}.png")
    (source / "classes.json").write_text(json.dumps({"names": names}))
    prepare(source, folder / "data", "masks", {"tolerance": 0.0})
    return folder / "data"


@pytest.fixture
def campaign(begin, odd_data, tmp_path):
    """Waits for the left half of every image, except for a whole one."""
    started = begin(tmp_path / "campaign", odd_data, annotator="files", image_size="", region="8")
    with started.lock():
        started.working.mkdir()
    ids = [entry.image_id for entry in started.data.images["train"]]
    write_request(
        started.working / "request.csv",
        [
            Chosen(Region(image_id, Box(0, 0, 24, 40 if number == 0 else 24)))
            for number, image_id in enumerate(ids)
        ],
    )
    return started


def test_labels_equal_the_oracles(campaign, tool, cereals, truth_of, tmp_path):
    truth = truth_of(campaign)
    out, form = tmp_path / "out", f"--format={tool.name}"
    assert cereals("tasks", campaign.folder, out, form)[0] == 0
    assert {path.parent.name for path in out.rglob("*.png")} <= {"out", "images"}

    def objects_of(image_id):
        corner = np.array([[36.0, 20], [39, 20], [39, 23], [36, 23]])
        objects = [item for item in truth[image_id].objects if item[0] != "_background_"]
        return [*objects, ("__ignore__", corner)]

    status, _, said = cereals("collect", campaign.folder, tool.draw(out, objects_of), form)
    assert status == 0, said
    annotations = campaign.annotations.annotated()
    assert {found.image_id for found in annotations.values()} == set(IDS)
    for found in annotations.values():
        height, width = found.window[2:]
        expected = truth[found.image_id].label[:height, :width]
        np.testing.assert_array_equal(found.label, expected)
    assert (annotations[0].label == 255).sum() == 16


def test_region_that_is_all_background(campaign, labelme, cereals, tmp_path):
    out = tmp_path / "out"
    assert cereals("tasks", campaign.folder, out)[0] == 0
    said = cereals("collect", campaign.folder, labelme.draw(out, lambda image_id: []))[2]
    assert "0 of 6 regions" in said
    said = cereals("collect", campaign.folder, labelme.draw(out, lambda _: [], done=True))[2]
    assert "6 of 6 regions" in said
    assert all((found.label == 0).all() for found in campaign.annotations.annotated().values())


def test_class_names_in_the_list(campaign, cereals, tmp_path):
    assert cereals("tasks", campaign.folder, tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / LABELS).read_text() == "\n".join([*NAMES, "__ignore__", ""])


@pytest.mark.parametrize("name", ["__region__", "two\nlines", " spaces"])
def test_class_names_that_no_list_can_hold(begin, refused, tool, tmp_path, name):
    data = prepared(tmp_path, [*NAMES[:2], name])
    campaign = begin(tmp_path / "campaign", data, annotator="files", image_size="", region="8")
    with campaign.lock():
        campaign.working.mkdir()
    write_request(campaign.working / "request.csv", [Chosen(Region("a/b", Box(0, 0, 8, 8)))])
    said = refused("tasks", campaign.folder, tmp_path / "out", f"--format={tool.name}")
    assert "class " in said
