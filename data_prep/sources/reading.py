"""What the kinds of data sets share: reading images, JSON and folders that strangers made."""

import io
import json
import os
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.dataset import MAX_PIXELS
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.polygons import Polygon, outline_mask
from cereals_tf.data_prep.text import is_unicode, shown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# MPO is a JPEG file with further pictures behind the first, as many cameras write it.
IMAGE_FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg"}
# A scan that adds nothing is a few bytes, yet costs a pass over all pixels.
MAX_JPEG_SCANS = 500


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
        header = ImageHeader(str(image.format), image.height, image.width)
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


def _refuse_bomb(image: ImageFile.ImageFile, where: str) -> None:
    """Refuse an image whose header or scans say that few bytes would keep a decoder busy."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(
            f"{where}: claims {image.height}x{image.width} pixels, at most {MAX_PIXELS} are read"
        )
    if image.format != "PNG" and image.fp:
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
