"""Cityscapes: polygons in JSON, painted to train ids as the official tools paint them, or masks.

Data sets that others made in its form are read too: with other labels, weather or frame names.
"""

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import one_of, option
from cereals_tf.data_prep.polygons import Polygon, paint
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.images import images_below
from cereals_tf.data_prep.sources.label_map import ClassesOptions
from cereals_tf.data_prep.sources.label_sets import (
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    LABELS,
    label_set_of,
)
from cereals_tf.data_prep.sources.masks import OutlineOptions, annotation_of_mask
from cereals_tf.data_prep.sources.reading import (
    DUPLICATES,
    INVALID_SHAPES,
    OTHER_SIZE,
    UNREADABLE,
    checked_id,
    files_below,
    files_by_key,
    read_object,
    read_points,
    splits_matching,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import pair, split_names, splits_of

__all__ = ["CLASSES", "LABELS", "CityscapesOptions", "CityscapesSource"]

CLASSES = CITYSCAPES.labels.classes
_IMAGE = "_leftImg8bit"
_ANNOTATIONS = ("gtFine", "gtCoarse")
_FORMS = (("polygons", ".json"), ("labelIds", ".png"), ("labelTrainIds", ".png"))
"""What the names of annotations end in, the best for clicks first."""


@dataclass(frozen=True)
class CityscapesOptions(ClassesOptions, OutlineOptions):
    """How Cityscapes is read."""

    annotations: str = option(
        "gtFine", "Which annotations, gtFine or gtCoarse.", one_of(*_ANNOTATIONS)
    )
    images: str = option("leftImg8bit", "Folder of the images in SOURCE, of a folder per split.")
    image_suffix: str = option(
        _IMAGE,
        "What the images' names end in before the extension; by default, something may follow, as "
        "_foggy_beta_0.02.",
    )


class CityscapesSource:
    """`leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_polygons.json`.

    Where a frame has no polygons, its `*_labelIds.png` or `*_labelTrainIds.png` is read, whose
    contours, simplified at `tolerance` pixels, are its polygons. The splits are the folders found;
    train and val must be there. Train may have no annotation at all: people will annotate its
    images. Ids are the frames, with their folder if several folders have a frame of one name.

    The classes are those of the classes file, or else Cityscapes' 19.
    """

    def __init__(self, folder: Path, options: CityscapesOptions) -> None:
        self.options = options
        self.log = SourceLog()
        self.classes_from, self._labels_as = label_set_of(folder, options, CITYSCAPES)
        self.classes = self._labels_as.classes
        self.background = self.classes.ignore_id
        self._images = folder / options.images
        self._annotations = folder / options.annotations

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        for folder in (self._images, self._annotations):
            if not folder.is_dir():
                others = [name for name in _ANNOTATIONS if folder.with_name(name).is_dir()]
                hint = f", there is --annotations={others[0]}" if others else ""
                raise UserError(f"{folder}: no such folder{hint * (folder == self._annotations)}")
        found = splits_matching(self._images, "{split}")
        names = split_names(found, self.options, str(self._images / "{split}"))
        parts = {
            split: [(self._images_of(name), self._annotations_of(name, split)) for name in of_split]
            for split, of_split in names.items()
        }
        key = _shortest_key(
            [part for of_split in parts.values() for both in of_split for part in both]
        )

        def by_key(part: Mapping[str, Path]) -> dict[str, Path]:
            return {key(long): path for long, path in part.items()}

        items = {
            split: [
                item
                for images, annotations in of_split
                for item in pair(by_key(images), by_key(annotations), self.log)
            ]
            for split, of_split in parts.items()
        }
        return splits_of(items, self.options, self.log)

    def _images_of(self, split: str) -> dict[str, Path]:
        """Return the images of what the source calls a split by folder and frame."""
        folder, ending = self._images / split, self.options.image_suffix
        if ending != _IMAGE:
            return images_below(folder, self.log, ending)
        frames: dict[str, Path] = {}
        for key, path in images_below(folder, self.log).items():
            place, _, name = key.rpartition("/")
            frame, found, _ = name.partition(ending)
            if not found:
                text = f"{path}: expected a name that ends in {ending}{path.suffix}"
                self.log.invalid("images of unexpected names", text)
                continue
            first = frames.setdefault(checked_id(f"{place}/{frame}".lstrip("/"), path), path)
            if first is not path:
                self.log.invalid(
                    DUPLICATES,
                    f"{path}: duplicate id {frame!r}, also the id of {first.name}, expected "
                    f"--image_suffix={first.stem.removeprefix(frame)} to say which",
                )
        return frames

    def _annotations_of(self, split: str, use: str) -> dict[str, Path]:
        """Return the annotations of what the source calls a split, likewise."""
        folder = self._annotations / split
        if use != "val" and not os.path.lexists(folder):
            return {}
        files = files_below(folder, sorted({suffix for _, suffix in _FORMS}))
        found: dict[str, Path] = {}
        for form, suffix in reversed(_FORMS):
            of_form = [path for path in files if path.suffix.lower() == suffix]
            ending = f"_{self.options.annotations}_{form}"
            found |= files_by_key(folder, of_form, self.log, ending)
        return found

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        if item.annotation.suffix == ".png":
            of_train_ids = item.annotation.stem.endswith("TrainIds") and self.classes is CLASSES
            labels_as = CITYSCAPES_TRAIN_IDS.labels if of_train_ids else self._labels_as
            return annotation_of_mask(item, height, width, labels_as, self.options.tolerance)
        content = read_object(item.annotation)
        stated = [content.get("imgHeight"), content.get("imgWidth")]
        if stated != [height, width]:
            raise InvalidError(
                OTHER_SIZE,
                f"{item.annotation}: says [imgHeight, imgWidth] {reprlib.repr(stated)}, "
                f"its image {item.image.name} is {[height, width]}",
            )
        objects = content.get("objects")
        if not isinstance(objects, list):
            found = type(objects).__name__
            raise InvalidError(
                UNREADABLE, f"{item.annotation}: 'objects' is {found}, expected a list"
            )
        polygons: list[Polygon] = []
        log = SourceLog()
        for number, entry in enumerate(objects):
            with log.noted(INVALID_SHAPES):
                polygons += self._drawn(f"{item.annotation}: object {number}", entry)
        label = paint(polygons, height, width, background=self.background)
        return Annotation(label, polygons, log.problems)

    def _drawn(self, where: str, entry: Any) -> list[Polygon]:
        """Return the polygon of an object, none if it is deleted or a label without an id."""
        if not isinstance(entry, dict):
            raise UserError(f"{where} is {type(entry).__name__}, expected an object")
        if entry.get("deleted"):
            return []
        train_id = self._labels_as.of_name(entry.get("label"), where)
        return (
            [Polygon(train_id, read_points(where, entry.get("polygon")))] if train_id >= 0 else []
        )


def _shortest_key(parts: Sequence[Mapping[str, Path]]) -> Callable[[str], str]:
    """Return what makes ids of folder and frame: without the folder, if frames are unique so."""
    for part in parts:
        if len({key.rpartition("/")[2] for key in part}) < len(part):
            return lambda key: key
    return lambda key: key.rpartition("/")[2]
