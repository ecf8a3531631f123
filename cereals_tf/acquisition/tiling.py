"""Tilings: the regions that an aligned grid cuts out of an image, among which a draw is fair.

Every pixel lies in one tile, so that tiles drawn alike cover all pixels alike. Dense windows do
not: most of them hold the image's middle, few its corners, and once some are taken, few others fit.
"""

import numpy as np

from cereals_tf.data_prep.grid import STRIDE, Box, cells


def tiling(height: int, width: int, region_height: int, region_width: int, seed: int) -> list[Box]:
    """Return the tiles of an image, cut off at its edges.

    The grid's offset is drawn from the seed, except along an axis on which a tile is as long as the
    image.

    Args:
        height: the image's height in pixels.
        width: the image's width in pixels.
        region_height: the tiles' height in pixels, a multiple of STRIDE or the image's or more.
        region_width: the tiles' width in pixels, likewise.
        seed: of the offset, >= 0.

    Returns:
        Boxes that share no pixel and cover all, from top to bottom and left to right.
    """
    sides = ((height, region_height), (width, region_width))
    offsets = np.random.default_rng(seed).integers([cells(length) for _, length in sides])
    rows, columns = (
        _cuts(size, length, int(offset))
        for (size, length), offset in zip(sides, offsets, strict=True)
    )
    return [Box(y, x, h, w) for y, h in rows for x, w in columns]


def _cuts(size: int, length: int, offset: int) -> list[tuple[int, int]]:
    """Return start and length of the parts of an axis, the first one `offset` cells shorter."""
    if length >= size:
        return [(0, size)]
    starts = range(-offset * STRIDE, size, length)
    return [(max(0, start), min(start + length, size) - max(0, start)) for start in starts]
