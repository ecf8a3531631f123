"""Polygons and label masks: painting one from the other, both ways.

Coordinates are (x, y) in pixels, x to the right and y down. Label tools place vertices on pixel
centres and call the centre of the top left pixel (0, 0).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Polygon:
    """One annotated object: a closed polygon of one class.

    Attributes:
        class_id: Class of the pixels inside, 0 to 255.
        points: float64 [V, 2], V >= 1, vertices (x, y) in pixels, in drawing order. The last vertex
            is joined to the first. Vertices may lie outside the image.
    """

    class_id: int
    points: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.points)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != 2:
            raise ValueError(f"points must be [V, 2] with V >= 1, received shape {shape}")


def paint(polygons: Sequence[Polygon], height: int, width: int, background: int) -> np.ndarray:
    """Paints polygons into a label mask, each over those before it.

    Draws the same pixels as `createLabelImage` of the Cityscapes scripts
    (`cityscapesscripts.preparation.json2labelImg`). A polygon of two points is a line. A polygon
    of one point, on which that tool raises an error, draws nothing.

    Args:
        polygons: In painter's order, the ones behind first.
        height: Height of the mask in pixels.
        width: Width of the mask in pixels.
        background: Value of the pixels that no polygon covers, 0 to 255.

    Returns:
        uint8 [height, width], class ids.

    Raises:
        ValueError: If a class id is not in [0, 255].
    """
    mask = Image.new("L", (width, height), background)
    drawer = ImageDraw.Draw(mask)
    for index, polygon in enumerate(polygons):
        if not 0 <= polygon.class_id <= 255:
            raise ValueError(
                f"polygons[{index}].class_id must be in [0, 255], received {polygon.class_id}"
            )
        if len(polygon.points) > 1:
            drawer.polygon(np.ravel(polygon.points).tolist(), fill=int(polygon.class_id))
    return np.array(mask)


def scaled(polygons: Sequence[Polygon], factor_y: float, factor_x: float) -> list[Polygon]:
    """Scales polygons to a resized image.

    Args:
        polygons: Polygons in pixels of the original image.
        factor_y: New height / old height.
        factor_x: New width / old width.

    Returns:
        The polygons in pixels of the resized image, same classes and order.
    """
    factors = np.array([factor_x, factor_y], np.float64)
    return [Polygon(polygon.class_id, polygon.points * factors) for polygon in polygons]


def outline_mask(mask: np.ndarray, ignore_id: int, tolerance: float) -> list[Polygon]:
    """Outlines a mask with polygons in the order in which to paint them.

    Every 8-connected component of a class becomes one polygon along its outer contour, through the
    centres of its outermost pixels. Holes are not cut out: what lies in them is painted later.

    At tolerance 0, `paint` gives back the pixels that are not ignored. The one exception are
    components that cross each other diagonally more than once, so that each surrounds a part of
    the other: no order of painting shows both, and a few pixels are lost.

    Args:
        mask: uint8 [H, W], class ids.
        ignore_id: Class that is not outlined, as annotators do not outline void.
        tolerance: Largest distance in pixels between the contour and the polygon
            (Douglas-Peucker, `cv2.approxPolyDP`). 0 keeps every corner of the contour.

    Returns:
        Polygons of at least two vertices (a lone pixel is a vertex twice, as `paint` needs it). A
        polygon comes after those that surround any of its pixels, otherwise larger ones come
        first; ties by class, then by the contour's first point.

    Raises:
        ValueError: If `mask` is not uint8 [H, W], or `tolerance` is negative or not finite.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"mask must be uint8 [H, W], received {mask.dtype} {mask.shape}")
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be finite and at least 0, received {tolerance}")
    polygons: list[Polygon] = []
    ranks: list[tuple] = []
    rings: dict[int, np.ndarray] = {}
    owners = np.full(mask.shape, -1, np.int32)
    for class_id in np.unique(mask[mask != ignore_id]).tolist():
        binary = (mask == class_id).astype(np.uint8)
        count, components = cv2.connectedComponents(binary, connectivity=8)
        index_of = np.full(count, -1, np.int32)
        for contour, has_hole in _outer_contours(binary):
            x, y = contour[0, 0].tolist()
            index_of[components[y, x]] = len(polygons)
            if has_hole:
                rings[len(polygons)] = contour
            polygons.append(Polygon(class_id, _simplified(contour, tolerance)))
            ranks.append((-cv2.contourArea(contour), class_id, x, y))
        inside = binary > 0
        owners[inside] = index_of[components[inside]]
    surrounded = {index: _surrounded(owners, index, contour) for index, contour in rings.items()}
    return [polygons[index] for index in _painting_order(ranks, surrounded)]


