"""Season and light, in which the same land looks different from image to image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cereals_tf.data_prep.toy.colours import pick

Colours = Sequence[tuple[int, int, int]]

_SOILS = [(138, 108, 82), (158, 130, 98), (118, 94, 76), (176, 152, 122), (146, 100, 74)]
_WATERS = [(52, 74, 78), (66, 90, 84), (44, 58, 70), (96, 104, 78), (116, 104, 80)]
_CONIFERS = [(42, 62, 44), (50, 72, 48), (38, 54, 46)]


@dataclass(frozen=True)
class Season:
    """The colours of what grows, and the share of the ground that row crops cover."""

    chance: float
    grass: Colours
    grain: Colours
    crop: Colours
    leaves: Colours
    cover: float


SEASONS = (
    Season(
        0.27,
        [(98, 126, 62), (108, 132, 70), (88, 116, 58)],
        [(92, 130, 60), (104, 140, 66), (84, 118, 56)],
        [(84, 128, 60), (100, 140, 70)],
        [(92, 124, 58), (78, 110, 52), (110, 134, 66), *_CONIFERS],
        0.35,
    ),
    Season(
        0.43,
        [(112, 126, 70), (130, 132, 78), (98, 116, 62), (146, 138, 90)],
        [(198, 172, 110), (184, 156, 96), (206, 186, 130), (150, 150, 82)],
        [(70, 106, 50), (84, 116, 54), (60, 94, 50)],
        [(66, 92, 46), (56, 82, 44), (78, 102, 50), *_CONIFERS],
        0.8,
    ),
    Season(
        0.19,
        [(114, 118, 68), (126, 122, 74), (100, 110, 62)],
        [(186, 166, 122), (172, 150, 110), (124, 132, 76)],
        [(138, 126, 72), (112, 112, 60), (156, 134, 84)],
        [(150, 112, 54), (128, 102, 50), (166, 132, 60), (118, 84, 50), (96, 100, 52), *_CONIFERS],
        0.65,
    ),
    Season(
        0.11,
        [(126, 122, 86), (138, 130, 96), (116, 116, 80)],
        [(112, 122, 76), (122, 122, 82), (142, 130, 94)],
        [(146, 132, 100), (128, 118, 88)],
        [(112, 102, 90), (124, 112, 98), (102, 92, 84), *_CONIFERS],
        0.3,
    ),
)
"""Spring, summer, autumn and winter."""


@dataclass(frozen=True)
class Climate:
    """The season, and the light of the hour.

    Attributes:
        season: What grows, and its colours.
        soil: The colour of this area's soil.
        water: The colour of its water.
        to_sun: Unit vector (x, y) towards the sun.
        shadow: Length of shadows for each metre of height; 0: overcast.
        exposure: Factor of red, green and blue.
        haze: Share of the light that is haze.
        saturation: Factor of the colours' distance from grey.
    """

    season: Season
    soil: np.ndarray
    water: np.ndarray
    to_sun: np.ndarray
    shadow: float
    exposure: np.ndarray
    haze: float
    saturation: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Climate":
        """Draws season and light."""
        season = SEASONS[rng.choice(len(SEASONS), p=[season.chance for season in SEASONS])]
        azimuth, warmth = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.04)
        overcast, hazy = rng.random(2) < (0.25, 0.2)
        return cls(
            season=season,
            soil=pick(rng, _SOILS),
            water=pick(rng, _WATERS),
            to_sun=np.array((np.cos(azimuth), np.sin(azimuth))),
            shadow=0.0 if overcast else rng.uniform(0.35, 1.3),
            exposure=rng.uniform(0.8, 1.3) * np.array((1 + warmth, 1.0, 1 - warmth)),
            haze=rng.uniform(0.18, 0.4) if hazy else rng.uniform(0.0, 0.1),
            saturation=rng.uniform(0.75, 1.2),
        )

    def on_slope(self, downhill: np.ndarray) -> float:
        """Returns the brightness of a roof that slopes down along the unit vector (x, y)."""
        return 1 + (0.22 if self.shadow else 0.05) * float(downhill @ self.to_sun)
