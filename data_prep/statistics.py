"""What the records of a data set hold, counted: of an image, of a shard, of a split."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from cereals_tf.data_prep.description import Classes, SplitDescription
from cereals_tf.data_prep.polygons import Polygon, agreement, histogram

_IDS = 256


@dataclass(frozen=True)
class Statistics:
    """Counts that add up exactly, in whatever parts the images are counted.

    Attributes:
        rows: (image id, height, width, vertices of all polygons) of each image, in order.
        pixels: int64 [256], labelled pixels per train id.
        clicks: int64 [256], polygon vertices per train id.
        overlap: int64 [2, classes], pixels in the intersection and in the union of the label and
            what its polygons paint.
    """

    rows: list[tuple[str, int, int, int]]
    pixels: np.ndarray
    clicks: np.ndarray
    overlap: np.ndarray

    @classmethod
    def of_image(
        cls,
        image_id: str,
        label: np.ndarray,
        polygons: Sequence[Polygon],
        painted: np.ndarray,
        classes: Classes,
    ) -> "Statistics":
        """Count one image: its label and what its polygons paint, both uint8 [H, W]."""
        clicks = np.zeros(_IDS, np.int64)
        for polygon in polygons:
            clicks[polygon.class_id] += len(polygon.points)
        overlap = agreement(label, painted, len(classes), classes.ignore_id)
        row = (image_id, *label.shape, int(clicks.sum()))
        return cls([row], histogram(label), clicks, overlap)

    @classmethod
    def total(cls, parts: Iterable["Statistics"]) -> "Statistics":
        """Add up one part or more."""
        parts = list(parts)
        return cls(
            [row for part in parts for row in part.rows],
            np.sum([part.pixels for part in parts], axis=0),
            np.sum([part.clicks for part in parts], axis=0),
            np.sum([part.overlap for part in parts], axis=0),
        )

    def to_json(self) -> dict[str, list]:
        """Return what `from_json` takes."""
        return {"rows": self.rows} | {
            field.name: getattr(self, field.name).tolist() for field in fields(self)[1:]
        }

    @classmethod
    def from_json(cls, content: dict[str, list]) -> "Statistics":
        """Return the statistics that `to_json` was called on."""
        rows = [tuple(row) for row in content["rows"]]
        return cls(rows, *(np.array(content[field.name], np.int64) for field in fields(cls)[1:]))

    def describe(
        self, classes: Classes, shards: Sequence[str], labelled: Sequence[bool]
    ) -> SplitDescription:
        """Return what a split in these shards holds.

        Args:
            classes: The classes.
            shards: The shards' names.
            labelled: Whether each image has labels.
        """
        sizes = Counter(f"{height}x{width}" for _, height, width, _ in self.rows)
        intersection, union = self.overlap
        return SplitDescription(
            images=len(self.rows),
            shards=tuple(shards),
            image_sizes=dict(sorted(sizes.items())),
            pixels=int(self.pixels.sum()),
            pixels_ignored=int(self.pixels[classes.ignore_id]),
            pixels_per_class=_per_class(classes, self.pixels),
            clicks=int(self.clicks.sum()),
            clicks_ignored=int(self.clicks[classes.ignore_id]),
            clicks_per_class=_per_class(classes, self.clicks),
            polygon_iou_per_class={
                name: round(float(intersection[i] / union[i]), 6) if union[i] else None
                for i, name in enumerate(classes.names)
            },
            labelled=all(labelled),
            labelled_images=0 if all(labelled) else sum(labelled),
        )


def _per_class(classes: Classes, counts: np.ndarray) -> dict[str, int]:
    return {name: int(counts[i]) for i, name in enumerate(classes.names)}
