"""Fitting: when it stops, what it leaves, and that an interruption changes nothing."""

import json
import math
import os
import shutil
import signal
from functools import reduce
from itertools import chain, count, repeat

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.progress import show_progress
from cereals_tf.trainers import fitting
from cereals_tf.trainers.fitting import (
    BAR_FORMAT,
    FitOptions,
    FitState,
    Objective,
    cost_loss,
    fit,
    segmentation_loss,
    standing,
)

STEPS = 4


def _model(seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="elu")(image)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(x))


def _epoch(seed, scale=1.0):
    """Four steps of noise, the same images in an order of the seed."""
    rng = np.random.default_rng(0)
    images, targets = (rng.normal(size=(STEPS, 1, 8, 8, n)).astype("float32") for n in (3, 1))
    order = np.random.default_rng(seed).permutation(STEPS)
    weights = np.ones((STEPS, 1, 8, 8), "float32")
    parts = images[order], scale * targets[order], weights[order]
    return tf.data.Dataset.from_tensor_slices(parts)


def _each(epoch):
    """What `fit` takes for epochs that are made one by one."""

    def epochs(seeds):
        first, *others = [epoch(seed) for seed in seeds or [0]]
        return reduce(tf.data.Dataset.concatenate, others, first).take(len(seeds) * STEPS)

    return epochs


EPOCHS = _each(_epoch)


def _fit(
    model, measure, folder, epochs=50, patience=3, higher=True, epoch_data=EPOCHS, rate=0.01, **more
):
    objective = Objective("cost", cost_loss(), "score", measure, higher)
    options = FitOptions(epochs, patience, rate)
    return fit(model, objective, epoch_data, STEPS, options, 7, folder, **more)


def _values(model):
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


class _Script:
    """Measures by reading a list; keeps the weights that it was called with."""

    def __init__(self, model, metrics):
        self.model, self.metrics, self.weights = model, iter(metrics), []

    def __call__(self):
        self.weights.append(self.model.get_weights())
        return next(self.metrics)


def test_80_columns_show_the_metric_and_the_best():
    objective = Objective("segmentation", segmentation_loss(), "mIoU", lambda: 0.0, True)
    state = FitState([*[2.0] * 99, 0.12345], [0.98765, *[0.5] * 98, 0.12345])
    assert standing(objective, state) == "mIoU 0.1235, best 0.9877, epoch 100, loss 0.123"
    long = {"n": 123456, "total": 297500, "elapsed": 359999, "ncols": 80}
    line = tqdm.format_meter(
        **long, prefix="segmentation", bar_format=BAR_FORMAT, postfix=standing(objective, state)
    )
    assert "mIoU 0.1235, best 0.9877" in line and len(line) == 80


@pytest.fixture
def notes():
    show_progress()
    yield
    show_progress(False)


# When it stops.


@pytest.mark.parametrize(
    ("metrics", "higher", "epochs", "best", "remark"),
    [
        ([1, 2, 3, 2, 3, 2.9, 9], True, 6, 2, "of 6 epochs is number 3; a lower --learning_rate"),
        ([3, 4, 4, 2.5, 3, 3, 3, 0], False, 7, 3, ""),  # an equal value is no improvement
        ([5, 4, 3, 2, 1], True, 4, 0, "of 4 epochs is number 1; a lower --learning_rate"),
        ([math.nan, 1, 2, math.nan, math.nan, 2, 9], True, 6, 2, "of 6 epochs is number 3;"),
        ([math.nan, 7, math.nan, math.inf, 8, 0], False, 5, 1, "of 5 epochs is number 2;"),
        ([1, 2, 3], True, 3, 2, "the last of --epochs=3;"),
        ([4, 3, 2, 5, 1], False, 5, 4, "the last of --epochs=5;"),
    ],
)
def test_training_stops_without_improvement_and_keeps_the_best_weights(
    tmp_path, capsys, notes, metrics, higher, epochs, best, remark
):
    model = _model(0)
    script = _Script(model, metrics)
    state = _fit(model, script, tmp_path, epochs=min(len(metrics), 50), higher=higher)
    np.testing.assert_array_equal(state.metrics, metrics[:epochs])
    assert len(state.losses) == state.epoch == epochs
    assert state.best_epoch(higher) == best
    for found, expected in zip(model.get_weights(), script.weights[best], strict=True):
        np.testing.assert_array_equal(found, expected)
    weights = [np.concatenate([part.ravel() for part in parts]) for parts in script.weights]
    assert len({part.tobytes() for part in weights}) == epochs
    said = capsys.readouterr().err.splitlines()
    assert [remark in line for line in said if line.startswith("cost: the best")] == [True] * bool(
        remark
    )


