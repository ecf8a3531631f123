"""COCO: instances as polygons or run lengths in JSON, rasterised by pycocotools."""

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.sources.masks import OutlineOptions, evenly_spaced_palette, read_tolerance
from cereals_tf.data_prep.sources.reading import (
    file_inside,
    images_below,
    key_below,
    outline_object,
    read_json,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import DividedOptions, divided, pair, splits_of
from cereals_tf.data_prep.text import is_unicode, shown

IGNORE_ID = 255
BACKGROUND = "background"
_MAX_RUN_BITS = 30
_MAX_OUTLINE = 1_000_000


class _Category(NamedTuple):
    name: str
    is_stuff: bool


@dataclass
class _Image:
    """An entry of `images`, and the entries of `annotations` that name it."""

    item: Item
    size: list[Any]
    annotations: list[dict[str, Any]] = field(default_factory=list)


class _Object(NamedTuple):
    """One annotation: pycocotools' run lengths, and the polygons that an annotator drew."""

    class_id: int
    rle: dict[str, Any]
    polygons: Sequence[Polygon]


@dataclass(frozen=True)
class CocoOptions(OutlineOptions, DividedOptions):
    """How COCO is read."""

    images: str = option(
        "{split}2017", "Folder of the images in SOURCE, {split} standing for train or val."
    )
    annotations: str = option(
        "annotations/instances_{split}2017.json",
        "JSON file in SOURCE, {split} standing for train or val.",
    )
    tolerance: float = option(
        2.0,
        "How far the polygon of an object in run lengths may be from its mask, pixels.",
        read_tolerance,
    )


class CocoSource:
    """`train2017`, `val2017` and `annotations/instances_{train,val}2017.json`, or other names.

    One annotation file for all images, `--annotations` without `{split}`, is divided into train and
    val. Only images that a file lists are read.

    Train may have no annotation file: people will annotate all images of its folder. With
    `unlabelled_train` the file may also list images alone, which otherwise show only background,
    and one file for all images makes val of those that have annotations and train of all others in
    the folder.

    The classes are the categories in the order of their ids. Pixels without annotation belong to
    the class `background`, which comes first unless a category has this name. Where a category is
    marked as stuff (`isthing` is 0) they are void instead, and ignored. Crowds (`iscrowd`) are
    ignored too, and painted like other objects.

    An object's pixels are those of `annToMask` of pycocotools. Larger objects are painted first,
    ties by the annotation's id. Polygons are the annotation's own, in COCO's coordinates, where
    the first pixel is centred at (0.5, 0.5); those of run lengths are the mask's contours,
    simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: CocoOptions) -> None:
        self._rasterizer = _rasterizer()
        self._options = options
        images, annotations = options.images, options.annotations
        if "{split}" in images and "{split}" not in annotations:
            raise UserError(
                f"--annotations={annotations} is one file for all images: expected one folder "
                f"in --images, found {images}"
            )
        self._splits: dict[str, list[Item]] = {}
        self._images: dict[Path, _Image] = {}
        categories: dict[int, _Category] = {}
        files = _annotation_files(folder, annotations)
        for split, path in files.items():
            pictures = folder / images.replace("{split}", split)
            if split == "train" and not os.path.lexists(path):
                self._splits[split] = pair(images_below(pictures), {})
                continue
            content = read_json(path)
            if split == "train" and options.unlabelled_train:
                content.setdefault("annotations", [])
            found = _categories(path, content)
            if categories and found != categories:
                raise UserError(f"{path}: its categories are not those of the other splits")
            categories = found
            listed = _images(path, content, pictures, categories)
            self._splits[split] = _items(split, listed, pictures, options.unlabelled_train)
            self._images |= listed
        *_, last = files.values()
        self.classes, self._train_ids, self.background = _classes(last, categories)
        self.classes_from = str(last)

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        if "" in self._splits:
            return divided(self._splits[""], self._options)
        return splits_of(self._splits, self._options)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        image = self._images[item.image]
        if image.size != [height, width]:
            raise UserError(
                f"{item.annotation}: says [height, width] {reprlib.repr(image.size)} of "
                f"{item.image.name}, the image is {[height, width]}"
            )
        objects = [
            self._object(item.annotation, annotation, height, width)
            for annotation in sorted(image.annotations, key=lambda annotation: annotation["id"])
        ]
        objects.sort(key=lambda found: -int(self._rasterizer.area(found.rle)))
        label = np.full((height, width), self.background, np.uint8)
        for found in objects:
            label[self._rasterizer.decode(found.rle) > 0] = found.class_id
        return Annotation(label, [polygon for found in objects for polygon in found.polygons])

    def _object(self, path: Path, annotation: dict[str, Any], height: int, width: int) -> _Object:
        where = f"{path}: annotation {reprlib.repr(annotation['id'])}"
        segmentation, crowd = annotation.get("segmentation"), annotation.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{where} has 'iscrowd' {reprlib.repr(crowd)}, expected 0 or 1")
        class_id = IGNORE_ID if crowd else self._train_ids[annotation["category_id"]]
        if isinstance(segmentation, list):
            parts = _parts(where, segmentation, height, width)
            polygons = [Polygon(class_id, np.reshape(part, (-1, 2))) for part in parts]
            rle = self._rasterizer.merge(self._rasterizer.frPyObjects(parts, height, width))
        else:
            runs = {"size": [height, width], "counts": _runs(where, segmentation, height, width)}
            rle = self._rasterizer.frPyObjects(runs, height, width)
            mask = self._rasterizer.decode(rle)
            polygons = outline_object(mask, class_id, self._options.tolerance)
        return _Object(class_id, rle, polygons)


def _rasterizer() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError:
        raise UserError(
            "--dataset=coco: needs pycocotools, expected it from: pip install cereals-tf[coco]"
        ) from None
    return mask


def _annotation_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the annotation file of each split, or of the split "" that stands for all images."""
    if "{split}" not in pattern:
        return {"": folder / pattern}
    files = {
        split: folder / pattern.replace("{split}", split) for split in ("train", "val", "test")
    }
    return {split: path for split, path in files.items() if split != "test" or path.exists()}


def _entries(path: Path, content: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a list, each with its place for messages; their ids are unique."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path}: '{key}' is {type(entries).__name__}, expected a list")
    seen = set()
    for number, entry in enumerate(entries):
        where = f"{path}: {key}[{number}]"
        if not isinstance(entry, dict):
            raise UserError(f"{where} is {type(entry).__name__}, expected an object")
        identity = _whole(where, entry, "id")
        if identity in seen:
            raise UserError(f"{where} has the duplicate id {reprlib.repr(identity)}")
        seen.add(identity)
    return [(f"{path}: {key}[{number}]", entry) for number, entry in enumerate(entries)]


def _whole(where: str, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise UserError(f"{where} has '{key}' {reprlib.repr(value)}, expected a whole number")
    return value


def _categories(path: Path, content: dict[str, Any]) -> dict[int, _Category]:
    categories: dict[int, _Category] = {}
    names = set()
    for where, entry in _entries(path, content, "categories"):
        name = entry.get("name")
        if not isinstance(name, str) or not name or not is_unicode(name):
            raise UserError(f"{where} has the name {reprlib.repr(name)}, expected text")
        if name in names:
            raise UserError(f"{where} has the duplicate name {shown(name)}")
        names.add(name)
        categories[entry["id"]] = _Category(name, entry.get("isthing") == 0)
    if not categories:
        raise UserError(f"{path}: no categories")
    return categories


def _classes(path: Path, categories: dict[int, _Category]) -> tuple[Classes, dict[int, int], int]:
    """Return the classes, the train id of each category id, and that of unlabelled pixels."""
    names = [categories[identity].name for identity in sorted(categories)]
    if BACKGROUND in names:
        background = names.index(BACKGROUND)
    elif any(category.is_stuff for category in categories.values()):
        background = IGNORE_ID
    else:
        names.insert(0, BACKGROUND)
        background = 0
    if not 2 <= len(names) <= IGNORE_ID:
        raise UserError(f"{path}: {len(names)} classes with background, expected 2 to {IGNORE_ID}")
    palette = list(evenly_spaced_palette(len(names)))
    if background != IGNORE_ID:
        palette[background] = (0, 0, 0)
    train_ids = {identity: names.index(category.name) for identity, category in categories.items()}
    return Classes(tuple(names), tuple(palette), IGNORE_ID), train_ids, background


def _images(
    path: Path, content: dict[str, Any], folder: Path, categories: dict[int, _Category]
) -> dict[Path, _Image]:
    """Return the images that a file lists, with their annotations, by the path of the image."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    by_id: dict[int, _Image] = {}
    places: dict[str, str] = {}
    for where, entry in _entries(path, content, "images"):
        image = file_inside(folder, folder, entry.get("file_name"), where)
        key = key_below(folder, image)
        if key in places:
            raise UserError(f"{where} has the image {key!r}, also the image of {places[key]}")
        places[key] = where
        size = [entry.get("height"), entry.get("width")]
        by_id[entry["id"]] = _Image(Item(key, image, path), size)
    if not by_id:
        raise UserError(f"{path}: no images")
    for where, entry in _entries(path, content, "annotations"):
        image_id, category = _whole(where, entry, "image_id"), _whole(where, entry, "category_id")
        if image_id not in by_id:
            raise UserError(
                f"{where} has the image_id {reprlib.repr(image_id)}, which no image has"
            )
        if category not in categories:
            raise UserError(
                f"{where} has the category_id {reprlib.repr(category)}, which no category has"
            )
        by_id[image_id].annotations.append(entry)
    return {image.item.image: image for image in by_id.values()}


def _items(
    split: str, listed: dict[Path, _Image], folder: Path, unlabelled_train: bool
) -> list[Item]:
    """Return the items of a split, or of the split "" that stands for all images."""
    items = {image.item.image_id: image.item for image in listed.values()}
    annotated = {image.item.image_id for image in listed.values() if image.annotations}
    if split == "train" and unlabelled_train and not annotated:
        items = {key: item._replace(annotation=None) for key, item in items.items()}
    if not split and unlabelled_train:
        unlisted = pair(images_below(folder), {})
        items = {item.image_id: item for item in unlisted} | {key: items[key] for key in annotated}
    return sorted(items.values())


def _parts(where: str, parts: list[Any], height: int, width: int) -> list[list[float]]:
    """Check the polygons [[x, y, x, y, ...], ...] of one annotation.

    pycocotools would take four numbers for a box, fill memory for far points or for many that are
    far from each other (some 100 bytes a pixel of outline), and hang on NaN.
    """
    margin = max(height, width)
    limits = (width + margin, height + margin)
    for number, part in enumerate(parts):
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
            raise UserError(
                f"{where}: polygon {number} is {reprlib.repr(part)}, expected [x, y, x, y, ...] "
                "of three points or more"
            )
        for i, value in enumerate(part):
            if type(value) not in (int, float) or not -margin <= value <= limits[i % 2]:
                raise UserError(
                    f"{where}: polygon {number} has the coordinate {reprlib.repr(value)}, expected "
                    f"pixels of an image of {height}x{width}"
                )
    if not parts:
        raise UserError(f"{where} has an empty segmentation")
    length = sum(map(_outline_length, parts))
    if length > _MAX_OUTLINE:
        raise UserError(
            f"{where} has an outline of {length:.0f} pixels, at most {_MAX_OUTLINE} are drawn"
        )
    return parts


def _outline_length(part: list[float]) -> float:
    """Return the pixels along the edges of a polygon [x, y, x, y, ...]."""
    points = np.reshape(part, (-1, 2))
    return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()


def _runs(where: str, segmentation: Any, height: int, width: int) -> list[int]:
    """Check run lengths, compressed or not, which pycocotools trusts; return them uncompressed."""
    if not isinstance(segmentation, dict):
        raise UserError(
            f"{where} has the segmentation {reprlib.repr(segmentation)}, expected polygons or RLE"
        )
    if segmentation.get("size") != [height, width]:
        raise UserError(
            f"{where} has an RLE of size {reprlib.repr(segmentation.get('size'))}, "
            f"its image is {[height, width]}"
        )
    counts = segmentation.get("counts")
    runs = _decompressed(where, counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise UserError(f"{where} has an RLE whose counts are no lengths of runs")
    if sum(runs) != height * width:
        raise UserError(
            f"{where} has an RLE of {reprlib.repr(sum(runs))} pixels, "
            f"its image has {height * width}"
        )
    return runs


def _decompressed(where: str, text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is written in base 32, the lowest digit first, in characters from `0`; bit 5 of a
    character says that more follow, bit 4 of the last one is the sign. From the fourth number on,
    it is the difference to the run two before (`rleFrString` of cocoapi's maskApi.c).
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        digit = ord(character) - ord("0")
        if not 0 <= digit < 64 or bits > _MAX_RUN_BITS:
            raise UserError(f"{where} has an RLE with the wrong character {character!a}")
        value |= (digit & 31) << bits
        bits += 5
        if digit < 32:
            value -= (digit & 16) << bits - 4
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    if bits:
        raise UserError(f"{where} has an RLE that ends within a number")
    return runs
