"""Kept features: those of the encoder itself, each computed once, wherever the work was cut off."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep.addition import add
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.models.build import build_head
from cereals_tf.models.head import on_encoder
from cereals_tf.models.registry import BACKBONES
from cereals_tf.trainers import features as kept
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.evaluation import CostEvaluator, SegmentationEvaluator
from cereals_tf.trainers.features import Features
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import Sample
from cereals_tf.trainers.split import Split

SIZES = [(40, 72), (40, 72), (33, 50), (64, 96), (64, 96)]
CHANNELS = (2, 3, 4)


@pytest.fixture(scope="module")
def data(write_data, noise):
    """Five images of three sizes, of which 32 and 8 divide some."""
    images = {f"i{number}": noise(number, *size) for number, size in enumerate(SIZES)}
    return write_data({"train": images, "val": {"v": noise(9, 40, 72)}})


@pytest.fixture(scope="module")
def encoder():
    """Gives three maps as an encoder does, and depends on every pixel of a cell."""
    from cereals_tf.models.layers import CropToGrid, PadToMultiple

    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    pixels = PadToMultiple(32)(keras.layers.Rescaling(1 / 255)(image))
    maps = [
        keras.layers.Conv2D(channels, stride, strides=stride)(pixels)
        for channels, stride in zip(CHANNELS, (8, 16, 32), strict=True)
    ]
    maps[0] = CropToGrid(8)([maps[0], image])
    return keras.Model(image, [keras.layers.Identity(dtype="float16")(one) for one in maps])


@pytest.fixture
def features(data, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "IMAGES_PER_FILE", 2)
    return Features(tmp_path / "features", Split(data, "train"), lambda: encoder, CHANNELS)


def read(features, ids):
    return list(features.read(tf.data.Dataset.from_tensor_slices(features.places(ids))))


def test_they_are_the_encoders_in_any_order(features, data, encoder):
    features.compute()
    split, ids = features.split, ["i3", "i0", "i2", "i4", "i1"]
    images = {
        record["image/id"].numpy().decode(): split.image(record) for record in split.records()
    }
    for image_id, (maps,) in zip(ids, read(features, ids), strict=True):
        for found, expected in zip(maps, encoder(images[image_id][None]), strict=True):
            assert found.dtype == tf.float16
            np.testing.assert_allclose(found, expected[0], rtol=2e-3, atol=1e-3)


def test_only_what_is_missing_is_computed(features, encoder):
    features.compute(["i2"])
    (first,) = features.folder.iterdir()
    before = first.stat().st_mtime_ns
    features.compute()
    assert len(list(features.folder.iterdir())) == 3
    assert first.stat().st_mtime_ns == before
    shutil.rmtree(features.folder / "none", ignore_errors=True)
    again = Features(features.folder, features.split, None, CHANNELS)  # needs no encoder
    again.compute()


def test_images_that_are_added_leave_the_files_of_the_others(features, data, tmp_path, noise):
    features.compute()
    before = {path: path.stat().st_mtime_ns for path in features.folder.iterdir()}
    grown = Path(shutil.copytree(data.folder, tmp_path / "data"))
    for number in range(3):
        path = tmp_path / "new" / f"n{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(20 + number, 64, 96)[0]).save(path)
    add(tmp_path / "new", PreparedData.open(grown), data.classes, "images", {})
    split = Split(PreparedData.open(grown), "train")
    folders = features.folder, split, features.encoder, CHANNELS, [tmp_path / "added"]
    whole = Features(*folders)
    whole.compute()
    assert {path: path.stat().st_mtime_ns for path in features.folder.iterdir()} == before
    assert len(list((tmp_path / "added").iterdir())) == 2
    ids = ["n2", "i4", "n0", "i1"]
    alone = Features(tmp_path / "alone", split, features.encoder, CHANNELS)
    alone.compute()
    for (found,), (expected,) in zip(read(whole, ids), read(alone, ids), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-3)


def test_a_killed_writer_leaves_nothing_that_counts(features, monkeypatch):
    write, calls = tf.io.TFRecordWriter.write, []

    def dies(self, record):
        calls.append(record)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(self, record)

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        features.compute()
    monkeypatch.undo()
    monkeypatch.setattr(kept, "IMAGES_PER_FILE", 2)
    whole = [path for path in features.folder.iterdir() if path.suffix == ".tfrecord"]
    assert len(whole) == 1
    features.compute()
    assert len(read(features, ["i0", "i1", "i2", "i3", "i4"])) == 5
    assert not list(features.folder.glob(".*"))


def test_no_space_is_said_before_anything_is_written(features, monkeypatch):
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"features: .* take .* are free there; --cache=FOLDER"):
        features.compute()
    assert not list(features.folder.iterdir())


def test_a_full_disk_is_one_line(features, monkeypatch):
    def full(self, record):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); --cache"):
        features.compute()
    assert not list(features.folder.glob("*.tfrecord"))


@pytest.fixture
def models(encoder):
    keras.utils.set_random_seed(2)
    backbone = BACKBONES["efficientnet_lite0"]
    assert backbone.depthwise_context
    head = build_head(
        "segmentation",
        3,
        encoder,
        backbone="efficientnet_lite0",
        width_multiplier=0.01,
        normalization="batch",
        precision="float32",
    )
    return head, on_encoder(encoder, head)


def seen_by_head(features):
    from dataclasses import replace

    return replace(features.split, features=features)


def test_evaluation_from_features_is_that_from_images(features, models, tmp_path):
    head, whole = models
    for full in (False, True):
        expected = SegmentationEvaluator(whole, features.split, full).confusion()
        found = SegmentationEvaluator(head, seen_by_head(features), full).confusion()
        assert np.abs(found - expected).sum() <= 0.002 * expected.sum()
    expected = CostEvaluator(whole, features.split).mean_squared_error()
    found = CostEvaluator(head, seen_by_head(features)).mean_squared_error()
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("target", ["segmentation", "cost"])
@pytest.mark.parametrize("way", ["memory", "disk", "none"])
def test_samples_have_features_for_images(features, encoder, tmp_path, target, way):
    boxes = {"i3": [Box(0, 0, 16, 24)], "i0": [Box(8, 8, 32, 64)], "i2": [Box(0, 8, 8, 8)]}
    sizes = dict(zip([f"i{number}" for number in range(5)], SIZES, strict=True))
    samples = {i: [Sample(Box(0, 0, *sizes[i]), Box(0, 0, *sizes[i]))] for i in boxes}

    def batches(split):
        data = TrainingData(split, target, boxes, samples, 2, Cache(way, tmp_path / "cache"), 2)
        tf.random.set_seed(3)
        return list(data.epochs([5]))

    images, found = batches(features.split), batches(seen_by_head(features))
    assert len(images) == len(found) == 2
    for (image, *expected), (maps, *targets) in zip(images, found, strict=True):
        for part, other in zip(targets, expected, strict=True):
            np.testing.assert_array_equal(part, other)
        rows, columns = -(-image.shape[1] // 8), -(-image.shape[2] // 8)
        assert maps[0].shape[1:] == (rows, columns, CHANNELS[0])
        assert targets[1].shape[1:] == (rows, columns)
