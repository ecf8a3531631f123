"""A whole street scene: what stands where, painted from far to near."""

import numpy as np

from cereals_tf.data_prep.toy.streets.buildings import paint_barrier, paint_house
from cereals_tf.data_prep.toy.streets.canvas import StreetCanvas
from cereals_tf.data_prep.toy.streets.furniture import street_furniture
from cereals_tf.data_prep.toy.streets.ground import paint_ground
from cereals_tf.data_prep.toy.streets.people import passers_by
from cereals_tf.data_prep.toy.streets.sky import paint_horizon, paint_sky
from cereals_tf.data_prep.toy.streets.street import LEFT, RIGHT, STREET_END, Street
from cereals_tf.data_prep.toy.streets.vegetation import paint_bush, paint_tree
from cereals_tf.data_prep.toy.streets.vehicles import traffic


def paint_scene(rng: np.random.Generator, height: int, width: int) -> StreetCanvas:
    """Paints one street scene."""
    canvas = StreetCanvas(rng, height, width)
    street = Street.draw(rng)
    paint_sky(canvas)
    paint_ground(canvas, street)
    paint_horizon(canvas, street)
    for side in (LEFT, RIGHT):
        _paint_roadside(canvas, street, side)
    actors = traffic(canvas, street)
    for side in (LEFT, RIGHT):
        actors += street_furniture(canvas, street, side) + passers_by(canvas, street, side)
    for _, paint in sorted(actors, key=lambda actor: actor[0], reverse=True):
        paint()
    return canvas


def _paint_roadside(canvas: StreetCanvas, street: Street, side: int) -> None:
    rng = canvas.rng
    style, front = street.styles[side], street.fronts[side]
    z = STREET_END
    while z > 4:
        length = rng.uniform(7, 18)
        near = max(z - length, 2.0)
        if style == "houses" and rng.random() < 0.88:
            paint_house(canvas, side, front, near, z)
        elif style == "open":
            if rng.random() < 0.25:
                paint_bush(canvas, front + side * rng.uniform(2, 25), near + 6)
        else:
            _paint_grove(canvas, side, front, near, z)
        z = near
    if style in ("walled", "fenced"):
        paint_barrier(canvas, style, front)


def _paint_grove(canvas: StreetCanvas, side: int, front: float, near: float, far: float) -> None:
    rng = canvas.rng
    places = sorted((rng.uniform(near, far) for _ in range(rng.integers(1, 4))), reverse=True)
    for z in places:
        x = front + side * rng.uniform(1, 10)
        if rng.random() < 0.65:
            paint_tree(canvas, x, max(z, 5.0), rng.uniform(1.3, 3.2))
        else:
            paint_bush(canvas, x, max(z, 5.0))
