"""The dropout committee against passes written out layer by layer."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from cereals_tf.acquisition import monte_carlo
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.trainers.randomness import reseed

IMAGES = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _fixed_weights():
    keras.utils.set_random_seed(0)


class Parts:
    """Two blocks of convolution, batch normalisation and dropout, and a classifier."""

    def __init__(self, dtype=None):
        self.dtype = dtype
        self.blocks = [
            [
                layers.Conv2D(8, 3, padding="same", dtype=dtype),
                layers.BatchNormalization(name=f"bn{index}", dtype=dtype),
                dropout,
            ]
            for index, dropout in enumerate(
                [
                    layers.Dropout(0.5, name="first", dtype=dtype),
                    layers.SpatialDropout2D(0.3, name="second", dtype=dtype),
                ]
            )
        ]
        self.classify = layers.Conv2D(4, 1, dtype=dtype)
        self.all = [*self.blocks[0], *self.blocks[1], self.classify]

    def finish(self, model):
        """Give batch normalisation statistics that its own batch would not give."""
        for convolution, normalisation, _ in self.blocks:
            convolution.bias.assign(ops.arange(8, dtype="float32") / 8)
            normalisation.moving_mean.assign(ops.arange(8, dtype="float32") / 5)
            normalisation.moving_variance.assign(1 + ops.arange(8, dtype="float32"))
        return model

    def reseed(self, seed):
        for index, (_, _, dropout) in enumerate(self.blocks):
            dropout.seed_generator.state.assign([seed, index])

    def expected(self, images):
        """One pass, with dropout on and the rest in inference mode."""
        x = images
        for convolution, normalisation, dropout in self.blocks:
            x = dropout(normalisation(convolution(x), training=False), training=True)
        return self.classify(x)


def chain(x, steps):
    for step in steps:
        x = step(x)
    return x


def functional(steps, name=None, dtype=None, size=(None, None), channels=3):
    x = keras.Input((*size, channels), dtype=dtype)
    return keras.Model(x, chain(x, steps), name=name)


class Opaque(layers.Layer):
    """A layer that Keras' graph does not see into, and that itself behaves by `training`."""

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def call(self, x, training=True):
        for step in self.steps:
            x = step(x, training=training)
        return x + 100.0 if training else x


class Subclassed(keras.Model):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def call(self, x):
        return chain(x, self.steps)


class OwnCall(keras.Model):
    """A Functional model whose graph is not what it computes."""

    def __init__(self, steps):
        x = keras.Input((None, None, 3))
        super().__init__(x, chain(x, steps))

    def call(self, x, training=False):
        return 2.0 * super().call(x, training=training)


def flat(parts):
    return functional(parts.all)


def sequential(parts):
    return keras.Sequential([keras.Input((None, None, 3)), *parts.all])


def nested(parts):
    return functional(
        [functional([functional(parts.all[:3]), *parts.all[3:6]], channels=3), parts.all[6]]
    )


def nested_sequential(parts):
    inner = keras.Sequential(parts.blocks[1])
    return functional([*parts.blocks[0], inner, parts.classify])


def nested_with_training_set(parts):
    x = keras.Input((None, None, 3))
    inner = functional(parts.all[:6])
    return keras.Model(x, parts.classify(inner(x, training=True)))


def nested_with_equal_names(parts):
    inner = functional([*parts.all, layers.Activation("linear", name="same")], name="inner")
    return functional([inner, layers.Activation("linear", name="same")])


def opaque_layer(parts):
    return functional([Opaque(parts.all[:6]), parts.classify])


def opaque_model(parts):
    model = Subclassed(parts.all)
    model(IMAGES)
    return model


