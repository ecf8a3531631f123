"""Image files that strangers made: what they are, and the form in which a record holds them.

PNG and JPEG files stay as they are. Other files become PNG without loss. What a model would not see
as people do, a file of 16 bits or one that is stored rotated, needs an option that says how.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, TiffTags, UnidentifiedImageError

from cereals_tf.data_prep.dataset import MAX_PIXELS
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import one_of, option
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.reading import (
    files_below,
    files_by_key,
    is_litter,
    read_file,
)
from cereals_tf.data_prep.text import counted, shown

_STORED = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg"}
"""Formats of records by Pillow's name. MPO is JPEG with further pictures behind the first."""

STORED_FORMATS = ("PNG", "JPEG")
_CONVERTED_FORMATS = ("BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "AVIF")
_HEIC_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pnm", ".avif"),
    *_HEIC_SUFFIXES,
)
# Files that somebody may take for images of the data set, but that are not read.
OTHER_SUFFIXES = (
    *(".jp2", ".j2k", ".jxl", ".psd", ".xcf", ".svg", ".exr", ".hdr", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"),
)
# A scan that adds nothing is a few bytes, yet costs a pass over all pixels.
MAX_JPEG_SCANS = 500

UNREADABLE = "images that cannot be read"
_ROTATED = "images that are stored rotated"
_DEEP = "images of 16 bits"
_UPRIGHT = 1
_ANIMATION = b"acTL"
"""The chunk of a PNG file that says how many images it holds."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image as stored into the image as shown, by EXIF orientation."""


def _read_bits(bits: int) -> int:
    if bits and not 9 <= bits <= 16:
        raise ValueError("9 to 16, or 0 to refuse images of 16 bits")
    return bits


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read."""

    exif: str = option(
        "refuse",
        "Images that are stored rotated, as their EXIF data say: refuse, apply (labels were drawn "
        "on the image as it is shown; it is turned) or ignore (on the pixels as they are stored).",
        one_of("refuse", "apply", "ignore"),
    )
    bits: int = option(
        0,
        "How many bits of images of 16 bits are used: with 12, values from 0 to 4095 become 0 to "
        "255. By default such images are refused.",
        _read_bits,
    )


class ImageHeader(NamedTuple):
    """What an image file's header says: its format as Pillow calls it, and the size in pixels."""

    format: str
    height: int
    width: int


class StoredImage(NamedTuple):
    """An image as a record holds it.

    Attributes:
        encoded: The bytes of a PNG or JPEG file.
        format: `png` or `jpeg`.
        height: Height in pixels.
        width: Width in pixels.
    """

    encoded: bytes
    format: str
    height: int
    width: int


def images_below(
    folder: Path, log: SourceLog, ending: str = "", label_ending: str = ""
) -> dict[str, Path]:
    """Return image files below a folder by their relative path without suffix and ending.

    Args:
        folder: The folder.
        log: Is told of images that are not returned.
        ending: What the names of the images end in.
        label_ending: What the names of label images end in that lie among them.

    Raises:
        UserError: No such folder, no image, or see `files_below` and `key_below`.
    """
    files = files_below(folder, (*IMAGE_SUFFIXES, *OTHER_SUFFIXES))
    if label_ending:
        files = [path for path in files if not path.stem.endswith(label_ending)]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    found = files_by_key(folder, images, log, ending)
    if not found:
        raise UserError(
            f"{folder}: no images" + (f" whose names end in {ending}" if ending else "")
        )
    for reason, others in (
        (
            "are of formats that are not read",
            [path for path in files if path.suffix.lower() in OTHER_SUFFIXES],
        ),
        (
            f"do not end in {ending}",
            [path for path in images if not path.stem.endswith(ending)],
        ),
    ):
        if others:
            log.remarks.append(f"{folder}: {len(others)} files {reason}, as {others[0].name}")
    return found


def remark_unlisted(folders: Iterable[Path], listed: Iterable[Path], log: SourceLog) -> None:
    """Let the log say which images of some folders are not read, as nothing lists them."""
    known = set(map(os.path.abspath, listed))
    for folder in sorted(set(folders)):
        others = [path for path in _walked(folder) if os.path.abspath(path) not in known]
        if others:
            images = counted(len(others), "image is", "images are")
            first = shown(Path(min(others)).name)
            log.remarks.append(f"{folder}: {images} listed nowhere and left out, as {first}")


def _walked(folder: Path) -> Iterator[str]:
    """Give the image files below a folder."""
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not is_litter(name)]
        for name in names:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_litter(name):
                yield os.path.join(place, name)


