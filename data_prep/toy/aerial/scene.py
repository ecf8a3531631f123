"""A whole aerial image: what the land is used for, painted from the ground up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cereals_tf.data_prep.toy.aerial import textures, ways
from cereals_tf.data_prep.toy.aerial.canvas import AerialCanvas
from cereals_tf.data_prep.toy.aerial.land import Parcel, divide, ragged, ribbon, winding
from cereals_tf.data_prep.toy.aerial.objects import paint_car, paint_hall, paint_house, paint_tree

_FIELDS = {
    "grass": textures.grass,
    "grain": textures.grain,
    "row crop": textures.row_crop,
    "soil": textures.soil,
    "orchard": textures.orchard,
}


@dataclass(frozen=True)
class Area:
    """A kind of area.

    Attributes:
        chance: How often it is drawn.
        parcel: Size of its parcels in square metres.
        uses: How often a parcel is used for what.
        roads: Expected number of wide roads.
        hedges: Chance that a seam between parcels is a hedge.
        water: Chances of a river and of a lake.
        streets: How many of the longest seams are narrow roads instead.
        tracks: Chance that a seam is a track where it is neither.
    """

    chance: float
    parcel: float
    uses: Mapping[str, float]
    roads: float
    hedges: float
    water: tuple[float, float]
    streets: int = 0
    tracks: float = 0.0


AREAS = (
    Area(
        chance=0.38,
        parcel=2600,
        uses={"grain": 8, "row crop": 6, "soil": 5, "grass": 6, "forest": 2, "orchard": 1.2}
        | {"homes": 0.5},
        roads=0.45,
        tracks=0.14,
        hedges=0.12,
        water=(0.1, 0.06),
    ),
    Area(
        chance=0.24,
        parcel=1900,
        uses={"homes": 8, "grass": 3, "forest": 1, "orchard": 1, "grain": 0.6, "soil": 0.6}
        | {"yard": 0.5},
        roads=0.5,
        streets=3,
        tracks=0.03,
        hedges=0.08,
        water=(0.08, 0.03),
    ),
    Area(
        chance=0.22,
        parcel=4200,
        uses={"forest": 8, "grass": 4, "soil": 0.5, "row crop": 0.5, "grain": 0.7},
        roads=0.25,
        tracks=0.2,
        hedges=0.05,
        water=(0.25, 0.25),
    ),
    Area(
        chance=0.1,
        parcel=3400,
        uses={"grass": 9, "forest": 1, "orchard": 1},
        roads=0.3,
        tracks=0.15,
        hedges=0.4,
        water=(0.3, 0.15),
    ),
    Area(
        chance=0.06,
        parcel=3600,
        uses={"yard": 7, "grass": 2, "soil": 2, "homes": 1, "forest": 0.5},
        roads=0.8,
        streets=2,
        hedges=0.05,
        water=(0.05, 0.05),
    ),
)
"""Fields, a village, woods, pastures, and an industrial estate."""


def paint_scene(rng: np.random.Generator, height: int, width: int) -> AerialCanvas:
    """Paints one aerial image."""
    canvas = AerialCanvas(rng, height, width)
    area = AREAS[rng.choice(len(AREAS), p=[area.chance for area in AREAS])]
    parcels, seams = divide(rng, canvas.extent, area.parcel)
    uses = rng.choice([*area.uses], len(parcels), p=_shares(area.uses))
    land = [(str(use), parcel) for use, parcel in zip(uses, parcels, strict=True)]
    right, bottom = canvas.extent
    canvas.place(
        "grass", [(0, 0), (right, 0), (right, bottom), (0, bottom)], textures.grass(canvas, 0.0)
    )
    for use, parcel in land:
        _paint_ground(canvas, use, parcel)
    roads = _paint_lines(canvas, area, seams)
    canvas.cast_shadow(canvas.pixels_of("trees"), rng.uniform(6, 13))
    for use, parcel in land:
        _paint_objects(canvas, use, parcel)
    for line, half in roads:
        _paint_traffic(canvas, line, half)
    return canvas


def _shares(weights: Mapping[str, float]) -> np.ndarray:
    values = np.array([*weights.values()])
    return values / values.sum()


def _paint_ground(canvas: AerialCanvas, use: str, parcel: Parcel) -> None:
    """Paints what covers a parcel."""
    rng = canvas.rng
    angle = parcel.angle + (np.pi / 2 if rng.random() < 0.15 else 0) + rng.normal(0, 0.03)
    if use == "forest":
        outline = ragged(rng, parcel.within(rng.uniform(-1, 6)), 6, 1.0)
        canvas.place("trees", outline, textures.forest(canvas, angle))
    elif use == "yard":
        canvas.place("paved", parcel.within(rng.uniform(1, 5)), ways.asphalt(canvas))
    elif use == "homes":
        canvas.place("grass", parcel.corners, textures.grass(canvas, angle))
    else:
        canvas.place(use, parcel.within(rng.uniform(0, 1.2)), _FIELDS[use](canvas, angle))


def _paint_lines(
    canvas: AerialCanvas, area: Area, seams: list[np.ndarray]
) -> list[tuple[np.ndarray, float]]:
    """Paints hedges, tracks, water and roads, and returns each road's line and half its width."""
    rng = canvas.rng
    roads: list[tuple[np.ndarray, float]] = []
    for number, seam in enumerate(seams):
        if number < area.streets:
            roads.append((seam, rng.uniform(2.3, 2.9)))
        elif rng.random() < area.hedges:
            line = np.linspace(seam[0], seam[1], 2 + int(np.hypot(*(seam[1] - seam[0])) / 7))
            hedge = ragged(rng, ribbon(line, rng.uniform(1.5, 3)), 9, 0.5)
            canvas.place("trees", hedge, textures.forest(canvas, 0.0))
        elif rng.random() < area.tracks:
            ways.paint_track(canvas, seam)
    for chance, paint in zip(area.water, (ways.paint_river, ways.paint_lake), strict=True):
        if rng.random() < chance:
            paint(canvas)
    for _ in range(rng.poisson(area.roads)):
        bend, length = rng.uniform(0, 14), rng.uniform(140, 320)
        line = winding(rng, canvas.extent, rng.uniform(0, np.pi), bend, length)
        roads.append((line, rng.uniform(3.6, 4.5)))
    for line, half in roads:
        ways.paint_road(canvas, line, half)
    return roads


