"""CVAT for images 1.1: an XML file of polygons, boxes, ellipses and masks beside the images."""

import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.coco_masks import coco_masks, drawable_parts
from cereals_tf.data_prep.sources.images import images_below, remark_unlisted
from cereals_tf.data_prep.sources.label_map import (
    ClassesOptions,
    evenly_spaced_palette,
    train_id_map,
)
from cereals_tf.data_prep.sources.label_sets import IGNORE_ID, LabelSet, label_set_of
from cereals_tf.data_prep.sources.masks import OutlineOptions, read_tolerance
from cereals_tf.data_prep.sources.reading import (
    INVALID_SHAPES,
    OTHER_SIZE,
    UNREADABLE,
    file_inside,
    is_litter,
    key_below,
    outline_object,
    read_file,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    divided,
    known_splits,
    pair,
    split_names,
    splits_of,
)
from cereals_tf.data_prep.text import counted, is_unicode, shown

BACKGROUND = "background"
_WITHOUT_PIXELS = ("points", "polyline", "skeleton", "tag")
"""Types of labels whose shapes have no area, so that they are no classes."""

_AREAS = ("polygon", "box", "ellipse", "mask")
_ELLIPSE_POINTS = 64


@dataclass(frozen=True)
class CvatOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How CVAT's files are read."""

    annotations: str = option(
        "", "XML file in SOURCE. By default all that lie there, as annotations.xml."
    )
    images: str = option("", "Folder of the images in SOURCE. By default images, or SOURCE itself.")
    tolerance: float = option(
        1.0, "How far the polygon of a mask or an ellipse may be from it, pixels.", read_tolerance
    )


class Shape(NamedTuple):
    """A shape of an image.

    Attributes:
        where: Its place, for messages.
        kind: The name of its element, as `polygon`.
        values: The element's XML attributes.
        attributes: What CVAT calls its attributes.
    """

    where: str
    kind: str
    values: Mapping[str, str]
    attributes: Mapping[str, str]

    def number(self, name: str, default: float | None = None) -> float:
        """Return an attribute that is a number.

        Raises:
            UserError: It is none.
        """
        text = self.values.get(name)
        if text is None and default is not None:
            return default
        try:
            number = float(text or "")
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{self.where} has {name} {reprlib.repr(text)}, expected a number")
        return number


@dataclass
class CvatImage:
    """An image that a file lists.

    Attributes:
        where: Its place, for messages.
        name: Its file's name.
        subset: What CVAT calls the part of the data set that it is in.
        size: What is stated as its (height, width).
        number: Its number in the task; -1 where there is none.
        shapes: In the order of the file.
    """

    where: str
    name: str
    subset: str
    size: tuple[str | None, str | None]
    number: int = -1
    shapes: list[Shape] = field(default_factory=list)