def agreement(
    mask: np.ndarray, painted: np.ndarray, num_classes: int, ignore_id: int
) -> np.ndarray:
    """Counts intersection and union per class, to tell how well polygons reproduce a mask.

    Args:
        mask: uint8 [H, W], the true class ids. Pixels of `ignore_id` are left out.
        painted: uint8 [H, W], class ids. Values of no class, such as a background, are allowed.
        num_classes: Number of classes; class ids are 0 to num_classes - 1.
        ignore_id: Value of `mask` where there is no truth.

    Returns:
        int64 [2, num_classes]: pixels in the intersection, pixels in the union.

    Raises:
        ValueError: If the shapes differ.
    """
    if mask.shape != painted.shape:
        raise ValueError(f"painted must have mask's shape {mask.shape}, received {painted.shape}")
    same = mask == painted
    intersection = true = histogram(mask)
    drawn = true
    if not same.all():
        intersection = histogram(mask, same)
        drawn = histogram(painted, mask != ignore_id)
    union = true + drawn - intersection
    counts = np.stack([intersection, union])
    counts[:, ignore_id] = 0
    return counts[:, :num_classes]


def histogram(values: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Counts how often each value occurs, int64 [256].

    Args:
        values: uint8 [H, W].
        where: bool [H, W], the pixels to count. None: all.
    """
    among = None if where is None else Image.fromarray(where.view(np.uint8))
    return np.array(Image.fromarray(values).histogram(among), np.int64)


def _outer_contours(binary: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Returns (contour int32 [N, 1, 2], whether it has a hole) of every 8-connected component."""
    # RETR_EXTERNAL would leave out components that lie in a hole of another one.
    contours, hierarchy = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [
        (contour, first_hole >= 0)
        for contour, (_, _, first_hole, parent) in zip(contours, hierarchy[0], strict=True)
        if parent < 0
    ]


def _simplified(contour: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns the vertices, float64 [V, 2] with V >= 2, of a contour int32 [N, 1, 2]."""
    if tolerance > 0:
        points = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0]
    else:
        points = contour[:, 0]
        arriving = points - np.roll(points, 1, axis=0)
        leaving = np.roll(points, -1, axis=0) - points
        points = points[(arriving != leaving).any(axis=1) | (len(points) == 1)]
    return np.repeat(points, 2 if len(points) == 1 else 1, axis=0).astype(np.float64)


def _surrounded(owners: np.ndarray, index: int, contour: np.ndarray) -> list[int]:
    """Returns the components with a pixel inside the contour of component `index`."""
    x, y, width, height = cv2.boundingRect(contour)
    filled = np.zeros((height, width), np.uint8)
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
    window = owners[y : y + height, x : x + width]
    return np.unique(window[(filled > 0) & (window != index) & (window >= 0)]).tolist()


def _painting_order(ranks: Sequence[tuple], surrounded: dict[int, list[int]]) -> list[int]:
    """Sorts indices by rank, but each after those that surround it.

    Topological sorting with a heap; within a cycle, the index that the fewest unpainted ones
    surround is next.
    """
    waiting_for = [0] * len(ranks)
    for inner in surrounded.values():
        for index in inner:
            waiting_for[index] += 1
    heap = [(waiting_for[index], rank, index) for index, rank in enumerate(ranks)]
    heapq.heapify(heap)
    order: dict[int, None] = {}
    while heap:
        _, _, index = heapq.heappop(heap)
        if index in order:
            continue
        order[index] = None
        for inner in surrounded.get(index, []):
            waiting_for[inner] -= 1
            heapq.heappush(heap, (waiting_for[inner], ranks[inner], inner))
    return list(order)
