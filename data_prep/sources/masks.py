"""Images with masks: any image folder with any mask folder, and CamVid's layouts."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.polygons import outline_mask
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.images import images_below, open_image
from cereals_tf.data_prep.sources.label_map import ClassesOptions, LabelMap
from cereals_tf.data_prep.sources.label_sets import CAMVID, LabelSet, label_set_of
from cereals_tf.data_prep.sources.reading import (
    OTHER_SIZE,
    files_below,
    files_by_key,
    folders_matching,
    splits_matching,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    SplitOptions,
    divided,
    pair,
    split_names,
    splits_found,
    splits_of,
)

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".jpg", ".jpeg")
_MASK_FORMATS = ("PNG", "BMP", "TIFF", "GIF", "JPEG")
_UNFIT = "masks of a wrong form"
_LISTED = 10
_STRETCHED = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow multiplies values of grey of 2 or 4 bits."""


def read_tolerance(pixels: float) -> float:
    """Read `--tolerance`; the ValueError says what was expected."""
    if not 0 <= pixels < math.inf:
        raise ValueError("0 or more pixels")
    return pixels


@dataclass(frozen=True)
class OutlineOptions(SplitOptions):
    """Options of sources with masks, whose polygons are the masks' contours."""

    tolerance: float = option(
        1.0, "How far a polygon may be from its mask, pixels.", read_tolerance
    )


@dataclass(frozen=True)
class MaskOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How images with masks are read."""

    images: str = option(
        "",
        "Folder of the images in SOURCE, {split} standing for the split's name there, * for any "
        "folder's. By default the usual places are looked at.",
    )
    labels: str = option("", "Folder of the masks in SOURCE, with {split} and * as for the images.")
    image_suffix: str = option(
        "", "What the images' names end in before the extension, as _sat; no part of the id."
    )
    label_suffix: str = option(
        "", "What the masks' names have there instead, as _mask; others are no masks."
    )


class _Layout(NamedTuple):
    """Folders of images and of masks, and what the masks' names end in."""

    images: str
    labels: str
    label_suffix: str = ""


_LAYOUTS = (
    _Layout("{split}/images", "{split}/labels"),
    _Layout("images/{split}", "labels/{split}"),
    _Layout("{split}/images", "{split}/masks"),
    _Layout("images/{split}", "masks/{split}"),
    _Layout("images", "labels"),
    _Layout("images", "masks"),
)


class MaskSource:
    """Image files, masks of the same names, and a JSON file of classes.

    Without `--images` and `--labels` the usual layouts are looked for, `train/images` beside
    `train/labels` first. A layout without `{split}` is divided into train and val. Train may have
    no mask at all: people will annotate its images.

    Polygons are the masks' contours, simplified at `tolerance` pixels; the mask stays the label.
    """

    layouts = _LAYOUTS
    own_labels: LabelSet | None = None

    def __init__(self, folder: Path, options: MaskOptions) -> None:
        self._folder = folder
        self.options = options
        self.log = SourceLog()
        self.classes_from, self._labels_as = label_set_of(folder, options, self.own_labels)
        self.classes = self._labels_as.classes
        self.background = self.classes.ignore_id
        self._layout = self._given_layout() or self._found_layout()

    def _given_layout(self) -> _Layout | None:
        images, labels = self.options.images, self.options.labels
        if bool(images) != bool(labels):
            raise UserError("--images and --labels go together: give both or neither")
        if images and ("{split}" in images) != ("{split}" in labels):
            raise UserError(
                f"--images={images} --labels={labels}: {{split}} belongs in both or neither"
            )
        return _Layout(images, labels, self.options.label_suffix) if images else None

    def _found_layout(self) -> _Layout:
        for layout in self.layouts:
            of_images, of_labels = (self._splits_in(part) for part in layout[:2])
            whole = self.options.as_one and of_images and of_labels
            if whole or ("train" in of_images and {"train", "val"} & of_labels):
                return layout._replace(
                    label_suffix=self.options.label_suffix or layout.label_suffix
                )
        there = sorted(path.name for path in self._folder.glob("[!.]*") if path.is_dir())
        raise UserError(
            f"{self._folder}: neither train/images with train/labels nor images with labels: give "
            "--images and --labels, with '{split}' in both for what differs between splits; "
            f"there {'are' if there else 'is no folder'} {', '.join(there[:_LISTED])}".rstrip()
        )

    def _splits_in(self, pattern: str) -> set[str]:
        """Return the splits of which there is a folder; the folder of all images is train's."""
        if "{split}" not in pattern:
            return {"train"} if folders_matching(self._folder, pattern) else set()
        return splits_found(splits_matching(self._folder, pattern), self.options)

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        images, labels, _ = self._layout
        if "{split}" not in images:
            return divided(self._pairs("", True), self.options, self.log)
        found = {name for part in (images, labels) for name in splits_matching(self._folder, part)}
        names = split_names(found, self.options, str(self._folder / images))
        parts = {
            split: [item for name in of_split for item in self._pairs(name, split != "val")]
            for split, of_split in names.items()
        }
        return splits_of(parts, self.options, self.log)

    def _pairs(self, name: str, may_lack_labels: bool) -> list[Item]:
        """Return the items of what a source calls a split."""
        images, labels = (
            folders_matching(self._folder, pattern, name) for pattern in self._layout[:2]
        )
        for found, pattern in ((images, self._layout.images), (labels, self._layout.labels)):
            path = self._folder / pattern.replace("{split}", name)
            missing = not found and not (found is labels and may_lack_labels)
            if missing or (not found and os.path.lexists(path)):
                raise UserError(f"{path}: no such folder")
        ending, label_ending = self.options.image_suffix, self._layout.label_suffix
        shared = set(images.values()) & set(labels.values())
        of_images = {
            f"{place}{key}": path
            for place, folder in images.items()
            for key, path in images_below(
                folder, self.log, ending, label_ending if folder in shared else ""
            ).items()
        }
        of_labels = {
            f"{place}{key}": path
            for place, folder in labels.items()
            for key, path in files_by_key(
                folder, files_below(folder, MASK_SUFFIXES), self.log, label_ending
            ).items()
        }
        if of_labels and not of_images.keys() & of_labels.keys():
            _refuse_unpaired(of_images, of_labels)
        return pair(of_images, of_labels, self.log)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        return annotation_of_mask(item, height, width, self._labels_as, self.options.tolerance)


