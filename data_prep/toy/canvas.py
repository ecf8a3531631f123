"""The canvas: a picture and the labelled polygons that it is painted from."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

LabelledPolygon = tuple[str, list[tuple[int, int]]]
"""A label name and the (x, y) pixels of the outline."""

Pixels = tuple[np.ndarray, np.ndarray]
"""Columns and rows [N]."""

Colour = Sequence[float] | np.ndarray
"""Red, green and blue, 0 to 255."""

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function of pixel columns and rows [N] that gives colours [N, 3]."""

Paint = Colour | Texture
"""One colour, or a texture."""


class Canvas:
    """Paints labelled polygons over each other, and remembers which one owns each pixel.

    Attributes:
        image: The picture so far, float32 [height, width, 3].
        enlarged: How many times larger than in a picture 256 wide things are drawn.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.height, self.width = height, width
        self.image = np.zeros((height, width, 3), np.float32)
        self._objects: list[LabelledPolygon] = []
        self._plate = Image.new("I", (width, height), -1)
        self._owners = np.full((height, width), -1, np.int32)
        self._current = -1
        self.enlarged = max(1.0, min(width, 2 * height) / 256)
        sizes = {1: 1} | {size: round(size * self.enlarged) for size in (2, 6, 20)}
        self._noise = {size: self._draw_noise(pixels) for size, pixels in sizes.items()}

    def _draw_noise(self, size: int) -> np.ndarray:
        shape = (self.height // size + 2, self.width // size + 2)
        coarse = Image.fromarray(self.rng.standard_normal(shape, np.float32))
        return np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BICUBIC))

    def noise(self, xs: np.ndarray, ys: np.ndarray, weights: dict[int, float]) -> np.ndarray:
        """Returns 1 + noise at the pixels, [N, 1].

        `weights` goes from the size of the grains to their standard deviation. Sizes are in pixels
        of a picture 256 wide and grow with larger ones, except for grains of one pixel.
        """
        total = sum(weight * self._noise[size][ys, xs] for size, weight in weights.items())
        return 1 + np.expand_dims(total, -1)

    def textured(self, colour: Colour, weights: dict[int, float]) -> Texture:
        """Returns a colour times `noise` with these weights."""
        return lambda xs, ys: np.asarray(colour, np.float32) * self.noise(xs, ys, weights)

    def add(self, label: str, points: ArrayLike, paint: Paint) -> Pixels:
        """Paints and records an object; one outside the picture is left out.

        Args:
            label: Its label name.
            points: Outline in pixels, [N, 2], of any extent; it is clipped to the picture.
            paint: Its colours.

        Returns:
            Its pixels.
        """
        polygon = _pixel_polygon(points, self.height, self.width)
        self._current = -1
        if len(polygon) < 3:
            return np.empty(0, int), np.empty(0, int)
        self._current = len(self._objects)
        self._objects.append((label, polygon))
        ImageDraw.Draw(self._plate).polygon(polygon, fill=self._current)
        (left, top), (right, bottom) = np.min(polygon, 0).tolist(), np.max(polygon, 0).tolist()
        box = self._plate.crop((left, top, right + 1, bottom + 1))
        ys, xs = np.nonzero(np.asarray(box) == self._current)
        xs, ys = xs + left, ys + top
        self._owners[ys, xs] = self._current
        self._colour(xs, ys, paint)
        return xs, ys

    def detail(self, points: ArrayLike, paint: Paint) -> None:
        """Paints a polygon inside the object added last, without a label of its own."""
        self._colour_own(*self._stencil(points), paint)

    def stroke(self, points: ArrayLike, paint: Paint, width: float) -> None:
        """Paints a line, `width` pixels wide but at least one, inside the object added last."""
        self._colour_own(*self._stencil(points, max(1, round(width))), paint)

    def shadow(self, points: ArrayLike, strength: float) -> None:
        """Darkens what is already there."""
        xs, ys = self._stencil(points)
        self.image[ys, xs] *= 1 - strength

    def labels_in(self, points: ArrayLike) -> set[str]:
        """Returns the labels of the objects that own a pixel of a polygon."""
        xs, ys = self._stencil(points)
        return {self._objects[owner][0] for owner in np.unique(self._owners[ys, xs])}

    def pixels_of(self, label: str) -> Pixels:
        """Returns the pixels that objects with a label own."""
        objects = [index for index, (name, _) in enumerate(self._objects) if name == label]
        ys, xs = np.nonzero(np.isin(self._owners, objects))
        return xs, ys

    def visible_objects(self) -> list[LabelledPolygon]:
        """Returns the objects that own a pixel, in painter's order."""
        return [self._objects[index] for index in np.unique(self._owners)]

    def in_its_light(self) -> np.ndarray:
        """Returns the picture as it comes to the lens, float32 [height, width, 3]."""
        return self.image

    def develop(self) -> np.ndarray:
        """Returns the picture through a soft lens and with sensor noise, as uint8."""
        image = self.in_its_light()
        padded = np.pad(image, ((1, 1), (0, 0), (0, 0)), mode="edge")
        image = 0.76 * image + 0.12 * (padded[:-2] + padded[2:])
        padded = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
        image = 0.76 * image + 0.12 * (padded[:, :-2] + padded[:, 2:])
        noise = self.rng.standard_normal(image.shape, np.float32) * self.rng.uniform(1.5, 5.0)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)

    def _colour(self, xs: np.ndarray, ys: np.ndarray, paint: Paint) -> None:
        self.image[ys, xs] = paint(xs, ys) if callable(paint) else paint

    def _colour_own(self, xs: np.ndarray, ys: np.ndarray, paint: Paint) -> None:
        own = self._owners[ys, xs] == self._current
        self._colour(xs[own], ys[own], paint)

    def _stencil(self, points: ArrayLike, pen: int = 0) -> Pixels:
        """Returns the pixels in a polygon, or on a line `pen` pixels wide."""
        corners = np.rint(points).astype(int)
        left, top = np.maximum(corners.min(0) - pen, 0).tolist()
        right, bottom = np.minimum(corners.max(0) + pen + 1, (self.width, self.height)).tolist()
        if left >= right or top >= bottom:
            return np.empty(0, int), np.empty(0, int)
        mask = Image.new("L", (right - left, bottom - top))
        outline = [(x - left, y - top) for x, y in corners.tolist()]
        if pen:
            ImageDraw.Draw(mask).line(outline, fill=1, width=pen)
        else:
            ImageDraw.Draw(mask).polygon(outline, fill=1)
        ys, xs = np.nonzero(np.asarray(mask))
        return xs + left, ys + top


def _pixel_polygon(points: ArrayLike, height: int, width: int) -> list[tuple[int, int]]:
    """Clips an outline to the picture (Sutherland-Hodgman), rounds it and drops repeated points."""
    outline = np.asarray(points, float).tolist()
    for axis, bound, sign in ((0, 0, 1), (0, width - 1, -1), (1, 0, 1), (1, height - 1, -1)):
        inside = [sign * (point[axis] - bound) for point in outline]
        if min(inside) >= 0:
            continue
        clipped = []
        for index, (point, here) in enumerate(zip(outline, inside, strict=True)):
            before, there = outline[index - 1], inside[index - 1]
            if here * there < 0:
                share = there / (there - here)
                clipped.append([a + (b - a) * share for a, b in zip(before, point, strict=True)])
            if here >= 0:
                clipped.append(point)
        if not clipped:
            return []
        outline = clipped
    pixels = [(round(x), round(y)) for x, y in outline]
    return [point for index, point in enumerate(pixels) if point != pixels[index - 1]]
