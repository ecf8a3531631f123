"""What annotators probably did not mean.

Polygons that cross themselves or leave the image, and classes that a model finds nowhere there.
"""

from collections.abc import Collection, Iterator

import numpy as np

from cereals_tf.annotation.drawn import Shape

_MOST_VERTICES = 1000
"""Of a polygon that is looked at for crossings, which takes memory by the square."""


def doubts_about(shape: Shape, height: int, width: int) -> Iterator[str]:
    """Say what is implausible of a shape in an image of this size."""
    for points in shape.outlines:
        whole = area(points)
        if whole and area(clipped(points, height, width)) < whole / 2:
            yield f"{shape.where} lies outside the image for the most part"
        if crosses_itself(points):
            yield f"{shape.where} crosses itself"


def unlike(label: np.ndarray, predicted: np.ndarray, known: Collection[int]) -> dict[int, float]:
    """Return what is drawn of classes that are predicted nowhere, by class, in percent of pixels.

    Args:
        label: What is drawn, uint8 [h, w], train ids.
        predicted: What is predicted there, uint8 [h, w].
        known: The classes to look at.
    """
    drawn, counts = np.unique(label, return_counts=True)
    return {
        int(number): 100 * float(count) / label.size
        for number, count in zip(drawn, counts, strict=True)
        if number in known and not (predicted == number).any()
    }


def area(points: np.ndarray) -> float:
    """Return the area of a polygon that does not cross itself, float64 [V, 2], in square pixels."""
    x, y = points[:, 0], points[:, 1]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def clipped(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what of a polygon lies in an image (Sutherland and Hodgman, 1974), float64 [V, 2].

    Where several parts of it do, they are joined along the image's sides.
    """
    for axis, bound, sign in ((0, 0, 1), (0, width - 1, -1), (1, 0, 1), (1, height - 1, -1)):
        if not len(points):
            break
        kept = []
        inside = sign * (points[:, axis] - bound)
        for i, (here, before) in enumerate(zip(inside, np.roll(inside, 1), strict=True)):
            if (here >= 0) != (before >= 0):
                share = before / (before - here)
                kept.append(points[i - 1] + share * (points[i] - points[i - 1]))
            if here >= 0:
                kept.append(points[i])
        points = np.array(kept).reshape(-1, 2)
    return points


def crosses_itself(points: np.ndarray) -> bool:
    """Whether two edges of a polygon cross, each strictly on both sides of the other."""
    if not 4 <= len(points) <= _MOST_VERTICES:
        return False
    begin, end = points, np.roll(points, -1, axis=0)

    def sides(of: np.ndarray) -> np.ndarray:
        """Return on which side of each edge (rows) points lie (columns)."""
        along, towards = (end - begin)[:, None], of[None] - begin[:, None]
        return np.sign(along[..., 0] * towards[..., 1] - along[..., 1] * towards[..., 0])

    apart = sides(begin) * sides(end) < 0
    return bool((apart & apart.T).any())
