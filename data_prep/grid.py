"""The stride-8 grid that models, clicks and regions share, and rectangles on it."""

from typing import Any, NamedTuple

STRIDE = 8
"""Pixels of a side of a cell, which is what one output position of the models stands for."""


def cells(pixels: Any) -> Any:
    """Return how many cells cover a number of pixels along one axis, an int or an int tensor."""
    return (pixels + STRIDE - 1) // STRIDE


class Box(NamedTuple):
    """A rectangle in pixels."""

    y: int
    x: int
    height: int
    width: int

    @property
    def area(self) -> int:
        """Pixels in the rectangle."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of an array of pixels that it covers."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    @property
    def cell_slices(self) -> tuple[slice, slice]:
        """The rows and columns of an array of cells that it touches."""
        return (
            slice(self.y // STRIDE, cells(self.y + self.height)),
            slice(self.x // STRIDE, cells(self.x + self.width)),
        )

    def joined(self, other: "Box") -> "Box":
        """Return the smallest rectangle around both."""
        y, x = min(self.y, other.y), min(self.x, other.x)
        bottom = max(self.y + self.height, other.y + other.height)
        right = max(self.x + self.width, other.x + other.width)
        return Box(y, x, bottom - y, right - x)

    def overlaps(self, other: "Box") -> bool:
        """Whether the rectangles share a pixel."""
        rows = self.y < other.y + other.height and other.y < self.y + self.height
        return rows and self.x < other.x + other.width and other.x < self.x + self.width