def _stops_after(metrics, epochs, patience, higher):
    """Count epochs one by one, as the supplement's rule says."""
    best, waited = None, 0
    for epoch, metric in enumerate(metrics[:epochs], start=1):
        better = best is None or (metric > best if higher else metric < best)
        best, waited = (metric, 0) if better else (best, waited + 1)
        if waited >= patience:
            return epoch
    return epochs if len(metrics) >= epochs else None


@given(
    st.lists(st.integers(0, 5), max_size=20),
    st.integers(0, 15),
    st.integers(1, 5),
    st.booleans(),
)
def test_stopping_rule_is_that_of_a_plain_count(metrics, epochs, patience, higher):
    options = FitOptions(epochs, patience, 0.1)
    stopped = None
    for epoch in range(len(metrics) + 1):
        if FitState([0.0] * epoch, metrics[:epoch]).finished(options, higher):
            stopped = epoch
            break
    assert stopped == _stops_after(metrics, epochs, patience, higher)


def test_epochs_beyond_all_bounds_end_by_patience_as_few_do(tmp_path, monkeypatch):
    metrics = [0, 1, 2, 3, 4, 5, 0]
    few, many = _model(0), _model(0)
    for model, epochs, stretch in ((few, len(metrics), 100), (many, 10**12, 3)):
        monkeypatch.setattr(fitting, "STRETCH", stretch)
        folder = tmp_path / str(epochs)
        state = _fit(model, _Script(model, metrics), folder, epochs=epochs, patience=1)
        assert state.metrics == metrics
    for found, expected in zip(_values(many), _values(few), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_epochs_leave_the_model_as_it_was(tmp_path):
    model = _model(0)
    before = model.get_weights()
    state = _fit(model, lambda: pytest.fail("measured"), tmp_path, epochs=0)
    assert state == FitState()
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


# What it leaves.


def test_only_the_last_and_the_best_weights_stay_on_disk(tmp_path):
    metrics, listings = [1, 3, 2, 2, 4, 0, 0, 0], []

    def measure():
        listings.append(sorted(path.name for path in tmp_path.iterdir()))
        return metrics[len(listings) - 1]

    _fit(_model(0), measure, tmp_path)
    listings.append(sorted(path.name for path in tmp_path.iterdir()))
    kept = [[], [0], [1], [1, 2], [1, 3], [4], [4, 5], [4, 6], [4, 7]]
    assert listings == [
        [
            *(f"epoch-{epoch:04d}.npz" for epoch in epochs),
            *(["state.json"] if epochs else []),
        ]
        for epochs in kept
    ]
    stored = json.loads((tmp_path / "state.json").read_text())
    assert stored["metrics"] == metrics


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", lambda path: path.write_text("")),
        ("state.json", lambda path: path.write_text('{"epoch": 2}')),
        ("state.json", _cut),
        ("epoch-0001.npz", lambda path: path.unlink()),
        ("epoch-0001.npz", lambda path: path.write_bytes(b"")),
        ("epoch-0001.npz", _cut),
        ("epoch-0001.npz", lambda path: np.savez(path, np.zeros(3))),
    ],
)
def test_damaged_checkpoints_are_named_and_can_be_removed(tmp_path, name, damage):
    whole, folder = _model(0), tmp_path / "interrupted"
    _fit(whole, iter([1, 2, 3]).__next__, tmp_path / "whole", epochs=3)
    _fit(_model(0), iter([1, 2]).__next__, folder, epochs=2)
    damage(folder / name)
    with pytest.raises(UserError, match=r"(?s)/interrupted: .* starts over"):
        _fit(_model(0), iter([3]).__next__, folder, epochs=3)
    shutil.rmtree(folder)
    again = _model(0)
    _fit(again, iter([1, 2, 3]).__next__, folder, epochs=3)
    assert all(np.array_equal(a, b) for a, b in zip(_values(whole), _values(again), strict=True))


def test_a_damaged_best_epoch_is_named_too(tmp_path):
    _fit(_model(0), iter([5, 1]).__next__, tmp_path, epochs=2)
    (tmp_path / "epoch-0000.npz").unlink()
    with pytest.raises(UserError, match=r"(?s)an interrupted training .* starts over"):
        _fit(_model(0), iter([2]).__next__, tmp_path, epochs=3)