class CvatSource:
    """`annotations.xml` of CVAT for images 1.1, with the images beside it or in `images`.

    Splits are the files' or the images' subsets, if they are named so; otherwise the images are
    divided. With `unlabelled_train`, images without shapes become train, and others that lie there.

    The classes are those of the classes file, or else the labels of the XML, in its order. Pixels
    without a shape belong to the class `background`, which comes first unless a label or the
    classes file has this name; where a classes file has none, they are ignored.

    Shapes are painted in the order of `z_order`, then of the file. The pixels of polygons, boxes
    and ellipses are those of `annToMask` of pycocotools, as in CVAT's own masks; points and lines
    have no area. Polygons are the annotation's own, where the first pixel is centred at (0.5, 0.5);
    those of masks and ellipses are their contours, simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: CvatOptions) -> None:
        self._masks = coco_masks("cvat")
        self._folder = folder
        self.options = options
        self.log = SourceLog()
        files = self._files()
        labels: dict[str, str] = {}
        images: list[CvatImage] = []
        for path in files:
            root = read_xml(path)
            labels |= _labels(root)
            images += images_in(path, root, self.log)
        self._images: dict[Path, CvatImage] = {}
        self._items = self._listed(images)
        own = LabelSet(str(files[0]), train_id_map(_classes(files[0], labels)))
        self.classes_from, labels_as = label_set_of(folder, options, own)
        self.classes = labels_as.classes
        self._labels_as = replace(labels_as, names=dict(labels_as.names))
        self.background = self._labels_as.names.get(BACKGROUND, self.classes.ignore_id)

    def _files(self) -> list[Path]:
        if self.options.annotations:
            return [self._folder / self.options.annotations]
        found = sorted(
            path
            for path in self._folder.iterdir()
            if path.suffix.lower() == ".xml" and not is_litter(path.name)
        )
        if not found:
            raise UserError(f"{self._folder}: no XML file of CVAT for images (see --annotations)")
        return found

    def _listed(self, images: Sequence[CvatImage]) -> dict[str, list[Item]]:
        """Return the items of each subset."""
        items: dict[str, list[Item]] = {}
        places = set()
        for image in images:
            with self.log.noted("images that are listed but cannot be used"):
                place, path = self._find(image)
                places.add(place)
                if path in self._images:
                    first = self._images[path].where
                    raise UserError(f"{image.where} is the image {path}, as {first} is")
                self._images[path] = image
                file = Path(image.where.partition(": image ")[0])
                items.setdefault(image.subset, []).append(Item(key_below(place, path), path, file))
        if not items:
            raise self.log.nothing_left(f"{self._folder}: no images")
        if not self.options.unlabelled_train:
            remark_unlisted(places, self._images, self.log)
        return items

    def _places(self, subset: str) -> Iterator[Path]:
        """Give the folders where an image of a subset may be."""
        if self.options.images:
            yield self._folder / self.options.images / subset
            yield self._folder / self.options.images
            return
        yield self._folder / "images" / subset
        yield self._folder / "images"
        yield self._folder / subset
        yield self._folder

    def _find(self, image: CvatImage) -> tuple[Path, Path]:
        """Return the folder below which an image lies, and the image."""
        name = PureWindowsPath(image.name).as_posix()
        *_, last = places = list(self._places(image.subset))
        for place in places:
            if (place / name).is_file():
                return place, file_inside(place, place, name, image.where)
        for place in places:
            with suppress(UserError):
                return place, file_inside(place, place, name, image.where)
        return last, file_inside(last, last, name, image.where)

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        if not known_splits(list(self._items), self.options).keys() & {"train", "val"}:
            everything = [item for items in self._items.values() for item in items]
            return divided(self._with_unlabelled(everything, True), self.options, self.log)
        names = split_names(list(self._items), self.options, f"{self._folder}: subset {{split}}")
        parts = {
            split: [item for name in of_split for item in self._items[name]]
            for split, of_split in names.items()
        }
        parts["train"] = self._with_unlabelled(parts["train"], False)
        return splits_of(parts, self.options, self.log)

    def _with_unlabelled(self, items: list[Item], all_images: bool) -> list[Item]:
        """Return items, without an annotation where people still have to annotate them."""
        empty = {item for item in items if not self._images[item.image].shapes}
        if not self.options.unlabelled_train:
            if empty:
                images = counted(len(empty), "image has no shape", "images have no shape")
                self.log.remarks.append(f"{images}, all of them is {self._unpainted()}")
            return items
        marked = [item._replace(annotation=None) if item in empty else item for item in items]
        if not all_images:
            return marked
        place = next(place for place in self._places("") if place.is_dir())
        others = pair(images_below(place, self.log), {}, self.log)
        known = {item.image for item in items}
        return [*marked, *(item for item in others if item.image not in known)]

    def _unpainted(self) -> str:
        ignored = self.background == self.classes.ignore_id
        return "ignored" if ignored else f"of the class {self.classes.names[self.background]}"

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        image = self._images[item.image]
        if image.size != (str(height), str(width)):
            stated = reprlib.repr(list(image.size))
            raise InvalidError(
                OTHER_SIZE,
                f"{image.where} says [height, width] {stated}, the image is {[height, width]}",
            )
        label = np.full((height, width), self.background, np.uint8)
        polygons: list[Polygon] = []
        log = SourceLog()
        for shape in painters_order(image.shapes, log):
            with log.noted(INVALID_SHAPES):
                mask, outlines = drawn_shape(
                    shape, height, width, self.options.tolerance, self._masks
                )
                train_id = self._labels_as.of_name(shape.values.get("label"), shape.where)
                label[mask] = train_id
                polygons += [Polygon(train_id, points) for points in outlines]
        return Annotation(label, polygons, log.problems)


def painters_order(shapes: Sequence[Shape], log: SourceLog) -> list[Shape]:
    """Return shapes by `z_order`, then as they are; the log is told of those without one."""
    layers = []
    for shape in shapes:
        with log.noted(INVALID_SHAPES):
            layers.append((shape.number("z_order", 0.0), shape))
    return [shape for _, shape in sorted(layers, key=lambda layer: layer[0])]


def drawn_shape(
    shape: Shape, height: int, width: int, tolerance: float, masks: ModuleType
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what a shape covers and what was clicked to draw it.

    Args:
        shape: The shape.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        tolerance: How far the contours of masks and ellipses may be simplified, pixels.
        masks: What `coco_masks` returns.

    Returns:
        bool [height, width], and the vertices (x, y) of polygons, float64 [V, 2] each.

    Raises:
        UserError: The shape has no area or is damaged.
    """
    if shape.kind == "mask":
        mask = mask_of(shape, height, width)
    else:
        points = outline_of(shape)
        log = SourceLog()
        parts = drawable_parts(shape.where, [points.ravel().tolist()], height, width, log)
        for problem in log.problems:
            raise InvalidError(*problem)
        rle = masks.merge(masks.frPyObjects(parts, height, width))
        mask = masks.decode(rle) > 0
        if shape.kind != "ellipse":
            return mask, [points]
    return mask, [polygon.points for polygon in outline_object(mask, 0, tolerance)]


