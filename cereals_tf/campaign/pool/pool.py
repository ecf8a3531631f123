"""The pool: the train split as a round finds it, and where in it regions may be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cereals_tf.acquisition.regions import allowed_windows, labelled_mask, leftover_windows
from cereals_tf.campaign.options import Options, RegionSize, Size
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE, Box
from cereals_tf.trainers.split import Split

Taken = Mapping[str, Sequence[Box]]
"""The annotated and the skipped regions of each image that has any."""


class PoolImage(NamedTuple):
    """An image of the pool.

    Attributes:
        number: Where it is in the split, from 0.
        entry: Its id and size.
    """

    number: int
    entry: ImageEntry


@dataclass(frozen=True)
class Pool:
    """The train split, some of it annotated.

    Attributes:
        options: The campaign's options.
        reader: The train split.
        taken: What is annotated already, and what people skipped.
        excluded: Ids of images in which nothing may be chosen.
    """

    options: Options
    reader: Split
    taken: Taken
    excluded: frozenset[str] = frozenset()

    @cached_property
    def numbered(self) -> list[PoolImage]:
        """The images that are not excluded, in the order of the split."""
        return [
            PoolImage(number, entry)
            for number, entry in enumerate(self.reader.images)
            if entry.image_id not in self.excluded
        ]

    @property
    def images(self) -> list[ImageEntry]:
        """Their entries."""
        return [image.entry for image in self.numbered]

    @cached_property
    def candidates(self) -> dict[str, PoolImage]:
        """Those of them that are not labelled whole, by image id, in the order of the split."""
        return {
            image.entry.image_id: image
            for image in self.numbered
            if image.entry.image_id not in self.taken or self.unlabelled(image.entry).any()
        }

    @cached_property
    def leftovers(self) -> frozenset[str]:
        """The ids of candidates in which no free window is left.

        Any placement of a window with an unlabelled cell is a candidate there.
        """
        entries = (image.entry for image in self.candidates.values())
        return frozenset(entry.image_id for entry in entries if not self._free(entry).any())

    def allowed(self, entry: ImageEntry) -> np.ndarray:
        """Return which windows of an image are candidates, bool [rows, columns].

        They are its dense windows, or, in `leftovers`, all placements.
        """
        if entry.image_id not in self.leftovers:
            return self._free(entry)
        taken, size = self.taken.get(entry.image_id, ()), region_of(self.options, entry)
        return leftover_windows(taken, entry.height, entry.width, *size)

    def _free(self, entry: ImageEntry) -> np.ndarray:
        """Return which dense windows no taken region overlaps more than it may."""
        taken, size = self.taken.get(entry.image_id, ()), region_of(self.options, entry)
        return allowed_windows(taken, entry.height, entry.width, *size, self.options.max_overlap)

    def unlabelled(self, entry: ImageEntry) -> np.ndarray:
        """Return which cells of an image no taken region covers, bool [h, w] at stride 8."""
        return ~labelled_mask(self.taken.get(entry.image_id, ()), entry.height, entry.width)


def resolve_region(region: RegionSize, images: Sequence[ImageEntry]) -> RegionSize:
    """Replace `auto` by an eighth of the shortest image side, and check that regions fit.

    Raises:
        UserError: The region is larger than some image.
    """
    if region == "image":
        return region
    if region == "auto":
        shortest = min(min(entry.height, entry.width) for entry in images)
        side = max(STRIDE, round(shortest / 8 / STRIDE) * STRIDE)
        region = Size(side, side)
    for entry in images:
        if region.height > entry.height or region.width > entry.width:
            raise UserError(
                f"--region={region}: larger than the image {entry.image_id!r} of "
                f"{entry.height}x{entry.width} pixels, expected smaller ones, --region=image, or "
                "--image_size=HxW"
            )
    return region


def region_of(options: Options, entry: ImageEntry) -> Size:
    """Return the size of an image's candidate regions, once `auto` is resolved.

    Along an axis on which the image is shorter, it is the image's.
    """
    if isinstance(options.region, Size):
        height, width = options.region
        return Size(min(height, entry.height), min(width, entry.width))
    return Size(entry.height, entry.width)


def region_area(options: Options, entry: ImageEntry) -> int:
    """Return the pixels of one candidate region of an image."""
    height, width = region_of(options, entry)
    return height * width
