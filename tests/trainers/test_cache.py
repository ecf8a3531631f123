"""Kept samples: the same from everywhere, and read from the data set once."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.cache import SHARE_OF_MEMORY, Cache, memory_bytes, sample_bytes
from cereals_tf.trainers.evaluation import CostEvaluator, SegmentationEvaluator, split_batches
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import plan_samples
from cereals_tf.trainers.split import Split

WAYS = ("memory", "disk", "none")


@pytest.fixture(scope="module")
def data(write_data, noise):
    """Five images of 40x200, of which two are not labelled below."""
    images = {f"i{number}": noise(number, 40, 200) for number in range(5)}
    return write_data({"train": images, "val": {f"v{i}": noise(9 + i, 24, 40) for i in range(3)}})


REGIONS = {
    "i3": [Box(0, 0, 16, 16), Box(24, 184, 16, 16)],
    "i0": [Box(8, 32, 16, 24)],
    "i4": [Box(0, 0, 8, 8), Box(0, 96, 40, 8), Box(16, 176, 24, 24)],
}


def _crop_of_48(core, height, width):
    length = max(48, core.width)
    return Box(0, min(core.x, width - length), height, length)


def _training_data(reader, cache, target="segmentation", train_on="crop", min_steps=1):
    samples = {
        image_id: plan_samples(boxes, 40, 200, train_on, _crop_of_48)
        for image_id, boxes in REGIONS.items()
    }
    return TrainingData(reader, target, REGIONS, samples, 1, cache, min_steps)


def _epochs(training, seeds=(3, 4, 3)):
    """The batches of some epochs, as `fit` asks for them."""
    tf.random.set_seed(1)
    return [[part.numpy() for part in batch] for batch in training.epochs(seeds)]


def _assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        for part, array in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, array)
            assert part.dtype == array.dtype


@pytest.mark.parametrize("target", ["segmentation", "cost"])
@pytest.mark.parametrize(("train_on", "min_steps"), [("mask", 1), ("crop", 1), ("crop", 14)])
def test_samples_and_their_order_are_the_same_from_everywhere(
    data, tmp_path, target, train_on, min_steps
):
    reader = Split(data, "train")
    memory, disk, none = (
        _epochs(_training_data(reader, Cache(way, tmp_path), target, train_on, min_steps))
        for way in WAYS
    )
    assert len(memory) == 3 * max(min_steps, 6 if train_on == "crop" else 3)
    _assert_same(disk, memory)
    _assert_same(none, memory)
    images = [batch[0].tobytes() for batch in memory]
    count = len(images) // 3
    assert images[:count] == images[2 * count :] != images[count : 2 * count]
    assert set(images[:count]) == set(images[count : 2 * count])
    assert [path.name for path in tmp_path.iterdir()] == [f"train-{target}.tfrecord"]


def _copied(data, folder):
    shutil.copytree(data.folder, folder)
    return PreparedData.open(folder)


@pytest.mark.parametrize("way", WAYS)
def test_kept_samples_are_read_from_the_data_set_once(data, tmp_path, way):
    copied = _copied(data, tmp_path / "data")
    training = _training_data(Split(copied, "train"), Cache(way, tmp_path / "cache"))
    expected = _epochs(training)
    shutil.rmtree(tmp_path / "data")
    if way == "none":
        with pytest.raises(tf.errors.NotFoundError):
            _epochs(training)
    else:
        _assert_same(_epochs(training), expected)


def _network(channels):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 9, strides=8, padding="same", activation="elu")(image / 99.0)
    return keras.Model(image, keras.layers.Conv2D(channels, 1)(x))


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_reads_the_data_set_once(data, tmp_path, way):
    copied = _copied(data, tmp_path / "data")
    reader, cache = Split(copied, "val"), Cache(way, tmp_path / "cache")
    measures = [
        SegmentationEvaluator(_network(3), reader, False, cache).confusion,
        CostEvaluator(_network(1), reader, cache).mean_squared_error,
    ]
    plain = Split(data, "val")
    expected = [
        SegmentationEvaluator(_network(3), plain, False).confusion(),
        CostEvaluator(_network(1), plain).mean_squared_error(),
    ]
    for remove in (False, True):
        if remove:
            shutil.rmtree(tmp_path / "data")
        for measure, value in zip(measures, expected, strict=True):
            if remove and way == "none":
                with pytest.raises(tf.errors.NotFoundError):
                    measure()
            else:
                np.testing.assert_array_equal(measure(), value)


@pytest.mark.parametrize("way", WAYS)
def test_no_iterator_waits_at_its_end_for_a_thread_that_tunes(data, tmp_path, way):
    """A race, which a test cannot call for; so whether the thread is there at all."""
    cache = Cache(way, tmp_path)
    train, val = (Split(data, split) for split in ("train", "val"))
    tuned = {
        name: dataset.options().autotune.enabled is not False
        for name, dataset in {
            "records": train.records(),
            "training": _training_data(train, cache).epochs([3, 4]),
            "evaluation": split_batches(val, lambda record: (val.image(record),), "images", cache),
        }.items()
    }
    assert tuned == dict.fromkeys(tuned, False)


def test_what_an_interrupted_training_left_on_disk_does_not_count(data, tmp_path):
    reader = Split(data, "train")
    expected = _epochs(_training_data(reader, Cache("none")))
    (tmp_path / "train-segmentation.tfrecord").write_bytes(b"half a reco")
    for _ in range(2):
        training = _training_data(reader, Cache("disk", tmp_path))
        _assert_same(_epochs(training), expected)


def test_a_full_disk_is_the_user_s_to_mend(data, tmp_path):
    (tmp_path / "train-cost.tfrecord").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"train-cost\.tfrecord: cannot be written .*--cache=disk"):
        _training_data(Split(data, "train"), Cache("disk", tmp_path), "cost")


def test_auto_takes_memory_for_what_fits_into_its_share():
    share = SHARE_OF_MEMORY * memory_bytes()
    assert Cache().chosen(int(share)) == "memory"
    assert Cache().chosen(int(share) + 1) == "none"
    assert [Cache(way, Path()).chosen(10**18) for way in WAYS] == list(WAYS)
    assert 0 < memory_bytes() < 1 << 50


def test_size_of_a_sample_is_that_of_its_tensors(data):
    for target in ("segmentation", "cost"):
        training = _training_data(Split(data, "train"), Cache(), target, "mask")
        for batch in training.epochs([0]):
            assert sum(part.numpy().nbytes for part in batch) == sample_bytes(40, 200)


@pytest.mark.parametrize("arguments", [("ram", Path()), ("disk", None)])
def test_wrong_caches_are_refused(arguments):
    with pytest.raises(ValueError):
        Cache(*arguments)
