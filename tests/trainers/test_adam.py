"""Fused Adam, against Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.trainers.adam import FusedAdam

OPTIONS = {"learning_rate": 0.03, "beta_1": 0.99, "beta_2": 0.999}
SHAPES = [(3, 3, 4, 5), (5,), ()]


def _gradients(step):
    """Gradients of very different sizes, some of them zero."""
    rng = np.random.default_rng(step)
    for shape in SHAPES:
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 4, shape)
        yield tf.constant(np.where(rng.random(shape) < 0.2, 0.0, values), tf.float32)


def _trained(optimizer, steps=30):
    rng = np.random.default_rng(99)
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    optimizer.build(variables)
    apply = tf.function(lambda gradients: optimizer.apply(gradients))
    for step in range(steps):
        apply(list(_gradients(step)))
    return [np.array(variable) for variable in (*variables, *optimizer.variables)]


def test_weights_and_moments_are_those_of_keras():
    expected, found = (_trained(kind(**OPTIONS)) for kind in (keras.optimizers.Adam, FusedAdam))
    assert len(found) == len(expected) == 2 + 3 * len(SHAPES)
    for index, (array, other) in enumerate(zip(found, expected, strict=True)):
        limit = 1e-5 if index < len(SHAPES) else 1e-12  # weights, then the optimizer's numbers
        np.testing.assert_allclose(array, other, rtol=1e-4, atol=limit)


def test_gradients_of_single_rows_count():
    """As embeddings have them."""

    def train(optimizer):
        table = keras.Variable(np.ones((4, 3), "float32"))
        optimizer.build([table])
        rows = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([1, 3]), tf.constant([4, 3]))
        for _ in range(3):
            optimizer.apply([rows])
        return np.array(table)

    found = train(FusedAdam(**OPTIONS))
    np.testing.assert_allclose(found, train(keras.optimizers.Adam(**OPTIONS)), rtol=1e-5)
    assert (found[[0, 2]] == 1).all() and (found[[1, 3]] < 1).all()


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_what_is_not_finite_shows(scale):
    variable = keras.Variable(np.ones(3, "float32"))
    optimizer = FusedAdam(**OPTIONS)
    optimizer.build([variable])
    optimizer.apply([tf.constant([0.0, scale, 1.0])])
    assert np.isfinite(np.array(variable)).tolist() == [True, False, True]
