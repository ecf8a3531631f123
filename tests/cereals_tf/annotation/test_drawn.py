"""Painting shapes, against the painting of data sets' polygons."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.annotation.drawn import EMPTY, PlacedMask, Shape, painted
from cereals_tf.data_prep.polygons import Polygon, paint

IDS = {"a": 0, "b": 7, "ignored": 255}


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 6), st.booleans())
def test_polygons_cover_what_they_cover_in_data_sets(seed, count, whole):
    rng = np.random.default_rng(seed)
    shapes, polygons = [], []
    for _ in range(count):
        points = rng.uniform(-9, 40, [rng.integers(3, 7), 2])
        points = points.round() if whole else points
        name = str(rng.choice(list(IDS)))
        shapes.append(Shape("", name, [points]))
        polygons.append(Polygon(IDS[name], points))
    labels = painted(shapes, IDS, 23, 31)
    expected = paint(polygons, 23, 31, background=100).astype(np.int32)
    np.testing.assert_array_equal(labels, np.where(expected == 100, EMPTY, expected))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_masks_cover_their_pixels_and_lie_on_what_was_before(seed, share):
    pixels = np.random.default_rng(seed).random([13, 17]) < share
    ground = Shape("", "a", [np.array([[-1.0, -1], [20, -1], [20, 20], [-1, 20]])])
    mask = PlacedMask.of(pixels)
    labels = painted([ground, Shape("", "ignored", [], mask)], IDS, 13, 17)
    np.testing.assert_array_equal(labels, np.where(pixels, 255, 0))
    if share == 0.02 and pixels.any():
        assert mask.pixels[0].any() and mask.pixels[:, 0].any()
        assert mask.pixels[-1].any() and mask.pixels[:, -1].any()
