import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.models.layers import (
    BilinearInitializer,
    CropToGrid,
    GroupNormalization,
    HalfDropout,
    PadToMultiple,
    ResizeToGrid,
)


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(("channels", "groups"), [(24, 8), (8, 8), (6, 1)])
def test_group_normalization_is_that_of_keras(channels, groups, policy):
    features = 3 * _random(2, 5, 7, channels) + np.arange(channels, dtype="float32")
    ours, theirs = (
        kind(groups, dtype=policy) for kind in (GroupNormalization, keras.layers.GroupNormalization)
    )
    results = []
    for layer in (ours, theirs):
        layer.build(features.shape)
        layer.set_weights([_random(channels), _random(2, channels)[1]])
        variable = tf.Variable(tf.cast(features, layer.compute_dtype))
        with tf.GradientTape() as tape:
            outputs = layer(variable)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, "float32")))
        gradients = tape.gradient(loss, [variable, *(v.value for v in layer.trainable_variables)])
        assert outputs.dtype == layer.compute_dtype
        results.append([np.asarray(part, "float32") for part in (outputs, *gradients)])
    tolerance = {"float32": 1e-5, "mixed_bfloat16": 0.03, "mixed_float16": 0.005}[policy]
    for found, expected in zip(*results, strict=True):
        limit = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def test_group_normalization_of_equal_features_is_the_offset():
    layer = GroupNormalization(2)
    features = np.full((1, 64, 64, 4), 12345.678, "float32")
    layer.build(features.shape)
    layer.set_weights([np.ones(4), np.arange(4)])
    np.testing.assert_allclose(layer(features)[0, 0, 0], np.arange(4), atol=0.2)


def test_pads_zeros_below_and_right_only():
    images = _random(2, 5, 8, 3)
    padded = np.asarray(PadToMultiple(4)(images))
    assert padded.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(padded[:, :5], images)
    assert not padded[:, 5:].any()


def test_crops_the_top_left():
    features = _random(1, 4, 8, 2)
    cropped = np.asarray(CropToGrid(8)([features, np.zeros((1, 17, 33, 3))]))
    np.testing.assert_array_equal(cropped, features[:, :3, :5])


def _resized_axis(values, target):
    """Bilinear resizing of a vector, written out; the filter widens where it reduces."""
    source = len(values)
    result = []
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        radius = max(source / target, 1.0)
        weights = [max(0.0, 1 - abs(j - centre) / radius) for j in range(source)]
        result.append(np.dot(weights, values) / sum(weights))
    return np.array(result)


@settings(max_examples=40)
@given(*[st.integers(1, 40)] * 4)
def test_resizes_as_written_out(height, width, rows, columns):
    logits = _random(1, height, width, 2)
    image = np.zeros((1, 8 * rows - 3, 8 * columns, 3))
    expected = np.apply_along_axis(_resized_axis, 1, logits, rows)
    expected = np.apply_along_axis(_resized_axis, 2, expected, columns)
    np.testing.assert_allclose(ResizeToGrid(8)([logits, image]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "rows"), [((6, 10), 3), ((3, 5), 6), ((5, 7), 4)])
def test_resizing_agrees_with_keras_away_from_reinvention(size, rows):
    logits = _random(1, *size, 2)
    expected = keras.ops.image.resize(logits, (rows, 5), interpolation="bilinear", antialias=True)
    resized = ResizeToGrid(8)([logits, np.zeros((1, 8 * rows, 40, 3))])
    np.testing.assert_allclose(resized, expected, rtol=1e-5, atol=1e-5)


def test_resizing_is_the_identity_on_the_grid_also_where_sizes_are_unknown():
    logits = _random(2, 5, 7, 3)
    image = np.zeros((2, 33, 56, 3), "float32")
    np.testing.assert_array_equal(ResizeToGrid(8)([logits, image]), logits)
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 3))]
    model = keras.Model(inputs, ResizeToGrid(8)(inputs))
    np.testing.assert_allclose(model.predict([logits, image], verbose=0), logits, rtol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_bilinear_initializer_interpolates_each_channel(factor):
    layer = keras.layers.Conv2DTranspose(
        3,
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearInitializer(),
    )
    features = _random(1, 6, 7, 3)
    expected = keras.ops.image.resize(features, (6 * factor, 7 * factor), interpolation="bilinear")
    inner = np.s_[:, factor:-factor, factor:-factor]
    np.testing.assert_allclose(np.asarray(layer(features))[inner], expected[inner], atol=1e-5)


def test_bilinear_initializer_for_an_odd_kernel_sums_to_the_square_of_the_stride():
    kernel = np.asarray(BilinearInitializer()((3, 3, 1, 1)))[:, :, 0, 0]
    np.testing.assert_allclose(kernel, np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]))


@pytest.mark.parametrize("channels", [1, 7, 16, 40])
def test_half_dropout_tosses_a_fair_coin_per_unit(channels):
    """Of fair coins, n tosses stray from n / 2 by 5 sqrt(n) / 2 with a chance of 6e-7."""
    layer = HalfDropout(seed=1)
    ones = np.ones((2, 30, 30, channels), "float32")
    kept = np.stack([np.asarray(layer(ones, training=True)) for _ in range(4)])
    assert set(np.unique(kept)) == {0, 2}
    kept = kept > 0
    halves = [kept.reshape(4, -1), *(kept == np.roll(kept, 1, axis) for axis in range(4))]
    halves += [(kept == np.roll(kept, shift, -1)).reshape(4, -1) for shift in range(1, channels)]
    for tosses in halves:
        assert abs(tosses.sum() - tosses.size / 2) < 5 * np.sqrt(tosses.size) / 2


def test_half_dropout_leaves_inference_alone_and_differentiates():
    layer, x = HalfDropout(), tf.constant(_random(1, 4, 4, 5))
    np.testing.assert_array_equal(layer(x), x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), np.where(y == 0, 0, 2))
    assert layer(tf.cast(x, "bfloat16"), training=True).dtype == layer.compute_dtype
    assert HalfDropout.from_config(layer.get_config()).get_config() == layer.get_config()
