"""What a data set must offer to be converted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_prep.dataset import Classes
from data_prep.errors import UserError
from data_prep.polygons import Polygon

IMAGE_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class SourceOptions:
    """Options of `prepare` that say how a source is read.

    Attributes:
        images: Folder of the images inside the source, `{split}` standing for the split's name.
        labels: Folder of the id masks, likewise.
        classes: File with class names, palette and ignore id.
        tolerance: How far a contour may be from the mask's, in pixels, where polygons are made
            from masks.
        val_percent: Share of the images that become the val split where the source has no splits.
        annotations: Cityscapes' annotation type, `gtFine` or `gtCoarse`.
    """

    images: str | None = None
    labels: str | None = None
    classes: str = "classes.json"
    tolerance: float = 2.0
    val_percent: float = 20.0
    annotations: str = "gtFine"


class Item(NamedTuple):
    """One image of a source and the files that annotate it."""

    image_id: str
    image: Path
    annotation: Path


class Annotation(NamedTuple):
    """Train ids (uint8 [H, W]) and the polygons behind them, in painter's order."""

    label: np.ndarray
    polygons: Sequence[Polygon]


class Source(Protocol):
    """A data set that can be converted."""

    classes: Classes

    def items(self) -> dict[str, list[Item]]:
        """Return the items of each split, sorted by image id.

        Raises:
            UserError: An image has no annotation, or the reverse, or a split is empty.
        """

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """Read the annotation of an image of this size.

        Raises:
            UserError: The annotation is damaged or does not fit the image; the file is named.
        """


def open_image(path: Path) -> Image.Image:
    """Open and fully decode an image file.

    Raises:
        UserError: No image, truncated, or larger than `MAX_PIXELS`.
    """
    try:
        image = Image.open(path)
        if image.width * image.height > MAX_PIXELS:
            raise UserError(
                f"{path}: claims {image.height}x{image.width} pixels, at most {MAX_PIXELS} are read"
            )
        image.load()
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be decoded: {error}") from None
    return image


def images_below(folder: Path) -> dict[str, Path]:
    """Return image files below a folder by their relative path without its suffix.

    Raises:
        UserError: No such folder, no image in it, or two files of the same name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            raise UserError(f"{path}: duplicate id {key!r}, also the name of {found[key].name}")
        found[key] = path
    if not found:
        raise UserError(f"{folder}: no images (.png, .jpg or .jpeg)")
    return found


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Pair images and annotations of the same key.

    Raises:
        UserError: One without the other.
    """
    for key in sorted(images.keys() ^ annotations.keys()):
        if key in images:
            raise UserError(f"{images[key]}: image without an annotation")
        raise UserError(f"{annotations[key]}: annotation without an image")
    return [Item(key, images[key], annotations[key]) for key in sorted(images)]
