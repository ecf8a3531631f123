"""Targets and weights at stride 8, against slow references."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.data_prep.clicks import click_map
from cereals_tf.trainers.targets import (
    click_target,
    downscale_label,
    masked_label,
    region_weights,
)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(*[st.floats(-20, 60, width=32)] * 2), max_size=20),
    st.integers(1, 15),
)
@settings(max_examples=60)
def test_click_target_is_the_click_map(height, width, points, times):
    points = np.array(points * times, np.float32).reshape(-1, 2)
    found = click_target(tf.constant(points), height, width).numpy()
    np.testing.assert_array_equal(found, click_map(points.astype(np.float64), height, width))
    assert found.dtype == np.float32


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=40)
def test_labels_are_downscaled_to_the_centres_of_their_cells(height, width, seed):
    label = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    found = downscale_label(tf.constant(label)).numpy()
    assert found.shape == (-(-height // 8), -(-width // 8))
    for i, row in enumerate(found):
        for j, value in enumerate(row):
            assert value == label[min(8 * i + 4, height - 1), min(8 * j + 4, width - 1)]


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(*[st.integers(0, 7)] * 2, *[st.integers(1, 8)] * 2), max_size=4),
)
@settings(max_examples=40)
def test_positions_inside_any_region_have_weight_one(height, width, cells):
    regions = np.array(cells, np.int32).reshape(-1, 4) * 8
    inside = np.zeros((height, width), np.float32)
    for y, x, rows, columns in regions:
        inside[y : y + rows, x : x + columns] = 1
    found = region_weights(tf.constant(regions), height, width).numpy()
    np.testing.assert_array_equal(found, inside[::8, ::8])


def test_ignored_labels_lose_their_weight():
    label = tf.constant([[0, 9, 2], [255, 9, 1]], tf.uint8)
    weight = tf.constant([[1, 1, 0], [1, 0, 1]], tf.float32)
    class_ids, weights = masked_label(label, weight, 9)
    np.testing.assert_array_equal(class_ids, [[0, 0, 2], [255, 0, 1]])
    np.testing.assert_array_equal(weights, [[1, 0, 0], [1, 0, 1]])
    assert class_ids.dtype == tf.int32
