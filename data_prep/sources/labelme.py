"""LabelMe: a JSON file of shapes beside each image, painted as LabelMe paints them."""

import base64
import io
import math
import os
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.images import IMAGE_SUFFIXES, images_below, open_image
from cereals_tf.data_prep.sources.label_map import (
    ClassesOptions,
    LabelMap,
    evenly_spaced_palette,
    train_id_map,
)
from cereals_tf.data_prep.sources.label_sets import LabelSet, label_set_of
from cereals_tf.data_prep.sources.masks import OutlineOptions, read_tolerance
from cereals_tf.data_prep.sources.reading import (
    INVALID_SHAPES,
    OTHER_SIZE,
    file_inside,
    files_below,
    key_below,
    outline_object,
    read_object,
    read_points,
    splits_matching,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    divided,
    known_splits,
    split_names,
    splits_of,
)
from cereals_tf.data_prep.text import is_unicode

BACKGROUND = "_background_"
IGNORE = "__ignore__"
IGNORE_ID = 255
_FOUND = "the JSON files found (a classes file may name more, see --classes)"
_POINTS: dict[str, tuple[int, ...]] = {
    "polygon": (),
    "rotation": (4,),
    "oriented_rectangle": (4,),
    "quadrilateral": (4,),
    "rectangle": (2, 4),
    "circle": (2,),
    "mask": (2,),
}
"""How many points a shape of each type may have; a polygon has three or more."""


@dataclass(frozen=True)
class LabelmeOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How LabelMe's files are read."""

    tolerance: float = option(
        1.0, "How far the polygon of a circle or a mask may be from it, pixels.", read_tolerance
    )


