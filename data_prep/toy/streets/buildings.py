"""Houses, walls and fences."""

from collections.abc import Callable

import numpy as np

from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.streets.camera import upright
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.light import CLOTHES_COLOURS, FACADE_COLOURS
from cereals_tf.data_prep.toy.streets.street import STREET_END


def paint_house(canvas: StreetCanvas, side: int, x: float, near: float, far: float) -> None:
    """Paints a house with its front along the street at `x`, and the gable that faces us."""
    rng, camera, light = canvas.rng, canvas.camera, canvas.light
    eaves = 2.9 * rng.integers(2, 5) + rng.uniform(0.3, 1.2)
    ridge = eaves + (rng.uniform(1.8, 3.5) if rng.random() < 0.5 else 0)
    back = x + side * rng.uniform(7, 11)
    middle = (x + back) / 2
    colour = pick(rng, FACADE_COLOURS)
    windows = _windows(canvas, colour, eaves)

    def front(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        y, z = camera.on_wall(xs, ys, x)
        return windows(xs, ys, z, y) * light.on((-side, 0, 0))

    def gable(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        across, y = camera.on_front(xs, ys, near)
        return windows(xs, ys, across, y) * light.on((0, 0, -1)) * 0.92

    outline = [(x, 0, far), (x, eaves, far), (middle, ridge, far), (middle, ridge, near)]
    gable_outline = [(x, 0, near), (x, eaves, near), (middle, ridge, near)]
    gable_outline += [(back, eaves, near), (back, 0, near)]
    if ridge == eaves:
        outline = [*outline[:2], (x, eaves, near)]
    canvas.place(
        "building",
        camera.project([*outline, *gable_outline[3:], (x, 0, near)]),
        front,
        lambda xs, ys: np.clip(camera.on_wall(xs, ys, x)[1], near, far),
    )
    if ridge > eaves:
        tiles = pick(rng, [(132, 70, 54), (84, 76, 78), (104, 62, 52), (70, 72, 80)])
        slope = [(x, eaves, near), (x, eaves, far), (middle, ridge, far), (middle, ridge, near)]
        shade = light.on((-0.6 * side, 0.8, 0))
        canvas.detail(camera.project(slope), canvas.textured(tiles * shade, {1: 0.06, 2: 0.05}))
    canvas.detail(camera.project(gable_outline), gable)


def _windows(canvas: StreetCanvas, colour: np.ndarray, eaves: float) -> Callable[..., np.ndarray]:
    """Returns the paint of a facade from pixels and metres along and up the wall."""
    rng = canvas.rng
    spacing, share = rng.uniform(1.8, 3.2), rng.uniform(0.3, 0.55)
    glass = pick(rng, [(70, 82, 96), (52, 56, 62), (112, 128, 142)]).astype(np.float32)
    frame = np.minimum(colour * rng.choice([0.7, 1.35]), 235)
    shop = pick(rng, CLOTHES_COLOURS) if rng.random() < 0.4 else None
    brick = rng.random() < 0.5

    def paint(xs: np.ndarray, ys: np.ndarray, along: np.ndarray, up: np.ndarray) -> np.ndarray:
        across, storey = along / spacing % 1, up / 2.9 % 1
        from_middle, from_sill = np.abs(across - 0.5), np.abs(storey - 0.52)
        storeys = up < eaves - 0.2
        outer = (from_middle < share / 2 + 0.06) & (from_sill < 0.31) & storeys
        inner = (from_middle < share / 2) & (from_sill < 0.26) & storeys
        wall = colour * canvas.noise(xs, ys, {1: 0.07 if brick else 0.02, 20: 0.05})
        wall[up % 2.9 < 0.18] *= 0.88
        wall[outer] = frame
        if shop is not None:
            inner |= (up > 0.5) & (up < 2.2) & (across > 0.08)
            wall[(up >= 2.2) & (up < 2.9)] = shop
        wall[inner] = glass * canvas.noise(xs[inner], ys[inner], {6: 0.18})
        return wall

    return paint


def paint_barrier(canvas: StreetCanvas, style: str, x: float) -> None:
    """Paints a wall or a fence along the street."""
    rng, camera = canvas.rng, canvas.camera
    far, near = rng.uniform(40, STREET_END), rng.choice([1.0, rng.uniform(6, 14)])
    height = rng.uniform(1.8, 3.2) if style == "walled" else rng.uniform(1.1, 1.9)
    shade = canvas.light.on((-np.sign(x), 0, 0))
    colour = pick(rng, FACADE_COLOURS if style == "walled" else [(74, 78, 74), (128, 98, 68)])
    spacing = rng.uniform(0.25, 0.5)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        y, z = camera.on_wall(xs, ys, x)
        solid = colour * shade * canvas.noise(xs, ys, {1: 0.04, 6: 0.03})
        if style == "walled":
            course = (y % 0.4 < 0.08) | (y > height - 0.2)
            return solid * (1 - 0.14 * course[:, None])
        bar = (z / spacing % 1 < 0.45) | (np.abs(y - height * 0.85) < 0.12) | (y < 0.2)
        return np.where(bar[:, None], solid, canvas.image[ys, xs] * 0.85 + solid * 0.15)

    outline = camera.project(upright(x, 0, height, near, far))
    canvas.place(
        "wall" if style == "walled" else "fence",
        outline,
        paint,
        lambda xs, ys: camera.on_wall(xs, ys, x)[1],
    )
