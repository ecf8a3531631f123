"""Drawn street scenes with polygons, in the folder layout and with the class names of Cityscapes.

A scene is a straight street seen through a pinhole camera. Everything stands at a place in metres,
is projected, and is painted from far to near; the picture is painted from the very polygons that
are its labels, so that the two agree at every pixel. Street sides differ in what they hold, from
bare lawn to a crowd, because that is what makes the choice of regions matter.

The layout, the JSON of the polygons and the label ids are those of Cordts et al., "The Cityscapes
Dataset for Semantic Urban Scene Understanding", 2016.
"""

from cereals_tf.data_prep.toy.scene import draw_scene
from cereals_tf.data_prep.toy.writing import write_toy

__all__ = ["draw_scene", "write_toy"]
