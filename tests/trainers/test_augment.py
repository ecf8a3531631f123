"""Other views of an image: what they show is what their labels and costs say."""

import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.data_prep.clicks import click_grid
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.trainers import augment
from cereals_tf.trainers.augment import augment_cost, augment_label

FILL = 9


def seeds(count):
    return [tf.constant([7, number], tf.int64) for number in range(count)]


@pytest.fixture
def unlit(monkeypatch):
    monkeypatch.setattr(augment, "CONTRASTS", (1.0, 1.0))
    monkeypatch.setattr(augment, "BRIGHTNESS", 0.0)


@pytest.fixture
def blocks():
    """An image of 56x104 whose blocks of 24 pixels show 60 times their label."""
    label = np.random.default_rng(0).integers(0, 4, (3, 5), np.uint8)
    label = label.repeat(24, axis=0).repeat(24, axis=1)[:56, :104]
    return np.repeat(label[..., None] * np.uint8(60), 3, axis=-1), label


def test_labels_follow_the_pixels(unlit, blocks):
    sizes, sides = set(), set()
    for seed in seeds(24):
        image, label = (
            part.numpy() for part in augment_label(*map(tf.constant, blocks), FILL, seed)
        )
        assert image.shape == (56, 104, 3)
        assert label.shape == (56, 104)
        shown = label != FILL
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        assert shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert not image[~shown].any()
        wrong = np.abs(image[..., 0].astype(int) - 60 * label.astype(int))[shown] > 30
        assert wrong.mean() < 0.05  # where a bilinear edge meets a nearest one
        sizes.add((len(rows), len(columns)))
        sides.add((rows[0], columns[0]))
    assert len(sizes) > 3 and len(sides) > 3


def test_half_of_the_views_are_flipped(unlit, blocks, monkeypatch):
    monkeypatch.setattr(augment, "SCALES", (1.0, 1.0))
    turned = 0
    for seed in seeds(40):
        image, label = (
            part.numpy() for part in augment_label(*map(tf.constant, blocks), FILL, seed)
        )
        flipped = not np.array_equal(label, blocks[1])
        step = -1 if flipped else 1
        np.testing.assert_array_equal(label, blocks[1][:, ::step])
        np.testing.assert_array_equal(image, blocks[0][:, ::step])
        turned += flipped
    assert 10 <= turned <= 30


def test_a_seed_gives_one_view(blocks):
    first, again, other = (
        augment_label(*map(tf.constant, blocks), FILL, seed)[0].numpy()
        for seed in (*seeds(1), *seeds(2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("width", [48, 44])
def test_costs_are_flipped_where_cells_stay_cells(unlit, width):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (24, width, 3), np.uint8)
    cost, weight = rng.random((3, 6, 1), np.float32), rng.random((3, 6), np.float32)
    flipped = []
    for seed in seeds(12):
        found = [part.numpy() for part in augment_cost(image, cost, weight, seed)]
        flipped.append(not np.array_equal(found[0], image))
        step = -1 if flipped[-1] else 1
        for part, expected in zip(found, (image, cost, weight), strict=True):
            np.testing.assert_array_equal(part, expected[:, ::step])
    assert any(flipped) == (width % 8 == 0)
    assert not all(flipped)


def test_flipped_crossings_are_those_of_the_flipped_polygons(unlit):
    """Of the cell's left edge and of its top edge, beside vertices and void."""
    triangle = np.array([[3, 2], [37, 9], [21, 22]], np.float32)
    grids = [
        click_grid([Polygon(points=points, class_id=0)], 24, 48)
        for points in (triangle, np.float32([48, 0]) + triangle * [-1, 1])
    ]
    shown, mirrored = (
        np.stack(
            [
                grid.vertices,
                grid.vertical_crossings[:, :-1],
                grid.horizontal_crossings[:-1],
                np.arange(18).reshape(3, 6)[:, ::step],
            ],
            axis=-1,
        ).astype(np.float32)
        for grid, step in zip(grids, (1, -1), strict=True)
    )
    image = np.random.default_rng(2).integers(0, 256, (24, 48, 3), np.uint8)
    found = set()
    for seed in seeds(12):
        flipped, cost, _ = augment_cost(image, shown, np.ones((3, 6), np.float32), seed)
        is_flipped = not np.array_equal(flipped, image)
        np.testing.assert_array_equal(cost, mirrored if is_flipped else shown)
        found.add(is_flipped)
    assert found == {True, False}


def test_light_keeps_what_is_shown(blocks):
    views = [augment_cost(blocks[0], np.ones((7, 13, 1)), np.ones((7, 13)), s)[0] for s in seeds(9)]
    means = [float(tf.reduce_mean(tf.cast(view, tf.float32))) for view in views]
    assert max(means) - min(means) > 10
