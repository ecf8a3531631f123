"""Fused normalisation, against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.models.layers import GroupNormalization
from cereals_tf.trainers.normalization import fused_normalization

L = keras.layers
TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 0.04, "mixed_float16": 0.01}


def _fused_operations(model, batch=2):
    traced = tf.function(lambda images: model(images, training=True)).get_concrete_function(
        tf.TensorSpec((batch, 6, 7, 3))
    )
    return sum(node.op == "FusedBatchNormV3" for node in traced.graph.as_graph_def().node)


def _step(model, state, training=True, batch=2):
    """Output, gradients and weights after one step."""
    model.set_weights(state)
    images = np.random.default_rng(0).normal(1.0, 3.0, (batch, 6, 7, 3)).astype("float32")

    @tf.function
    def run(images):
        with tf.GradientTape() as tape:
            outputs = tf.cast(model(images, training=training), tf.float32)
            loss = tf.reduce_sum(tf.sin(outputs * (1 + tf.range(outputs.shape[-1], dtype="float"))))
        return outputs, tape.gradient(loss, model.trainable_weights)

    outputs, gradients = run(images)
    return [np.asarray(part, "float32") for part in (outputs, *gradients, *model.get_weights())]


def _state(model, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 1.5, weight.shape).astype("float32") for weight in model.get_weights()]


def _model(channels, policy="float32"):
    inner_image = keras.Input((None, None, channels))
    inner = keras.Model(inner_image, L.BatchNormalization(dtype=policy)(inner_image))
    image = keras.Input((None, None, 3))
    x = L.Conv2D(channels, 3, use_bias=False, dtype=policy)(image)
    x = L.BatchNormalization(momentum=0.7, epsilon=0.01, dtype=policy)(x)
    return keras.Model(image, inner(L.Activation("elu", dtype=policy)(x)))


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("channels", [5, 16])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(channels, policy):
    model = _model(channels, policy)
    state = _state(model)
    expected = _step(model, state)
    with fused_normalization(model):
        assert _fused_operations(model) == 2
        found = _step(model, state)
        inference = _step(model, state, training=False)
    assert len(found) == len(expected) > 12
    for array, other in zip(found, expected, strict=True):
        limit = TOLERANCE[policy] * np.abs(other).max()
        np.testing.assert_allclose(array, other, rtol=0, atol=limit)
    for array, other in zip(inference, _step(model, state, training=False), strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("channels", [8, 32])
def test_group_normalization_of_an_image_is_as_without(channels, policy):
    image = keras.Input((None, None, 3))
    x = L.Conv2D(channels, 3, use_bias=False, dtype=policy)(image)
    x = GroupNormalization(4, dtype=policy)(x)
    model = keras.Model(image, L.Activation("elu", dtype=policy)(x))
    state = _state(model)
    expected = {batch: _step(model, state, batch=batch) for batch in (1, 2)}
    with fused_normalization(model):
        assert [_fused_operations(model, batch) for batch in (1, 2, None)] == [2, 0, 0]
        found = {batch: _step(model, state, batch=batch) for batch in (1, 2)}
    for array, other in zip(found[1], expected[1], strict=True):
        limit = TOLERANCE[policy] * np.abs(other).max()
        np.testing.assert_allclose(array, other, rtol=0, atol=limit)
    for array, other in zip(found[2], expected[2], strict=True):
        np.testing.assert_array_equal(array, other)


def test_models_are_left_as_they_were():
    model = _model(5)
    state = _state(model)
    before = _step(model, state)
    with pytest.raises(KeyboardInterrupt), fused_normalization(model):
        raise KeyboardInterrupt
    assert _fused_operations(model) == 0
    for array, other in zip(_step(model, state), before, strict=True):
        np.testing.assert_array_equal(array, other)
    keras.models.clone_model(model)


class _Halved(L.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training) / 2


@pytest.mark.parametrize(
    "layer",
    [
        L.BatchNormalization(axis=1),
        L.BatchNormalization(scale=False),
        L.BatchNormalization(center=False),
        L.BatchNormalization(epsilon=1e-6),
        L.BatchNormalization(trainable=False),
        L.BatchNormalization(synchronized=True),
        L.LayerNormalization(),
        _Halved(),
    ],
)
def test_what_is_no_plain_batch_normalization_is_left_alone(layer):
    image = keras.Input((6, 7, 3))
    model = keras.Model(image, L.Conv2D(3, 1)(layer(image)))
    state = _state(model)
    expected = _step(model, state)
    with fused_normalization(model):
        assert _fused_operations(model) == 0
        for array, other in zip(_step(model, state), expected, strict=True):
            np.testing.assert_array_equal(array, other)
