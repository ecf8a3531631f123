"""The sky, and the line of trees or roofs below it."""

import numpy as np

from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.light import FACADE_COLOURS, LEAF_COLOURS
from cereals_tf.data_prep.toy.streets.street import LEFT, RIGHT, STREET_END, Street


def paint_sky(canvas: StreetCanvas) -> None:
    """Paints the sky, clear with clouds or overcast."""
    light, horizon = canvas.light, canvas.camera.horizon
    cloudiness = canvas.rng.uniform(-0.6, 1.0) if light.sun else 0.2

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        height = (1 - ys / max(horizon, 1))[:, None] ** 0.8
        clear = light.haze + (light.zenith - light.haze) * height
        cloud = canvas.noise(xs, ys, {20: 0.6, 6: 0.12}) - 1 + cloudiness - 0.6
        return clear + (np.array((242, 243, 245)) - clear) * np.clip(cloud, 0, 0.85)

    right = canvas.width - 1
    canvas.place("sky", [(0, 0), (right, 0), (right, horizon), (0, horizon)], paint, np.inf)


def paint_horizon(canvas: StreetCanvas, street: Street) -> None:
    """Paints what closes the view between the houses: a line of trees or of roofs."""
    rng, camera = canvas.rng, canvas.camera
    unit = camera.focal / STREET_END
    trees = rng.random() < 0.65
    ends = {LEFT: -unit, RIGHT: canvas.width + 9 * unit}
    left, right = (
        camera.vanishing_x + unit * (street.fronts[side] + side * 12)
        if street.styles[side] == "houses"
        else ends[side]
        for side in (LEFT, RIGHT)
    )
    xs = np.arange(left, right, rng.uniform(2.5, 5) * unit)
    tops = camera.horizon - unit * rng.uniform(*((3, 9) if trees else (6, 16)), len(xs))
    if not trees:
        xs, tops = np.repeat(xs, 2)[1:], np.repeat(tops, 2)[:-1]
    base = camera.horizon + unit
    outline = np.concatenate([np.stack([xs, tops], 1), [(xs[-1], base), (xs[0], base)]])
    colour = pick(rng, LEAF_COLOURS if trees else FACADE_COLOURS)
    paint = canvas.textured(colour, {1: 0.05, 2: 0.16 if trees else 0.04})
    canvas.place("vegetation" if trees else "building", outline, paint, STREET_END)
