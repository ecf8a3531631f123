"""Images with id masks: CamVid's layout, and any image folder with any mask folder."""

import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import outline_mask
from cereals_tf.data_prep.sources.reading import (
    IMAGE_SUFFIXES,
    annotations_below,
    files_by_key,
    images_below,
    open_image,
    read_json,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    SplitOptions,
    divided,
    pair,
    splits_of,
)
from cereals_tf.data_prep.text import is_unicode

_LAYOUTS = (
    ("{split}/images", "{split}/labels"),
    ("images/{split}", "labels/{split}"),
    ("{split}/images", "{split}/masks"),
    ("images/{split}", "masks/{split}"),
    ("images", "labels"),
    ("images", "masks"),
)
_SPLITS = ("train", "val", "test")


def read_tolerance(pixels: float) -> float:
    """Read `--tolerance`; the ValueError says what was expected."""
    if not 0 <= pixels < math.inf:
        raise ValueError("0 or more pixels")
    return pixels


@dataclass(frozen=True)
class OutlineOptions(SplitOptions):
    """Options of sources with masks, whose polygons are the masks' contours."""

    tolerance: float = option(
        2.0, "How far a polygon may be from its mask, pixels.", read_tolerance
    )


@dataclass(frozen=True)
class ClassesOptions(SplitOptions):
    """Options of sources that may have a classes file."""

    classes: str = option(
        "classes.json", "JSON file in SOURCE with class names, palette and ignore_id."
    )