def outline_of(shape: Shape) -> np.ndarray:
    """Return the vertices (x, y) of a polygon, a box or an ellipse, float64 [V, 2].

    Raises:
        UserError: It has no area or is damaged.
    """
    if shape.kind == "polygon":
        return _points(shape)
    if shape.kind == "box":
        left, top, right, bottom = map(shape.number, ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return _rotated(corners, (left + right) / 2, (top + bottom) / 2, shape)
    if shape.kind == "ellipse":
        x, y, radius_x, radius_y = map(shape.number, ("cx", "cy", "rx", "ry"))
        angles = np.arange(_ELLIPSE_POINTS) * (2 * np.pi / _ELLIPSE_POINTS)
        outline = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
        return _rotated(outline, x, y, shape)
    raise InvalidError(
        "shapes without an area",
        f"{shape.where} is of the type {shape.kind}, expected one with an area: "
        f"{', '.join(_AREAS)}",
    )


def _points(shape: Shape) -> np.ndarray:
    text = shape.values.get("points", "")
    try:
        points = [[float(part) for part in point.split(",")] for point in text.split(";")]
        return np.reshape([[x, y] for x, y in points], (-1, 2)).astype(np.float64)
    except ValueError:
        raise UserError(
            f"{shape.where} has the points {reprlib.repr(text)}, expected x,y;x,y;..."
        ) from None


def _rotated(points: np.ndarray, x: float, y: float, shape: Shape) -> np.ndarray:
    """Return points turned about (x, y), clockwise as seen, by the degrees that a shape states."""
    angle = math.radians(shape.number("rotation", 0.0))
    if not angle:
        return points
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - [x, y]) @ turn + [x, y]


