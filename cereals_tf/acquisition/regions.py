"""Regions of images, and the dense grid of candidate windows on the stride-8 grid.

Pixels count from the top left corner. A *cell* is one output position of the models: STRIDE x
STRIDE pixels, fewer at the lower and right border of an image whose size STRIDE does not divide.
The candidate *windows* of an image are all placements of one fixed size whose corner is the
corner of a cell and which lie inside the image; window (row, column) has its corner at pixel
(row * STRIDE, column * STRIDE). A window's size is a multiple of STRIDE, or as large as the
image itself: a window of the whole image is the only one, whatever the image's size. *Placements*
are all that lie on the image's cells: where it ends in a partial cell they are a row or a column
more, cut off at the image's edge.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cereals_tf.data_prep.grid import STRIDE, Box, cells


class Region(NamedTuple):
    """A rectangle of an image, ordered by image, then from top to bottom and left to right.

    Attributes:
        image_id: the image's id.
        box: the rectangle in pixels, top and left edge multiples of STRIDE.
    """

    image_id: str
    box: Box


def boxes_by_image(regions: Iterable[Region]) -> dict[str, list[Box]]:
    """Return the rectangles of each image that has any, in the order given."""
    by_image: dict[str, list[Box]] = {}
    for image_id, box in regions:
        by_image.setdefault(image_id, []).append(box)
    return by_image


def labelled_mask(boxes: Iterable[Box], height: int, width: int) -> np.ndarray:
    """Return which cells of an image lie in a region.

    Args:
        boxes: regions of this one image.
        height: the image's height in pixels.
        width: the image's width in pixels.

    Returns:
        bool [cells(height), cells(width)].

    Raises:
        ValueError: a region is empty, leaves the image or cuts through a cell.
    """
    mask = np.zeros((cells(height), cells(width)), bool)
    for box in boxes:
        if not _fits(box.y, box.height, height) or not _fits(box.x, box.width, width):
            raise ValueError(
                f"`boxes` must consist of whole cells of {STRIDE} pixels inside the image of "
                f"height {height} and width {width}. Received: {box}"
            )
        mask[box.cell_slices] = True
    return mask


def pixels_in(box: Box, counted: np.ndarray) -> int:
    """Return how many pixels lie in some cells of a region.

    Args:
        box: the region.
        counted: bool [rows, columns], which of its cells count.
    """
    return int(_cell_sides(box.height) @ counted @ _cell_sides(box.width))


def window_grid(height: int, width: int, region_height: int, region_width: int) -> tuple[int, int]:
    """Return the number of window positions, down and across.

    Args:
        height: the image's height in pixels.
        width: the image's width in pixels.
        region_height: the windows' height in pixels.
        region_width: the windows' width in pixels.

    Returns:
        (rows, columns); a 0 where the window is larger than the image.

    Raises:
        ValueError: a window's size is neither a multiple of STRIDE nor as large as the image.
    """
    return _positions(height, region_height), _positions(width, region_width)


def window_sums(
    values: np.ndarray, window: tuple[int, int], valid: np.ndarray | None = None
) -> np.ndarray:
    """Return the sums of a map over all dense windows.

    The values are rounded to a common power of two, 2^-52 of their total or less, so that every
    sum of the integral image is exact: windows with the same content have the same sum wherever
    they lie, and ties stay ties.

    The result is of all placements, of which the windows inside the image are
    `[:rows, :columns]`, see `window_grid`.

    Args:
        values: float [h, w], one value per cell.
        window: (height, width) of the windows in cells, each >= 1.
        valid: bool [h, w], the cells to sum over (the unlabelled ones); all where None.

    Returns:
        float64 [h - window height + 1, w - window width + 1]; empty where the window is larger
        than the map.

    Raises:
        ValueError: a valid value is not finite.
    """
    values = np.asarray(values, np.float64)
    if valid is not None:
        values = np.where(valid, values, 0.0)
    total = np.abs(values).sum()
    if not np.isfinite(total):
        raise ValueError("`values` must be finite wherever `valid`. Received: NaN or infinity")
    exponent = 52 - int(np.frexp(total)[1])
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.rint(np.ldexp(values, exponent)).cumsum(0).cumsum(1, out=integral[1:, 1:])
    h, w = window
    bands = integral[h:] - integral[:-h]
    return np.ldexp(bands[:, w:] - bands[:, :-w], -exponent)


def allowed_windows(
    acquired: Iterable[Box],
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    max_overlap: float = 0.0,
) -> np.ndarray:
    """Return which windows are candidates, given the regions acquired before.

    A window is none if any single acquired region covers more than `max_overlap` of its area, or
    if all of it is labelled already.

    Args:
        acquired: the acquired regions of this one image, of any size.
        height: the image's height in pixels.
        width: the image's width in pixels.
        region_height: the windows' height in pixels.
        region_width: the windows' width in pixels.
        max_overlap: in [0, 1], a share of a window's area.

    Returns:
        bool [rows, columns], see `window_grid`.

    Raises:
        ValueError: a region or a window's size does not fit, see `labelled_mask` and
            `window_grid`.
    """
    acquired = list(acquired)
    rows, columns = window_grid(height, width, region_height, region_width)
    labelled = labelled_mask(acquired, height, width)
    allowed = np.ones((rows, columns), bool)
    if acquired and max_overlap > 0:  # without overlap, what is all labelled is no candidate anyway
        unlabelled = window_sums(~labelled, (cells(region_height), cells(region_width)))
        allowed = unlabelled[:rows, :columns] > 0
    for box in acquired:
        down = _shared(rows, region_height, box.y, box.height)
        across = _shared(columns, region_width, box.x, box.width)
        shares = np.outer(down[down > 0], across[across > 0]) / (region_height * region_width)
        allowed[np.ix_(down > 0, across > 0)] &= shares <= max_overlap
    return allowed


def leftover_windows(
    acquired: Iterable[Box], height: int, width: int, region_height: int, region_width: int
) -> np.ndarray:
    """Return which placements of a window hold an unlabelled cell, labelled ones beside it or not.

    Args:
        acquired: the acquired regions of this one image, of any size.
        height: the image's height in pixels.
        width: the image's width in pixels.
        region_height: the windows' height in pixels.
        region_width: the windows' width in pixels.

    Returns:
        bool [h - window height + 1, w - window width + 1], in cells.

    Raises:
        ValueError: a region does not fit, see `labelled_mask`.
    """
    unlabelled = ~labelled_mask(acquired, height, width)
    return window_sums(unlabelled, (cells(region_height), cells(region_width))) > 0


def cut_off(box: Box, height: int, width: int) -> Box:
    """Return the part of a rectangle that lies in an image of this height and width."""
    bottom, right = min(box.y + box.height, height), min(box.x + box.width, width)
    return Box(box.y, box.x, bottom - box.y, right - box.x)


def _cell_sides(length: int) -> np.ndarray:
    """Return the pixels that each cell along a side has, the last one maybe fewer."""
    return np.minimum(STRIDE, length - STRIDE * np.arange(cells(length)))


def _fits(start: int, length: int, size: int) -> bool:
    """Return whether an interval lies in [0, size) and consists of whole cells."""
    end = start + length
    whole = start % STRIDE == 0 and (end % STRIDE == 0 or end == size)
    return whole and 0 <= start < end <= size


def _positions(size: int, window: int) -> int:
    """Return the number of window positions along one axis, all lengths in pixels."""
    if window < 1 or (window % STRIDE and window != size):
        raise ValueError(
            f"A window must measure a multiple of {STRIDE} pixels or the image's {size}. "
            f"Received: {window}"
        )
    return max(0, (size - window) // STRIDE + 1)


def _shared(positions: int, window: int, start: int, length: int) -> np.ndarray:
    """Return the pixels that each window position along one axis shares with an interval."""
    first = np.arange(positions) * STRIDE
    return np.maximum(np.minimum(first + window, start + length) - np.maximum(first, start), 0)
