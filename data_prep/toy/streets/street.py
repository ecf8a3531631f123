"""The plan of a street: its two sides, how far it goes and what it holds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEFT, RIGHT = -1, 1
"""The sides of the street, as the sign of x."""

STREET_END = 110.0
"""How far the street can be seen, in metres."""

Actor = tuple[float, Callable[[], None]]
"""The distance of something that stands in the street, and the function that paints it."""


@dataclass(frozen=True)
class Street:
    """Kerbs and house fronts (x in metres), and per side what stands there and how crowded."""

    kerbs: dict[int, float]
    fronts: dict[int, float]
    styles: dict[int, str]
    crowding: dict[int, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Street":
        """Draws a street."""
        kerbs = {LEFT: -rng.uniform(4.6, 7.5), RIGHT: rng.uniform(2.8, 5.0)}
        crowds = [0.0, 0.0] if rng.random() < 0.25 else rng.choice([0.0, 0.4, 1.0], 2).tolist()
        styles = ["houses", "park", "fenced", "walled", "open"]
        chances = [0.52, 0.18, 0.1, 0.09, 0.11]
        return cls(
            kerbs=kerbs,
            fronts={side: kerb + side * rng.uniform(2.2, 4.2) for side, kerb in kerbs.items()},
            styles={side: str(rng.choice(styles, p=chances)) for side in kerbs},
            crowding=dict(zip(kerbs, crowds, strict=True)),
        )
