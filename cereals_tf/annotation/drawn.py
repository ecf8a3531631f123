"""What annotators drew, whatever the tool: shapes of an image, and the regions they are for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from cereals_tf.data_prep.dataset import MAX_PIXELS
from cereals_tf.data_prep.problems import Problem
from cereals_tf.data_prep.text import is_unicode

REGION = "__region__"
"""Label of the rectangles that show annotators the requested regions."""
NOT_HANDED_OUT = "files and tasks that were not handed out"
"""A kind of problems."""
EMPTY = -1
"""Value of the pixels that no shape covers."""


class PlacedMask(NamedTuple):
    """Pixels of an image: bool [h, w], and where their top left corner is."""

    y: int
    x: int
    pixels: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> "PlacedMask":
        """Return the pixels of a whole image, bool [H, W], without the empty rows and columns."""
        rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            return cls(0, 0, pixels[:0, :0])
        top, left = int(rows[0]), int(columns[0])
        return cls(top, left, pixels[top : rows[-1] + 1, left : columns[-1] + 1].copy())


@dataclass(frozen=True)
class Shape:
    """One object that an annotator drew.

    Attributes:
        where: What begins a message about it: its file and place there.
        class_name: The class as the annotator chose it.
        outlines: float64 [V, 2] each, vertices (x, y) in pixels of the image, by which clicks are
            counted.
        mask: The pixels, where they are not those of the outlines painted as polygons.
        by_model: Whether a model drew it, so that its vertices are no clicks.
    """

    where: str
    class_name: str
    outlines: Sequence[np.ndarray]
    mask: PlacedMask | None = None
    by_model: bool = False


@dataclass(frozen=True)
class Drawn:
    """What came back for some of the regions that were asked for in one image.

    Attributes:
        where: What begins a message about it: its file, and its place there.
        round: The round that asked.
        request: The request that asked, see `request_id`.
        image_id: The image.
        size: The image's (height, width) in pixels.
        regions: Numbers of the regions that the annotator was shown.
        shapes: In painter's order.
        seconds: What it took, None where the tool does not say.
        skipped: Whether the annotator declined the regions.
        finished: Whether the annotator says that they are complete. If not, regions that still
            look as they were handed out are missing.
        handed_out: Digest, by region, of the labels that it showed when it was handed out
            (pre-annotation); see `labels_digest`.
        problems: What is wrong with shapes, which are not among `shapes`.
        annotator: Who drew it, '' where the tool does not say.
    """

    where: str
    round: int
    request: str
    image_id: str
    size: tuple[int, int]
    regions: tuple[int, ...]
    shapes: Sequence[Shape] = ()
    seconds: float | None = None
    skipped: bool = False
    finished: bool = False
    handed_out: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    annotator: str = ""


def is_request(image_id: Any, size: Any, request: Any, number: Any) -> bool:
    """Whether what a file says of its request can be: image, [height, width], digest, round."""
    return (
        isinstance(image_id, str)
        and is_unicode(image_id)
        and isinstance(request, str)
        and type(number) is int
        and isinstance(size, (list, tuple))
        and len(size) == 2
        and all(type(side) is int and side > 0 for side in size)
        and math.prod(size) <= MAX_PIXELS
    )


def painted(shapes: Sequence[Shape], ids: Mapping[str, int], height: int, width: int) -> np.ndarray:
    """Paint shapes, each over those before it.

    Polygons cover the same pixels as with `cereals_tf.data_prep.polygons.paint`.

    Args:
        shapes: In painter's order.
        ids: The id of every class name that occurs.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        int32 [height, width], ids, and `EMPTY` where there is no shape.
    """
    canvas = Image.new("I", (width, height), EMPTY)
    drawer = ImageDraw.Draw(canvas)
    for shape in shapes:
        class_id = ids[shape.class_name]
        if shape.mask is not None:
            stencil = Image.fromarray(shape.mask.pixels)
            canvas.paste(class_id, (shape.mask.x, shape.mask.y), stencil)
            continue
        for points in shape.outlines:
            drawer.polygon(points.ravel().tolist(), fill=class_id)
    return np.array(canvas)
