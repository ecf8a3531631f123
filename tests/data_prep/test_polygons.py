from itertools import permutations

import cv2
import numpy as np
import pytest
import shapely
from cityscapesscripts.helpers.annotation import Annotation, CsPoly, Point
from cityscapesscripts.helpers.labels import id2label
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cereals_tf.data_prep.polygons import Polygon, agreement, outline_mask, paint, scaled

IGNORE = 255


def official_paint(polygons, height, width):
    annotation = Annotation()
    annotation.imgHeight, annotation.imgWidth = height, width
    for polygon in polygons:
        drawn = CsPoly()
        drawn.label = id2label[polygon.class_id].name
        drawn.polygon = [Point(*point) for point in polygon.points.tolist()]
        annotation.objects.append(drawn)
    return np.array(createLabelImage(annotation, "ids"))


coordinates = st.one_of(
    st.integers(-5, 30), st.floats(-40, 60), st.sampled_from([-1e6, -1000.5, 0.5, 1e4])
)
point_lists = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=8)
repetitive_lists = st.lists(
    st.sampled_from([(1, 1), (9, 1), (9, 9), (1, 9), (5, 5), (-3, 20)]), min_size=2, max_size=10
)
polygon_lists = st.lists(
    st.builds(
        lambda class_id, points: Polygon(class_id, np.array(points, np.float64)),
        st.integers(1, 33),
        st.one_of(point_lists, repetitive_lists),
    ),
    max_size=5,
)


@settings(max_examples=200)
@given(polygon_lists, st.integers(1, 25), st.integers(1, 25))
def test_paint_equals_the_official_tool(polygons, height, width):
    painted = paint(polygons, height, width, background=0)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted, official_paint(polygons, height, width))


def test_paint_draws_nothing_where_the_official_tool_fails():
    polygons = [Polygon(7, np.array([[3.0, 2.0]]))]
    with pytest.raises(TypeError):
        official_paint(polygons, 5, 6)
    np.testing.assert_array_equal(paint(polygons, 5, 6, background=9), np.full((5, 6), 9))


def test_paint_refuses_a_class_that_a_mask_cannot_hold():
    triangle = np.array([[0.0, 0], [4, 0], [0, 4]])
    with pytest.raises(ValueError, match=r"polygons\[1\].class_id .* received -1"):
        paint([Polygon(3, triangle), Polygon(-1, triangle)], 5, 5, background=0)


@pytest.mark.parametrize("shape", [(0, 2), (3,), (3, 3)])
def test_polygon_refuses_points_of_another_shape(shape):
    with pytest.raises(ValueError, match="points must be"):
        Polygon(0, np.zeros(shape))


def test_scaled():
    (polygon,) = scaled([Polygon(4, np.array([[2.0, 10.0], [4.0, 20.0]]))], 0.5, 3)
    assert polygon.class_id == 4
    np.testing.assert_array_equal(polygon.points, [[6, 5], [12, 10]])


def masks(classes, min_side=1, max_side=12):
    shape = array_shapes(min_dims=2, max_dims=2, min_side=min_side, max_side=max_side)
    return arrays(np.uint8, shape, elements=st.sampled_from(classes))


def has_crossing_diagonals(mask):
    a, b, c, d = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
    return bool(((a == d) & (b == c) & (a != b)).any())


def repainted(mask, polygons=None):
    polygons = outline_mask(mask, IGNORE, 0) if polygons is None else polygons
    return np.where(mask == IGNORE, IGNORE, paint(polygons, *mask.shape, background=IGNORE))


@settings(max_examples=200)
@given(masks([0, 1, 5, IGNORE]))
def test_outlines_paint_back_the_mask_exactly(mask):
    assume(not has_crossing_diagonals(mask))
    np.testing.assert_array_equal(repainted(mask), mask)


def test_outlines_paint_back_blobs_exactly():
    rng = np.random.default_rng(3)
    for _ in range(20):
        noise = cv2.GaussianBlur(rng.normal(size=(60, 90)), (0, 0), 3)
        mask = np.digitize(noise, np.quantile(noise, [0.3, 0.5, 0.8])).astype(np.uint8)
        np.testing.assert_array_equal(repainted(mask), mask)


@settings(max_examples=150)
@given(masks([0, 1, 2], min_side=2, max_side=5))
def test_outlines_paint_back_the_mask_exactly_if_any_order_does(mask):
    polygons = outline_mask(mask, IGNORE, 0)
    assume(len(polygons) <= 5)
    possible = any((repainted(mask, list(order)) == mask).all() for order in permutations(polygons))
    assert (repainted(mask) == mask).all() == possible


def test_a_large_outline_comes_after_a_small_one_that_surrounds_a_part_of_it():
    mask = np.zeros((9, 12), np.uint8)
    mask[3, 1] = mask[2, 2] = mask[4, 2] = mask[3, 3] = mask[5, 2] = 2
    mask[3, 2] = mask[4, 3] = 1
    mask[4:, 4:] = 1
    polygons = outline_mask(mask, IGNORE, 0)
    areas = {p.class_id: cv2.contourArea(p.points.astype(np.int32)) for p in polygons}
    assert areas[1] > areas[2]
    assert [p.class_id for p in polygons] == [0, 2, 1]
    np.testing.assert_array_equal(repainted(mask), mask)


