"""Clicks: what an annotator pays for an image, for a region, and for every candidate region.

All arrays lie on a grid with a stride of 8 pixels: h = ceil(H / 8) rows, w = ceil(W / 8) columns.
Source: Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for Semantic
Segmentation", BMVC 2018, for the click map; the parts of a region's clicks are this project's.

Definitions:

- **Vertex.** A vertex (x, y) belongs to the pixel (row floor(y), column floor(x)), clamped into the
  image: an annotator who draws past the border clicks at the border. So the vertices of the
  regions of any tiling add up to the number of polygon points of the image.
- **Click map.** The training target of the cost model: vertices per pixel, at most 10, summed over
  the 8x8 pixels of each cell.
- **Region.** A rectangle [y, y + height) x [x, x + width) of pixels, aligned to 8. It may end at
  the image border where 8 does not divide the image size.
- **Intersection.** A crossing of a polygon edge with the region's border, where an annotator who
  sees only the region must click. Polygons are closed (the last point is joined to the first); a
  polygon of two points has one edge, of one point none. Sides of a region on the image border do
  not count, nor do crossings outside the image, so a whole image has no intersections.
- **Corner.** A corner point of the region inside a labelled polygon (even-odd rule; inside any of
  them), at most 4. Corners on the image border do not count: there the polygon has vertices or
  crossings of its own.

Coincidences are settled by simulation of simplicity: the grid line x = 8k stands for 8k - e and
y = 8k for 8k - e**2, with e infinitesimal; the image's right and bottom borders alike. Hence

- an edge crosses x = X if exactly one of its ends has x >= X: a vertex on a line belongs to the
  cell to its right or below it, and an edge along a line does not cross it;
- a crossing of a vertical line exactly at a grid corner belongs to the cell above if the edge's
  slope dy/dx is positive, and below otherwise; one of a horizontal line to the cell to the right;
- a closed polygon crosses the border of a region an even number of times, unless part of the
  border is the image's and the polygon leaves the image there.

The decisions are exact for every float64 input, not only up to rounding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from cereals_tf.data_prep.grid import STRIDE, Box, cells
from cereals_tf.data_prep.polygons import Polygon

MAX_CLICKS_PER_PIXEL = 10
MAX_COORDINATE = 1e6


Count = TypeVar("Count", int, np.ndarray)


class RegionClicks(NamedTuple, Generic[Count]):
    """Clicks of one region (ints), or of many (int32 arrays of one shape), in three parts.

    Attributes:
        vertices: Polygon vertices inside the region.
        intersections: Crossings of polygon edges with the region's border.
        corners: The region's own corners inside a polygon, 0 to 4.
    """

    vertices: Count
    intersections: Count
    corners: Count

    def of(self, kinds: Iterable[str]) -> Count:
        """Return the sum of some of the parts, named as the attributes, elementwise."""
        total: Any = sum(getattr(self, kind) for kind in kinds)
        return total


@dataclass(frozen=True)
class ClickGrid:
    """The clicks of one image on the stride-8 grid, from which those of any region follow.

    Attributes:
        vertices: int32 [h, w], vertices per cell, not clipped.
        vertical_crossings: int32 [h, w + 1]; [i, k] counts the crossings of the line x = 8k within
            row i of cells. Columns 0 and w, the image border, are 0.
        horizontal_crossings: int32 [h + 1, w]; [k, j] counts the crossings of the line y = 8k
            within column j of cells. Rows 0 and h are 0.
        corners: uint8 [h + 1, w + 1], 1 where the grid point (8i, 8j) lies inside a polygon. 0 on
            the image border.
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.
    """

    vertices: np.ndarray
    vertical_crossings: np.ndarray
    horizontal_crossings: np.ndarray
    corners: np.ndarray
    height: int
    width: int

    @property
    def maps(self) -> np.ndarray:
        """What a cost model learns, float32 [h, w, 3].

        Vertices in each cell, crossings of its left edge, and of its top edge.
        """
        edges = self.vertical_crossings[:, :-1], self.horizontal_crossings[:-1]
        return np.stack([self.vertices, *edges], axis=-1).astype(np.float32)

    @classmethod
    def of_maps(cls, maps: np.ndarray, height: int, width: int) -> "ClickGrid":
        """Return a grid given its `maps`; no corner of it lies in a polygon.

        Args:
            maps: [h, w, 3], whole numbers.
            height: H, height of the image in pixels.
            width: W, width of the image in pixels.
        """
        vertices, left, top = np.moveaxis(maps.astype(np.int32), -1, 0)
        rows, columns = vertices.shape
        return cls(
            vertices,
            np.pad(left, ((0, 0), (0, 1))),
            np.pad(top, ((0, 1), (0, 0))),
            np.zeros((rows + 1, columns + 1), np.uint8),
            height,
            width,
        )

    def region(
        self, y: int, x: int, height: int, width: int, counted: np.ndarray | None = None
    ) -> RegionClicks[int]:
        """Counts the clicks of one region, or of some of its cells.

        Of these count the vertices inside, the crossings of those parts of the region's border
        that they lie at, and the region's corners that are theirs.

        Args:
            y: Top of the region in pixels, a multiple of 8.
            x: Left of the region in pixels, a multiple of 8.
            height: In pixels, a multiple of 8 unless the region ends at the image border.
            width: In pixels, a multiple of 8 unless the region ends at the image border.
            counted: bool [rows, columns], which of the region's cells count; None: all.

        Returns:
            The three counts as ints.

        Raises:
            ValueError: If the region is empty, not aligned or not inside the image.
        """
        top, bottom = _cell_range("y", y, "height", height, self.height)
        left, right = _cell_range("x", x, "width", width, self.width)
        rows, columns = slice(top, bottom), slice(left, right)
        if counted is None:
            counted = np.ones((bottom - top, right - left), bool)
        sides = counted[:, [0, -1]], counted[[0, -1]]
        return RegionClicks(
            vertices=int(self.vertices[rows, columns][counted].sum()),
            intersections=int(
                self.vertical_crossings[rows, [left, right]][sides[0]].sum()
                + self.horizontal_crossings[[top, bottom], columns][sides[1]].sum()
            ),
            corners=int(self.corners[[top, bottom]][:, [left, right]][sides[0][[0, -1]]].sum()),
        )

    def windows(
        self, height: int, width: int, counted: np.ndarray | None = None
    ) -> RegionClicks[np.ndarray]:
        """Counts the clicks of every region of one size, at every position of the stride-8 grid.

        Regions that reach over the image's lower or right edge end there, and lie in its last cell.

        Args:
            height: In pixels, a multiple of 8 or the image's height.
            width: In pixels, a multiple of 8 or the image's width.
            counted: bool [h, w], which cells of the image count, see `region`; None: all.

        Returns:
            Three int32 arrays [h - m + 1, w - n + 1] for regions of m x n cells; [i, j] is the
            region at y = 8i, x = 8j. An axis is empty where the region does not fit.

        Raises:
            ValueError: If a size is not positive, or neither a multiple of 8 nor the image's.
        """
        rows, m = _window_range("height", height, self.height)
        columns, n = _window_range("width", width, self.width)
        if counted is None:
            counted = np.ones_like(self.vertices, bool)
        first = np.s_[:rows], np.s_[:columns]
        last = np.s_[m - 1 : m - 1 + rows], np.s_[n - 1 : n - 1 + columns]
        left, right = (
            _sliding_sums(self.vertical_crossings[:, lines] * counted, m)[first[0]]
            for lines in (np.s_[:-1], np.s_[1:])
        )
        top, bottom = (
            _sliding_sums((self.horizontal_crossings[lines] * counted).T, n).T[:, first[1]]
            for lines in (np.s_[:-1], np.s_[1:])
        )
        vertices = _sliding_sums(_sliding_sums(self.vertices * counted, m).T, n).T
        inside = self.corners.astype(np.int32)
        return RegionClicks(
            vertices=vertices[first],
            intersections=left[:, first[1]] + right[:, last[1]] + top[first[0]] + bottom[last[0]],
            corners=(inside[:-1, :-1] * counted)[first]
            + (inside[:-1, 1:] * counted)[first[0], last[1]]
            + (inside[1:, :-1] * counted)[last[0], first[1]]
            + (inside[1:, 1:] * counted)[last],
        )


def click_map(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Counts vertices per pixel, clips the counts to [0, 10] and sums them over 8x8 pixels.

    Args:
        points: float64 [V, 2], all polygon vertices (x, y) of the image in pixels; V may be 0.
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.

    Returns:
        float32 [ceil(H / 8), ceil(W / 8)], clicks per cell, whole numbers in [0, 640].

    Raises:
        ValueError: If a coordinate is not finite or beyond 1e6 pixels.
    """
    points = np.reshape(points, (-1, 2))
    _require_usable("points", points)
    rows, columns = _pixels(points, height, width)
    pixels, clicks = np.unique(rows * width + columns, return_counts=True)
    return _counts(
        pixels // width // STRIDE,
        pixels % width // STRIDE,
        (cells(height), cells(width)),
        np.minimum(clicks, MAX_CLICKS_PER_PIXEL),
    ).astype(np.float32)


