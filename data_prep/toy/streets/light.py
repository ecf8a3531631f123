"""The weather, and the colours of what its light falls on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cereals_tf.data_prep.toy.streets.street import LEFT, RIGHT

FACADE_COLOURS = [
    (168, 104, 82), (146, 92, 78), (186, 168, 138), (204, 192, 166), (150, 146, 140),
    (176, 150, 112), (122, 116, 112), (200, 176, 150), (164, 172, 174), (190, 140, 108),
]  # fmt: skip
CLOTHES_COLOURS = [
    (42, 46, 62), (96, 30, 34), (150, 146, 138), (38, 70, 104), (196, 180, 150), (60, 62, 60),
    (176, 90, 44), (92, 112, 80), (214, 214, 210), (116, 66, 104),
]  # fmt: skip
LEAF_COLOURS = [(66, 98, 44), (52, 84, 46), (86, 108, 48), (104, 104, 46), (46, 74, 50)]


@dataclass(frozen=True)
class Light:
    """Weather: colours of the sky, the side of the sun (0: overcast), haze and exposure."""

    zenith: np.ndarray
    haze: np.ndarray
    sun: int
    haze_distance: float
    exposure: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """Draws the weather."""
        sun = int(rng.choice([LEFT, 0, RIGHT], p=[0.35, 0.3, 0.35]))
        zenith = (96, 148, 204) if sun else (168, 178, 188)
        warmth = rng.normal(0.0, 0.05)
        return cls(
            zenith=np.array(zenith) + rng.normal(0, 10, 3),
            haze=np.array((214, 222, 228)) + rng.normal(0, 7, 3),
            sun=sun,
            haze_distance=rng.uniform(110, 320),
            exposure=rng.uniform(0.78, 1.12) * np.array((1 + warmth, 1.0, 1 - warmth)),
        )

    def on(self, normal: Sequence[float] | np.ndarray) -> float:
        """Returns the brightness of a surface with the unit normal (x, y, z)."""
        x, y, z = normal
        if not self.sun:
            return 0.92 + 0.14 * y
        return 0.78 + 0.36 * max(0.0, 0.62 * self.sun * x + 0.68 * y - 0.4 * z)
