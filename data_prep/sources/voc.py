"""PASCAL VOC: palette masks and lists of image names, for VOC's classes or any others."""

import os
from dataclasses import dataclass
from pathlib import Path

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.masks import (
    ClassesOptions,
    OutlineOptions,
    annotation_of_mask,
    classes_if_given,
)
from cereals_tf.data_prep.sources.reading import file_inside, key_below, read_file
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import splits_of

_SUFFIXES = (".jpg", ".jpeg", ".png")
_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def _palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return VOC's colours: bits 0, 1, 2 of an id are the highest bits of red, green and blue.

    Bits 3, 4, 5 are the second highest, and so on, as in `VOClabelcolormap` of the development kit
    of the PASCAL Visual Object Classes Challenge 2012.
    """

    def part(class_id: int, first_bit: int) -> int:
        return sum((class_id >> 3 * k + first_bit & 1) << 7 - k for k in range(8))

    return tuple((part(i, 0), part(i, 1), part(i, 2)) for i in range(classes))


CLASSES = Classes(_NAMES, _palette(len(_NAMES)), ignore_id=255)


@dataclass(frozen=True)
class VocOptions(ClassesOptions, OutlineOptions):
    """How PASCAL VOC is read."""


class VocSource:
    """`JPEGImages`, `SegmentationClass` and the lists `ImageSets/Segmentation/{train,val}.txt`.

    They lie in the source or in its `VOCdevkit/VOC2012`. Only listed images are read. A mask's
    palette indices are the ids. Train may have no mask at all: people will annotate its images.

    The classes are VOC's, void (255) is ignored, unless there is a classes file. Polygons are the
    masks' contours, simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: VocOptions) -> None:
        inner = folder / "VOCdevkit" / "VOC2012"
        self._folder = inner if inner.is_dir() else folder
        self._options = options
        given = classes_if_given(folder, options)
        self.classes = given or CLASSES
        self.classes_from = str(folder / options.classes) if given else "PASCAL VOC"
        self.background = self.classes.ignore_id

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            if not (self._folder / part).is_dir():
                raise UserError(f"{self._folder / part}: no such folder")
        splits: dict[str, list[Item]] = {}
        seen: dict[str, str] = {}
        for split in ("train", "val"):
            items = []
            listed = _listed(self._folder / "ImageSets" / "Segmentation" / f"{split}.txt")
            labelled = split != "train" or any(self._has_mask(name) for name, _ in listed)
            for name, where in listed:
                item = self._item(name, where, labelled)
                if item.image_id in seen:
                    first = seen[item.image_id]
                    raise UserError(f"{where}: {name!r} is listed twice, also at {first}")
                seen[item.image_id] = where
                items.append(item)
            splits[split] = sorted(items)
        return splits_of(splits, self._options)

    def _has_mask(self, name: str) -> bool:
        return os.path.isfile(self._folder / "SegmentationClass" / f"{name}.png")

    def _item(self, name: str, where: str, labelled: bool) -> Item:
        images, masks = (self._folder / part for part in ("JPEGImages", "SegmentationClass"))
        names = [f"{name}{suffix}" for suffix in _SUFFIXES]
        found = next((file for file in names if os.path.isfile(images / file)), names[0])
        image = file_inside(images, images, found, where)
        mask = file_inside(masks, masks, f"{name}.png", where) if labelled else None
        return Item(key_below(images, image), image, mask)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        return annotation_of_mask(item, height, width, self.classes, self._options.tolerance)


def _listed(path: Path) -> list[tuple[str, str]]:
    """Return the names in a list, each with the place where it stands, for messages."""
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a list of image names in UTF-8") from None
    names = [
        (line.strip(), f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not names:
        raise UserError(f"{path}: lists no image")
    return names
