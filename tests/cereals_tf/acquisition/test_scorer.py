"""Maps and window sums of the scoring graph, against NumPy's window sums."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cereals_tf.acquisition.information import MEASURES
from cereals_tf.acquisition.regions import window_sums
from cereals_tf.acquisition.scorer import Scorer, exact_window_sums
from cereals_tf.data_prep.clicks import ClickGrid
from cereals_tf.data_prep.grid import cells

sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
numbers = st.sampled_from(
    np.float32([0, 1e-37, 1e-30, 1e-3, 0.1, 1 / 3, 1, 7, 1e30, 3e38]).tolist()
)
signed = st.builds(lambda number, sign: number * sign, numbers, st.sampled_from([1.0, -1.0]))
"""No float32 below the smallest normal one: TensorFlow takes it for 0."""


@settings(max_examples=200)
@given(st.data())
def test_sums_are_bit_for_bit_those_of_numpy(data):
    h, w = data.draw(sizes)
    window = (data.draw(st.integers(1, h)), data.draw(st.integers(1, w)))
    values = data.draw(hnp.arrays(np.float32, (2, 2, h, w), elements=signed))
    valid = data.draw(hnp.arrays(bool, (2, 1, h, w)))
    found = exact_window_sums(values, valid, window).numpy()
    for image in range(2):
        for plane in range(2):
            expected = window_sums(values[image, plane], window, valid[image, 0])
            np.testing.assert_array_equal(found[image, plane], expected)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_sums_of_large_maps_are_bit_for_bit_those_of_numpy(scale):
    rng = np.random.default_rng(0)
    values = (scale * rng.gamma(0.1, 1.0, (3, 2, 40, 56))).astype(np.float32)
    values[values < np.finfo(np.float32).tiny] = 0
    values[1] = 0
    valid = rng.random((3, 1, 40, 56)) < 0.9
    found = exact_window_sums(values, valid, (5, 8)).numpy()
    assert found[0].max() > 0
    for image in range(3):
        for plane in range(2):
            expected = window_sums(values[image, plane], (5, 8), valid[image, 0])
            np.testing.assert_array_equal(found[image, plane], expected)


def test_equal_content_has_equal_sums_wherever_it_lies():
    rng = np.random.default_rng(1)
    content = rng.random((3, 4)).astype(np.float32)
    values = np.tile(content, (6, 7))
    values[-1, -1] = 1e4
    sums = exact_window_sums(values[None, None], np.ones((1, 1, 18, 28), bool), (3, 4)).numpy()[
        0, 0
    ]
    assert len(np.unique(sums[:-3:3, :-4:4])) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_everywhere_in_its_map_alone(bad):
    values = np.ones((2, 2, 4, 5), np.float32)
    values[1, 0, 3, 4] = bad
    valid = np.ones((2, 1, 4, 5), bool)
    sums = exact_window_sums(values, valid, (2, 2)).numpy()
    assert np.isnan(sums[1, 0]).all()
    sums[1, 0] = 4
    assert (sums == 4).all()
    valid[1, 0, 3, 4] = False
    assert np.isfinite(exact_window_sums(values, valid, (2, 2)).numpy()).all()


def models():
    """Return two small models at stride 8 with random weights, the first with dropout."""
    keras.utils.set_random_seed(3)
    return [
        keras.Sequential(
            [
                keras.Input((None, None, 3)),
                keras.layers.Rescaling(1 / 64),
                keras.layers.Conv2D(6, 8, strides=8, padding="same", activation="relu"),
                keras.layers.Dropout(0.5),
                keras.layers.Conv2D(channels, 1, bias_initializer="random_normal"),
            ]
        )
        for channels in (5, 1)
    ]


def some_images(*shape):
    return np.random.default_rng(4).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.mark.parametrize("information", MEASURES)
def test_windows_are_sums_of_the_maps_in_one_graph_for_all_sizes(information):
    scorer = Scorer(*models(), information, members=4)
    assert scorer.draws == (information in ("vote_entropy", "bald"))
    for number, height, width in ((1, 64, 96), (3, 64, 96), (2, 60, 90), (1, 5, 9)):
        images = some_images(number, height, width)
        unlabelled = np.random.default_rng(5).random((number, cells(height), cells(width))) < 0.8
        for region in ((16, 24), (8, 8), (height, width)):
            if region[0] > height or region[1] > width:
                continue
            scorer.reseed(7)
            maps = [part.numpy() for part in scorer.maps(images)]
            scorer.reseed(7)
            windows = scorer.windows(images, unlabelled, region)
            named = dict(zip(("information", "cost_estimated"), maps, strict=True))
            if MEASURES[information].of_windows:
                del named["information"]
            assert set(windows) == set(named)
            for name, part in named.items():
                for image, found in enumerate(windows[name].numpy()):
                    sums = window_sums(part[image], tuple(map(cells, region)), unlabelled[image])
                    np.testing.assert_array_equal(found, sums.astype(np.float32))
    assert scorer.windows.experimental_get_tracing_count() == 1
    assert scorer.maps.experimental_get_tracing_count() == 1


def test_information_is_discounted_by_the_probability_of_void():
    """Which is the cost model's last map, and not one of clicks."""
    segmentation, cost = models()
    image = keras.Input((None, None, 3))
    drawn = keras.layers.Conv2D(1, 8, strides=8, padding="same")(
        keras.layers.Rescaling(0.02)(image)
    )
    beside = keras.Model(image, keras.ops.concatenate([cost(image), drawn], axis=-1))
    plain = Scorer(segmentation, cost, "entropy", 0)
    discounted = Scorer(segmentation, beside, "entropy", 0, void=True)
    images, unlabelled = some_images(2, 60, 90), np.ones((2, 8, 12), bool)
    (information, clicks), (found, same) = (each.maps(images) for each in (plain, discounted))
    probabilities = tf.nn.softmax(segmentation(images, training=False)).numpy()
    entropy = -(probabilities * np.log(probabilities)).sum(axis=-1)
    np.testing.assert_allclose(information, entropy, rtol=1e-5)
    void = np.clip(beside(images).numpy()[..., -1], 0, 1)
    assert np.ptp(void) > 0.1
    np.testing.assert_allclose(found, information * (1 - void), rtol=1e-6)
    np.testing.assert_array_equal(same, clicks)
    windows = discounted.windows(images, unlabelled, (16, 24))
    for name, maps in (("information", found), ("cost_estimated", clicks)):
        sums = [window_sums(part.numpy(), (2, 3)).astype(np.float32) for part in maps]
        np.testing.assert_array_equal(windows[name], sums)


