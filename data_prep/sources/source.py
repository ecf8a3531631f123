"""What a data set must offer to be converted, and what the kinds of data sets share."""

import io
import json
import math
import os
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.dataset import MAX_PIXELS, Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.polygons import Polygon, outline_mask
from cereals_tf.data_prep.text import is_unicode, shown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# MPO is a JPEG file with further pictures behind the first, as many cameras write it.
IMAGE_FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg"}
# A scan that adds nothing is a few bytes, yet costs a pass over all pixels.
MAX_JPEG_SCANS = 500


@dataclass(frozen=True)
class SourceOptions:
    """Options of `prepare` that say how a source is read.

    Attributes:
        images: Folder of the images inside the source, `{split}` standing for the split's name;
            None: where the kind of data set has them.
        labels: Folder of the id masks, likewise.
        classes: File with class names, palette and ignore id. Kinds that know their classes
            without it do not need it.
        tolerance: How far a contour may be from the mask's, in pixels, where polygons are made
            from masks.
        val_percent: Share of the images that become the val split where the source has no splits.
        annotations: Cityscapes' annotation type, `gtFine` (default) or `gtCoarse`; COCO's JSON
            file, `{split}` standing for the split's name.
        unlabelled_train: No image of train has an annotation. Where the source has no splits, val
            is the images that have one, and train those that have none.

    Raises:
        UserError: The tolerance is not 0 or more.
    """

    images: str | None = None
    labels: str | None = None
    classes: str = "classes.json"
    tolerance: float = 2.0
    val_percent: float = 20.0
    annotations: str | None = None
    unlabelled_train: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise UserError(f"--tolerance={self.tolerance}: expected 0 or more pixels")


class Item(NamedTuple):
    """One image of a source and the file that annotates it; None where people still have to."""

    image_id: str
    image: Path
    annotation: Path | None


class Annotation(NamedTuple):
    """Train ids (uint8 [H, W]) and the polygons behind them, in painter's order."""

    label: np.ndarray
    polygons: Sequence[Polygon]


class Source(Protocol):
    """A data set that can be converted.

    Attributes:
        classes: Class names, palette and ignore id.
        classes_from: Where the names of the classes come from, for messages.
        background: Train id of the pixels that no polygon covers.
    """

    classes: Classes
    classes_from: str
    background: int

    def items(self) -> dict[str, list[Item]]:
        """Return the items of each split, sorted by image id.

        Either all images of a split have an annotation or, in train, none.

        Raises:
            UserError: An image has no annotation, or the reverse, or a split is empty.
        """

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """Read the annotation of an image of this size, which has one.

        Raises:
            UserError: The annotation is damaged or does not fit the image; the file is named.
        """


class ImageHeader(NamedTuple):
    """What an image file's header says: a key of `IMAGE_FORMATS`, and the size in pixels."""

    format: str
    height: int
    width: int


def read_header(file: Path | io.BytesIO, where: str = "") -> ImageHeader:
    """Read a PNG or JPEG file's header, and check all that can be checked without its pixels.

    Args:
        file: The file's path, or its bytes.
        where: What begins the message of an error, by default the path.

    Raises:
        UserError: No such image, damaged checksums, larger than `MAX_PIXELS`, or of more than
            `MAX_JPEG_SCANS` scans.
    """
    where = where or str(file)
    with _damage_named(where), Image.open(file, formats=("PNG", "JPEG")) as image:
        _refuse_bomb(image, where)
        header = ImageHeader(image.format, image.height, image.width)
        image.verify()  # checksums, which `load` skips
        return header