def test_optimizer_is_the_paper_s(tmp_path):
    model = _model(0)
    _fit(model, lambda: 0.0, tmp_path, epochs=1)
    config = model.optimizer.get_config()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert config["learning_rate"] == pytest.approx(0.01)
    assert (config["beta_1"], config["beta_2"]) == (0.99, 0.999)
    assert not config["weight_decay"] and not config["amsgrad"]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_epoch_has_the_learning_rate_of_its_schedule(tmp_path, schedule):
    model, rates = _model(0), []
    cosine = keras.optimizers.schedules.CosineDecay(0.02, decay_steps=6)
    expected = [float(cosine(epoch)) if schedule == "cosine" else 0.02 for epoch in range(6)]

    def measure():
        rates.append(float(model.optimizer.learning_rate))
        return 0.0

    objective = Objective("cost", cost_loss(), "score", measure, True)
    options = FitOptions(6, 9, 0.02, schedule)
    fit(model, objective, EPOCHS, STEPS, options, 7, tmp_path)
    assert rates == pytest.approx(expected, rel=1e-6)
    remark = FitState([0.0] * 6, [1.0, *[0.0] * 5]).remark(options, True)
    assert (remark is None) == (schedule == "cosine")


def test_the_bar_counts_the_steps_of_all_epochs_and_goes_on_where_it_was(tmp_path, capsys, notes):
    _fit(_model(0), iter([1, 2]).__next__, tmp_path, epochs=2)
    assert "cost: 8/8 " in capsys.readouterr().err
    _fit(_model(0), iter([3]).__next__, tmp_path, epochs=3)
    shown = capsys.readouterr().err
    assert "cost: 8/12 " in shown and "cost: 12/12 " in shown and "cost: 0/" not in shown


