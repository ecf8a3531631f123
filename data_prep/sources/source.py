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

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# MPO is a JPEG file with further pictures behind the first, as many cameras write it.
IMAGE_FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg"}
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
    """Open and fully decode a PNG or JPEG file.

    Raises:
        UserError: No such image, truncated, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: claims {image.height}x{image.width} pixels, "
                    f"at most {MAX_PIXELS} are read"
                )
            image.verify()  # checksums, which `load` skips
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            image.load()
            return image
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a PNG or JPEG image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be decoded: {error}") from None


def images_below(folder: Path) -> dict[str, Path]:
    """Return image files below a folder by their relative path without its suffix.

    Raises:
        UserError: No such folder, no image in it, two files of the same name, or a name that is
            not UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if not _is_unicode(key):
            raise UserError(f"{str(path)!a}: expected a file name in UTF-8")
        if key in found:
            raise UserError(f"{path}: duplicate id {key!r}, also the name of {found[key].name}")
        found[key] = path
    if not found:
        raise UserError(f"{folder}: no images (.png, .jpg or .jpeg)")
    return found


def _is_unicode(text: str) -> bool:
    """Whether no byte of a file name had to be escaped."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


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
