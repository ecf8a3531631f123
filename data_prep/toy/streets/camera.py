"""The camera, and rectangles in metres for it to project."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cereals_tf.data_prep.toy.streets.street import STREET_END

Corners = list[tuple[float, float, float]]
"""Points (x, y, z) in metres."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street; metres: x to the right, y up, z ahead."""

    focal: float
    vanishing_x: float
    horizon: int
    height: float

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int) -> "Camera":
        """Draws a camera for pictures of `height` and `width` pixels."""
        return cls(
            focal=min(width, 2 * height) * rng.uniform(0.6, 0.75),
            vanishing_x=width * rng.uniform(0.38, 0.62),
            horizon=round(height * rng.uniform(0.42, 0.53)),
            height=rng.uniform(1.5, 2.1),
        )

    def project(self, points: ArrayLike) -> np.ndarray:
        """Projects points in metres [N, 3] to pixels (x, y) [N, 2]."""
        x, y, z = np.asarray(points, float).T
        scale = self.focal / np.maximum(z, 0.5)
        return np.stack(
            [self.vanishing_x + scale * x, self.horizon + scale * (self.height - y)], axis=1
        )

    def post(self, x: float, z: float, thickness: float, height: float) -> np.ndarray:
        """Returns the outline in pixels of an upright post, at least one pixel step wide."""
        (left, foot), (right, top) = self.project(
            [(x - thickness / 2, 0, z), (x + thickness / 2, height, z)]
        )
        left = np.rint(left)
        right = max(np.rint(right), left + 1)
        return np.array([(left, foot), (left, top), (right, top), (right, foot)])

    def on_ground(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (x, z) in metres of the ground seen at the pixels."""
        z = np.minimum(self.focal * self.height / np.maximum(ys - self.horizon, 0.3), 400.0)
        return (xs - self.vanishing_x) * z / self.focal, z

    def on_wall(self, xs: np.ndarray, ys: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns (y, z) in metres of the plane that runs along the street at `x`."""
        offset = np.maximum(np.sign(x) * (xs - self.vanishing_x), 0.5)
        z = np.minimum(self.focal * abs(x) / offset, STREET_END)
        return self.height - (ys - self.horizon) * z / self.focal, z

    def on_front(self, xs: np.ndarray, ys: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns (x, y) in metres of the plane that faces the camera at `z`."""
        scale = z / self.focal
        return (xs - self.vanishing_x) * scale, self.height - (ys - self.horizon) * scale


def strip(x1: float, x2: float, z1: float, z2: float) -> Corners:
    """Returns the corners of a rectangle on the ground."""
    return [(x1, 0, z1), (x1, 0, z2), (x2, 0, z2), (x2, 0, z1)]


def upright(x: float, y1: float, y2: float, z1: float, z2: float) -> Corners:
    """Returns the corners of a rectangle that stands along the street."""
    return [(x, y1, z1), (x, y2, z1), (x, y2, z2), (x, y1, z2)]


def facing(x1: float, x2: float, y1: float, y2: float, z: float) -> Corners:
    """Returns the corners of a rectangle that stands across the street."""
    return [(x1, y1, z), (x1, y2, z), (x2, y2, z), (x2, y1, z)]