@dataclass(frozen=True)
class MaskOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How images with id masks are read."""

    images: str = option(
        "",
        "Folder of the images in SOURCE, {split} standing for train or val; by default the usual "
        "places are looked at.",
    )
    labels: str = option("", "Folder of the id masks in SOURCE, likewise.")


class MaskSource:
    """Image files, 8-bit id masks of the same names, and a JSON file of classes.

    Without `--images` and `--labels` the usual layouts are looked for, `train/images` beside
    `train/labels` first. A layout without `{split}` is divided into train and val. Train may have
    no mask at all: people will annotate its images.

    Polygons are the masks' contours, simplified at `tolerance` pixels; the mask stays the label.
    """

    def __init__(self, folder: Path, options: MaskOptions) -> None:
        self._folder = folder
        self._options = options
        self.classes = read_classes(folder / options.classes)
        self.classes_from = str(folder / options.classes)
        self.background = self.classes.ignore_id
        self._images, self._labels = self._layout()

    def _layout(self) -> tuple[str, str]:
        given = (self._options.images, self._options.labels)
        if all(given):
            if len({"{split}" in pattern for pattern in given}) > 1:
                raise UserError(
                    f"--images={given[0]} --labels={given[1]}: {{split}} belongs in both or neither"
                )
            return given
        if any(given):
            raise UserError("--images and --labels go together: give both or neither")
        for images, labels in _LAYOUTS:
            of_labels = (self._of_split(labels, split) for split in ("train", "val"))
            if self._of_split(images, "train").is_dir() and any(map(Path.is_dir, of_labels)):
                return images, labels
        raise UserError(
            f"{self._folder}: neither train/images with train/labels nor images with labels: "
            "give --images and --labels"
        )

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        patterns = (self._images, self._labels)
        if "{split}" not in self._images:
            return divided(self._pairs(""), self._options)
        present = [
            split
            for split in _SPLITS
            if any(self._of_split(part, split).is_dir() for part in patterns)
        ]
        for split in ("train", "val"):
            if split not in present:
                raise UserError(f"{self._of_split(self._images, split)}: no such folder")
        return splits_of({split: self._pairs(split) for split in present}, self._options)

    def _of_split(self, pattern: str, split: str) -> Path:
        return self._folder / pattern.replace("{split}", split)

    def _pairs(self, split: str) -> list[Item]:
        images = images_below(self._of_split(self._images, split))
        folder = self._of_split(self._labels, split)
        return pair(images, files_by_key(folder, annotations_below(folder, IMAGE_SUFFIXES, split)))

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        return annotation_of_mask(item, height, width, self.classes, self._options.tolerance)


def annotation_of_mask(
    item: Item, height: int, width: int, classes: Classes, tolerance: float
) -> Annotation:
    """Read an item's id mask and outline it at `tolerance` pixels.

    Raises:
        UserError: The mask is damaged, of another size than its image or has an unknown id.
    """
    assert item.annotation
    mask = read_id_mask(item.annotation)
    if mask.shape != (height, width):
        raise UserError(
            f"{item.annotation}: mask is {mask.shape[0]}x{mask.shape[1]}, "
            f"its image {item.image.name} is {height}x{width}"
        )
    unknown = np.setdiff1d(mask, [*range(len(classes)), classes.ignore_id])
    if unknown.size:
        raise UserError(
            f"{item.annotation}: label id {unknown[0]} is neither one of the "
            f"{len(classes)} classes nor the ignore id {classes.ignore_id}"
        )
    return Annotation(mask, outline_mask(mask, classes.ignore_id, tolerance))


def read_id_mask(path: Path) -> np.ndarray:
    """Read an 8-bit greyscale or palette PNG of ids as uint8 [H, W]; palette indices are the ids.

    Raises:
        UserError: No image, of another mode, or stored with loss.
    """
    image = open_image(path)
    if image.format != "PNG":
        raise UserError(f"{path}: an id mask is a PNG, found {image.format}, which alters ids")
    with Image.open(path) as header:
        mode = header.tile[0][3]  # of greyscale of fewer bits, Pillow stretches the values
    if mode != "L" and image.mode != "P":
        raise UserError(f"{path}: an id mask is 8-bit greyscale or palette, found mode {mode}")
    return np.array(image, np.uint8)


def classes_if_given(folder: Path, options: ClassesOptions) -> Classes | None:
    """Read the source's classes file; None if it has none and `--classes` names none.

    Raises:
        UserError: See `read_classes`.
    """
    path = folder / options.classes
    if options.classes == ClassesOptions.classes and not path.exists():
        return None
    return read_classes(path)


def read_classes(path: Path) -> Classes:
    """Read a classes file: {"names": [...], "ignore_id": 255, "palette": [[r, g, b], ...]}.

    `ignore_id` defaults to 255, a missing palette is drawn from evenly spaced hues.

    Raises:
        UserError: No such file, broken JSON, or a field of the wrong form.
    """
    if not path.exists():
        raise UserError(f"{path}: no such classes file (see --classes)")
    content = read_json(path)
    names = _names(path, content.get("names"))
    ignore_id = content.get("ignore_id", 255)
    if type(ignore_id) is not int or not len(names) <= ignore_id <= 255:
        raise UserError(
            f"{path}: 'ignore_id' is {reprlib.repr(ignore_id)}, expected a whole number "
            f"from {len(names)} to 255"
        )
    return Classes(names, _palette(path, content.get("palette"), len(names)), ignore_id)


def _names(path: Path, names: Any) -> tuple[str, ...]:
    valid = isinstance(names, list) and all(
        isinstance(name, str) and name and is_unicode(name) for name in names
    )
    if not valid or not 2 <= len(names) <= 255:
        raise UserError(f"{path}: 'names' must be a list of 2 to 255 class names")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: 'names' has a name twice")
    return tuple(names)


def _palette(path: Path, palette: Any, classes: int) -> tuple[tuple[int, int, int], ...]:
    if palette is None:
        return evenly_spaced_palette(classes)
    valid = isinstance(palette, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in colour)
        for colour in palette
    )
    if not valid or len(palette) != classes:
        raise UserError(f"{path}: 'palette' must hold {classes} [red, green, blue] of 0 to 255")
    return tuple((red, green, blue) for red, green, blue in palette)


def evenly_spaced_palette(classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return one colour per class, hues evenly spaced, two brightnesses in turn."""
    from colorsys import hsv_to_rgb

    colours = (hsv_to_rgb(i / classes, 0.65, (0.95, 0.7)[i % 2]) for i in range(classes))
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours)