def open_image(file: Path | io.BytesIO, where: str = "") -> Image.Image:
    """Open and fully decode a PNG or JPEG file.

    Args:
        file: The file's path, or its bytes.
        where: What begins the message of an error, by default the path.

    Raises:
        UserError: See `read_header`, or truncated.
    """
    where = where or str(file)
    read_header(file, where)
    with _damage_named(where), Image.open(file, formats=("PNG", "JPEG")) as image:
        image.load()
        return image


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Turn whatever Pillow raises for an image into a UserError that begins with `where`."""
    try:
        yield
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{where}: not a PNG or JPEG image") from None
    except Exception as error:  # a decoder raises whatever it stumbles over
        raise UserError(
            f"{where}: cannot be decoded: {str(error) or type(error).__name__}"
        ) from None


def _refuse_bomb(image: Image.Image, where: str) -> None:
    """Refuse an image whose header or scans say that few bytes would keep a decoder busy."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(
            f"{where}: claims {image.height}x{image.width} pixels, at most {MAX_PIXELS} are read"
        )
    if image.format != "PNG":
        image.fp.seek(0)
        scans = image.fp.read().count(b"\xff\xda")
        if scans > MAX_JPEG_SCANS:
            raise UserError(f"{where}: has {scans} scans, at most {MAX_JPEG_SCANS} are read")


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files below a folder whose names end in one of the suffixes (lower case), sorted.

    Raises:
        UserError: No such folder, one that cannot be listed or is a link (which might lead in
            circles), a name that is not UTF-8, or that of a pipe or of a link to nothing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = []
    for place, folders, files in os.walk(folder, onerror=_refuse_unlisted):
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                link = os.path.join(place, name)
                raise UserError(f"{link}: a link, expected a folder: links to one are not followed")
        found += [Path(place, name) for name in files if Path(name).suffix.lower() in suffixes]
    for path in found:
        if not is_unicode(str(path.relative_to(folder))):
            raise UserError(f"{str(path)!a}: expected a file name in UTF-8")
        if not path.is_file():
            raise UserError(f"{path}: expected a file, or a link to one")
    return sorted(found)


def _refuse_unlisted(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror}")


def images_below(folder: Path) -> dict[str, Path]:
    """Return image files below a folder by their relative path without its suffix.

    Raises:
        UserError: No image, two files of the same name, or see `files_below` and `key_below`.
    """
    found = files_by_key(folder, files_below(folder, IMAGE_SUFFIXES))
    if not found:
        raise UserError(f"{folder}: no images (.png, .jpg or .jpeg)")
    return found


