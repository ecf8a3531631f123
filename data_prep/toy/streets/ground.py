"""The ground: lawn, sidewalks, the road and the shadows of the houses on it."""

import numpy as np

from cereals_tf.data_prep.toy.canvas import Paint
from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.streets.camera import strip
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.street import LEFT, RIGHT, Street


def paint_ground(canvas: StreetCanvas, street: Street) -> None:
    """Paints what lies below the horizon: lawn everywhere, on it sidewalks and the road."""
    camera, rng = canvas.camera, canvas.rng

    def depth(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        return camera.on_ground(xs, ys)[1]

    grass = pick(rng, [(104, 122, 58), (122, 124, 66), (88, 112, 56), (138, 122, 84)])
    lawn = canvas.textured(grass * canvas.light.on((0, 1, 0)), {1: 0.04, 6: 0.05, 20: 0.07})
    edge, bottom = canvas.width - 1, canvas.height - 1
    horizon = camera.horizon
    corners = [(0, horizon), (edge, horizon), (edge, bottom), (0, bottom)]
    canvas.place("terrain", corners, lawn, depth)
    for side in (LEFT, RIGHT):
        left, right = sorted((street.kerbs[side], street.fronts[side]))
        paving = _paving(canvas, street.kerbs[side])
        canvas.place("sidewalk", camera.project(strip(left, right, 0.5, 300)), paving, depth)
    kerbs = street.kerbs[LEFT], street.kerbs[RIGHT]
    canvas.place("road", camera.project(strip(*kerbs, 0.5, 300)), _asphalt(canvas, *kerbs), depth)
    if canvas.light.sun and street.styles[canvas.light.sun] == "houses":
        _paint_house_shadows(canvas, street)


def _paint_house_shadows(canvas: StreetCanvas, street: Street) -> None:
    sun, z = canvas.light.sun, 3.0
    while z < 60:
        length = canvas.rng.uniform(6, 16)
        reach = street.fronts[sun] - sun * canvas.rng.uniform(1, 9)
        far_side = street.fronts[-sun]
        reach = max(reach, far_side) if sun == RIGHT else min(reach, far_side)
        canvas.shadow(canvas.camera.project(strip(street.fronts[sun], reach, z, z + length)), 0.34)
        z += length


def _paving(canvas: StreetCanvas, kerb: float) -> Paint:
    """Returns the paint of a sidewalk: slabs with joints, and the kerbstone."""
    slab = pick(canvas.rng, [(148, 142, 136), (132, 130, 130), (160, 146, 132), (124, 118, 114)])
    size = canvas.rng.uniform(0.8, 1.6)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        x, z = canvas.camera.on_ground(xs, ys)
        joint = (((x - kerb) / size % 1 < 0.1) | (z / size % 1 < 0.1)) & (z < 16)
        tone = 1 - 0.16 * joint + 0.2 * (np.abs(x - kerb) < 0.22)
        return slab * tone[:, None] * canvas.noise(xs, ys, {1: 0.03, 20: 0.05})

    return paint


def _asphalt(canvas: StreetCanvas, left: float, right: float) -> Paint:
    """Returns the paint of a road: asphalt with lane markings and, at times, a zebra crossing."""
    rng = canvas.rng
    asphalt = np.array((1.0, 1.0, 1.02)) * rng.uniform(78, 122) + rng.normal(0, 3, 3)
    lanes = np.linspace(left, right, rng.integers(3, 5))[1:-1]
    phase = rng.uniform(0, 7)
    edge_lines = rng.random() < 0.5
    zebra = rng.uniform(7, 20) if rng.random() < 0.3 else np.inf

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        x, z = canvas.camera.on_ground(xs, ys)
        to_lane = np.min([np.abs(x - lane) for lane in lanes], axis=0)
        marked = (to_lane < 0.1 + z / 400) & ((z + phase) % 7 < 3.2) & (z < 70)
        if edge_lines:
            to_edge = np.minimum(x - left, right - x)
            marked |= (np.abs(to_edge - 0.4) < 0.07 + z / 500) & (z < 60)
        to_zebra = np.abs(z - zebra)
        marked = np.where(to_zebra < 2.5, (to_zebra <= 1.5) & (x % 1 < 0.5), marked)
        worn = asphalt * canvas.noise(xs, ys, {1: 0.035, 20: 0.05})
        return np.where(marked[:, None], 0.3 * worn + 0.7 * np.array((222, 222, 214)), worn)

    return paint
