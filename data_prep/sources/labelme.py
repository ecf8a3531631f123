"""LabelMe: a JSON file of shapes beside each image, painted as LabelMe paints them."""

import base64
import io
import math
import reprlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.sources.masks import (
    ClassesOptions,
    OutlineOptions,
    classes_if_given,
    evenly_spaced_palette,
    read_tolerance,
)
from cereals_tf.data_prep.sources.reading import (
    IMAGE_SUFFIXES,
    file_inside,
    files_below,
    key_below,
    open_image,
    outline_object,
    read_json,
    read_points,
    refuse_rotated,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import DividedOptions, divided, splits_of
from cereals_tf.data_prep.text import is_unicode, shown

BACKGROUND = "_background_"
IGNORE = "__ignore__"
IGNORE_ID = 255
_FOUND = "the JSON files found (a classes file may name more, see --classes)"
_SPLITS = ("train", "val", "test")
_POINTS = {"polygon": None, "oriented_rectangle": 4, "rectangle": 2, "circle": 2, "mask": 2}


@dataclass(frozen=True)
class LabelmeOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How LabelMe's files are read."""

    tolerance: float = option(
        2.0, "How far the polygon of a circle or a mask may be from it, pixels.", read_tolerance
    )


class LabelmeSource:
    """Images with LabelMe's JSON files, at any depth: in `train` and `val`, or to be divided.

    Train may have no JSON file at all: people will annotate its images.

    The image is the file that `imagePath` names; embedded `imageData` is not read.

    The classes are those of the classes file, or else all labels found, in the order of their
    characters with `_background_` first. The label `__ignore__` stands for the ignore id. Pixels
    without a shape are `_background_` if that is a class, and ignored otherwise.

    Shapes are painted in the order of the file. Points and lines have no area and are refused. The
    polygon of a rectangle has its four corners; those of circles and masks are their contours,
    simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: LabelmeOptions) -> None:
        self._options = options
        classes_file = folder / options.classes
        self._splits: dict[str, list[Item]] = {}
        labels: set[str] = set()
        for split, part in _parts(folder).items():
            files = [path for path in files_below(part, [".json"]) if path != classes_file]
            if not files and split != "train":
                raise UserError(f"{part}: no JSON files of LabelMe, expected some: they make val")
            self._splits[split] = _items(folder, part, files, labels)
        given = classes_if_given(folder, options)
        self.classes = given or _classes(folder, labels)
        self.classes_from = str(classes_file) if given else _FOUND
        if IGNORE in self.classes.names:
            raise UserError(f"{classes_file}: {IGNORE} stands for 'ignore_id', it is no class")
        self._train_ids = {name: i for i, name in enumerate(self.classes.names)}
        self._train_ids[IGNORE] = self.classes.ignore_id
        self.background = self._train_ids.get(BACKGROUND, self.classes.ignore_id)

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        if "" in self._splits:
            return divided(self._splits[""], self._options)
        return splits_of(self._splits, self._options)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        content = read_json(item.annotation)
        stated = [content.get("imageHeight"), content.get("imageWidth")]
        if stated not in ([height, width], [None, None]):
            raise UserError(
                f"{item.annotation}: says [imageHeight, imageWidth] {reprlib.repr(stated)}, "
                f"its image {item.image.name} is {[height, width]}"
            )
        refuse_rotated(item.image)
        label = np.full((height, width), self.background, np.uint8)
        polygons: list[Polygon] = []
        for where, shape in shapes_of(item.annotation, content):
            train_id = self._train_ids.get(label_of(where, shape))
            if train_id is None:
                raise UserError(f"{where} has the unknown class name {shown(shape['label'])}")
            mask, outlines = drawn_shape(where, shape, height, width, self._options.tolerance)
            label[mask] = train_id
            polygons += [Polygon(train_id, points) for points in outlines]
        return Annotation(label, polygons)


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folder of each split, or of the split "" that stands for all images."""
    parts = {split: folder / split for split in _SPLITS if (folder / split).is_dir()}
    if not parts.keys() & {"train", "val"}:
        return {"": folder}
    for split in ("train", "val"):
        if split not in parts:
            raise UserError(f"{folder / split}: no such folder")
    return parts


def _items(source: Path, part: Path, files: list[Path], labels: set[str]) -> list[Item]:
    """Return the items of one split, and add their labels to `labels`."""
    items: dict[Path, Item] = {}
    for path in files:
        content = read_json(path)
        name = content.get("imagePath")
        if isinstance(name, str):
            name = PureWindowsPath(name).as_posix()
        image = file_inside(source, path.parent, name, f"{path}: 'imagePath'")
        if image in items:
            raise UserError(f"{path}: annotates {image}, as {items[image].annotation} does")
        items[image] = Item(key_below(part, path), image, path)
        labels.update(label_of(where, shape) for where, shape in shapes_of(path, content))
    for path in files_below(part, IMAGE_SUFFIXES):
        if path not in items:
            items[path] = Item(key_below(part, path), path, None)
    if not items:
        raise UserError(f"{part}: no images (.png, .jpg or .jpeg)")
    return sorted(items.values())


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
    if not isinstance(label, str) or not label or not is_unicode(label):
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
        raise UserError(
            f"{where} has shape_type {reprlib.repr(kind)}, expected one with an area: "
            f"{', '.join(_POINTS)}"
        )
    points = read_points(where, shape.get("points"))
    expected = _POINTS[kind]
    if len(points) != expected if expected else len(points) < 3:
        raise UserError(
            f"{where} is a {kind} of {len(points)} points, expected {expected or 'at least 3'}"
        )
    return kind, points


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
    """Return the image of a mask: base64 of a PNG, filling the box from one pixel to another."""
    (left, top), (right, bottom) = points.astype(int).tolist()
    if not (0 <= left <= right < width and 0 <= top <= bottom < height):
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
    if image.size != box or image.mode not in ("1", "L", "P"):
        raise UserError(
            f"{where} has a mask of {image.height}x{image.width} in mode {image.mode}, expected "
            f"{box[1]}x{box[0]} in one channel"
        )
    mask = np.zeros((height, width), bool)
    mask[top : bottom + 1, left : right + 1] = np.array(image) > 0
    return mask


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the four corners of the rectangle between two points."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
