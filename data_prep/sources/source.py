"""What a data set must offer to be converted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import Problem, SourceLog
from cereals_tf.data_prep.sources.images import ImageOptions


class Item(NamedTuple):
    """One image of a source and the file that annotates it; None where people still have to."""

    image_id: str
    image: Path
    annotation: Path | None


class Annotation(NamedTuple):
    """What an annotation says of an image.

    Attributes:
        label: Train ids, uint8 [H, W].
        polygons: The polygons behind them, in painter's order.
        problems: What is wrong with shapes that are left out.
    """

    label: np.ndarray
    polygons: Sequence[Polygon]
    problems: Sequence[Problem] = ()


class Source(Protocol):
    """A data set that can be converted.

    Attributes:
        classes: Class names, palette and ignore id.
        classes_from: Where the names of the classes come from, for messages.
        background: Train id of the pixels that no polygon covers.
        log: What was met while it was opened and its items were listed.
    """

    classes: Classes
    classes_from: str
    background: int
    log: SourceLog

    @property
    def options(self) -> ImageOptions:
        """How its images are read."""
        ...

    def items(self) -> dict[str, list[Item]]:
        """Return the items of each split, sorted by image id; this is called once.

        Either all images of a split have an annotation or, in train, none. What does not fit is
        left out and noted in the log.

        Raises:
            UserError: Not even a part of it can be used.
        """
        ...

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """Read the annotation of an image of this size, which has one.

        Raises:
            UserError: The annotation is damaged or does not fit the image; the file is named.
        """
        ...
