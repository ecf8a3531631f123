"""Two virtual devices do what one device does with the same batches."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.data_prep.errors import UserError
from cereals_tf.trainers.strategy import open_strategy, split_among

# Seven images in batches of four and three; positions of very different weight in each half.
CHILD = """
import json, sys
from pathlib import Path
import keras, numpy as np, tensorflow as tf
devices, normalized, precision, folder = *map(int, sys.argv[1:3]), *sys.argv[3:]
(cpu,) = tf.config.list_physical_devices("CPU")
virtual = [tf.config.LogicalDeviceConfiguration()] * devices
tf.config.set_logical_device_configuration(cpu, virtual)
tf.config.experimental.enable_op_determinism()
from cereals_tf.data_prep.errors import UserError
from cereals_tf.trainers.fitting import FitOptions, Objective, fit, segmentation_loss
from cereals_tf.trainers.strategy import open_strategy

if devices > 1:
    try:
        open_strategy("mirrored", 3)
    except UserError as error:
        print(error)
strategy = open_strategy("mirrored" if devices > 1 else "none", 4)

def build():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    with strategy.scope():
        image = keras.Input((None, None, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1)(image)
        x = keras.layers.Conv2D(6, 3, padding="same", activation="elu")(x)
        if normalized:
            x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
        logits = keras.layers.Conv2D(3, 3, padding="same", dtype="float32")(x)
        return keras.Model(image, logits)

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (7, 8, 8, 3), np.uint8)
labels = rng.integers(0, 3, (7, 8, 8), np.int32)
weights = (rng.random((7, 8, 8)) < np.linspace(0, 1, 7)[:, None, None]).astype("float32")
data = tf.data.Dataset.from_tensor_slices((images, labels, weights))

def epoch(seed):
    return data.shuffle(7, seed=seed, reshuffle_each_iteration=False).batch(4)

def epochs(seeds):
    return tf.data.Dataset.from_tensor_slices(tf.constant(seeds, tf.int64)).flat_map(epoch)

def train(name, strike_at=None):
    model, done = build(), []
    infer = tf.function(lambda: tf.reduce_sum(tf.abs(model(images, training=False))))
    def measure():
        done.append(1)
        if len(done) == strike_at:
            raise KeyboardInterrupt
        return float(infer())
    objective = Objective("test", segmentation_loss(), "sum", measure, True)
    state = fit(model, objective, epochs, 2, FitOptions(3, 9, 0.01), 7, Path(folder, name))
    return state, [*model.get_weights(), *map(np.array, model.optimizer.variables)]

state, arrays = train("calm")
try:
    train("struck", strike_at=2)
except KeyboardInterrupt:
    again, resumed = train("struck")
assert again == state
for array, other in zip(resumed, arrays, strict=True):
    np.testing.assert_array_equal(array, other)
np.savez(Path(folder, "weights.npz"), *arrays)
Path(folder, "state.json").write_text(json.dumps([state.losses, state.metrics]))
"""


def _trained(folder, devices, normalized=0, precision="float32"):
    folder.mkdir()
    command = [sys.executable, "-c", CHILD, *map(str, (devices, normalized, precision, folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    losses, metrics = json.loads((folder / "state.json").read_text())
    with np.load(folder / "weights.npz") as arrays:
        return done.stdout, losses, metrics, list(arrays.values())


def test_two_devices_train_as_one_does_with_the_same_batches(tmp_path):
    _, losses, metrics, expected = _trained(tmp_path / "one", 1)
    printed, other_losses, other_metrics, found = _trained(tmp_path / "two", 2)
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other_metrics, metrics, rtol=1e-5)
    assert np.ptp(metrics) > 1
    # The mean over batches counts the filling of the last one too.
    np.testing.assert_allclose(other_losses, losses, rtol=0.01)
    assert re.search("--strategy=mirrored: 2 devices .* must be a multiple of 2; it is 3", printed)


@pytest.mark.long
def test_dropout_normalization_and_loss_scaling_work_on_two_devices(tmp_path):
    """And an interrupted training ends as another one, which the child checks."""
    _, losses, _, arrays = _trained(tmp_path / "two", 2, 1, "mixed_float16")
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_replicas_get_equal_parts_whose_sums_are_the_batch_s_mean(count):
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    targets, values = rng.normal(size=(2, count, 2, 2)).astype("float32")
    weights = rng.random((count, 2, 2)).astype("float32")
    batches = tf.data.Dataset.from_tensors((images, targets, weights))
    ((filled, other, shares),) = split_among(batches, 3).as_numpy_iterator()
    assert len(filled) == len(other) == len(shares) == -(-count // 3) * 3
    np.testing.assert_array_equal(filled[:count], images)
    np.testing.assert_array_equal(other[:count], targets)
    assert (filled[count:] == images[-1]).all() and (shares[count:] == 0).all()
    mean = np.average(values, weights=weights)
    assert (values * shares[:count]).sum() == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_weights_are_divided_by_what_a_mean_step_has(replicas):
    weights = np.random.default_rng(0).random((3, 2, 2)).astype("float32")
    batches = tf.data.Dataset.from_tensors((np.ones((3, 1)), np.ones((3, 1)), weights))
    ((_, _, shares),) = split_among(batches, replicas, 5.0).as_numpy_iterator()
    np.testing.assert_allclose(shares[:3], weights / 5)
    assert len(shares) == 3 + (replicas == 2) and not shares[3:].any()


def test_features_are_split_map_by_map():
    maps = [np.arange(3.0).reshape(3, 1, 1, 1) * np.ones((side, side, side)) for side in (4, 2, 1)]
    batches = tf.data.Dataset.from_tensors((tuple(maps), np.ones((3, 1)), np.ones((3, 1))))
    ((filled, _, _),) = split_among(batches, 2).as_numpy_iterator()
    for found, expected in zip(filled, maps, strict=True):
        np.testing.assert_array_equal(found, np.concatenate([expected, expected[-1:]]))


def test_batches_without_weight_stay_without():
    batches = tf.data.Dataset.from_tensors((np.ones((3, 1)), np.ones((3, 1)), np.zeros((3, 1))))
    ((_, _, shares),) = split_among(batches, 2).as_numpy_iterator()
    np.testing.assert_array_equal(shares, np.zeros((4, 1)))


def test_unknown_strategies_are_refused():
    known = "none, mirrored, multiworker"
    with pytest.raises(UserError, match=f"--strategy=tpu: expected one of {known}"):
        open_strategy("tpu", 4)
    assert open_strategy("none", 1).num_replicas_in_sync == 1
