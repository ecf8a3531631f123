"""Trees and bushes."""

import numpy as np

from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.outlines import blob
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.light import LEAF_COLOURS


def paint_tree(canvas: StreetCanvas, x: float, z: float, radius: float) -> None:
    """Paints a tree whose crown is 2 * radius wide."""
    rng = canvas.rng
    stem, thickness = rng.uniform(1.6, 2.6), rng.uniform(0.12, 0.22)
    canvas.ground_shadow(x, z, radius, 0.6 * radius)
    bark = pick(rng, [(84, 68, 54), (72, 64, 58), (104, 92, 80)])
    trunk = canvas.camera.post(x, z, thickness, stem + 0.3 * radius)
    canvas.place("vegetation", trunk, canvas.textured(bark, {1: 0.08}), z)
    _paint_foliage(canvas, x, stem + radius, z, (radius, radius * rng.uniform(0.85, 1.4)))


def paint_bush(canvas: StreetCanvas, x: float, z: float) -> None:
    """Paints a bush."""
    radius = canvas.rng.uniform(0.6, 1.6)
    canvas.ground_shadow(x, z, radius, 0.5 * radius)
    _paint_foliage(canvas, x, 0.6 * radius, z, (1.2 * radius, 0.7 * radius))


def _paint_foliage(
    canvas: StreetCanvas, x: float, y: float, z: float, radii: tuple[float, float]
) -> None:
    """Paints a crown or bush with its centre at (x, y, z); radii in metres."""
    unit = canvas.camera.focal / z
    centre = canvas.camera.project([(x, y, z)])[0]
    leaves = pick(canvas.rng, LEAF_COLOURS)
    sun = canvas.light.sun

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        right, down = (xs - centre[0]) / (radii[0] * unit), (ys - centre[1]) / (radii[1] * unit)
        shade = np.clip(1 - 0.3 * down + 0.2 * sun * right, 0.5, 1.4)
        return leaves * shade[:, None] * canvas.noise(xs, ys, {1: 0.13, 2: 0.24})

    outline = blob(canvas.rng, centre, (radii[0] * unit, radii[1] * unit))
    canvas.place("vegetation", outline, paint, z)
