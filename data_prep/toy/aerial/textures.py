"""What covers the ground: grass, fields with their rows, soil, and crowns of trees."""

from collections.abc import Callable

import numpy as np

from cereals_tf.data_prep.toy.aerial.canvas import AerialCanvas
from cereals_tf.data_prep.toy.aerial.climate import Colours
from cereals_tf.data_prep.toy.aerial.land import rotation
from cereals_tf.data_prep.toy.canvas import Texture
from cereals_tf.data_prep.toy.colours import pick

Crowns = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From pixel columns and rows [N] to the brightness [N, 1] of the crown there, below 0 where there
is none, and its colour [N, 3], that of the mean crown there."""


def grass(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of a meadow, mown in stripes at times."""
    rng = canvas.rng
    first, second = (pick(rng, canvas.climate.season.grass) for _ in range(2))
    stripes = rng.uniform(0.02, 0.06) if rng.random() < 0.3 else 0.0
    width = rng.uniform(5, 9)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        share = np.clip(canvas.noise(xs, ys, {6: 0.25, 20: 0.35}) - 0.5, 0, 1)
        _, across = canvas.rows(xs, ys, angle)
        mown = 1 + stripes * np.sign(np.sin(np.pi * across / width))
        mixed = first + (second - first) * share
        return mixed * mown[:, None] * canvas.noise(xs, ys, {1: 0.05, 2: 0.06, 20: 0.03})

    return paint


def grain(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of a field of grain, with the tramlines of tractors."""
    rng = canvas.rng
    colour = pick(rng, canvas.climate.season.grain)
    spacing, drill = rng.uniform(11, 18), rng.uniform(2.2, 3)
    depth, tracks = rng.uniform(0.01, 0.035), rng.uniform(0.1, 0.22)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        _, across = canvas.rows(xs, ys, angle)
        from_middle = np.abs(across % spacing - spacing / 2)
        driven = np.abs(from_middle - 1.1) < 0.5
        tone = 1 - tracks * driven + depth * np.sin(2 * np.pi * across / drill)
        return colour * tone[:, None] * canvas.noise(xs, ys, {1: 0.03, 6: 0.04, 20: 0.06})

    return paint


def row_crop(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of maize, potatoes or beet: rows of plants with soil between."""
    rng, season = canvas.rng, canvas.climate.season
    plants, soil = pick(rng, season.crop), canvas.climate.soil * rng.normal(1, 0.05)
    spacing, cover = rng.uniform(2.6, 3.6), season.cover + rng.uniform(-0.15, 0.15)
    sway, phase = rng.uniform(0, 1.2), rng.uniform(0, 6)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        along, across = canvas.rows(xs, ys, angle)
        wave = np.cos(2 * np.pi * (across + sway * np.sin(along / 22 + phase)) / spacing)
        growth = canvas.noise(xs, ys, {1: 0.12, 6: 0.12, 20: 0.14})[:, 0] - 1
        share = np.clip(cover + growth + 0.38 * wave, 0, 1)[:, None]
        return (soil + (plants - soil) * share) * canvas.noise(xs, ys, {1: 0.05, 20: 0.04})

    return paint


def soil(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of ploughed soil, damp in places."""
    rng = canvas.rng
    colour = canvas.climate.soil * rng.normal(1, 0.07) + rng.normal(0, 3, 3)
    furrow, depth = rng.uniform(2, 3), rng.uniform(0.01, 0.06)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        _, across = canvas.rows(xs, ys, angle)
        lines = 1 + depth * np.sin(2 * np.pi * across / furrow)
        return colour * lines[:, None] * canvas.noise(xs, ys, {1: 0.05, 2: 0.03, 20: 0.11})

    return paint


def forest(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of a forest: crown beside crown, dark where there is none."""
    rng = canvas.rng
    size = rng.uniform(4.5, 8)
    leaves = [tuple(pick(rng, canvas.climate.season.leaves)) for _ in range(rng.integers(1, 5))]
    trees = crowns(canvas, leaves, (size, size), 0.62 * size, angle, wild=0.4)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        light, colour = trees(xs, ys)
        return colour * np.maximum(light, 0.42) * canvas.noise(xs, ys, {1: 0.09, 2: 0.08, 20: 0.05})

    return paint


def orchard(canvas: AerialCanvas, angle: float) -> Texture:
    """Returns the texture of an orchard: small crowns in rows, on grass or soil."""
    rng = canvas.rng
    ground = (grass if rng.random() < 0.7 else soil)(canvas, angle)
    leaves = [tuple(pick(rng, canvas.climate.season.leaves))]
    spacing = rng.uniform(4.5, 5.5), rng.uniform(5.5, 7.5)
    trees = crowns(canvas, leaves, spacing, rng.uniform(1.8, 2.5), angle, wild=0.05)
    shift = -2.2 * canvas.climate.shadow * canvas.climate.to_sun * canvas.metre

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        light, colour = trees(xs, ys)
        shaded, _ = trees(xs - shift[0], ys - shift[1])
        below = ground(xs, ys) * np.where(shaded > 0, 0.6 if canvas.climate.shadow else 0.85, 1)
        return np.where(light > 0, colour * light * canvas.noise(xs, ys, {1: 0.1}), below)

    return paint


def crowns(
    canvas: AerialCanvas,
    leaves: Colours,
    spacing: tuple[float, float],
    radius: float,
    angle: float,
    wild: float,
) -> Crowns:
    """Returns crowns at the places of a grid, the highest of those that reach a pixel.

    Args:
        canvas: Where they are painted.
        leaves: Their colours.
        spacing: The grid's distances along and across its angle, in metres.
        radius: Their radius in metres.
        angle: The grid's.
        wild: How far they may stand from their places, as a share of the distances.
    """
    rng, climate = canvas.rng, canvas.climate
    table = 32
    jitter = rng.uniform(-wild, wild, (table, table, 2))
    sizes = radius * rng.uniform(0.75, 1.15, (table, table))
    colours = np.asarray(leaves)[rng.integers(len(leaves), size=(table, table))]
    colours = colours * rng.normal(1, 0.07, (table, table, 1))
    sun = rotation(angle) @ climate.to_sun
    slope = 0.5 if climate.shadow else 0.15

    def paint(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = np.stack(canvas.rows(xs, ys, angle), 1) / spacing
        cells = np.floor(places).astype(int)
        best = np.full(len(xs), -1.0)
        light, colour = np.full(len(xs), -1.0), np.tile(colours.mean((0, 1)), (len(xs), 1))
        for step in np.ndindex(3, 3):
            cell = cells + step - 1
            a, b = cell.T % table
            offset = (places - cell - 0.5 - jitter[a, b]) * spacing / sizes[a, b][:, None]
            height = 1 - (offset**2).sum(1)
            higher = (height > 0) & (height > best)
            best[higher] = height[higher]
            light[higher] = (0.68 + 0.32 * height + slope * offset @ sun)[higher]
            colour[higher] = colours[a, b][higher]
        return light[:, None], colour

    return paint
