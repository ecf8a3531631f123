"""Shapes of vehicles: car, bus and truck as faces in metres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cereals_tf.data_prep.toy.streets.camera import facing

Face = tuple[np.ndarray, str]
"""Corners [N, 3] in metres, clockwise as seen from outside, and a material."""


def _car_model(rng: np.random.Generator) -> list[Face]:
    length, half = rng.uniform(3.7, 4.6), 0.9
    belt, roof = rng.uniform(0.88, 0.98), rng.uniform(1.38, 1.68)
    boot = rng.choice([0.05, 0.7])
    body = [
        (0.0, 0.28, half, "paint"),
        (0.0, belt - 0.1, half, "paint"),
        (0.1, belt, half - 0.06, "paint"),
        (length - 1.1, belt, half - 0.06, "paint"),
        (length - 0.1, belt - 0.18, half - 0.1, "paint"),
        (length, 0.55, half, "paint"),
        (length, 0.28, half, "paint"),
    ]
    cabin = [
        (boot, belt, half - 0.06, "glass"),
        (boot + 0.45, roof - 0.06, half - 0.2, "paint"),
        (boot + 0.6, roof, half - 0.28, "paint"),
        (length - 2.1, roof, half - 0.28, "paint"),
        (length - 1.9, roof - 0.06, half - 0.2, "glass"),
        (length - 1.1, belt, half - 0.06, "glass"),
    ]
    pillar = length / 2 - 0.1
    return [
        *_extruded(body, "paint"),
        *_extruded(cabin, "glass"),
        *_on_sides(
            half - 0.12,
            [(pillar, belt), (pillar, roof), (pillar + 0.14, roof), (pillar + 0.14, belt)],
            "paint",
        ),
        *_wheels(half, 0.33, (0.75, length - 0.85)),
        *_on_ends(length, half - 0.05, 0.6, 0.78, ("tail", "head"), inner=0.55),
        *_on_ends(length, 0.27, 0.42, 0.54, ("plate", "plate")),
        *_on_ends(length, half, 0.26, 0.36, ("tyre", "tyre")),
    ]


def _bus_model(rng: np.random.Generator) -> list[Face]:
    length, half, roof = rng.uniform(9, 12), 1.25, rng.uniform(2.9, 3.2)
    body = [
        (0.0, 0.35, half, "paint"),
        (0.0, roof - 0.2, half, "paint"),
        (0.2, roof, half - 0.15, "paint"),
        (length - 0.2, roof, half - 0.15, "paint"),
        (length, roof - 0.2, half, "paint"),
        (length, 0.35, half, "paint"),
    ]
    faces = _extruded(body, "paint")
    for z in np.arange(0.4, length - 1.2, 1.5):
        pane = [(z, 1.35), (z, roof - 0.5), (z + 1.3, roof - 0.5), (z + 1.3, 1.35)]
        faces += _on_sides(half, pane, "glass")
    return [
        *faces,
        *_wheels(half, 0.48, (2.2, length - 2.6)),
        *_on_ends(length, half - 0.15, 1.4, roof - 0.55, ("glass", "glass")),
        *_on_ends(length, 0.8, roof - 0.42, roof - 0.18, ("display", "display")),
        *_on_ends(length, half - 0.1, 0.65, 0.9, ("tail", "head"), inner=0.85),
    ]


def _truck_model(rng: np.random.Generator) -> list[Face]:
    load, half, roof = rng.uniform(4.5, 7), 1.25, rng.uniform(2.9, 3.6)
    front = load + 2.0
    cargo = [
        (0.0, 0.8, half, "cargo"),
        (0.0, roof, half, "cargo"),
        (load, roof, half, "cargo"),
        (load, 0.8, half, "cargo"),
    ]
    cab = [
        (load + 0.1, 0.5, half - 0.1, "paint"),
        (load + 0.1, 2.5, half - 0.15, "paint"),
        (front - 0.5, 2.5, half - 0.15, "glass"),
        (front, 1.5, half - 0.1, "paint"),
        (front, 0.5, half - 0.1, "paint"),
    ]
    window = [(load + 0.7, 1.5), (load + 0.7, 2.2), (front - 0.5, 2.2), (front - 0.2, 1.5)]
    left, right, _hidden_by_load, *rest = _extruded(cab, "paint")
    return [
        *_extruded(cargo, "cargo"),
        left,
        right,
        *rest,
        *_on_sides(half - 0.1, window, "glass"),
        *_wheels(half, 0.48, (1.2, load + 1.0)),
        *_on_ends(front, half - 0.1, 0.62, 0.82, ("tail", "head"), inner=0.85),
        *_on_ends(front, half, 0.8, 0.92, ("tyre", "paint")),
    ]


def _extruded(profile: Sequence[tuple[float, float, float, str]], sides: str) -> list[Face]:
    """Returns the faces of a profile stretched across a vehicle.

    Args:
        profile: Points (z, y, half width, material of the strip to the next point), from the rear
            bottom over the top to the front bottom.
        sides: Material of the two sides.
    """
    right = np.array([(half, y, z) for z, y, half, _ in profile])
    left = right * (-1, 1, 1)
    strips = [
        (np.array([left[i], left[i + 1], right[i + 1], right[i]]), profile[i][3])
        for i in range(len(profile) - 1)
    ]
    return [(left[::-1], sides), (right, sides), *strips]


def _on_sides(half: float, outline: ArrayLike, material: str) -> list[Face]:
    """Returns a shape given by (z, y), clockwise from the right, on both sides of a vehicle."""
    right = np.array([(half, y, z) for z, y in np.asarray(outline)])
    return [(right, material), ((right * (-1, 1, 1))[::-1], material)]


def _on_ends(
    length: float, half: float, y1: float, y2: float, materials: tuple[str, str], inner: float = 0.0
) -> list[Face]:
    """Returns rectangles on rear and front; with `inner` > 0 a pair at each end."""
    spans = [(-half, -inner), (inner, half)] if inner else [(-half, half)]
    rear = [np.array(facing(x1, x2, y1, y2, 0.0)) for x1, x2 in spans]
    return [(face, materials[0]) for face in rear] + [
        ((face + np.array((0, 0, length)))[::-1], materials[1]) for face in rear
    ]


def _wheels(half: float, radius: float, places: Sequence[float]) -> list[Face]:
    angles = -np.arange(10) * 2 * np.pi / 10
    faces = []
    for z in places:
        for size, material in ((1.0, "tyre"), (0.55, "rim")):
            ring = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * size + (z, radius)
            faces += _on_sides(half, ring, material)
    return faces


MODELS = {"car": _car_model, "bus": _bus_model, "truck": _truck_model}
"""By label the functions that draw the faces; z is 0 at the rear, x in the middle."""
