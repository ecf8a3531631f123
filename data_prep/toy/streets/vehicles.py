"""Vehicles, parked along the kerbs and driving."""

from collections.abc import Iterable
from functools import partial

import numpy as np

from cereals_tf.data_prep.toy.colours import CAR_COLOURS, pick
from cereals_tf.data_prep.toy.streets.camera import strip
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.street import LEFT, RIGHT, Actor, Street
from cereals_tf.data_prep.toy.streets.vehicle_models import MODELS


def traffic(canvas: StreetCanvas, street: Street) -> list[Actor]:
    """Returns the vehicles: parked along the kerbs and driving."""
    rng = canvas.rng
    actors: list[Actor] = []

    def vehicle(label: str, x: float, z: float, yaw: float) -> None:
        actors.append((z, partial(_paint_vehicle, canvas, label, x, z, yaw)))

    for side in (LEFT, RIGHT):
        if rng.random() < 0.1 + 0.8 * street.crowding[side]:
            x, z = street.kerbs[side] - side * 1.05, rng.uniform(8, 20)
            end = rng.uniform(20, 50)
            while z < end:
                vehicle("car", x, z, rng.choice([0, np.pi]) + rng.normal(0, 0.03))
                z += rng.uniform(5.2, 7) if rng.random() < 0.8 else rng.uniform(9, 22)
    lanes = {0.0: 0.0, np.pi: street.kerbs[LEFT] / 2 - 0.6}
    for yaw, x in lanes.items():
        z = rng.uniform(10, 34)
        for _ in range(rng.poisson(0.5 + 0.4 * max(street.crowding.values()))):
            label = str(rng.choice(["car", "bus", "truck"], p=[0.7, 0.15, 0.15]))
            vehicle(label, x + rng.normal(0, 0.25), z + 4 * (label != "car"), yaw)
            z += rng.uniform(9, 25)
    if rng.random() < 0.08:
        vehicle("car", rng.uniform(-3, 3), rng.uniform(14, 26), rng.choice([-1, 1]) * np.pi / 2)
    return actors


def _paint_vehicle(canvas: StreetCanvas, label: str, x: float, z: float, yaw: float) -> None:
    """Paints a vehicle with its middle at (x, z), heading along the street where yaw is 0."""
    rng, camera = canvas.rng, canvas.camera
    faces = MODELS[label](rng)
    colours = _materials(rng, label)
    points = np.concatenate([corners for corners, _ in faces])
    half, _, length = points.max(0)
    turn = np.array([(np.cos(yaw), 0, -np.sin(yaw)), (0, 1, 0), (np.sin(yaw), 0, np.cos(yaw))])

    def placed(corners: np.ndarray) -> np.ndarray:
        return (corners - (0, 0, length / 2)) @ turn + (x, 0, z)

    footprint = placed(np.array(strip(-half - 0.25, half + 0.25, -0.4, length + 0.3)))
    canvas.shadow(camera.project(footprint - (0.35 * canvas.light.sun, 0, 0)), 0.45)
    pixels = camera.project(placed(points))
    canvas.place(label, _convex_hull(pixels), (30, 30, 32), z)
    ends = np.cumsum([len(corners) for corners, _ in faces])
    for (corners, material), outline in zip(faces, np.split(pixels, ends[:-1]), strict=True):
        if _signed_area(outline) < 0.5:
            continue
        a, b, c = corners[:3] @ turn
        normal = np.cross(b - a, c - b)
        shade = canvas.light.on(normal / np.linalg.norm(normal))
        gleam = {6: 0.2} if material == "glass" else {1: 0.02, 20: 0.05}
        canvas.detail(outline, canvas.textured(colours[material] * shade, gleam))


def _materials(rng: np.random.Generator, label: str) -> dict[str, np.ndarray]:
    bus_colours = [(190, 44, 40), (214, 176, 48), (62, 108, 160), (214, 216, 212), (56, 118, 84)]
    named = {
        "tyre": (28, 28, 30),
        "rim": (126, 128, 130),
        "tail": (196, 30, 28),
        "head": (240, 240, 222),
        "plate": (222, 222, 206),
        "display": (28, 26, 20),
    }
    return {name: np.array(colour, float) for name, colour in named.items()} | {
        "paint": pick(rng, bus_colours if label == "bus" else CAR_COLOURS),
        "cargo": pick(rng, [(206, 204, 198), (150, 160, 168), (120, 112, 84), (186, 120, 60)]),
        "glass": pick(rng, [(46, 54, 62), (78, 92, 104), (30, 34, 40)]),
    }


def _convex_hull(points: np.ndarray) -> np.ndarray:
    """Returns the hull of points [N, 2] (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, np.round(points, 1).tolist()))

    def chain(sequence: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        hull: list[tuple[float, float]] = []
        for x, y in sequence:
            while len(hull) > 1:
                (x1, y1), (x2, y2) = hull[-2:]
                if (x2 - x1) * (y - y1) > (y2 - y1) * (x - x1):
                    break
                hull.pop()
            hull.append((x, y))
        return hull[:-1]

    return np.array(chain(ordered) + chain(reversed(ordered)))


def _signed_area(outline: np.ndarray) -> float:
    """Returns the area of a polygon [N, 2]; positive where it runs clockwise on the screen."""
    x, y = outline.T
    return float(x @ np.append(y[1:], y[0]) - y @ np.append(x[1:], x[0])) / 2