def _paint_objects(canvas: AerialCanvas, use: str, parcel: Parcel) -> None:
    """Paints what stands on a parcel."""
    rng = canvas.rng
    if use == "yard":
        for spot in parcel.spots(rng, rng.uniform(28, 44), rng.uniform(20, 32)):
            paint_hall(canvas, spot, parcel.angle, "paved")
        for spot in parcel.spots(rng, 3.0, rng.uniform(9, 16)):
            if rng.random() < 0.08:
                paint_car(canvas, spot, parcel.angle + np.pi / 2)
    elif use == "homes":
        for spot in parcel.spots(rng, rng.uniform(15, 20), rng.uniform(17, 24)):
            if rng.random() < 0.85:
                turned = parcel.angle + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.04)
                paint_house(canvas, spot, turned)
            for _ in range(rng.poisson(1.1)):
                paint_tree(canvas, spot + rng.uniform(-11, 11, 2), rng.uniform(1.6, 3.6))
    elif use == "grass":
        low, high = parcel.corners.min(0), parcel.corners.max(0)
        for _ in range(rng.poisson(parcel.area / 900) if rng.random() < 0.5 else 0):
            paint_tree(canvas, rng.uniform(low, high), rng.uniform(2, 5))


def _paint_traffic(canvas: AerialCanvas, line: np.ndarray, half: float) -> None:
    rng = canvas.rng
    for _ in range(rng.poisson(1.2)):
        at = rng.uniform(0, len(line) - 1.001)
        start, end = line[int(at)], line[int(at) + 1]
        angle = float(np.arctan2(*(end - start)[::-1]))
        side = np.array((-np.sin(angle), np.cos(angle))) * rng.choice([-1, 1]) * 0.45 * half
        paint_car(canvas, start + at % 1 * (end - start) + side, angle)
