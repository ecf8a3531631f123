"""The canvas of an aerial image: land in metres, seen straight from above."""

import numpy as np
from numpy.typing import ArrayLike

from cereals_tf.data_prep.toy.aerial.climate import Climate
from cereals_tf.data_prep.toy.canvas import Canvas, Paint, Pixels

_IN_SHADOW = np.array((0.46, 0.5, 0.58), np.float32)
_HAZE = np.array((206, 214, 222), np.float32)


class AerialCanvas(Canvas):
    """Paints the land and what stands on it; outlines are (x, y) in metres from the top left.

    Attributes:
        metre: Pixels of a metre.
        extent: Width and height of the land in metres.
        climate: Season and light.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        super().__init__(rng, height, width)
        self.climate = Climate.draw(rng)
        self.metre = self.enlarged * rng.uniform(0.85, 1.25)
        self.extent = np.array((width, height)) / self.metre
        self._shaded = np.zeros((height, width), bool)

    def pixels(self, points: ArrayLike) -> np.ndarray:
        """Returns points in metres as pixels."""
        return np.asarray(points, float) * self.metre

    def place(self, label: str, outline: ArrayLike, paint: Paint) -> Pixels:
        """Adds an object, and returns its pixels."""
        xs, ys = self.add(label, self.pixels(outline), paint)
        self._shaded[ys, xs] = False
        return xs, ys

    def lies_on(self, outline: ArrayLike, *labels: str) -> bool:
        """Returns whether there is nothing else under an outline, which lies in the picture."""
        return bool(found := self.labels_in(self.pixels(outline))) and found <= {*labels}

    def cast_shadow(self, pixels: Pixels, height: float) -> None:
        """Darkens what is in the shadow of something of this height in metres, but not itself."""
        own = np.stack(pixels, 1)
        reach = -height * self.climate.shadow * self.climate.to_sun * self.metre
        dark = np.zeros_like(self._shaded)
        steps = int(np.ceil(np.abs(reach).max() / 2))
        for step in range(1, steps + 1):
            x, y = (own + np.rint(reach * step / steps).astype(int)).T
            seen = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
            dark[y[seen], x[seen]] = True
        dark[pixels[1], pixels[0]] = False
        dark &= ~self._shaded
        self.image[dark] *= _IN_SHADOW
        self._shaded |= dark

    def rows(self, xs: np.ndarray, ys: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns (along, across) in metres of pixels, for rows that run at an angle."""
        x, y = xs / self.metre, ys / self.metre
        return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    def in_its_light(self) -> np.ndarray:
        """Returns the picture with exposure and haze."""
        climate = self.climate
        grey = self.image.mean(2, keepdims=True)
        image = (grey + (self.image - grey) * climate.saturation) * climate.exposure
        return (image + (_HAZE - image) * climate.haze).astype(np.float32)
