"""A split as TensorFlow reads it, and what stands before its records."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep import records
from cereals_tf.data_prep.annotated_image import encode_label
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import scaled
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import plan_samples
from cereals_tf.trainers.split import Overlay, Split
from tests.trainers.conftest import IGNORE_ID

SIZE = (30, 44)
WHOLE = Box(0, 0, *SIZE)


def test_reader_gives_what_the_source_holds(toy_data, toy_source):
    reader = Split(toy_data, "train")
    assert [entry.image_id for entry in reader.images] == [
        record["image/id"].numpy().decode() for record in reader.records()
    ]
    for record in reader.records():
        image_id = record["image/id"].numpy().decode()
        path = toy_source / "leftImg8bit/train/toytown" / f"{image_id}_leftImg8bit.png"
        np.testing.assert_array_equal(reader.image(record), Image.open(path))
        points = np.concatenate([p.points for p in records.polygons_of(record)])
        np.testing.assert_array_equal(reader.points(record), points)
        assert reader.label(record).shape == (64, 96)


def test_reader_scales_images_labels_and_points(toy_data):
    size = (43, 125)
    reader, original = Split(toy_data, "val", size), Split(toy_data, "val")
    assert [(entry.height, entry.width) for entry in reader.images] == [size] * 3
    assert [entry.clicks for entry in reader.images] == [entry.clicks for entry in original.images]
    for record in reader.records():
        assert reader.image(record).shape == (*size, 3)
        assert set(np.unique(reader.label(record))) <= set(np.unique(original.label(record)))
        assert reader.label(record).shape == size
        polygons = scaled(records.polygons_of(record), 43 / 64, 125 / 96)
        points = np.concatenate([polygon.points for polygon in polygons])
        np.testing.assert_allclose(reader.points(record), points, rtol=1e-6)


def test_reader_finds_the_records_of_some_images(toy_data):
    reader = Split(toy_data, "train")
    ids = [entry.image_id for entry in reader.images]
    for wanted in ([ids[2]], [ids[3], ids[0]], []):
        found = [record["image/id"].numpy().decode() for record in reader.records(wanted)]
        assert found == sorted(wanted)
    for number, expected in enumerate(reader.records()):
        for name, value in reader.record(ids[number]).items():
            assert np.array_equal(value, expected[name]), name


def test_costs_are_crossings_and_void_beside_vertices(write_data, noise):
    """Where that is asked for; the sums of crossings are those of the windows of one cell."""
    data = write_data({"train": {"a": noise(0, 40, 72)}})
    plain, full = (Split(data, "train", crossings=on, void=on) for on in (False, True))
    (record,) = full.records()
    (clicks,), maps = np.moveaxis(plain.cost(record, 40, 72), -1, 0), full.cost(record, 40, 72)
    grid = records.click_grid_of(record, 40, 72)
    assert maps.shape == (5, 9, 4)
    vertices, left, top, void = np.moveaxis(maps.numpy(), -1, 0)
    np.testing.assert_array_equal(vertices, clicks)
    right, bottom = np.pad(left[:, 1:], ((0, 0), (0, 1))), np.pad(top[1:], ((0, 1), (0, 0)))
    cells = grid.windows(8, 8)
    np.testing.assert_array_equal(left + right + top + bottom, cells.intersections)
    expected = noise(0, 40, 72)[1][4::8, 4::8] == IGNORE_ID
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(void, expected)


@pytest.fixture(scope="module")
def readers(write_data, noise):
    """The train split of three images, and the same with two of them drawn anew."""
    images = {name: noise(seed, *SIZE) for seed, name in enumerate("abc")}
    reader = Split(write_data({"train": images}), "train")
    rng = np.random.default_rng(7)
    labels = {name: rng.choice(np.array([0, 1, 2, 9], np.uint8), SIZE) for name in "ac"}
    costs = {name: rng.uniform(0, 9, (4, 6, 1)).astype(np.float32) for name in "ca"}
    encoded = {name: encode_label(label) for name, label in labels.items()}
    return reader, replace(reader, overlay=Overlay(encoded, costs)), labels, costs


def test_an_overlay_stands_before_the_records(readers):
    reader, drawn, labels, costs = readers
    for record in drawn.records():
        image_id = record[records.IMAGE_ID].numpy().decode()
        own = (reader.label(record).numpy(), reader.cost(record, *SIZE).numpy())
        expected = (labels.get(image_id, own[0]), costs.get(image_id, own[1]))
        for found, value in zip(
            (drawn.label(record), drawn.cost(record, *SIZE)), expected, strict=True
        ):
            np.testing.assert_array_equal(found, value)
    assert own[1].any()


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
@pytest.mark.parametrize("target", ["segmentation", "cost"])
def test_training_sees_the_overlay(readers, tmp_path, target, cache):
    _, drawn, labels, costs = readers
    regions = {"a": [WHOLE], "c": [WHOLE]}
    samples = {name: plan_samples(regions[name], *SIZE, "mask", None) for name in regions}
    data = TrainingData(drawn, target, regions, samples, cache=Cache(cache, tmp_path / "cache"))
    expected = {
        "segmentation": [label[4::8, 4::8][:4, :6] for label in map(labels.get, "ac")],
        "cost": [costs[name] for name in "ac"],
    }[target]
    tf.random.set_seed(1)
    found = [value[0].numpy() for _, value, _ in data.epochs([3])]
    assert len(found) == 2
    for value in expected:
        rows, columns = value.shape[:2]
        value = np.where(value == 9, 0, value) if target == "segmentation" else value
        assert sum(np.array_equal(one[:rows, :columns], value) for one in found) == 1
