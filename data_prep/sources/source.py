"""What a data set must offer to be converted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.polygons import Polygon


class Item(NamedTuple):
    """One image of a source and the file that annotates it; None where people still have to."""

    image_id: str
    image: Path
    annotation: Path | None


class Annotation(NamedTuple):
    """Train ids (uint8 [H, W]) and the polygons behind them, in painter's order."""

    label: np.ndarray
    polygons: Sequence[Polygon]


class Source(Protocol):
    """A data set that can be converted.

    Attributes:
        classes: Class names, palette and ignore id.
        classes_from: Where the names of the classes come from, for messages.
        background: Train id of the pixels that no polygon covers.
    """

    classes: Classes
    classes_from: str
    background: int

    def items(self) -> dict[str, list[Item]]:
        """Return the items of each split, sorted by image id.

        Either all images of a split have an annotation or, in train, none.

        Raises:
            UserError: An image has no annotation, or the reverse, or a split is empty.
        """
        ...

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """Read the annotation of an image of this size, which has one.

        Raises:
            UserError: The annotation is damaged or does not fit the image; the file is named.
        """
        ...
