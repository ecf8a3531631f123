"""Tilings cover each pixel once, and a draw among their tiles all pixels alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import labelled_mask
from cereals_tf.acquisition.tiling import tiling

sides = st.integers(1, 90)
lengths = st.integers(1, 12).map(lambda cells: 8 * cells)


@settings(max_examples=100)
@given(sides, sides, lengths, lengths, st.integers(0, 99))
def test_every_pixel_is_in_one_tile(height, width, region_height, region_width, seed):
    painted = np.zeros((height, width), int)
    tiles = tiling(height, width, region_height, region_width, seed)
    for box in tiles:
        painted[box.slices] += 1
        assert box.height <= region_height and box.width <= region_width
    assert (painted == 1).all()
    assert tiles == sorted(tiles)
    assert labelled_mask(tiles, height, width).all()  # they consist of whole cells


@pytest.mark.parametrize("size", [(60, 90), (5, 9)])
@pytest.mark.parametrize("region", [None, (64, 104)])
def test_a_tile_of_the_images_size_or_more_is_the_image(size, region):
    found = {tuple(tiling(*size, *(region or size), seed)) for seed in range(9)}
    assert found == {((0, 0, *size),)}


@pytest.mark.parametrize(("height", "width", "region"), [(60, 90, (16, 24)), (64, 96, (96, 32))])
def test_a_draw_among_tiles_covers_all_pixels_alike(height, width, region):
    """A third of an image, by tiles in random order; each cell within 5 % of the mean."""
    rng = np.random.default_rng(0)
    covered = np.zeros((height, width))
    for seed in range(12000):
        tiles = tiling(height, width, *region, seed)
        numbers = rng.random(len(tiles))
        for place in np.flatnonzero(numbers < 1 / 3):
            covered[tiles[place].slices] += 1
    assert np.abs(covered / covered.mean() - 1).max() < 0.05
