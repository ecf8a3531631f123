"""Aerial images: land seen straight from above.

Land is divided into parcels, which are used as the kind of area has it: fields with their rows,
meadows, forest, gardens with houses, yards. Water, hedges, tracks and roads lie over them, and
buildings, trees and cars stand on them. Season, light and scale differ from image to image. Grass,
young grain and rows of crops look alike in some, as do soil and tracks, orchards and forest.
"""

from cereals_tf.data_prep.toy.aerial.scene import paint_scene
from cereals_tf.data_prep.toy.style import Style

_COLOURS = {
    "grass": (140, 190, 90),
    "grain": (240, 214, 110),
    "row crop": (70, 150, 60),
    "orchard": (190, 110, 190),
    "soil": (160, 104, 60),
    "trees": (20, 84, 40),
    "water": (40, 120, 220),
    "paved": (120, 120, 124),
    "track": (222, 170, 130),
    "building": (214, 60, 50),
    "car": (255, 255, 60),
}
"""The classes, in the order of their ids, and their colours in pictures of labels."""

AERIAL = Style(
    "aerial",
    "land seen straight from above, with 11 classes of its own",
    {name: number for number, name in enumerate(_COLOURS)},
    paint_scene,
    {"names": [*_COLOURS], "palette": [[*colour] for colour in _COLOURS.values()]},
)
