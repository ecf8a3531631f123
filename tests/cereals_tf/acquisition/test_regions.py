"""Regions and dense windows against per-pixel and per-window references."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import (
    Region,
    allowed_windows,
    cut_off,
    labelled_mask,
    leftover_windows,
    pixels_in,
    window_grid,
    window_sums,
)
from cereals_tf.data_prep.grid import Box, cells

STRIDE = 8
sizes = st.integers(9, 70)


@st.composite
def intervals(draw, size):
    """The start and length of whole cells along an axis."""
    start = draw(st.integers(0, (size - 1) // STRIDE)) * STRIDE
    ends = [*range(start + STRIDE, size + 1, STRIDE), size]
    return start, draw(st.sampled_from(ends)) - start


@st.composite
def images(draw):
    """An image's height and width with up to three regions in it."""
    height, width = draw(sizes), draw(sizes)
    regions = []
    for _ in range(draw(st.integers(0, 3))):
        (y, h), (x, w) = draw(intervals(height)), draw(intervals(width))
        regions.append(Box(y, x, h, w))
    return height, width, regions


@st.composite
def window_sizes(draw, size):
    return draw(st.sampled_from([*range(STRIDE, size + 1, STRIDE), size]))


def slow_labelled(regions, height, width):
    pixels = np.zeros((height, width), bool)
    for region in regions:
        pixels[region.y : region.y + region.height, region.x : region.x + region.width] = True
    return pixels


def slow_windows(height, width, region_height, region_width):
    """The windows row by row: lists of the pixels of their corners."""
    return [
        [(y, x) for x in range(0, width, STRIDE) if x + region_width <= width]
        for y in range(0, height, STRIDE)
        if y + region_height <= height
    ]


def test_regions_are_ordered_by_image_then_y_then_x():
    regions = [
        Region("b", Box(0, 0, 8, 8)),
        Region("a", Box(8, 0, 8, 8)),
        Region("a", Box(0, 16, 8, 8)),
    ]
    assert sorted(regions) == regions[::-1]


@settings(max_examples=60)
@given(images())
def test_labelled_mask_equals_painted_pixels(image):
    height, width, regions = image
    mask = labelled_mask(regions, height, width)
    pixels = slow_labelled(regions, height, width)
    assert mask.shape == (math.ceil(height / STRIDE), math.ceil(width / STRIDE))
    np.testing.assert_array_equal(mask, pixels[::STRIDE, ::STRIDE])
    np.testing.assert_array_equal(mask.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width], pixels)


@pytest.mark.parametrize(
    "region",
    [
        Box(4, 0, 8, 8),
        Box(0, 0, 12, 8),
        Box(0, 0, 8, 0),
        Box(-8, 0, 16, 8),
        Box(0, 16, 8, 8),
    ],
)
def test_region_that_does_not_fit(region):
    with pytest.raises(ValueError, match=r"height 30 and width 20.*Box\("):
        labelled_mask([region], 30, 20)


@settings(max_examples=60)
@given(st.data(), sizes, sizes)
def test_window_grid_counts_the_windows_inside_the_image(data, height, width):
    h, w = data.draw(window_sizes(height)), data.draw(window_sizes(width))
    windows = slow_windows(height, width, h, w)
    assert window_grid(height, width, h, w) == (len(windows), len(windows[0]))


def test_window_grid_of_the_paper():
    assert window_grid(1024, 2048, 128, 128) == (113, 241)


@pytest.mark.parametrize(("height", "width"), [(100, 75), (8, 16), (3, 5)])
def test_whole_image_is_one_window(height, width):
    assert window_grid(height, width, height, width) == (1, 1)
    values = np.random.default_rng(0).random((cells(height), cells(width)))
    found = window_sums(values, (cells(height), cells(width)))
    np.testing.assert_allclose(found, [[values.sum()]], rtol=1e-14)
    whole = Box(0, 0, height, width)
    assert allowed_windows([], height, width, height, width).tolist() == [[True]]
    assert allowed_windows([whole], height, width, height, width, 1.0).tolist() == [[False]]


def test_window_larger_than_the_image_has_no_position():
    assert window_grid(100, 75, 104, 64) == (0, 2)
    assert window_sums(np.ones((13, 10)), (14, 8)).shape == (0, 3)
    assert allowed_windows([], 100, 75, 128, 128).shape == (0, 0)


