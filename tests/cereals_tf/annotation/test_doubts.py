"""What is implausible of a polygon, against pictures of it and slow geometry."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.annotation.doubts import area, clipped, crosses_itself, doubts_about
from cereals_tf.annotation.drawn import Shape

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12]]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (SQUARE, []),
        ([[-1, -1], [40, -1], [40, 30], [-1, 30]], []),
        ([[-20, 2], [8, 2], [8, 12], [-20, 12]], ["outside the image"]),
        ([[50, 50], [60, 50], [60, 60]], ["outside the image"]),
        ([[2, 2], [12, 12], [12, 2], [2, 12]], ["crosses itself"]),
        ([[2, 2], [12, 2], [12, 12], [7, 2], [2, 12]], []),
        ([[2, 2], [12, 2], [2, 2], [2, 12]], []),
    ],
)
def test_doubts(points, said):
    found = list(doubts_about(Shape("s", "road", [np.array(points, float)]), 30, 40))
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))


def test_what_lies_in_the_image_is_its_area_there():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radius = rng.uniform(3, 30, 7)
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
        points += rng.uniform(-10, 50, 2)
        y, x = np.mgrid[0:29:0.25, 0:39:0.25]
        inside = _contains(points, x.ravel() + 0.125, y.ravel() + 0.125)
        assert area(clipped(points, 30, 40)) == pytest.approx(inside.sum() / 16, abs=6)


def _contains(points, x, y):
    """By the crossings of a ray to the right."""
    inside = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ay != by:
            crossed = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
            inside ^= crossed
    return inside


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=8))
def test_crossings_are_those_of_every_pair_of_edges(vertices):
    def side(a, b, c):
        return np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    edges = list(zip(vertices, vertices[1:] + vertices[:1], strict=True))
    expected = any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )
    assert crosses_itself(np.array(vertices, float)) == expected
