"""Roads of two widths, dirt tracks, and water."""

from collections.abc import Sequence

import numpy as np

from cereals_tf.data_prep.toy.aerial import textures
from cereals_tf.data_prep.toy.aerial.canvas import AerialCanvas
from cereals_tf.data_prep.toy.aerial.land import ragged, ribbon, winding
from cereals_tf.data_prep.toy.canvas import Colour, Paint
from cereals_tf.data_prep.toy.colours import pick
from cereals_tf.data_prep.toy.outlines import blob

_ASPHALT = [(122, 122, 124), (104, 104, 108), (140, 138, 136), (92, 92, 96)]
_SHORES = [(170, 156, 126), (150, 136, 108), (136, 130, 116)]


def asphalt(canvas: AerialCanvas) -> Paint:
    """Returns the paint of a paved place."""
    return canvas.textured(pick(canvas.rng, _ASPHALT), {1: 0.03, 6: 0.03, 20: 0.04})


def paint_road(canvas: AerialCanvas, line: np.ndarray, half: float) -> None:
    """Paints a road along a line, `half` metres to both sides; a wide one has markings."""
    rng = canvas.rng
    if rng.random() < 0.5:
        canvas.place("grass", ribbon(line, half + rng.uniform(1.5, 3)), textures.grass(canvas, 0.0))
    canvas.place("paved", ribbon(line, half), asphalt(canvas))
    if half > 3:
        white = _veil(canvas, (226, 226, 220), 0.45)
        for side in (-0.82, 0.82):
            canvas.stroke(canvas.pixels(ribbon(line, side * half)[: len(line)]), white, 1)
        for dash in _dashes(line, 4.0, 9.0):
            canvas.stroke(canvas.pixels(dash), white, 1)


def paint_track(canvas: AerialCanvas, line: np.ndarray) -> None:
    """Paints a dirt track with grass in the middle, at times."""
    rng = canvas.rng
    half = rng.uniform(1.3, 1.9)
    colour = canvas.climate.soil * rng.uniform(1.0, 1.25) + rng.normal(4, 4, 3)
    canvas.place("track", ribbon(line, half), canvas.textured(colour, {1: 0.06, 6: 0.05, 20: 0.06}))
    if rng.random() < 0.6:
        green = _veil(canvas, pick(rng, canvas.climate.season.grass), 0.6)
        canvas.stroke(canvas.pixels(line), green, 0.5 * half * canvas.metre)


def paint_river(canvas: AerialCanvas) -> None:
    """Paints a river with its banks."""
    rng = canvas.rng
    line = winding(
        rng, canvas.extent, rng.uniform(0, np.pi), rng.uniform(4, 16), rng.uniform(110, 240)
    )
    half = rng.uniform(5, 15) * (1 + 0.12 * np.sin(np.arange(len(line)) * rng.uniform(0.3, 0.8)))
    _paint_bank(canvas, ribbon(line, half + rng.uniform(2, 5)))
    canvas.place("water", ribbon(line, half), _water(canvas))


def paint_lake(canvas: AerialCanvas) -> None:
    """Paints a lake with its shore."""
    rng = canvas.rng
    centre = canvas.extent * rng.uniform(0.1, 0.9, 2)
    radii = rng.uniform(18, 55) * np.array((1, rng.uniform(0.5, 1)))
    shore = blob(rng, canvas.pixels(centre), radii * canvas.metre, ragged=0.02) / canvas.metre
    _paint_bank(canvas, centre + (shore - centre) * (1 + rng.uniform(2, 5) / radii))
    canvas.place("water", shore, _water(canvas))


def _paint_bank(canvas: AerialCanvas, outline: np.ndarray) -> None:
    """Paints what surrounds water: grass, a strip of bushes, or bare ground."""
    rng = canvas.rng
    kind = rng.choice(["grass", "trees", "soil"], p=[0.4, 0.35, 0.25])
    if kind == "grass":
        canvas.place("grass", outline, textures.grass(canvas, 0.0))
    elif kind == "trees":
        canvas.place("trees", ragged(rng, outline, 6, 1.0), textures.forest(canvas, 0.0))
    else:
        canvas.place("soil", outline, canvas.textured(pick(rng, _SHORES), {1: 0.05, 20: 0.08}))


def _water(canvas: AerialCanvas) -> Paint:
    rng = canvas.rng
    colour = canvas.climate.water * rng.normal(1, 0.04)
    angle, ripple = rng.uniform(0, np.pi), rng.uniform(0, 0.03)
    glint = rng.uniform(-0.25, 0.35)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        along, across = canvas.rows(xs, ys, angle)
        tone = 1 + ripple * np.sin(across * 2.1) + glint * (along / np.hypot(*canvas.extent) - 0.5)
        return colour * tone[:, None] * canvas.noise(xs, ys, {1: 0.015, 6: 0.02, 20: 0.05})

    return paint


def _veil(canvas: AerialCanvas, colour: Colour, share: float) -> Paint:
    """Returns the paint that lets what is below shine through."""
    return lambda xs, ys: (1 - share) * canvas.image[ys, xs] + share * np.asarray(colour)


def _dashes(line: np.ndarray, dash: float, period: float) -> Sequence[np.ndarray]:
    """Returns the pieces [2, 2] of a broken line, in metres."""
    reached = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    starts = np.arange(0, reached[-1] - dash, period)
    return [
        np.stack([np.interp((start, start + dash), reached, part) for part in line.T], 1)
        for start in starts
    ]