def files_by_key(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Return files below a folder by their relative path without its suffix.

    Raises:
        UserError: Two files of the same name, or see `key_below`.
    """
    found: dict[str, Path] = {}
    for path in files:
        key = key_below(folder, path)
        if key in found:
            raise UserError(f"{path}: duplicate id {key!r}, also the name of {found[key].name}")
        found[key] = path
    return found


def key_below(folder: Path, path: Path) -> str:
    """Return a file's path relative to a folder above it, without its suffix.

    Raises:
        UserError: See `checked_id`.
    """
    return checked_id(path.relative_to(folder).with_suffix("").as_posix(), path)


def checked_id(image_id: str, path: Path) -> str:
    """Return an image id that a file's name gave.

    Raises:
        UserError: It is not UTF-8, or stands for a folder, as `..` does.
    """
    if not is_unicode(image_id):
        raise UserError(f"{str(path)!a}: expected a file name in UTF-8")
    if image_id.rpartition("/")[2] in ("", ".", ".."):
        raise UserError(f"{path}: has the id {image_id!r}, expected more of a name")
    return image_id


def annotations_below(folder: Path, suffixes: Sequence[str], split: str) -> list[Path]:
    """Return the `files_below` a split's folder of annotations, which train may lack.

    Raises:
        UserError: See `files_below`.
    """
    if split == "train" and not os.path.lexists(folder):
        return []
    return files_below(folder, suffixes)


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Return an item for each image, with the annotation of the same key if there is one.

    Raises:
        UserError: An annotation without an image.
    """
    for key in sorted(annotations.keys() - images.keys()):
        raise UserError(f"{annotations[key]}: annotation without an image")
    return [Item(key, images[key], annotations.get(key)) for key in sorted(images)]


def splits_of(parts: dict[str, list[Item]], options: SourceOptions) -> dict[str, list[Item]]:
    """Return a source's splits; of train none may have an annotation, else all images must.

    Args:
        parts: The items of each split, or of the split "" that stands for all images. Those are
            divided, with `unlabelled_train` into images without and with an annotation, otherwise
            by `val_percent`.
        options: The options that say so.

    Raises:
        UserError: An image lacks an annotation, or has one in spite of `unlabelled_train`; a split
            would be empty; or two files without an annotation have the same id.
    """
    if "" in parts and options.unlabelled_train:
        parts = _divided_by_annotation(parts[""])
    for split, items in parts.items():
        annotated = [item for item in items if item.annotation]
        if split == "train" and annotated and options.unlabelled_train:
            raise UserError(
                f"--unlabelled_train: {annotated[0].annotation} annotates an image of train, "
                "expected none that does"
            )
        if len(annotated) < len(items) and (split != "train" or annotated):
            lacking = next(item for item in items if not item.annotation)
            hint = "" if split else "; with --unlabelled_train such images are train, others val"
            raise UserError(f"{lacking.image}: image without an annotation{hint}")
        if not annotated:
            _refuse_duplicates(items)
    return divided(parts[""], options.val_percent) if "" in parts else parts


def _divided_by_annotation(items: Sequence[Item]) -> dict[str, list[Item]]:
    _refuse_duplicates(items)
    splits = {
        "train": [item for item in items if not item.annotation],
        "val": [item for item in items if item.annotation],
    }
    for (split, members), word in zip(splits.items(), ("without", "with"), strict=True):
        if not members:
            raise UserError(
                f"--unlabelled_train: none of {len(items)} images is {word} an annotation, "
                f"expected some: they become {split}"
            )
    return splits


def _refuse_duplicates(items: Sequence[Item]) -> None:
    for item, other in pairwise(items):
        if item.image_id == other.image_id:
            raise UserError(f"{other.image}: duplicate id {item.image_id!r}, also of {item.image}")


def divided(items: Sequence[Item], val_percent: float) -> dict[str, list[Item]]:
    """Take every n-th item as val, so that neighbours in a sequence are spread evenly.

    Raises:
        UserError: Train or val would be empty.
    """
    share = val_percent / 100.0
    places = np.arange(len(items))
    is_val = np.floor((places + 1) * share) > np.floor(places * share)
    splits = {
        "train": [item for item, val in zip(items, is_val, strict=True) if not val],
        "val": [item for item, val in zip(items, is_val, strict=True) if val],
    }
    for split, members in splits.items():
        if not members:
            raise UserError(
                f"--val_percent={val_percent:g} of {len(items)} images leaves no image for {split}"
            )
    return splits


def read_file(path: Path) -> bytes:
    """Read a file that the source must have.

    Raises:
        UserError: It cannot be read, or is something that may have no end, as a pipe.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: expected a file, or a link to one")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        UserError: It cannot be read, is broken or holds something else.
    """
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: broken JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, found {type(content).__name__}")
    return content


def read_points(where: str, points: Any) -> np.ndarray:
    """Check the points [[x, y], ...] of JSON and return them as float64 [V, 2], in pixels.

    Raises:
        UserError: No points, or one that is no pair of numbers; `where` begins the message.
    """
    if not isinstance(points, list) or not points:
        raise UserError(f"{where} has no polygon points")
    for point in points:
        valid = (
            isinstance(point, list)
            and len(point) == 2
            and all(type(value) in (int, float) for value in point)
            and all(abs(value) <= MAX_COORDINATE for value in point)
        )
        if not valid:
            raise UserError(
                f"{where} has the point {reprlib.repr(point)}, expected [x, y] in pixels"
            )
    return np.array(points, np.float64)


def file_inside(source: Path, folder: Path, name: Any, where: str) -> Path:
    """Return the file that an annotation names, relative to a folder of the source.

    Raises:
        UserError: No such file, or a name that leads out of the source; `where` begins the message.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"{where} names the file {reprlib.repr(name)}, expected a file name")
    root = os.path.abspath(source)
    target = os.path.abspath(folder / name)
    if os.path.commonpath([root, target]) != root:
        raise UserError(f"{where} names the file {shown(name)}, which is not inside {source}")
    path = source / os.path.relpath(target, root)
    if not os.path.isfile(path):
        raise UserError(f"{where} names the file {shown(name)}, which is no file in {folder}")
    return path


def refuse_rotated(path: Path) -> None:
    """Refuse an image that tools show rotated, so that points drawn there are not of its pixels.

    Raises:
        UserError: The image's EXIF data say so, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow raises whatever it stumbles over
        raise UserError(f"{path}: its EXIF data cannot be read: {error}") from None
    if orientation in range(2, 9):
        raise UserError(
            f"{path}: EXIF orientation {orientation}, expected an image that is stored upright "
            "(ImageMagick: mogrify -auto-orient)"
        )


def outline_object(mask: np.ndarray, class_id: int, tolerance: float) -> list[Polygon]:
    """Outline one object's mask (bool or uint8 0 and 1, [H, W]) as `outline_mask` does."""
    outlines = outline_mask(mask.astype(np.uint8), ignore_id=0, tolerance=tolerance)
    return [Polygon(class_id, outline.points) for outline in outlines]