def click_grid(polygons: Sequence[Polygon], height: int, width: int) -> ClickGrid:
    """Counts vertices, crossings and corners on the stride-8 grid.

    Args:
        polygons: The labelled polygons of the image, in any order.
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.

    Returns:
        The grid; see the module's definitions.

    Raises:
        ValueError: If a polygon has a coordinate that is not finite or beyond 1e6 pixels.
    """
    for index, polygon in enumerate(polygons):
        _require_usable(f"polygons[{index}].points", polygon.points)
    h, w = cells(height), cells(width)
    points = np.concatenate([np.empty((0, 2)), *(polygon.points for polygon in polygons)])
    rows, columns = _pixels(points, height, width)
    start, end, owner = _edges(polygons)

    edge, line, band = _line_crossings(start, end, width, height)
    seen = (band >= 0) & (band < h)
    vertical = _counts(band[seen], line[seen], (h, w + 1))
    corners = _corners(owner[edge], line, band, (h + 1, w + 1))

    _, line, band = _line_crossings(start[:, ::-1], end[:, ::-1], height, width, rising_above=False)
    seen = (band >= 0) & (band < w)
    return ClickGrid(
        vertices=_counts(rows // STRIDE, columns // STRIDE, (h, w)),
        vertical_crossings=vertical,
        horizontal_crossings=_counts(line[seen], band[seen], (h + 1, w)),
        corners=corners,
        height=height,
        width=width,
    )


def may_click_in(window: Box, points: np.ndarray, height: int, width: int) -> bool:
    """Whether a polygon may have clicks in a rectangle, by its bounding box.

    Args:
        window: The rectangle, in pixels.
        points: float64 [V, 2], the polygon's vertices (x, y) in pixels, V >= 1.
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.
    """
    inside = points.clip(0, [width - 1, height - 1])
    y, x, window_height, window_width = window
    begin, end = np.array([x, y]), np.array([x + window_width, y + window_height])
    return bool((inside.max(axis=0) >= begin).all() and (inside.min(axis=0) <= end).all())


def _require_usable(name: str, points: np.ndarray) -> None:
    unusable = points[~(np.abs(points) <= MAX_COORDINATE)]
    if unusable.size:
        raise ValueError(
            f"{name} must be finite and at most {MAX_COORDINATE:g} pixels from 0, "
            f"received {unusable[0]}"
        )


def _pixels(points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns, int64 [V], of the pixels to which vertices belong."""
    columns, rows = np.floor(points).astype(np.int64).T
    return rows.clip(0, height - 1), columns.clip(0, width - 1)


def _counts(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None = None
) -> np.ndarray:
    """Adds up weights (default: ones) per cell; int32 of the given shape."""
    flat = np.bincount(rows * shape[1] + columns, weights, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.int32)


def _edges(polygons: Sequence[Polygon]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns start [E, 2] and end [E, 2] of all edges, and the polygon [E] with an inside, or -1.

    A polygon of two points is a line: one edge, no inside.
    """
    starts, ends, owners = [np.empty((0, 2))], [np.empty((0, 2))], [np.empty(0, np.int64)]
    for index, polygon in enumerate(polygons):
        closed = len(polygon.points) > 2
        following = np.roll(polygon.points, -1, axis=0)
        edges = slice(None) if closed else slice(-1)
        starts.append(polygon.points[edges])
        ends.append(following[edges])
        owners.append(np.full(len(ends[-1]), index if closed else -1))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(owners)


def _line_crossings(
    start: np.ndarray, end: np.ndarray, across: int, along: int, rising_above: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds where edges cross the grid lines inside an image.

    Written for vertical lines; for horizontal ones swap the coordinates.

    Args:
        start: float64 [E, 2], edge ends as (coordinate across the lines, coordinate along them).
        end: float64 [E, 2], the other ends.
        across: Image size in pixels across the lines.
        along: Image size in pixels along the lines.
        rising_above: Whether a crossing exactly at a grid corner belongs to the band before it if
            the edge's slope is positive. Otherwise it always belongs to the band after it.

    Returns:
        Three int64 [N], one entry per crossing: the edge; the line k, which is 8k pixels across;
        the band of 8 pixels along the line, -1 before the image and ceil(along / 8) after it.
    """
    low = np.floor(np.minimum(start[:, 0], end[:, 0]) / STRIDE).astype(np.int64) + 1
    high = np.floor(np.maximum(start[:, 0], end[:, 0]) / STRIDE).astype(np.int64)
    low, high = low.clip(min=1), high.clip(max=cells(across) - 1)
    number = (high - low + 1).clip(min=0)
    edge = np.repeat(np.arange(len(start)), number)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(number) - number - low, number)

    position = _positions(start[edge], end[edge], line * STRIDE, along)
    borders = np.minimum(np.arange(cells(along) + 1) * STRIDE, along)
    band = np.searchsorted(borders, position, side="right") - 1
    if rising_above:
        rising = np.sign(end - start).prod(axis=1)[edge] > 0
        band = np.where(rising, np.searchsorted(borders, position, side="left") - 1, band)
    return edge, line, band


def _positions(start: np.ndarray, end: np.ndarray, line: np.ndarray, along: int) -> np.ndarray:
    """Returns the coordinates [N] along the lines at which edges [N, 2] cross them.

    They compare exactly with the multiples of 8 and with `along`. Rounding could spoil that only
    within 1e-8 pixels of such a border (it is below 2e-9 for coordinates up to 1e6), and not for
    multiples of 1/4, whose products are exact and whose crossings are on a border or 3e-8 pixels
    off. The few doubtful positions are compared as fractions, and those that are not on the border
    moved half a pixel off it, on the side where they belong.
    """
    delta = end - start
    position = start[:, 1] + (line - start[:, 0]) * delta[:, 1] / delta[:, 0]
    border = np.rint(position / STRIDE) * STRIDE
    border = np.where(np.abs(position - along) < 0.5, along, border)
    ends = 4 * np.concatenate([start, end], axis=1)
    exact = (ends == np.rint(ends)).all(axis=1)
    doubtful = (np.abs(position - border) < 1e-8) & ~exact
    for n in np.flatnonzero(doubtful):
        (xa, ya), (xb, yb) = (map(Fraction, point.tolist()) for point in (start[n], end[n]))
        crossing = ya + (int(line[n]) - xa) * (yb - ya) / (xb - xa)
        position[n] = border[n] + 0.5 * ((crossing > border[n]) - (crossing < border[n]))
    return position


def _corners(
    owner: np.ndarray, line: np.ndarray, band: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Returns uint8 `shape`, 1 at inner grid points inside a polygon, from vertical crossings [N].

    A closed polygon crosses a line an even number of times. Sorted, the first and second crossing
    enclose grid points inside it, the third and fourth as well, and so on.
    """
    closed = owner >= 0
    order = np.lexsort((band[closed], line[closed], owner[closed]))
    entering = 1 - 2 * (np.arange(len(order)) % 2)
    steps = _counts(
        band[closed][order] + 1, line[closed][order], (shape[0] + 1, shape[1]), entering
    )
    inside = np.cumsum(steps, axis=0)[:-1] > 0
    inside[[0, -1]] = False
    return inside.astype(np.uint8)


def _sliding_sums(values: np.ndarray, size: int) -> np.ndarray:
    """Sums every `size` neighbouring rows; empty where they do not fit. int32."""
    sums = np.pad(values, [(1, 0), (0, 0)]).cumsum(axis=0, dtype=np.int32)
    return sums[size:] - sums[: max(0, len(sums) - size)]


def _cell_range(
    offset_name: str, offset: int, size_name: str, size: int, image_size: int
) -> tuple[int, int]:
    """Returns the first cell of a region along one axis and the one after its last."""
    if offset < 0 or offset % STRIDE:
        raise ValueError(f"{offset_name} must be a multiple of {STRIDE}, received {offset}")
    end = offset + size
    if size <= 0 or end > image_size or (end % STRIDE and end != image_size):
        raise ValueError(
            f"{size_name} must be a multiple of {STRIDE} within the image of {image_size}, or end "
            f"at its border, received {size} at {offset_name} = {offset}"
        )
    return offset // STRIDE, cells(end)


def _window_range(name: str, size: int, image_size: int) -> tuple[int, int]:
    """Returns the number of positions of a window along one axis, and its size in cells."""
    if size <= 0 or (size % STRIDE and size != image_size):
        raise ValueError(
            f"{name} must be a multiple of {STRIDE} or the image's {image_size}, received {size}"
        )
    return max(0, cells(image_size) - cells(size) + 1), cells(size)