def test_a_batch_scores_as_its_images_alone():
    scorer = Scorer(*models(), "entropy", members=0)
    images, unlabelled = some_images(5, 60, 90), np.ones((5, 8, 12), bool)
    together = scorer.windows(images, unlabelled, (16, 24))
    for image in range(5):
        alone = scorer.windows(images[image : image + 1], unlabelled[:1], (16, 24))
        for name, sums in together.items():
            np.testing.assert_allclose(sums[image], alone[name][0], rtol=1e-5)
    sums = np.stack([part.numpy() for part in together.values()])
    assert len(np.unique(sums)) > sums.size / 2


def test_a_model_that_gives_nan_shows():
    segmentation, cost = models()
    segmentation.layers[-1].bias.assign(tf.fill([5], np.nan))
    for information, expected in (
        ("entropy", {"information": True, "cost_estimated": False}),
        ("random", {"cost_estimated": False}),
    ):
        scorer = Scorer(segmentation, cost, information, members=0)
        windows = scorer.windows(some_images(1, 64, 96), np.ones((1, 8, 12), bool), (16, 16))
        found = {name: np.isnan(sums.numpy()).all() for name, sums in windows.items()}
        assert found == expected


class Constant(keras.Layer):
    """Gives the same maps for every image."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def call(self, images):
        return tf.constant(self.maps[None])

    def compute_output_shape(self, shape):
        return (None, None, None, self.maps.shape[-1])


@pytest.mark.parametrize(
    ("window", "void"), [((1, 1), 0), ((2, 3), 1), ((7, 9), 0), ((3, 9), 1), ((7, 1), 0)]
)
def test_three_maps_give_the_clicks_of_every_window(window, void):
    rng = np.random.default_rng(3)
    vertices, left, top = rng.poisson(1.5, (3, 7, 9))
    left[:, 0] = top[0] = 0
    grid = ClickGrid(
        vertices,
        np.pad(left, ((0, 0), (0, 1))),
        np.pad(top, ((0, 1), (0, 0))),
        corners=np.zeros((8, 10), np.uint8),
        height=56,
        width=72,
    )
    image = keras.Input((None, None, 3))
    maps = np.stack([vertices, left, top, *[vertices] * void], axis=-1).astype(np.float32)
    cost = keras.Model(image, Constant(maps)(image))
    scorer = Scorer(models()[0], cost, "entropy", members=0, void=bool(void))
    size = [8 * cells for cells in window]
    images = np.zeros((1, 56, 72, 3), np.uint8)
    for unlabelled in (np.ones((7, 9), bool), rng.random((7, 9)) < 0.6):
        found = scorer.windows(images, unlabelled[None], size)["cost_estimated"][0]
        expected = grid.windows(*size, unlabelled).of(("vertices", "intersections"))
        np.testing.assert_array_equal(found, expected)