ARCHITECTURES = [
    flat,
    sequential,
    nested,
    nested_sequential,
    nested_with_training_set,
    nested_with_equal_names,
    opaque_layer,
    opaque_model,
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_committee_equals_passes_layer_by_layer(architecture):
    parts = Parts()
    model = parts.finish(architecture(parts))
    variables = [ops.convert_to_numpy(weight) for weight in model.weights]
    passes = tf.function(monte_carlo.committee(model, 3))
    for seed in (1, 2):
        parts.reseed(seed)
        found = passes(IMAGES)
        parts.reseed(seed)
        expected = ops.stack([parts.expected(IMAGES) for _ in range(3)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for weight, before in zip(model.weights, variables, strict=True):
        np.testing.assert_array_equal(weight, before)


def test_functional_model_with_a_call_of_its_own():
    parts = Parts()
    model = parts.finish(OwnCall(parts.all))
    parts.reseed(1)
    found = monte_carlo.committee(model, 1)(IMAGES)
    parts.reseed(1)
    np.testing.assert_allclose(found[0], 2 * parts.expected(IMAGES), rtol=1e-5, atol=1e-5)


def test_model_that_is_called_twice():
    dropout = layers.Dropout(0.5)
    shared = functional([dropout])
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.subtract([shared(x), shared(x)]))
    dropout.seed_generator.state.assign([5, 0])
    found = monte_carlo.committee(model, 1)(IMAGES)
    dropout.seed_generator.state.assign([5, 0])
    first, second = dropout(IMAGES, training=True), dropout(IMAGES, training=True)
    assert np.abs(found).max() > 0
    np.testing.assert_allclose(np.abs(found[0]), np.abs(first - second))


@pytest.mark.parametrize("images", [IMAGES, (99 * IMAGES).astype(np.uint8)])
def test_mixed_precision_inside_a_float32_model(images):
    parts = Parts(dtype="mixed_bfloat16")
    inner = functional(parts.all, dtype="bfloat16")
    scale = layers.Rescaling(1 / 50, dtype="float32")
    model = parts.finish(functional([scale, inner, layers.Activation("linear", dtype="float32")]))
    parts.reseed(1)
    found = monte_carlo.committee(model, 1)(images)
    parts.reseed(1)
    expected = parts.expected(ops.cast(scale(images), "bfloat16"))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found[0], ops.cast(expected, "float32"))


def test_nested_model_with_an_input_dtype_of_its_own():
    """Operations that are not layers would otherwise compute in the outer model's dtype."""
    x = keras.Input((None, None, 3), dtype="float16")
    inner = keras.Model(x, ops.multiply(x, x))
    model = functional([inner, layers.Dropout(0.5, dtype="float32")])
    found = ops.convert_to_numpy(monte_carlo.committee(model, 1)(IMAGES)[0])
    kept = found > 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_array_equal(found[kept], 2 * np.asarray(model(IMAGES))[kept])


class Counter(layers.Layer):
    """Counts how often it runs."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.count.assign_add(1.0)
        return x

    def taken(self):
        count = int(self.count)
        self.count.assign(0)
        return count


@pytest.mark.parametrize("wrap", [lambda steps: steps, lambda s: [functional(s)]])
def test_what_precedes_dropout_runs_once(wrap):
    before, between, after, beside = Counter(), Counter(), Counter(), Counter()
    inner = [before, layers.Dropout(0.5), between, layers.Dropout(0.5), after]
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.add([chain(x, wrap(inner)), beside(x)]))
    counters = [before, between, after, beside]
    passes = tf.function(monte_carlo.committee(model, 7))
    for _ in range(2):
        for counter in counters:
            counter.taken()
        passes(IMAGES)
        assert [counter.taken() for counter in counters] == [1, 7, 7, 1]


@pytest.mark.parametrize(
    "dropout",
    [
        layers.Dropout(0.5),
        layers.SpatialDropout2D(0.5),
        layers.GaussianDropout(0.5),
        layers.AlphaDropout(0.5),
        layers.Dropout(0.5, noise_shape=(1, 1, None, None)),
    ],
)
def test_members_differ(dropout):
    model = functional([dropout], channels=32)
    images = np.ones((2, 3, 4, 32), np.float32)
    reseed(model, 0)
    assert monte_carlo.has_dropout(model)
    found = ops.convert_to_numpy(monte_carlo.committee(model, 4)(images))
    assert found.shape == (4, *images.shape)
    assert len(np.unique(found.reshape(4, -1), axis=0)) == 4


def beside_the_output():
    """Dropout that the model holds but that its output does not depend on."""
    model = functional([layers.Conv2D(2, 1)])
    model.unused = layers.Dropout(0.5)
    return model


def in_an_output_that_is_not_used():
    x = keras.Input((None, None, 3))
    inner = keras.Model(x, [layers.Conv2D(2, 1)(x), layers.Dropout(0.5)(x)])
    x = keras.Input((None, None, 3))
    return keras.Model(x, inner(x)[0])


@pytest.mark.parametrize(
    "model",
    [
        functional([layers.Conv2D(2, 1), layers.BatchNormalization()]),
        functional([layers.Dropout(0.0), layers.GaussianNoise(0.5)]),
        functional([functional([layers.Conv2D(2, 1)])]),
        keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 1)]),
        beside_the_output(),
        in_an_output_that_is_not_used(),
    ],
)
def test_model_without_dropout(model):
    assert not monte_carlo.has_dropout(model)
    with pytest.raises(ValueError, match=f"dropout.*{model.name}"):
        monte_carlo.committee(model, 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_has_dropout_and_leaves_the_model_as_it_was(architecture):
    parts = Parts()
    model = parts.finish(architecture(parts))
    before = ops.convert_to_numpy(model(IMAGES, training=False))
    assert monte_carlo.has_dropout(model)
    monte_carlo.committee(model, 2)(IMAGES)
    np.testing.assert_array_equal(model(IMAGES, training=False), before)
    with pytest.raises(Exception, match=r"(?i)channel|shape|dimension|axis"):
        monte_carlo.committee(model, 2)(IMAGES[..., :2])
    np.testing.assert_array_equal(model(IMAGES, training=False), before)


def test_more_inputs_than_the_model_has():
    passes = monte_carlo.committee(functional([layers.Dropout(0.5)]), 2)
    with pytest.raises(ValueError, match="longer"):
        passes((IMAGES, IMAGES))


def test_members_below_one():
    with pytest.raises(ValueError, match=r"`members`.*0"):
        monte_carlo.committee(functional([layers.Dropout(0.5)]), 0)


def test_reseed_decides_the_masks_whatever_was_drawn_before():
    parts = Parts()
    model = parts.finish(nested_sequential(parts))
    passes = tf.function(monte_carlo.committee(model, 3))
    reseed(model, 7)
    first = passes(IMAGES)
    assert np.abs(first - passes(IMAGES)).max() > 0
    reseed(model, 7)
    np.testing.assert_array_equal(passes(IMAGES), first)
    reseed(model, 2**40)
    assert np.abs(first - passes(IMAGES)).max() > 0


def test_reseed_gives_every_layer_masks_of_its_own():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.subtract([layers.Dropout(0.5)(x), layers.Dropout(0.5)(x)]))
    reseed(model, 0)
    assert np.abs(monte_carlo.committee(model, 1)(IMAGES)).max() > 0


def test_masks_are_independent_between_members_images_and_positions():
    """Of fair coins, n tosses stray from n / 2 by 5 sqrt(n) / 2 with a chance of 6e-7.

    62 such comparisons are made, so this fails by chance once in 27,000 seeds; the seed is fixed.
    """
    model = functional([layers.Dropout(0.5)], channels=1)
    reseed(model, 3)
    passes = tf.function(monte_carlo.committee(model, 4))
    ones = np.ones((2, 40, 40, 1), np.float32)
    kept = np.stack([np.asarray(passes(ones)) > 0 for _ in range(2)])
    assert set(np.unique(passes(ones))) == {0, 2}
    streams = kept.reshape(16, -1)
    bound = 5 * np.sqrt(streams.shape[1]) / 2
    half = streams.shape[1] / 2
    assert np.abs(streams.sum(1) - half).max() < bound
    agreements = [(streams[0] == other).sum() for other in streams[1:]]
    agreements += [(a == b).sum() for a, b in pairwise(streams)]
    neighbours = (kept[..., 1:, :] == kept[..., :-1, :]).reshape(16, -1).sum(1)
    assert np.abs(np.array(agreements) - half).max() < bound
    assert np.abs(neighbours - 40 * 39 / 2).max() < bound


def test_mean_of_many_members_approaches_the_pass_without_dropout():
    """For a linear model; within 5 standard errors at every one of 168 outputs."""
    model = functional([layers.Conv2D(8, 1), layers.Dropout(0.5), layers.Conv2D(2, 1)])
    reseed(model, 0)
    found = ops.convert_to_numpy(monte_carlo.committee(model, 200)(IMAGES))
    error = found.std(0) / np.sqrt(200)
    assert (np.abs(found.mean(0) - model(IMAGES, training=False)) < 5 * error + 1e-5).all()
    assert error.max() < 0.2 * np.abs(found).max()


@pytest.mark.parametrize("backbone", ["vgg16", "mobilenet"])
def test_fcn8s_of_any_size(backbone):
    model = fcn8s(3, backbone=backbone, width_multiplier=0.02)
    traced = tf.function(
        monte_carlo.committee(model, 2),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    for height, width in [(33, 50), (64, 40)]:
        images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        found = ops.convert_to_numpy(traced(images))
        assert found.shape == (2, 1, -(-height // 8), -(-width // 8), 3)
        assert np.isfinite(found).all()
        assert np.abs(found[0] - found[1]).max() > 0