def test_losses_are_the_means_of_the_epochs_steps(tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
    expected = [
        np.square(np.asarray(model(images)) - targets).mean() for images, targets, _ in _epoch(0)
    ]
    state = _fit(model, lambda: 0.0, tmp_path, epochs=1, rate=0.0)
    assert state.losses == pytest.approx([np.mean(expected)], rel=1e-5)


def test_all_labelled_positions_count_alike_or_those_of_a_step(tmp_path):
    """The model predicts 0, and stays so."""
    targets = np.array([0.0, 0.0, 0.0, 8.0], "float32").reshape(STEPS, 1, 1, 1, 1)
    weights = np.zeros((STEPS, 1, 8, 8), "float32")
    for step, labelled in enumerate((10, 20, 30, 4)):
        weights[step].flat[:labelled] = 1
    images = np.zeros((STEPS, 1, 8, 8, 3), "float32")
    batches = tf.data.Dataset.from_tensor_slices((images, targets, weights))
    image = keras.Input((8, 8, 3))
    found = []
    for positions in (None, 16.0):
        model = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
        folder = tmp_path / str(positions)
        state = _fit(
            model,
            lambda: 0.0,
            folder,
            1,
            epoch_data=lambda seeds: batches,
            rate=0.0,
            positions=positions,
        )
        found.append(state.losses[0])
    mean_of_steps, mean_of_all = 64.0 / 4, 64.0 * 4 / (10 + 20 + 30 + 4)
    assert found == pytest.approx([mean_of_steps, mean_of_all])


class _Noting(keras.layers.Layer):
    """Notes the shapes that it is traced for."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def call(self, inputs):
        self.shapes.append((*inputs.shape,))
        return inputs


def test_a_step_is_traced_for_its_batches_whatever_the_model_was_trained_on_before(tmp_path):
    noting = _Noting()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(noting(image)))
    noting.shapes.clear()
    for number, side in enumerate((8, 16, 8)):

        def epoch(seed, side=side):
            parts = (np.ones((STEPS, 1, side, side, n), "float32") for n in (3, 1))
            return tf.data.Dataset.from_tensor_slices((*parts, np.ones((STEPS, 1, side, side))))

        _fit(model, lambda: 1.0, tmp_path / str(number), epochs=1, epoch_data=_each(epoch))
    assert noting.shapes == [(1, 8, 8, 3), (1, 16, 16, 3)]


@pytest.mark.parametrize("scale", [np.nan, 1e30])
def test_divergence_is_the_user_s_to_mend(tmp_path, scale):
    scales = chain([1.0], repeat(scale))

    def epoch_data(seed):
        return _epoch(seed, next(scales))

    with pytest.raises(UserError, match=r"--learning_rate=0\.01: .* cost .* epoch 2"):
        _fit(_model(0), lambda: 0.0, tmp_path, epoch_data=_each(epoch_data))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-0000.npz", "state.json"]


def test_steps_without_weight_change_no_loss_to_nan(tmp_path):
    def epoch_data(seed):
        return _epoch(seed).map(lambda image, target, weight: (image, target, 0 * weight))

    state = _fit(_model(0), lambda: 0.0, tmp_path, epochs=2, epoch_data=_each(epoch_data))
    assert state.losses == [0.0, 0.0]


def test_segmentation_loss_averages_over_weights():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    class_ids = np.random.default_rng(1).integers(0, 4, (2, 3, 5))
    weights = (np.random.default_rng(2).random((2, 3, 5)) < 0.4).astype("float32")
    chosen = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(chosen, class_ids[..., None], axis=-1)[..., 0]
    found = segmentation_loss()(class_ids, logits, sample_weight=weights)
    assert float(found) == pytest.approx(
        (-np.log(chosen) * weights).sum() / weights.sum(), rel=1e-5
    )


# Interruptions.

METRICS = [1.0, 3.0, 2.0, 5.0, 4.0]


def _finished_epochs(folder):
    path = folder / "state.json"
    return len(json.loads(path.read_text())["metrics"]) if path.exists() else 0


def _measure_from(folder, fails_at=None):
    """The scripted metric of the epoch in progress; fails in epoch `fails_at`, counted from 0."""

    def measure():
        epoch = _finished_epochs(folder)
        if epoch == fails_at:
            raise KeyboardInterrupt
        return METRICS[epoch]

    return measure


def _struck_in(folder, epoch):
    """Epochs of which one, counted from 0, is struck by Ctrl-C at its third step."""

    def strike(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step

    def pass_on(step, batch):
        with tf.control_dependencies([tf.py_function(strike, [step], tf.int64)]):
            return tuple(map(tf.identity, batch))

    def epochs(seeds):
        numbers = count(_finished_epochs(folder))

        def epoch_data(seed):
            data = _epoch(seed)
            return data.enumerate().map(pass_on) if next(numbers) == epoch else data

        return _each(epoch_data)(seeds)

    return epochs


def _stored(path):
    """All arrays of a checkpoint by name."""
    with np.load(path) as arrays:
        return dict(arrays)


def test_interrupted_training_ends_with_the_same_weights_and_optimizer(tmp_path):
    """Struck in two epochs, each time mid-epoch and before its end is on disk."""
    run = {"epochs": len(METRICS), "patience": 9}
    calm, struck = tmp_path / "calm", tmp_path / "struck"
    undisturbed, disturbed = _model(0), _model(0)
    expected = _fit(undisturbed, _measure_from(calm), calm, **run)
    for epoch in (0, 3):
        for options in (
            {"measure": _measure_from(struck, fails_at=epoch)},
            {"measure": _measure_from(struck), "epoch_data": _struck_in(struck, epoch)},
        ):
            with pytest.raises(KeyboardInterrupt):
                _fit(disturbed, folder=struck, **run, **options)
            disturbed = _model(0 if epoch == 0 else 100 + epoch)
    assert _fit(disturbed, _measure_from(struck), struck, **run) == expected
    assert expected.metrics == METRICS

    assert (calm / "state.json").read_bytes() == (struck / "state.json").read_bytes()
    names = sorted(path.name for path in calm.iterdir())
    assert names == sorted(path.name for path in struck.iterdir())
    assert len(names) == 3
    for name in names[:2]:
        arrays, others = _stored(calm / name), _stored(struck / name)
        moments = len(undisturbed.optimizer.variables)
        assert len(arrays) == len(undisturbed.variables) + moments > len(undisturbed.variables)
        assert arrays.keys() == others.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, others[key], err_msg=key)
    for found, reference in zip(_values(disturbed), _values(undisturbed), strict=True):
        np.testing.assert_array_equal(found, reference)
    again = _model(55)
    assert _fit(again, lambda: pytest.fail("measured"), struck, **run) == expected
    for found, reference in zip(again.get_weights(), undisturbed.get_weights(), strict=True):
        np.testing.assert_array_equal(found, reference)


def _half_model(seed, policy):
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    try:
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(16, 3, padding="same", activation="elu")(image)
        x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(1, 3, padding="same", dtype="float32")(x)
        return keras.Model(image, x)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_interrupted_training_in_mixed_precision_ends_the_same(tmp_path, policy):
    """The gradients overflow at first, so that float16 has to lower the scale of its loss."""
    run = {
        "epochs": len(METRICS),
        "patience": 9,
        "epoch_data": _each(lambda seed: _epoch(seed, 30.0)),
    }
    calm, struck = tmp_path / "calm", tmp_path / "struck"
    undisturbed, disturbed = _half_model(0, policy), _half_model(0, policy)
    expected = _fit(undisturbed, _measure_from(calm), calm, **run)
    with pytest.raises(KeyboardInterrupt):
        _fit(disturbed, _measure_from(struck, fails_at=3), struck, **run)
    disturbed = _half_model(5, policy)
    assert _fit(disturbed, _measure_from(struck), struck, **run) == expected
    for found, reference in zip(_values(disturbed), _values(undisturbed), strict=True):
        np.testing.assert_array_equal(found, reference)
    assert np.isfinite(expected.losses).all()
    assert expected.losses[-1] < expected.losses[0]
    optimizer = undisturbed.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    if policy == "mixed_float16":
        assert float(optimizer.dynamic_scale) < optimizer.initial_scale
