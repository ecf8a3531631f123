"""Polygons and masks as the tools of COCO have them: the first pixel is centred at (0.5, 0.5)."""

import reprlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.reading import INVALID_SHAPES

_MAX_OUTLINE = 1_000_000


def coco_masks(kind: str) -> ModuleType:
    """Return pycocotools' functions on masks, as a kind of data sets needs them.

    Raises:
        UserError: It is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise UserError(
            f"--dataset={kind}: needs pycocotools, expected it from: pip install cereals-tf[coco]"
        ) from None
    return mask


def drawable_parts(
    where: str, parts: Sequence[Any], height: int, width: int, log: SourceLog
) -> list[list[float]]:
    """Return the polygons [[x, y, x, y, ...], ...] of one annotation that can be painted.

    pycocotools would take four numbers for a box, fill memory for far points or for many that are
    far from each other (some 100 bytes a pixel of outline), and hang on NaN.

    Args:
        where: What begins a message about the annotation.
        parts: What should be polygons.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        log: Is told of the others.

    Raises:
        UserError: There are none, or their outline is too long.
    """
    margin = max(height, width)
    limits = (width + margin, height + margin)
    found: list[list[float]] = []
    for number, part in enumerate(parts):
        with log.noted(INVALID_SHAPES):
            _check_part(f"{where}: polygon {number}", part, -margin, limits)
            found.append(part)
    if not parts:
        raise InvalidError(
            "annotations without polygons or a mask", f"{where} has an empty segmentation"
        )
    length = sum(map(_outline_length, found))
    if length > _MAX_OUTLINE:
        raise UserError(
            f"{where} has an outline of {length:.0f} pixels, at most {_MAX_OUTLINE} are drawn"
        )
    return found


def _check_part(where: str, part: Any, least: float, most: tuple[float, float]) -> None:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise InvalidError(
            "polygons of fewer than three points",
            f"{where} is {reprlib.repr(part)}, expected [x, y, x, y, ...] of three points or more",
        )
    for i, value in enumerate(part):
        if type(value) not in (int, float) or not least <= value <= most[i % 2]:
            raise InvalidError(
                "polygons with a point far from their image",
                f"{where} has the coordinate {reprlib.repr(value)}, expected pixels of its image",
            )


def _outline_length(part: list[float]) -> float:
    """Return the pixels along the edges of a polygon [x, y, x, y, ...]."""
    points = np.reshape(part, (-1, 2))
    return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
