"""What stands on the land: buildings, trees and cars, with their shadows."""

import numpy as np

from cereals_tf.data_prep.toy.aerial.canvas import AerialCanvas
from cereals_tf.data_prep.toy.aerial.land import rectangle, rotation
from cereals_tf.data_prep.toy.colours import CAR_COLOURS, pick
from cereals_tf.data_prep.toy.outlines import blob

_TILES = [(150, 84, 62), (128, 74, 60), (96, 90, 92), (74, 74, 80), (164, 104, 74), (112, 96, 84)]
_FLAT_ROOFS = [(168, 168, 166), (196, 194, 188), (128, 126, 126), (104, 106, 110), (150, 142, 130)]
_OPEN = ("grass", "soil", "grain", "row crop", "track")


def paint_house(canvas: AerialCanvas, centre: np.ndarray, angle: float) -> bool:
    """Paints a house with a gable roof where there is room on grass, and returns whether."""
    rng = canvas.rng
    length, width = rng.uniform(9, 14), rng.uniform(7, 9.5)
    outline = rectangle(centre, length, width, angle)
    if not canvas.lies_on(rectangle(centre, length + 3, width + 3, angle), "grass", "trees"):
        return False
    wing = rng.random() < 0.2
    if wing:
        turn = rotation(angle)
        notch = np.array([(0.1, 0.5), (0.1, 1.0), (0.5, 1.0), (0.5, 0.5)]) * (length, width)
        outline = np.concatenate([outline[:3], centre + notch[[3, 2, 1, 0]] @ turn, outline[3:]])
    tiles = pick(rng, _TILES)
    pixels = canvas.place("building", outline, canvas.textured(tiles, {1: 0.05, 2: 0.04}))
    canvas.cast_shadow(pixels, rng.uniform(5.5, 9))
    for side in (-1, 1):
        downhill = np.array((0, side)) @ rotation(angle)
        half = rectangle(centre + downhill * width / 4, length, width / 2, angle)
        shade = canvas.climate.on_slope(downhill)
        canvas.detail(canvas.pixels(half), canvas.textured(tiles * shade, {1: 0.05, 2: 0.04}))
    if rng.random() < 0.15:
        panels = rectangle(centre + downhill * width / 4, 0.6 * length, 0.3 * width, angle)
        canvas.detail(canvas.pixels(panels), canvas.textured((44, 52, 74), {1: 0.06}))
    return True


def paint_hall(canvas: AerialCanvas, centre: np.ndarray, angle: float, *ground: str) -> None:
    """Paints a large building with a flat roof where there is room."""
    rng = canvas.rng
    length, width = rng.uniform(15, 34), rng.uniform(10, 20)
    outline = rectangle(centre, length, width, angle)
    if not canvas.lies_on(rectangle(centre, length + 4, width + 4, angle), *ground):
        return
    roof = pick(rng, _FLAT_ROOFS)
    pixels = canvas.place("building", outline, canvas.textured(roof, {1: 0.03, 20: 0.03}))
    canvas.cast_shadow(pixels, rng.uniform(5, 9))
    rim = canvas.pixels(np.concatenate([outline, outline[:1]]))
    canvas.stroke(rim, np.minimum(roof * rng.choice([0.82, 1.15]), 240), 1)
    for along in np.arange(-length / 2 + 5, length / 2 - 4, rng.uniform(5, 9)):
        light = centre + np.array((along, 0)) @ rotation(angle)
        skylight = rectangle(light, 1.6, 0.5 * width, angle)
        canvas.detail(canvas.pixels(skylight), canvas.textured(roof * 0.78, {1: 0.04}))


def paint_tree(canvas: AerialCanvas, centre: np.ndarray, radius: float) -> None:
    """Paints a single tree where it hides nothing but open land."""
    rng, climate = canvas.rng, canvas.climate
    middle, size = canvas.pixels(centre), radius * canvas.metre
    outline = blob(rng, middle, (size, size)) / canvas.metre
    if not canvas.lies_on(outline, *_OPEN):
        return
    leaves = pick(rng, climate.season.leaves)
    slope = 0.35 if climate.shadow else 0.1

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        offset = (np.stack([xs, ys], 1) - middle) / size
        light = 0.95 - 0.2 * (offset**2).sum(1) + slope * offset @ climate.to_sun
        return leaves * np.clip(light, 0.4, 1.5)[:, None] * canvas.noise(xs, ys, {1: 0.1, 2: 0.1})

    canvas.cast_shadow(canvas.place("trees", outline, paint), 1.6 * radius)


def paint_car(canvas: AerialCanvas, centre: np.ndarray, angle: float) -> None:
    """Paints a car where it is on pavement."""
    rng = canvas.rng
    length, width = rng.uniform(4.1, 4.9), rng.uniform(1.8, 2.1)
    outline = rectangle(centre, length, width, angle)
    if not canvas.lies_on(outline, "paved"):
        return
    colour = pick(rng, CAR_COLOURS)
    canvas.cast_shadow(canvas.place("car", outline, canvas.textured(colour, {1: 0.03})), 1.6)
    window = centre + np.array((0.18 * length, 0)) @ rotation(angle)
    canvas.detail(canvas.pixels(rectangle(window, 0.16 * length, 0.7 * width, angle)), (40, 46, 54))
