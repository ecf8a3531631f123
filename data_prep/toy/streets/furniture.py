"""Street furniture: lamps, traffic signs, traffic lights and the trees between them."""

from functools import partial

import numpy as np

from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.streets.camera import facing
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.street import LEFT, Actor, Street
from cereals_tf.data_prep.toy.streets.vegetation import paint_tree


def street_furniture(canvas: StreetCanvas, street: Street, side: int) -> list[Actor]:
    """Returns lamps, signs, traffic lights and trees that stand along one kerb."""
    rng = canvas.rng
    x = street.kerbs[side] + side * 0.5
    actors: list[Actor] = []
    if rng.random() < 0.4 + 0.4 * street.crowding[side]:
        for z in np.arange(rng.uniform(9, 20), 50, rng.uniform(14, 26)):
            actors.append((z, partial(_paint_lamp, canvas, side, x, z, rng.uniform(5, 7))))
    if rng.random() < 0.15 + 0.3 * street.crowding[side]:
        for z in rng.uniform(8, 24, rng.integers(1, 3)):
            actors.append((z, partial(_paint_sign, canvas, x, z)))
    if rng.random() < 0.16:
        z = rng.uniform(9, 22)
        actors.append((z, partial(_paint_traffic_light, canvas, x, z)))
    if rng.random() < 0.1 + 0.35 * street.crowding[side]:
        for z in np.arange(rng.uniform(8, 16), 55, rng.uniform(6, 14)):
            place = x + side * rng.uniform(0.3, 0.9)
            actors.append((z, partial(paint_tree, canvas, place, z, rng.uniform(0.9, 1.8))))
    return actors


def _paint_lamp(canvas: StreetCanvas, side: int, x: float, z: float, height: float) -> None:
    """Paints a lamp post whose arm reaches over the road."""
    unit = canvas.camera.focal / z
    (left, foot), (_, top), (right, _), _ = canvas.camera.post(x, z, 0.16, height)
    inner, outer = (right, left) if side == LEFT else (left, right)
    tip, thick = inner - side * 1.3 * unit, max(0.14 * unit, 1)
    outline = [(outer, foot), (outer, top), (tip, top - thick), (tip, top), (inner, top + thick)]
    grey = pick(canvas.rng, [(96, 100, 102), (70, 76, 74), (136, 140, 142)])
    canvas.place("pole", [*outline, (inner, foot)], canvas.textured(grey, {1: 0.05}), z)


def _paint_sign(canvas: StreetCanvas, x: float, z: float) -> None:
    """Paints a traffic sign on its pole: round, triangular or square."""
    rng, camera = canvas.rng, canvas.camera
    height, radius = rng.uniform(2.2, 2.7), rng.uniform(0.32, 0.45)
    grey = canvas.textured((140, 142, 144), {1: 0.04})
    canvas.place("pole", camera.post(x, z, 0.09, height + radius), grey, z)
    corners, turn = [(12, 0.0), (3, np.pi / 2), (4, np.pi / 4)][rng.integers(3)]
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    reach = radius * (1 if corners == 12 else 1.25)
    centre = np.array((x, height, z))
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(corners)], 1) * reach
    red, white, blue = (186, 34, 38), (232, 232, 228), (34, 82, 164)
    rim, face = [(red, white), (blue, blue), (red, white), (white, (226, 188, 44))][rng.integers(4)]
    canvas.place("traffic sign", camera.project(centre + ring), rim, z)
    canvas.detail(camera.project(centre + 0.6 * ring), face)
    mark = camera.project(centre + 0.25 * ring * (0.5, 1, 1))
    canvas.detail(mark, white if face == blue else (40, 40, 44))


def _paint_traffic_light(canvas: StreetCanvas, x: float, z: float) -> None:
    camera = canvas.camera
    canvas.place("pole", camera.post(x, z, 0.12, 3.4), (78, 80, 82), z)
    housing = camera.project(facing(x - 0.2, x + 0.2, 2.5, 3.5, z))
    canvas.place("traffic light", housing, (34, 36, 36), z)
    lit = canvas.rng.integers(3)
    for lamp, colour in enumerate([(60, 224, 110), (246, 190, 50), (240, 52, 44)]):
        y = 2.66 + 0.33 * lamp
        glow = np.array(colour) * (1.0 if lamp == lit else 0.28)
        canvas.detail(camera.project(facing(x - 0.1, x + 0.1, y - 0.09, y + 0.09, z)), glow)