class LabelmeSource:
    """Images with LabelMe's JSON files, at any depth: in `train` and `val`, or to be divided.

    Train may have no JSON file at all: people will annotate its images.

    The image is the file that `imagePath` names, or of that name beside the JSON file; embedded
    `imageData` is not read.

    The classes are those of the classes file, or else all labels found, in the order of their
    characters with `_background_` first. The label `__ignore__` stands for the ignore id. Pixels
    without a shape are `_background_` if that is a class, and ignored otherwise.

    Shapes are painted in the order of the file. Points and lines have no area and are refused. The
    polygon of a rectangle has its four corners; those of circles and masks are their contours,
    simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: LabelmeOptions) -> None:
        self._folder = folder
        self.options = options
        self.log = SourceLog()
        classes_file = folder / options.classes
        self._splits: dict[str, list[Item]] = {}
        labels: set[str] = set()
        for split, parts in _parts(folder, options).items():
            found = [
                (part, path)
                for part in parts
                for path in files_below(part, [".json"])
                if path != classes_file
            ]
            if not found and split != "train":
                raise UserError(
                    f"{parts[0]}: no JSON files of LabelMe, expected some: they make val"
                )
            items = [
                item
                for part in parts
                for item in self._items(part, [path for of, path in found if of == part], labels)
            ]
            self._splits[split] = items
        self._labels_as = self._label_map(labels)
        self.classes = self._labels_as.classes
        self.background = self._labels_as.names.get(BACKGROUND, self.classes.ignore_id)

    def _label_map(self, labels: set[str]) -> LabelMap:
        """Return what the labels mean, by the classes file or as they were found."""
        path = self._folder / self.options.classes
        found = None
        if not os.path.lexists(path) and self.options.classes == LabelmeOptions.classes:
            if not labels and self.log.problems:
                raise self.log.nothing_left(f"{self._folder}: no labels")
            found = LabelSet(_FOUND, train_id_map(_classes(self._folder, labels)))
        self.classes_from, labels_as = label_set_of(self._folder, self.options, found)
        if IGNORE in labels_as.classes.names:
            raise UserError(f"{path}: {IGNORE} stands for 'ignore_id', it is no class")
        return replace(labels_as, names={**labels_as.names, IGNORE: labels_as.classes.ignore_id})

    def _items(self, part: Path, files: Sequence[Path], labels: set[str]) -> list[Item]:
        """Return the items of a folder, and add the labels of their shapes to `labels`."""
        items: dict[Path, Item] = {}
        damaged = set()
        for path in files:
            with self.log.noted("annotation files that cannot be used"):
                damaged.add(path.with_suffix(""))
                content = read_object(path)
                image = _image_of(self._folder, path, content)
                if image in items:
                    raise UserError(f"{path}: annotates {image}, as {items[image].annotation} does")
                labels |= _labels_in(path, content)
                items[image] = Item(key_below(part, path), image, path)
                damaged.remove(path.with_suffix(""))
        if files_below(part, IMAGE_SUFFIXES):
            for key, path in images_below(part, self.log).items():
                if path not in items and path.with_suffix("") not in damaged:
                    items[path] = Item(key, path, None)
        if not items:
            raise self.log.nothing_left(f"{part}: no images")
        return list(items.values())

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        if "" in self._splits:
            return divided(self._splits[""], self.options, self.log)
        return splits_of(self._splits, self.options, self.log)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        content = read_object(item.annotation)
        stated = [content.get("imageHeight"), content.get("imageWidth")]
        if stated not in ([height, width], [None, None]):
            raise InvalidError(
                OTHER_SIZE,
                f"{item.annotation}: says [imageHeight, imageWidth] {reprlib.repr(stated)}, "
                f"its image {item.image.name} is {[height, width]}",
            )
        label = np.full((height, width), self.background, np.uint8)
        polygons: list[Polygon] = []
        log = SourceLog()
        for where, shape in shapes_of(item.annotation, content):
            with log.noted(INVALID_SHAPES):
                mask, outlines = drawn_shape(where, shape, height, width, self.options.tolerance)
                train_id = self._labels_as.of_name(label_of(where, shape), where)
                label[mask] = train_id
                polygons += [Polygon(train_id, points) for points in outlines]
        return Annotation(label, polygons, log.problems)


def _parts(folder: Path, options: LabelmeOptions) -> dict[str, list[Path]]:
    """Return the folders of each split, or of the split "" that stands for all images."""
    found = [name for name in splits_matching(folder, "{split}") if (folder / name).is_dir()]
    if not known_splits(found, options).keys() & {"train", "val"}:
        return {"": [folder]}
    names = split_names(found, options, str(folder / "{split}"))
    return {split: [folder / name for name in of_split] for split, of_split in names.items()}


def _image_of(source: Path, path: Path, content: dict[str, Any]) -> Path:
    """Return the image of a JSON file: where `imagePath` says, or of that name beside the file."""
    name, where = content.get("imagePath"), f"{path}: 'imagePath'"
    if not isinstance(name, str):
        return file_inside(source, path.parent, name, where)
    named = PureWindowsPath(name)
    try:
        return file_inside(source, path.parent, named.as_posix(), where)
    except UserError:
        if not named.name or not os.path.isfile(path.parent / named.name):
            raise
        return file_inside(source, path.parent, named.name, where)


def _labels_in(path: Path, content: dict[str, Any]) -> set[str]:
    """Return the labels of the shapes that have an area."""
    labels = set()
    for where, shape in shapes_of(path, content):
        with suppress(UserError):
            _geometry(where, shape)
            labels.add(label_of(where, shape).strip())
    return labels


def _classes(folder: Path, labels: set[str]) -> Classes:
    names = sorted(labels - {IGNORE}, key=lambda name: (name != BACKGROUND, name))
    if not 2 <= len(names) <= IGNORE_ID:
        raise UserError(
            f"{folder}: has {len(names)} labels {reprlib.repr(names)}, expected 2 to {IGNORE_ID}; "
            f"a classes file (see --classes) names others, as {BACKGROUND}, the pixels without a "
            "shape"
        )
    return Classes(tuple(names), evenly_spaced_palette(len(names)), IGNORE_ID)


def shapes_of(path: Path, content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the shapes of a file, each with its place for messages.

    Raises:
        UserError: They are no list of objects.
    """
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise UserError(f"{path}: 'shapes' is {type(shapes).__name__}, expected a list")
    for number, shape in enumerate(shapes):
        if not isinstance(shape, dict):
            raise UserError(f"{path}: shape {number} is {type(shape).__name__}, expected an object")
    return [(f"{path}: shape {number}", shape) for number, shape in enumerate(shapes)]


