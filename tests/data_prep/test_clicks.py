from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.data_prep.clicks import (
    ClickGrid,
    RegionClicks,
    click_grid,
    click_map,
    may_click_in,
)
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon

HEIGHT, WIDTH = 25, 40


def polygon(*points):
    return Polygon(0, np.array(points, np.float64))


def box(x0, y0, x1, y1):
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def cuts(size):
    return [*range(0, size, 8), size]


def regions(height, width):
    """All aligned regions (y, x, height, width), also those that end at the border."""
    spans = [
        [(a, b - a) for a in cuts(size)[:-1] for b in cuts(size) if b > a]
        for size in (height, width)
    ]
    return [(y, x, h, w) for y, h in spans[0] for x, w in spans[1]]


ALL_REGIONS = regions(HEIGHT, WIDTH)

near_grid = st.builds(
    lambda line, towards: float(np.nextafter(line, towards)),
    st.sampled_from([0.0, 8.0, 16.0, 24.0, 25.0, 32.0, 40.0]),
    st.sampled_from([-np.inf, np.inf]),
)
lattice = st.integers(-2, 12).map(lambda k: 4.0 * k)
whole = st.integers(-10, 50).map(float)
anywhere = st.floats(-20, 60)
coordinates = st.one_of(lattice, whole, anywhere, near_grid)


def shapes(coordinate, min_size=1, max_size=7):
    points = st.lists(st.tuples(coordinate, coordinate), min_size=min_size, max_size=max_size)
    return st.lists(points.map(lambda p: polygon(*p)), max_size=3)


any_polygons = st.one_of(shapes(lattice), shapes(whole), shapes(anywhere), shapes(coordinates))


def exact(points):
    return [(Fraction(x), Fraction(y)) for x, y in points]


def exact_edges(shape):
    points = exact(shape.points.tolist())
    following = points[1:] + (points[:1] if len(points) > 2 else [])
    return list(zip(points, following, strict=False))


def crosses(edge, line, low, high):
    """Whether an edge crosses the segment x = line, low < y < high; never exactly at its ends."""
    (xa, ya), (xb, yb) = edge
    if (xa < line) == (xb < line):
        return False
    y = ya + (line - xa) * (yb - ya) / (xb - xa)
    assert xa != line != xb and low != y != high
    return low < y < high


def transposed(edge):
    return tuple(point[::-1] for point in edge)


def slow_region(polygons, image_height, image_width, y, x, height, width):
    """The definitions with a concrete infinitesimal: lines at X - e and Y - e**2, in fractions."""
    e = Fraction(1, 2**4000)
    xs, ys = (x, x + width), (y, y + height)
    inner_xs = [v for v in xs if 0 < v < image_width]
    inner_ys = [v for v in ys if 0 < v < image_height]
    row = [min(max(int(np.floor(py)), 0), image_height - 1) for p in polygons for _, py in p.points]
    column = [
        min(max(int(np.floor(px)), 0), image_width - 1) for p in polygons for px, _ in p.points
    ]
    vertices = sum(
        ys[0] <= r < ys[1] and xs[0] <= c < xs[1] for r, c in zip(row, column, strict=True)
    )
    edges = [edge for p in polygons for edge in exact_edges(p)]
    intersections = sum(
        crosses(edge, line - e, ys[0] - e**2, ys[1] - e**2) for edge in edges for line in inner_xs
    ) + sum(
        crosses(transposed(edge), line - e**2, xs[0] - e, xs[1] - e)
        for edge in edges
        for line in inner_ys
    )
    corners = sum(
        any(
            sum(crosses(edge, cx - e, -(10**9), cy - e**2) for edge in exact_edges(p)) % 2
            for p in polygons
            if len(p.points) > 2
        )
        for cx in inner_xs
        for cy in inner_ys
    )
    return RegionClicks(vertices, intersections, corners)