def read_image(path: Path, options: ImageOptions) -> StoredImage:
    """Read an image file; of PNG and JPEG files that stay as they are, no pixel is decoded.

    Raises:
        InvalidError: See `read_header`; it has several pages, a form whose conversion would lose
            something, or what `options` refuse.
    """
    content = read_file(path, UNREADABLE)
    formats = _formats(path)
    if not content:
        raise InvalidError(UNREADABLE, f"{path}: an empty file")
    header = read_header(io.BytesIO(content), str(path), formats)
    if header.format == "PNG" and _ANIMATION in content[: content.find(b"IDAT")]:
        raise InvalidError(UNREADABLE, f"{path}: several images in one file, expected one")
    orientation = _orientation(content, header.format, path, options.exif)
    deep = _is_deep(content, header.format)
    if header.format in _STORED and orientation == _UPRIGHT and not deep:
        return StoredImage(content, _STORED[header.format], header.height, header.width)
    if deep:
        image = Image.fromarray(_scaled(content, path, options.bits))
    else:
        image = _plain(open_image(io.BytesIO(content), str(path), formats), path)
    if orientation != _UPRIGHT:
        image = image.transpose(_TURNS[orientation])
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=6)
    return StoredImage(encoded.getvalue(), "png", image.height, image.width)


def read_header(
    file: Path | io.BytesIO, where: str = "", formats: tuple[str, ...] = STORED_FORMATS
) -> ImageHeader:
    """Read an image file's header, and check all that can be checked without its pixels.

    Args:
        file: The file's path, or its bytes.
        where: What begins the message of an error, by default the path.
        formats: The formats that are read, as Pillow calls them.

    Raises:
        InvalidError: No such image, damaged checksums, larger than `MAX_PIXELS`, or of more than
            `MAX_JPEG_SCANS` scans.
    """
    where = where or str(file)
    if isinstance(file, Path) and file.is_file() and not file.stat().st_size:
        raise InvalidError(UNREADABLE, f"{where}: an empty file")
    with _damage_named(where, formats), Image.open(file, formats=formats) as image:
        _refuse_bomb(image, where)
        header = ImageHeader(image.format or "", image.height, image.width)
        image.verify()  # checksums, which `load` skips
        return header


def open_image(
    file: Path | io.BytesIO, where: str = "", formats: tuple[str, ...] = STORED_FORMATS
) -> Image.Image:
    """Open and fully decode an image file; see `read_header`.

    Raises:
        InvalidError: See `read_header`, or truncated.
    """
    where = where or str(file)
    read_header(file, where, formats)
    with _damage_named(where, formats), Image.open(file, formats=formats) as image:
        image.load()
        return image


@contextmanager
def _damage_named(where: str, formats: tuple[str, ...]) -> Iterator[None]:
    """Turn whatever Pillow raises for an image into an error that begins with `where`."""
    try:
        yield
    except InvalidError:
        raise
    except UnidentifiedImageError:
        known = "a PNG or JPEG image" if formats == STORED_FORMATS else "an image that is read"
        raise InvalidError(UNREADABLE, f"{where}: not {known}") from None
    except Exception as error:  # a decoder raises whatever it stumbles over
        reason = str(error) or type(error).__name__
        raise InvalidError(UNREADABLE, f"{where}: cannot be decoded: {reason}") from None


def _refuse_bomb(image: ImageFile.ImageFile, where: str) -> None:
    """Refuse an image whose header or scans say that few bytes would keep a decoder busy."""
    if image.width * image.height > MAX_PIXELS:
        raise InvalidError(
            UNREADABLE,
            f"{where}: claims {image.height}x{image.width} pixels, at most {MAX_PIXELS} are read",
        )
    if image.fp and image.format in ("JPEG", "MPO"):
        image.fp.seek(0)
        scans = image.fp.read().count(b"\xff\xda")
        if scans > MAX_JPEG_SCANS:
            raise InvalidError(
                UNREADABLE, f"{where}: has {scans} scans, at most {MAX_JPEG_SCANS} are read"
            )