class CamvidSource(MaskSource):
    """CamVid as Cambridge and SegNet distribute it, with SegNet's 11 classes unless a file says.

    Other layouts are those of `MaskSource`.
    """

    layouts = (
        *_LAYOUTS,
        _Layout("{split}", "{split}annot"),
        _Layout("{split}", "{split}_labels", "_L"),
        _Layout("701_StillsRaw_full", "LabeledApproved_full", "_L"),
    )
    own_labels = CAMVID


def _refuse_unpaired(images: Mapping[str, Path], masks: Mapping[str, Path]) -> NoReturn:
    """Refuse images and masks none of which have one name, and say what may set them apart."""
    image, mask = (min(found) for found in (images, masks))
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(image, mask, strict=False))
    shared = "".join(character for character, _ in alike)
    if shared not in (image, mask):
        shared = re.sub(r"[\W_]*[^\W_]*$", "", shared)
    endings = [image[len(shared) :], mask[len(shared) :]]
    stems = [
        {key.removesuffix(ending) for key in found if key.endswith(ending)}
        for found, ending in zip((images, masks), endings, strict=True)
    ]
    known = set.intersection(*stems) - {""}
    options = [
        f"--{name}_suffix={ending if known else 'ENDING'}"
        for name, ending in zip(("image", "label"), endings, strict=True)
        if ending
    ]
    raise UserError(
        f"{masks[mask]}: no mask has the name of an image, as {images[image].name}, expected "
        f"{' '.join(options)} if that is how their names end"
    )


def annotation_of_mask(
    item: Item, height: int, width: int, labels_as: LabelMap, tolerance: float
) -> Annotation:
    """Read an item's mask and outline it at `tolerance` pixels.

    Raises:
        InvalidError: The mask is damaged, of another size than its image or has an unknown id.
    """
    assert item.annotation
    mask = read_mask(item.annotation, labels_as)
    if mask.shape != (height, width):
        raise InvalidError(
            OTHER_SIZE,
            f"{item.annotation}: mask is {mask.shape[0]}x{mask.shape[1]}, "
            f"its image {item.image.name} is {height}x{width}",
        )
    return Annotation(mask, outline_mask(mask, labels_as.classes.ignore_id, tolerance))


def read_mask(path: Path, labels_as: LabelMap) -> np.ndarray:
    """Read a mask as train ids, uint8 [H, W].

    Grey values are ids. RGB has the colours of classes, or ids where it is grey. A palette's
    indices are ids, unless its colours are those of other classes. Transparent pixels are ignored.

    Raises:
        InvalidError: No image, of another mode, stored with loss, or a value that stands for
            nothing.
    """
    image = open_image(path, formats=_MASK_FORMATS)
    if image.format not in _MASK_FORMATS[:-1]:
        raise InvalidError(
            _UNFIT, f"{path}: a mask is a PNG, found {image.format}, which alters ids"
        )
    pixels = np.array(image)
    where = str(path)
    if image.mode == "P":
        palette = np.zeros((256, 3), np.uint8)
        colours = np.reshape(image.getpalette("RGB") or [], (-1, 3))
        palette[: len(colours)] = colours
        return labels_as.of_palette(pixels, palette, where)
    if image.mode in ("1", "L", "I;16", "I"):
        return labels_as.of_ids(_values(path, image, pixels), where)
    deep = ";16" in _form(path)
    if image.mode in ("LA", "RGB", "RGBA") and not deep:
        return _of_opaque(pixels, image.mode, labels_as, where)
    raise InvalidError(
        _UNFIT,
        f"{path}: a mask is grey, RGB or has a palette, found mode {image.mode}"
        + " of 16 bits" * deep,
    )


def _values(path: Path, image: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """Return the values of a grey mask, which Pillow stretches where they have few bits."""
    if image.mode == "1":
        return pixels.astype(np.uint8)
    if image.mode == "L":
        return pixels // _STRETCHED.get(_form(path), 1)
    return pixels.astype(np.uint16)


def _form(path: Path) -> str:
    """Return what Pillow calls the form of the pixels in a file, as `RGB;16B`; '' if unknown."""
    with Image.open(path) as header:
        form = header.tile[0][3] if header.tile else ""
    return str(form[0] if isinstance(form, tuple) else form)


def _of_opaque(pixels: np.ndarray, mode: str, labels_as: LabelMap, where: str) -> np.ndarray:
    """Return train ids of a mask in grey with alpha, RGB or RGBA, uint8 [H, W, 2 to 4]."""
    opaque = pixels[..., -1] > 0 if mode in ("LA", "RGBA") else np.ones(pixels.shape[:2], bool)
    label = np.full(opaque.shape, labels_as.classes.ignore_id, np.uint8)
    shown = pixels[opaque]
    if len(shown):
        read = labels_as.of_ids if mode == "LA" else labels_as.of_rgb
        label[opaque] = read(shown[:, 0] if mode == "LA" else shown[:, :3], where)
    return label
