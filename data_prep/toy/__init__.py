"""Drawn scenes with polygons, in the folder layout of Cityscapes.

A picture is painted from the very polygons that are its labels, so that the two agree at every
pixel, and its parts differ in what they hold, because that is what makes the choice of regions
matter.

The layout and the JSON of the polygons are those of Cordts et al., "The Cityscapes Dataset for
Semantic Urban Scene Understanding", 2016.
"""

from cereals_tf.data_prep.toy.registry import STYLES
from cereals_tf.data_prep.toy.writing import write_toy

__all__ = ["STYLES", "write_toy"]