def _formats(path: Path) -> tuple[str, ...]:
    """Return the formats that a file of this name may have, as Pillow calls them."""
    if path.suffix.lower() not in _HEIC_SUFFIXES:
        return (*STORED_FORMATS, *_CONVERTED_FORMATS)
    try:
        import pillow_heif
    except ImportError:
        raise InvalidError(
            UNREADABLE, f"{path}: a HEIC image, expected pip install 'cereals-tf[heic]' before"
        ) from None
    pillow_heif.register_heif_opener()
    return ("HEIF", *STORED_FORMATS)


def _orientation(content: bytes, form: str, path: Path, exif: str) -> int:
    """Return the EXIF orientation by which an image has to be turned after decoding.

    Raises:
        InvalidError: The EXIF data cannot be read, or the image is stored rotated and `exif`
            refuses that, or wants pixels as stored of a format that Pillow turns.
    """
    if exif == "ignore" and form != "TIFF":
        return _UPRIGHT
    if form == "PNG" and b"eXIf" not in content and b"Raw profile type" not in content:
        return _UPRIGHT  # Pillow would decode all pixels to look behind them
    try:
        with Image.open(io.BytesIO(content)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except Exception as error:  # Pillow raises whatever it stumbles over
        raise InvalidError(UNREADABLE, f"{path}: its EXIF data cannot be read: {error}") from None
    if orientation not in _TURNS:
        return _UPRIGHT
    if exif == "refuse":
        raise InvalidError(
            _ROTATED,
            f"{path}: EXIF orientation {orientation}, expected an image that is stored upright "
            "(ImageMagick: mogrify -auto-orient), or --exif=apply if labels were drawn on the "
            "image as it is shown",
        )
    if exif == "ignore":
        raise InvalidError(_ROTATED, f"{path}: --exif=ignore, expected another format than TIFF")
    return _UPRIGHT if form == "TIFF" else orientation


def _is_deep(content: bytes, form: str) -> bool:
    """Whether a sample of the image has more than 8 bits."""
    if form == "PNG":
        return content[24] > 8
    if form == "TIFF":
        tags = TiffImagePlugin.TiffImageFile(io.BytesIO(content)).tag_v2
        return max(tags.get(_BITS_PER_SAMPLE, (1,))) > 8
    return form == "PPM" and _largest_of_pnm(content) > 255


_BITS_PER_SAMPLE = next(
    tag for tag, info in TiffTags.TAGS_V2.items() if info.name == "BitsPerSample"
)


def _largest_of_pnm(content: bytes) -> int:
    """Return the value that stands for white in a PGM or PPM file."""
    fields = (line.partition(b"#")[0].split() for line in content[:1000].splitlines())
    numbers = [field for line in fields for field in line][3:4]
    return int(numbers[0]) if numbers and numbers[0].isdigit() else 1


def _scaled(content: bytes, path: Path, bits: int) -> np.ndarray:
    """Return the pixels of an image of 16 bits as uint8, [H, W] or [H, W, 3].

    A value v becomes round(255 v / (2^bits - 1)), at most 255.
    """
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise InvalidError(UNREADABLE, f"{path}: an image of more than 8 bits that is not read")
    if not bits:
        raise InvalidError(
            _DEEP,
            f"{path}: 16 bits, up to the value {pixels.max()}, expected 8 bits, or --bits="
            f"{max(9, int(pixels.max()).bit_length())} if that is what the values use",
        )
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1]
    scaled = np.rint(pixels * 255.0 / (2**bits - 1))
    return np.minimum(scaled, 255).astype(np.uint8)


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """Return an image in grey or RGB, of what its pixels show.

    Raises:
        InvalidError: It has several pages, or is of a mode that this would alter.
    """
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":
        raise InvalidError(UNREADABLE, f"{path}: {pictures} images in one file, expected one")
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    if image.mode in ("P", "PA", "RGB", "RGBA", "RGBX", "YCbCr") or image.format in _STORED:
        return image.convert("RGB")
    raise InvalidError(UNREADABLE, f"{path}: an image of mode {image.mode}, expected grey or RGB")