@pytest.mark.parametrize("window", [12, 0, -8])
def test_window_off_the_grid(window):
    with pytest.raises(ValueError, match=f"multiple of 8.*{window}"):
        window_grid(64, 64, 16, window)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_window_sums_equal_loops(data, h, w, everywhere, seed):
    wh, ww = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(h, w)) * 10.0 ** rng.integers(-6, 6)
    valid = None if everywhere else rng.random((h, w)) < 0.5
    if valid is not None:
        values[~valid] = np.nan
    found = window_sums(values, (wh, ww), valid)
    assert found.dtype == np.float64
    expected = [
        [math.fsum(np.nan_to_num(values[y : y + wh, x : x + ww]).flat) for x in range(w - ww + 1)]
        for y in range(h - wh + 1)
    ]
    scale = np.nansum(np.abs(values))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * scale)


def test_equal_windows_have_equal_sums_wherever_they_lie():
    """Rounding errors of a plain integral image would break such ties by position."""
    rng = np.random.default_rng(1)
    patch = rng.random((3, 4))
    values = rng.random((60, 70)) * 1e3
    corners = [(0, 0), (20, 31), (57, 66)]
    for y, x in corners:
        values[y : y + 3, x : x + 4] = patch
    values[30:40, 10:30] = 0
    found = window_sums(values, (3, 4))
    assert len({found[corner] for corner in corners}) == 1
    np.testing.assert_array_equal(found[30:38, 10:27], 0)
    assert found.min() >= 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite(value):
    values = np.ones((4, 4))
    values[1, 2] = value
    with pytest.raises(ValueError, match="finite"):
        window_sums(values, (2, 2))


@settings(max_examples=100)
@given(st.data(), images(), st.sampled_from(["0", "0.1", "0.25", "0.3", "0.5", "0.75", "1"]))
def test_allowed_windows_equal_exact_rectangles(data, image, max_overlap):
    height, width, regions = image
    h, w = data.draw(window_sizes(height)), data.draw(window_sizes(width))
    labelled = slow_labelled(regions, height, width)

    def is_allowed(y, x):
        window = np.zeros((height, width), bool)
        window[y : y + h, x : x + w] = True
        shares = [
            Fraction(int((window & slow_labelled([r], height, width)).sum()), h * w)
            for r in regions
        ]
        fresh = not labelled[window].all()
        return fresh and all(share <= Fraction(max_overlap) for share in shares)

    expected = [
        [is_allowed(*corner) for corner in row] for row in slow_windows(height, width, h, w)
    ]
    found = allowed_windows(regions, height, width, h, w, float(max_overlap))
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60)
@given(st.data(), images())
def test_leftover_windows_are_all_that_hold_something_unlabelled(data, image):
    height, width, regions = image
    h, w = data.draw(window_sizes(height)), data.draw(window_sizes(width))
    labelled = slow_labelled(regions, height, width)

    def box_at(y, x):
        return cut_off(Box(y, x, h, w), height, width)

    ys = range(0, STRIDE * (cells(height) - cells(h)) + 1, STRIDE)
    xs = range(0, STRIDE * (cells(width) - cells(w)) + 1, STRIDE)
    expected = [[not labelled[box_at(y, x).slices].all() for x in xs] for y in ys]
    found = leftover_windows(regions, height, width, h, w)
    np.testing.assert_array_equal(found, expected)
    reached = slow_labelled([box_at(y, x) for y in ys for x in xs], height, width)
    assert reached.all()  # edges of partial cells too


@given(images(), st.data())
def test_pixels_in_cells(image, data):
    for box in image[2]:
        counted = np.array(data.draw(st.lists(st.booleans(), min_size=81, max_size=81)))
        counted = counted.reshape(9, 9)[: cells(box.height), : cells(box.width)]
        pixels = counted.repeat(STRIDE, 0).repeat(STRIDE, 1)[: box.height, : box.width]
        assert pixels_in(box, counted) == pixels.sum()


@pytest.mark.parametrize("hundredths", range(100))
def test_overlap_equal_to_the_maximum_is_allowed(hundredths):
    """The share is compared with the decimal that the user typed: 0.29 * 6400 is below 1856."""
    acquired = [Box(0, 0, 8, 800)]
    found = allowed_windows(acquired, 8, 1600, 8, 800, hundredths / 100)
    assert np.flatnonzero(found[0])[0] == 100 - hundredths
