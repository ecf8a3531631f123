"""The canvas of a street: what is painted stands at a distance from the camera, in its weather."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from cereals_tf.data_prep.toy.canvas import Canvas, Paint
from cereals_tf.data_prep.toy.streets.camera import Camera
from cereals_tf.data_prep.toy.streets.light import Light


class StreetCanvas(Canvas):
    """Paints far to near, and knows how far away each pixel is."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.camera = Camera.draw(rng, height, width)
        self.light = Light.draw(rng)
        super().__init__(rng, height, width)
        self._depth = np.full((height, width), np.inf, np.float32)

    def place(
        self,
        label: str,
        points: ArrayLike,
        paint: Paint,
        depth: float | Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        """Adds an object at a distance in metres, or a function of pixel columns and rows of it."""
        xs, ys = self.add(label, points, paint)
        self._depth[ys, xs] = depth(xs, ys) if callable(depth) else depth

    def ground_shadow(self, x: float, z: float, half: float, deep: float) -> None:
        """Darkens the ground under something that is 2 * half wide and 2 * deep long."""
        shift = -0.5 * half * self.light.sun
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for size in (1.0, 0.75):
            across = x + shift + size * half * np.cos(angles)
            along = np.maximum(z + size * deep * np.sin(angles), 1.0)
            ring = np.stack([across, np.zeros(12), along], axis=1)
            self.shadow(self.camera.project(ring), 0.24 if self.light.sun else 0.15)

    def in_its_light(self) -> np.ndarray:
        """Returns the picture with haze and exposure."""
        light = self.light
        clear = np.where(np.isinf(self._depth), 1, np.exp(-self._depth / light.haze_distance))
        image = (light.haze + (self.image - light.haze) * clear[..., None]) * light.exposure
        return image.astype(np.float32)