def label_of(where: str, shape: dict[str, Any]) -> str:
    """Return a shape's label.

    Raises:
        UserError: It has none; `where` begins the message.
    """
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip() or not is_unicode(label):
        raise UserError(f"{where} has label {reprlib.repr(label)}, expected a name")
    return label


def drawn_shape(
    where: str, shape: dict[str, Any], height: int, width: int, tolerance: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what a shape covers and what was clicked to draw it.

    Args:
        where: What begins a message about it.
        shape: The shape in LabelMe's JSON.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        tolerance: How far the contours of circles and masks may be simplified, pixels.

    Returns:
        bool [height, width], and the vertices (x, y) of polygons, float64 [V, 2] each.

    Raises:
        UserError: The shape has no area or is damaged.
    """
    kind, points = _geometry(where, shape)
    mask = _painted(where, kind, shape, points, height, width)
    if kind in ("circle", "mask"):
        outlines = [polygon.points for polygon in outline_object(mask, 0, tolerance)]
    else:
        outlines = [_corners(points) if len(points) == 2 else points]
    return mask, outlines


def _geometry(where: str, shape: dict[str, Any]) -> tuple[str, np.ndarray]:
    """Return a shape's type and points; LabelMe's first versions wrote polygons without a type."""
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in _POINTS:
        raise InvalidError(
            "shapes without an area",
            f"{where} has shape_type {reprlib.repr(kind)}, expected one with an area: "
            f"{', '.join(_POINTS)}",
        )
    points = read_points(where, shape.get("points"))
    allowed = _POINTS[kind]
    if len(points) not in allowed if allowed else len(points) < 3:
        expected = " or ".join(map(str, allowed)) or "at least 3"
        raise UserError(f"{where} is a {kind} of {len(points)} points, expected {expected}")
    return ("polygon" if len(points) == 4 else kind), points


def _painted(
    where: str, kind: str, shape: dict[str, Any], points: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Return the pixels of a shape, bool [H, W], as `labelme.utils.shape_to_mask` draws them."""
    if kind == "mask":
        return _pasted(where, shape.get("mask"), points, height, width)
    canvas = Image.new("L", (width, height))
    drawer = ImageDraw.Draw(canvas)
    if kind == "circle":
        centre, radius = points[0], math.dist(*points)
        if radius > height + width:
            raise UserError(f"{where} is a circle of radius {radius:g}, larger than the image")
        drawer.ellipse([*(centre - radius).tolist(), *(centre + radius).tolist()], fill=1)
    elif kind == "rectangle":
        drawer.rectangle([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()], fill=1)
    else:
        drawer.polygon(points.ravel().tolist(), fill=1)
    return np.array(canvas) > 0


def _pasted(where: str, encoded: Any, points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the image of a mask: base64 of a PNG, filling the box from one pixel to another.

    What of the box lies beyond the image is in the mask or, as LabelMe writes it, is not.
    """
    (left, top), (right, bottom) = points.astype(int).tolist()
    shown_box = (min(right + 1, width) - left, min(bottom + 1, height) - top)
    if left < 0 or top < 0 or min(shown_box) < 1 or right < left or bottom < top:
        raise UserError(
            f"{where} has a mask from {[left, top]} to {[right, bottom]}, its image is "
            f"{height}x{width}"
        )
    try:
        content = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError):
        raise UserError(f"{where} has the mask {reprlib.repr(encoded)}, expected base64") from None
    image = open_image(io.BytesIO(content), f"{where}: its mask")
    box = (right - left + 1, bottom - top + 1)
    if image.size not in (box, shown_box) or image.mode not in ("1", "L", "P"):
        raise UserError(
            f"{where} has a mask of {image.height}x{image.width} in mode {image.mode}, expected "
            f"{box[1]}x{box[0]} in one channel"
        )
    mask = np.zeros((height, width), bool)
    window = mask[top : bottom + 1, left : right + 1]
    window[:] = np.array(image)[: window.shape[0], : window.shape[1]] > 0
    return mask


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the four corners of the rectangle between two points."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