@settings(max_examples=250)
@given(any_polygons, st.lists(st.sampled_from(ALL_REGIONS), min_size=1, max_size=5))
def test_region_follows_the_definitions_exactly(polygons, some_regions):
    grid = click_grid(polygons, HEIGHT, WIDTH)
    for region in some_regions:
        assert grid.region(*region) == slow_region(polygons, HEIGHT, WIDTH, *region)


def sides(size, start, length):
    """The cells along an axis of a region: their first pixel and the one after their last."""
    borders = [v for v in cuts(size) if start <= v <= start + length]
    return list(pairwise(borders))


def slow_counted(polygons, region, counted):
    """The definitions cell by cell: the vertices in cells that count, and the border at them."""
    e = Fraction(1, 2**4000)
    y, x, height, width = region
    edges = [edge for p in polygons for edge in exact_edges(p)]
    vertices = intersections = corners = 0
    for i, (top, bottom) in enumerate(sides(HEIGHT, y, height)):
        for j, (left, right) in enumerate(sides(WIDTH, x, width)):
            if not counted[i, j]:
                continue
            cell = slow_region(polygons, HEIGHT, WIDTH, top, left, bottom - top, right - left)
            vertices += cell.vertices
            xs = [v for v in {left, right} & {x, x + width} if 0 < v < WIDTH]
            ys = [v for v in {top, bottom} & {y, y + height} if 0 < v < HEIGHT]
            for edge in edges:
                intersections += sum(crosses(edge, v - e, top - e**2, bottom - e**2) for v in xs)
                along = transposed(edge)
                intersections += sum(crosses(along, v - e**2, left - e, right - e) for v in ys)
            inside = click_grid(polygons, HEIGHT, WIDTH).corners
            corners += sum(inside[-(-v // 8), -(-u // 8)] for v in ys for u in xs)
    return RegionClicks(vertices, intersections, corners)


@settings(max_examples=60)
@given(any_polygons, st.sampled_from(ALL_REGIONS), st.integers(0, 2**32 - 1))
def test_only_some_cells_of_a_region_count(polygons, region, seed):
    grid, (_, _, height, width) = click_grid(polygons, HEIGHT, WIDTH), region
    counted = np.random.default_rng(seed).random((-(-height // 8), -(-width // 8))) < 0.6
    assert grid.region(*region, counted=counted) == slow_counted(polygons, region, counted)
    everything, nothing = np.ones_like(counted), np.zeros_like(counted)
    assert grid.region(*region, counted=everything) == grid.region(*region)
    assert grid.region(*region, counted=nothing) == (0, 0, 0)


def test_region_equals_shapely_in_general_position():
    rng = np.random.default_rng(7)
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(3, 30, 9)
        center = rng.uniform([0, 0], [WIDTH, HEIGHT])
        shape = polygon(*(center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)))
        solid = shapely.Polygon(shape.points)
        grid = click_grid([shape], HEIGHT, WIDTH)
        inner = [
            r
            for r in ALL_REGIONS
            if r[0] > 0 < r[1] and r[0] + r[2] < HEIGHT and r[1] + r[3] < WIDTH
        ]
        for y, x, height, width in inner:
            frame = shapely.box(x, y, x + width, y + height)
            crossing = [
                shapely.get_num_geometries(
                    shapely.intersection(shapely.LineString(pair), frame.exterior)
                )
                for pair in zip(shape.points, np.roll(shape.points, -1, axis=0), strict=True)
                if shapely.LineString(pair).intersects(frame.exterior)
            ]
            assert grid.region(y, x, height, width) == (
                sum(frame.contains(shapely.Point(point)) for point in shape.points),
                sum(crossing),
                sum(solid.contains(shapely.Point(c)) for c in list(frame.exterior.coords)[:4]),
            )


@settings(max_examples=100)
@given(any_polygons, st.integers(1, 33), st.integers(1, 33))
def test_vertices_of_a_tiling_add_up_and_a_whole_image_has_no_intersections(
    polygons, height, width
):
    grid = click_grid(polygons, height, width)
    total = sum(len(p.points) for p in polygons)
    assert grid.region(0, 0, height, width) == (total, 0, 0)
    tiles = [
        grid.region(y, x, min(16, height - y), min(8, width - x))
        for y in range(0, height, 16)
        for x in range(0, width, 8)
    ]
    assert sum(tile.vertices for tile in tiles) == total


@settings(max_examples=150)
@given(
    st.one_of(
        shapes(lattice, min_size=3), shapes(whole, min_size=3), shapes(coordinates, min_size=3)
    )
)
def test_closed_polygons_cross_a_border_inside_the_image_an_even_number_of_times(polygons):
    grid = click_grid(polygons, HEIGHT, WIDTH)
    for y, x, height, width in ALL_REGIONS:
        if y > 0 and x > 0 and y + height < HEIGHT and x + width < WIDTH:
            assert grid.region(y, x, height, width).intersections % 2 == 0


@settings(max_examples=100)
@given(shapes(st.integers(0, 99).map(lambda k: k / 4), min_size=3))
def test_polygons_inside_the_image_cross_every_border_an_even_number_of_times(polygons):
    grid = click_grid(polygons, HEIGHT, WIDTH)
    for region in ALL_REGIONS:
        assert grid.region(*region).intersections % 2 == 0


@settings(max_examples=60)
@given(any_polygons, st.integers(1, 35), st.integers(1, 35), st.booleans(), st.data())
def test_windows_equal_region_at_every_position(polygons, height, width, everywhere, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    large = polygon(*rng.uniform(-10, [width + 10, height + 10], (6, 2)))
    grid = click_grid([*polygons, large], height, width)
    window_height = data.draw(st.sampled_from([8, 16, 32, height]))
    window_width = data.draw(st.sampled_from([8, 24, 40, width]))
    counted = rng.random(grid.vertices.shape) < (1 if everywhere else 0.6)
    windows = grid.windows(window_height, window_width, None if everywhere else counted)
    ys, xs = (
        range(0, size // -8 * -8 - window // -8 * -8 + 1, 8)
        for size, window in ((height, window_height), (width, window_width))
    )

    def clicks_at(y, x):
        """Those of a region, cut off at the image's edge."""
        bottom, right = min(y + window_height, height), min(x + window_width, width)
        part = counted[y // 8 : -(bottom // -8), x // 8 : -(right // -8)]
        return grid.region(y, x, bottom - y, right - x, part)

    expected = [[clicks_at(y, x) for x in xs] for y in ys]
    for part, values in zip(RegionClicks._fields, windows, strict=True):
        assert values.dtype == np.int32
        assert values.shape == (len(ys), len(xs))
        assert values.tolist() == [[getattr(clicks, part) for clicks in row] for row in expected]


def test_polygon_around_a_region_gives_its_four_corners_only():
    grid = click_grid([box(3, 3, 30, 25)], 32, 40)
    assert grid.region(8, 8, 16, 16) == (0, 0, 4)


def test_polygon_inside_a_region_gives_its_vertices_only():
    grid = click_grid([box(9, 9, 20, 15)], 32, 40)
    assert grid.region(8, 8, 16, 16) == (4, 0, 0)


def test_corners_inside_several_polygons_count_once_and_inside_a_line_never():
    around = box(3, 3, 30, 25)
    assert click_grid([around, around], 32, 40).region(8, 8, 16, 16).corners == 4
    assert click_grid([polygon((4, 4), (20, 20))], 32, 40).corners.sum() == 0


def test_corners_obey_the_even_odd_rule():
    twice_around = polygon(*[(3, 3), (30, 3), (30, 25), (3, 25)] * 2)
    assert click_grid([twice_around], 32, 40).region(8, 8, 16, 16) == (0, 0, 0)


def test_corners_on_the_image_border_do_not_count():
    grid = click_grid([box(-50, -50, 90, 90)], 32, 40)
    assert grid.region(0, 0, 8, 8).corners == 1
    assert grid.region(0, 8, 8, 8).corners == 2
    assert grid.region(24, 32, 8, 8).corners == 1
    assert grid.region(0, 8, 32, 8).corners == 0
    assert grid.region(0, 0, 32, 40) == (4, 0, 0)


def test_polygon_on_the_border_of_a_region_belongs_to_the_right_and_below():
    grid = click_grid([box(8, 8, 24, 24)], 32, 40)
    # Top left vertex inside; the upper edge leaves to the right, the left one to below.
    assert grid.region(8, 8, 16, 16) == (1, 2, 1)
    assert grid.region(8, 24, 8, 8) == (1, 2, 1)
    assert grid.region(24, 24, 8, 8) == (1, 2, 1)
    assert grid.region(0, 0, 8, 8) == (0, 0, 0)


def test_polygon_of_two_points_is_one_edge_and_of_one_point_none():
    assert click_grid([polygon((4, 4), (12, 4))], 16, 24).region(0, 0, 16, 8) == (1, 1, 0)
    assert click_grid([polygon((4, 4), (12, 4), (12, 4))], 16, 24).region(0, 0, 16, 8) == (1, 2, 0)
    assert click_grid([polygon((4, 4))], 16, 24).region(0, 0, 16, 8) == (1, 0, 0)


@pytest.mark.parametrize(
    ("start", "end", "vertical", "horizontal"),
    [
        ((4, 4), (12, 12), (0, 1), (1, 1)),  # falls (y is down): passes above the corner
        ((12, 12), (4, 4), (0, 1), (1, 1)),
        ((4, 12), (12, 4), (1, 1), (1, 1)),  # rises: passes below it
        ((4, 8), (12, 8), (1, 1), None),
        ((8, 4), (8, 12), None, (1, 1)),
    ],
)
def test_an_edge_through_a_grid_corner_takes_a_consistent_way(start, end, vertical, horizontal):
    grid = click_grid([polygon(start, end)], 24, 24)
    found = np.argwhere(grid.vertical_crossings).tolist()
    assert found == ([list(vertical)] if vertical else [])
    found = np.argwhere(grid.horizontal_crossings).tolist()
    assert found == ([list(horizontal)] if horizontal else [])


@pytest.mark.parametrize("y", [8.0, 24.0, 25.0])
def test_crossings_next_to_a_grid_corner_are_not_rounded_onto_it(y):
    # At x = 8 the first edge is less than half a unit in the last place above y, the second below.
    above = polygon((7.3, y), (9.0, np.nextafter(y, 0)))
    below = polygon((7.3, y), (9.0, np.nextafter(y, 99)))
    row = int(np.ceil(y / 8))
    found = [np.argwhere(click_grid([p], 25, 24).vertical_crossings) for p in (above, below)]
    assert found[0].tolist() == [[row - 1, 1]]
    assert found[1].tolist() == ([[row, 1]] if y < 25 else [])


def test_crossings_that_rounding_would_move_across_a_grid_corner_are_settled_exactly():
    """Those of lines that pass (8, 8) as closely as float64 allows."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 8, (1000, 2))
    end = start + (8 - start) * rng.uniform(1.2, 3, (1000, 1))
    heights = []
    for (xa, ya), (xb, yb) in map(exact, np.stack([start, end], 1).tolist()):
        heights.append(ya + (8 - xa) * (yb - ya) / (xb - xa))
    rounded = start[:, 1] + (8 - start[:, 0]) * np.divide(*(end - start).T[::-1])
    above = np.array([height <= 8 for height in heights])
    assert (above != (rounded <= 8)).any()
    grid = click_grid([polygon(*line) for line in np.stack([start, end], 1)], 16, 16)
    assert grid.vertical_crossings[:, 1].tolist() == [above.sum(), 1000 - above.sum()]


def test_what_may_have_clicks_is_told_by_the_bounding_box():
    rng = np.random.default_rng(0)
    for _ in range(30):
        centre = rng.uniform(-9, [WIDTH + 9, HEIGHT + 9])
        shape = polygon(*(centre + rng.uniform(-6, 6, (3, 2))))
        grid = click_grid([shape], HEIGHT, WIDTH)
        bounds = shapely.MultiPoint(shape.points.clip(0, [WIDTH - 1, HEIGHT - 1])).envelope
        for y, x, height, width in ALL_REGIONS:
            found = may_click_in(Box(y, x, height, width), shape.points, HEIGHT, WIDTH)
            assert found == bounds.intersects(shapely.box(x, y, x + width, y + height))
            assert found or grid.region(y, x, height, width) == (0, 0, 0)


def test_no_polygons():
    grid = click_grid([], 20, 30)
    assert grid.region(8, 8, 12, 22) == (0, 0, 0)
    assert [part.shape for part in grid.windows(8, 8)] == [(3, 4)] * 3
    np.testing.assert_array_equal(click_map(np.empty((0, 2)), 20, 30), np.zeros((3, 4)))


def test_grid_shapes_and_dtypes():
    grid = click_grid([box(3, 3, 17, 18)], 20, 30)
    assert (grid.height, grid.width) == (20, 30)
    for name, shape, dtype in [
        ("vertices", (3, 4), np.int32),
        ("vertical_crossings", (3, 5), np.int32),
        ("horizontal_crossings", (4, 4), np.int32),
        ("corners", (4, 5), np.uint8),
    ]:
        values = getattr(grid, name)
        assert (values.shape, values.dtype) == (shape, dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e6])
def test_unusable_coordinates_name_the_polygon(bad):
    with pytest.raises(ValueError, match=r"polygons\[1\]"):
        click_grid([box(1, 1, 5, 5), polygon((1, 1), (bad, 2), (3, 3))], 16, 16)
    with pytest.raises(ValueError, match="points"):
        click_map(np.array([[1, bad]]), 16, 16)


def test_coordinates_up_to_the_limit_work():
    far = polygon((-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6))
    assert click_grid([far], 32, 40).region(8, 8, 16, 16) == (0, 0, 4)


@pytest.mark.parametrize(
    ("region", "named"),
    [
        ((4, 0, 8, 8), "y "),
        ((0, -8, 8, 8), "x "),
        ((0, 0, 12, 8), "height"),
        ((0, 0, 0, 8), "height"),
        ((16, 24, 8, 8), "height"),
        ((0, 24, 8, 8), "width"),
    ],
)
def test_region_refuses_what_is_not_a_region(region, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        click_grid([], 20, 30).region(*region)


@pytest.mark.parametrize("size", [(12, 8), (8, 12), (0, 8), (8, -8)])
def test_windows_refuses_sizes_off_the_grid(size):
    grid = click_grid([], 20, 30)
    assert isinstance(grid, ClickGrid)
    with pytest.raises(ValueError, match="must be a multiple of 8"):
        grid.windows(*size)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(-4, 25), st.floats(-4, 25)), max_size=20),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 14),
)
def test_click_map_counts_clipped_clicks_per_cell(points, height, width, repeats):
    points = points * repeats
    per_pixel = Counter(
        (min(max(int(np.floor(y)), 0), height - 1), min(max(int(np.floor(x)), 0), width - 1))
        for x, y in points
    )
    expected = np.zeros((-(-height // 8), -(-width // 8)), np.float32)
    for (row, column), clicks in per_pixel.items():
        expected[row // 8, column // 8] += min(clicks, 10)
    found = click_map(np.reshape(points, (-1, 2)), height, width)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    if repeats == 1 and max(per_pixel.values(), default=0) <= 10:
        assert found.sum() == len(points)
