"""Street scenes with the class names of Cityscapes.

A scene is a straight street seen through a pinhole camera. Everything stands at a place in metres,
is projected, and is painted from far to near. Street sides differ in what they hold, from bare lawn
to a crowd.
"""

from cereals_tf.data_prep.sources.label_sets import LABELS
from cereals_tf.data_prep.toy.streets.scene import paint_scene
from cereals_tf.data_prep.toy.style import Style

STREETS = Style(
    "streets",
    "street scenes seen from a car, with Cityscapes' classes",
    {label.name: label.id for label in LABELS},
    paint_scene,
)
