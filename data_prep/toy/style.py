"""What a style of drawn scenes must offer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cereals_tf.data_prep.toy.canvas import Canvas, LabelledPolygon

SMALLEST_SIDE = 64
"""The smallest height and width of a scene, in pixels."""


@dataclass(frozen=True)
class Style:
    """One kind of scenes.

    Attributes:
        name: What `--style` calls it.
        help: What it shows, in a line.
        ids: The id of each label, as label masks have it.
        paint: Paints a scene of a height and a width, in which all pixels have an owner; every
            random choice comes from the generator.
        classes: What goes into a classes file; empty: the classes are those of Cityscapes.
    """

    name: str
    help: str
    ids: Mapping[str, int]
    paint: Callable[[np.random.Generator, int, int], Canvas]
    classes: Mapping[str, Any] = field(default_factory=dict)

    def draw(
        self, rng: np.random.Generator, height: int, width: int
    ) -> tuple[np.ndarray, list[LabelledPolygon]]:
        """Draws one scene.

        Args:
            rng: Where every random choice comes from.
            height: Height of the picture in pixels, at least `SMALLEST_SIDE`.
            width: Width of the picture in pixels, at least `SMALLEST_SIDE`.

        Returns:
            The picture, uint8 [height, width, 3], and its labelled polygons in painter's order
            (later ones hide earlier ones). Their points are pixels of the picture, they cover every
            pixel, and each polygon keeps at least one pixel that no later one hides.

        Raises:
            ValueError: The picture is too small.
        """
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(
                f"height, width: found {height}, {width}; need at least {SMALLEST_SIDE}"
            )
        canvas = self.paint(rng, height, width)
        return canvas.develop(), canvas.visible_objects()