def test_outlines_apart_come_by_area_then_class_then_first_point():
    mask = np.full((9, 20), IGNORE, np.uint8)
    mask[0:2, 0:2] = 2
    mask[0:2, 4:6] = 1
    mask[4:6, 0:2] = 1
    mask[4:9, 8:14] = 5
    polygons = outline_mask(mask, IGNORE, 2)
    found = [(p.class_id, *p.points.min(axis=0).tolist()) for p in polygons]
    assert found == [(5, 8, 4), (1, 0, 4), (1, 4, 0), (2, 0, 0)]


def test_nested_rings_of_one_class_are_all_outlined():
    mask = np.zeros((15, 15), np.uint8)
    for inset in range(1, 8):
        mask[inset:-inset, inset:-inset] = inset % 2
    polygons = outline_mask(mask, IGNORE, 0)
    assert [p.class_id for p in polygons] == [0, 1] * 4
    np.testing.assert_array_equal(repainted(mask), mask)


def test_outline_keeps_corners_only_and_joins_diagonals():
    mask = np.full((6, 7), IGNORE, np.uint8)
    mask[1:4, 2:6] = 3
    mask[4, 1] = 3
    (polygon,) = outline_mask(mask, IGNORE, 0)
    assert polygon.class_id == 3
    assert polygon.points.dtype == np.float64
    assert {tuple(p) for p in polygon.points.tolist()} == {(2, 1), (5, 1), (5, 3), (2, 3), (1, 4)}


def test_a_lone_pixel_and_a_line_are_outlined_by_two_vertices():
    mask = np.full((5, 8), IGNORE, np.uint8)
    mask[1, 1] = 4
    mask[3, 2:7] = 6
    polygons = outline_mask(mask, IGNORE, 0)
    assert [(p.class_id, p.points.tolist()) for p in polygons] == [
        (4, [[1, 1], [1, 1]]),
        (6, [[2, 3], [6, 3]]),
    ]


@settings(max_examples=100)
@given(masks([0, 1, 2, IGNORE]), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
@example(np.full((3, 4), IGNORE, np.uint8), 0.0)
def test_every_component_has_one_polygon_with_vertices_on_its_class(mask, tolerance):
    polygons = outline_mask(mask, IGNORE, tolerance)
    for class_id in (0, 1, 2):
        binary = (mask == class_id).astype(np.uint8)
        found = [p for p in polygons if p.class_id == class_id]
        assert len(found) == cv2.connectedComponents(binary, connectivity=8)[0] - 1
    for polygon in polygons:
        assert len(polygon.points) >= 2
        columns, rows = polygon.points.astype(int).T
        assert (mask[rows, columns] == polygon.class_id).all()


def test_tolerance_trades_vertices_for_agreement():
    mask = np.zeros((80, 100), np.uint8)
    cv2.ellipse(mask, (50, 40), (35, 25), 20, 0, 360, 1, cv2.FILLED)
    vertices, ious = [], []
    for tolerance in (0, 1, 3, 8):
        polygons = outline_mask(mask, IGNORE, tolerance)
        painted = paint(polygons, *mask.shape, background=IGNORE)
        intersection, union = agreement(mask, painted, 2, IGNORE)
        exact, simple = (
            shapely.LinearRing(next(p for p in found if p.class_id == 1).points)
            for found in (outline_mask(mask, IGNORE, 0), polygons)
        )
        assert exact.hausdorff_distance(simple) <= tolerance
        vertices.append(sum(len(p.points) for p in polygons))
        ious.append(intersection[1] / union[1])
    assert vertices == sorted(vertices, reverse=True) and len(set(vertices)) == 4
    assert ious == sorted(ious, reverse=True) and ious[0] == 1 and ious[1] > 0.95


@pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
def test_outline_refuses_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        outline_mask(np.zeros((3, 3), np.uint8), IGNORE, tolerance)


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((3, 3, 1), np.uint8)])
def test_outline_refuses_what_is_not_a_mask(mask):
    with pytest.raises(ValueError, match="mask"):
        outline_mask(mask, IGNORE, 0)


@settings(max_examples=50)
@given(masks([0, 1, 2, IGNORE]), st.data())
def test_agreement_counts_pixels(mask, data):
    painted = data.draw(arrays(np.uint8, mask.shape, elements=st.sampled_from([0, 1, 2, IGNORE])))
    found = agreement(mask, painted, 3, IGNORE)
    pairs = [(m, p) for m, p in zip(mask.flat, painted.flat, strict=True) if m != IGNORE]
    assert found.dtype == np.int64
    assert found.tolist() == [
        [sum(m == c == p for m, p in pairs) for c in range(3)],
        [sum(c in (m, p) for m, p in pairs) for c in range(3)],
    ]


def test_agreement_refuses_another_shape():
    with pytest.raises(ValueError, match="painted"):
        agreement(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2, IGNORE)
