"""People on foot, cyclists and bicycles."""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from cereals_tf.data_prep.toy.canvas import Paint
from cereals_tf.data_prep.toy.colours import CAR_COLOURS, pick
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.light import CLOTHES_COLOURS
from cereals_tf.data_prep.toy.streets.street import Actor, Street

_SKIN_COLOURS = [(224, 178, 148), (190, 138, 106), (122, 82, 60), (236, 194, 168)]


def passers_by(canvas: StreetCanvas, street: Street, side: int) -> list[Actor]:
    """Returns the people and bicycles of one side of the street."""
    rng, crowding = canvas.rng, street.crowding[side]
    kerb, front = street.kerbs[side], street.fronts[side]
    actors: list[Actor] = []
    for _ in range(rng.poisson(0.2 + 7 * crowding)):
        x, z = kerb + (front - kerb) * rng.uniform(0.1, 0.9), rng.uniform(8, 26)
        actors.append((z, partial(_paint_person, canvas, x, z)))
    if rng.random() < 0.05 + 0.12 * crowding:
        x, z = rng.uniform(-2, 2) + kerb / 3, rng.uniform(8, 18)
        actors.append((z, partial(_paint_person, canvas, x, z)))
    if rng.random() < 0.13:
        x, z = kerb - side * rng.uniform(0.8, 2.2), rng.uniform(7, 18)
        actors.append((z, partial(_paint_cyclist, canvas, x, z)))
    if rng.random() < 0.05 + 0.12 * crowding:
        x, z = front - side * 0.5, rng.uniform(9, 18)
        for number in range(rng.integers(1, 4)):
            spot = z + 0.9 * number
            actors.append((spot, partial(_paint_bicycle, canvas, x, spot, rng.uniform(0.6, 1.0))))
    return actors


def _paint_person(canvas: StreetCanvas, x: float, z: float) -> None:
    rng = canvas.rng
    tall = rng.choice([rng.uniform(1.58, 1.9), rng.uniform(1.1, 1.4)], p=[0.88, 0.12])
    stride, left_arm, right_arm = rng.uniform(0.05, 0.2), *rng.uniform(0.0, 0.1, 2)
    outline = np.array(
        [
            (-stride - 0.09, 0.0), (-0.16, 0.44), (-0.19, 0.5), (-0.25 - left_arm, 0.47),
            (-0.26 - left_arm / 2, 0.66), (-0.21, 0.82), (-0.08, 0.86), (-0.1, 0.93),
            (-0.05, 1.0), (0.05, 1.0), (0.1, 0.93), (0.08, 0.86), (0.21, 0.82),
            (0.26 + right_arm / 2, 0.66), (0.25 + right_arm, 0.47), (0.19, 0.5), (0.16, 0.44),
            (stride + 0.09, 0.0), (stride - 0.04, 0.0), (0.0, 0.42), (-stride + 0.04, 0.0),
        ]
    )  # fmt: skip
    canvas.ground_shadow(x, z, 0.35, 0.2)
    dress = _dressed(canvas, z, 0.5 * tall, 0.85 * tall, tall)
    shape = outline * (tall / 1.75 * rng.choice([-1, 1]), tall)
    canvas.place("person", _billboard(canvas, x, z, shape, rng.uniform(0.8, 1.1)), dress, z)


def _paint_cyclist(canvas: StreetCanvas, x: float, z: float) -> None:
    """Paints a rider on a bicycle."""
    rng = canvas.rng
    stretch = rng.choice([-1, 1]) * rng.uniform(0.45, 0.95)
    canvas.ground_shadow(x, z, 0.8 * abs(stretch), 0.25)
    _paint_bicycle(canvas, x, z, stretch)
    outline = [
        (-0.12, 0.14), (0.04, 0.5), (-0.36, 0.86), (-0.38, 1.08), (-0.16, 1.5), (-0.02, 1.56),
        (-0.04, 1.68), (0.06, 1.8), (0.2, 1.78), (0.24, 1.62), (0.14, 1.52), (0.24, 1.28),
        (0.46, 1.12), (0.42, 1.0), (0.14, 1.12), (-0.04, 1.0), (0.24, 0.78), (0.2, 0.56),
        (0.06, 0.12),
    ]  # fmt: skip
    dress = _dressed(canvas, z, 0.98, 1.54, 1.8)
    canvas.place("rider", _billboard(canvas, x, z, outline, stretch), dress, z)


def _paint_bicycle(canvas: StreetCanvas, x: float, z: float, stretch: float) -> None:
    """Paints a bicycle; `stretch` below 1 turns it away from the side view."""
    outline = [
        (-0.86, 0.2), (-0.86, 0.5), (-0.68, 0.68), (-0.42, 0.66), (-0.4, 0.95), (-0.12, 0.95),
        (-0.1, 0.7), (0.32, 0.74), (0.3, 1.06), (0.52, 1.06), (0.56, 0.7), (0.8, 0.56),
        (0.88, 0.3), (0.74, 0.06), (0.52, 0.0), (0.28, 0.14), (-0.2, 0.16), (-0.5, 0.0),
        (-0.72, 0.04),
    ]  # fmt: skip
    shape = partial(_billboard, canvas, x, z, stretch=stretch)
    unit = canvas.camera.focal / z
    colour = pick(canvas.rng, CAR_COLOURS)
    angles = np.linspace(0, 2 * np.pi, 13)
    canvas.place("bicycle", shape(outline), lambda xs, ys: canvas.image[ys, xs] * 0.8, z)
    for hub in (-0.53, 0.53):
        ring = np.stack([hub + 0.31 * np.cos(angles), 0.34 + 0.31 * np.sin(angles)], 1)
        canvas.stroke(shape(ring), (26, 26, 28), 0.07 * unit)
    frame = [(-0.53, 0.34), (-0.26, 0.9), (-0.08, 0.34), (-0.53, 0.34), (-0.22, 0.7), (0.4, 0.74)]
    canvas.stroke(shape([*frame, (-0.08, 0.34)]), colour, 0.06 * unit)
    canvas.stroke(shape([(0.53, 0.34), (0.38, 1.02)]), colour, 0.06 * unit)
    canvas.stroke(shape([(-0.4, 0.92), (-0.12, 0.92)]), (30, 28, 28), 0.08 * unit)


def _dressed(canvas: StreetCanvas, z: float, waist: float, neck: float, crown: float) -> Paint:
    """Returns the paint of a person: shoes, trousers, a top, skin and hair, by height in metres."""
    rng = canvas.rng
    trousers, top = pick(rng, CLOTHES_COLOURS) * 0.7, pick(rng, CLOTHES_COLOURS)
    skin = pick(rng, _SKIN_COLOURS)
    hair = pick(rng, [(48, 38, 32), (110, 80, 48), (30, 28, 28), (150, 140, 130)])
    colours = np.array([(34, 32, 32), trousers, top, skin, hair])
    levels = [0.08, waist, neck, neck + 0.62 * (crown - neck)]

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        _, up = canvas.camera.on_front(xs, ys, z)
        return colours[np.searchsorted(levels, up)] * canvas.noise(xs, ys, {1: 0.04, 2: 0.07})

    return paint


def _billboard(
    canvas: StreetCanvas, x: float, z: float, outline: ArrayLike, stretch: float = 1.0
) -> np.ndarray:
    """Projects a flat shape, (right, up) in metres from (x, z), that faces the camera."""
    return canvas.camera.project(
        [(x + stretch * right, up, z) for right, up in np.asarray(outline)]
    )