def mask_of(shape: Shape, height: int, width: int) -> np.ndarray:
    """Return the pixels of a mask, bool [height, width].

    CVAT writes runs without and with it in turn, row by row of its box.

    Raises:
        UserError: It is damaged or lies outside an image of this size.
    """
    names = ("left", "top", "width", "height")
    left, top, columns, rows = (int(shape.number(name)) for name in names)
    inside = left >= 0 and top >= 0 and left + columns <= width and top + rows <= height
    if not inside or min(columns, rows) < 1:
        raise UserError(
            f"{shape.where} is {rows}x{columns} pixels at {[left, top]}, its image is "
            f"{height}x{width}"
        )
    parts = [part.strip() for part in shape.values.get("rle", "").split(",")]
    valid = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    runs = [int(part) for part in parts] if valid else []
    if sum(runs) != rows * columns:
        raise UserError(f"{shape.where} has runs of {sum(runs)} pixels, expected {rows * columns}")
    values = np.arange(len(runs)) % 2 == 1
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + columns] = np.repeat(values, runs).reshape(rows, columns)
    return mask


def read_xml(path: Path, where: str = "") -> ElementTree.Element:
    """Read a file of CVAT for images.

    Args:
        path: The file.
        where: What messages call it; by default that.

    Raises:
        UserError: It cannot be read, or is another kind of file.
    """
    content, where = read_file(path), where or str(path)
    if not content:
        raise InvalidError(UNREADABLE, f"{where}: an empty file")
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise UserError(f"{where}: has a document type, expected a file that CVAT wrote")
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise InvalidError(UNREADABLE, f"{where}: broken XML: {error}") from None
    if root.tag != "annotations" or root.find("track") is not None:
        found = "tracks of a video" if root.tag == "annotations" else f"<{root.tag[:50]}>"
        raise UserError(f"{where}: found {found}, expected a file of CVAT for images 1.1")
    return root


def _labels(root: ElementTree.Element) -> dict[str, str]:
    """Return the colours of the labels whose shapes have an area, in the order of the file."""
    return {
        label.findtext("name", ""): label.findtext("color", "")
        for label in root.iterfind("./meta/*/labels/label")
        if label.findtext("type", "any") not in _WITHOUT_PIXELS and label.find("parent") is None
    }


def _classes(path: Path, labels: Mapping[str, str]) -> Classes:
    names = list(labels)
    colours = [_colour(colour) for colour in labels.values()]
    if BACKGROUND not in names:
        names.insert(0, BACKGROUND)
        colours.insert(0, (0, 0, 0))
    if not 2 <= len(names) <= IGNORE_ID or not all(name and is_unicode(name) for name in names):
        raise UserError(
            f"{path}: the labels {reprlib.repr(list(labels))}, expected 1 to {IGNORE_ID - 1}"
        )
    palette = tuple(colour for colour in colours if colour)
    if len(set(palette)) < len(colours):
        palette = evenly_spaced_palette(len(names))
    return Classes(tuple(names), palette, IGNORE_ID)


def _colour(text: str) -> tuple[int, int, int] | None:
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def images_in(path: Path | str, root: ElementTree.Element, log: SourceLog) -> list[CvatImage]:
    """Return the images that a file lists; the log is told of those without a name."""
    images = []
    for number, element in enumerate(root.iterfind("image")):
        name = element.get("name", "")
        where = f"{path}: image {shown(name)}"
        if not name:
            log.invalid("damaged entries of images", f"{path}: image {number} has no name")
            continue
        subset = element.get("subset", "")
        if subset in ("", ".", "..") or "/" in subset:
            subset = Path(path).stem
        size = (element.get("height"), element.get("width"))
        identity = element.get("id", "")
        place = int(identity) if re.fullmatch("[0-9]{1,9}", identity) else -1
        image = CvatImage(where, name, subset, size, place)
        for place, shape in enumerate(element):
            if shape.tag != "tag" and shape.get("outside", "0") != "1":
                attributes = {
                    found.get("name", ""): found.text or "" for found in shape.iterfind("attribute")
                }
                image.shapes.append(
                    Shape(f"{where}: shape {place}", shape.tag, dict(shape.attrib), attributes)
                )
        images.append(image)
    return images
