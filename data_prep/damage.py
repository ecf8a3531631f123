"""Damaged records: finding them, and saying which they are and what is wrong with them."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image
from tensorflow.python.lib.io.tf_record import tf_record_random_reader

from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.dataset import IMAGES, MAX_PIXELS, ImageEntry, PreparedData
from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.records import (
    FEATURES,
    IMAGE_ENCODED,
    IMAGE_HEIGHT,
    IMAGE_ID,
    IMAGE_WIDTH,
    LABEL_ENCODED,
    POLYGON_CLASS,
    POLYGON_LENGTH,
    POLYGON_POINTS,
    decode_image,
    decode_label,
    first_line,
    parse,
)
from cereals_tf.data_prep.remote import RemotePath


class Stated(NamedTuple):
    """What a data set says of the records of one split.

    Attributes:
        classes: The classes.
        images: The images by id, in order.
    """

    classes: Classes
    images: Mapping[str, ImageEntry]

    @classmethod
    def of(cls, data: PreparedData, split: str) -> "Stated":
        """Return what a data set says of a split.

        Raises:
            UserError: Its list of images is damaged.
        """
        images = {entry.image_id: entry for entry in data.images[split]}
        return cls(data.classes, images)


def refuse_damage(data: PreparedData, splits: Iterable[str]) -> None:
    """Check all of every record but the pixels.

    Raises:
        UserError: A record is damaged, or not the image that the data set says; its shard and
            number are named.
    """
    shards = [(split, path) for split in splits for path in data.shards(split)]
    stated = {split: Stated.of(data, split) for split, _ in shards}
    left = {split: iter(stated[split].images) for split in stated}
    for split, path in Progress(shards, desc="check", unit="shard", leave=False, delay=2):
        for number, content in enumerate(read_raw(path)):
            image_id, reason = examine(content, stated[split], pixels=False)
            expected = next(left[split], None)
            if not reason and image_id != expected:
                reason = f"image {image_id!a}, expected {expected!a} here"
            if reason:
                raise UserError(f"{path}: record {number} is damaged: {reason}")
    for split, missing in left.items():
        if image_id := next(missing, None):
            raise UserError(f"{data.folder}: no record of {split} is image {image_id!a}")


@contextmanager
def damage_named(data: PreparedData, *splits: str) -> Iterator[None]:
    """Turn TensorFlow's complaint about unreadable data into one that names the record.

    Raises:
        UserError: The block failed in TensorFlow, and a record of these splits is damaged.
    """
    try:
        yield
    except tf.errors.OpError:
        for split in splits:
            for path in data.shards(split):
                for number, reason in damaged_records(path, Stated.of(data, split)):
                    message = f"{path}: record {number} is damaged: {reason}"
                    raise UserError(message) from None
        raise


def damaged_records(
    path: Path | RemotePath, stated: Stated | None = None
) -> Iterator[tuple[int, str]]:
    """Give (record number from 0, reason) for each record of a shard that `examine` refuses."""
    for number, content in enumerate(read_raw(path)):
        if reason := examine(content, stated).reason:
            yield number, reason


def read_raw(path: Path | RemotePath) -> Iterator[bytes | tf.errors.OpError]:
    """Give the bytes of each record of a shard, or the error that its checksum raises.

    A record whose stated length is damaged ends the shard, as nothing after it can be found.
    """
    place = 0
    try:
        reader = tf_record_random_reader(str(path))
        while True:
            try:
                content, place = reader.read(place)
            except tf.errors.DataLossError as error:
                content, place = error, _next_place(path, place)
            yield content
    except IndexError:
        return
    except tf.errors.OpError as error:
        yield error


def _next_place(path: Path | RemotePath, place: int) -> int:
    """Return where the record that begins at `place` ends, the file's end if its length is damaged.

    A record is its length (8 bytes), the length's checksum (4), the data, their checksum (4).
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        file.seek(place)
        length, checksum = file.read(8), file.read(4)
    if checksum != _masked_crc32c(length).to_bytes(4, "little"):
        return end
    return min(place + 16 + int.from_bytes(length, "little"), end)


def _masked_crc32c(content: bytes) -> int:
    """Return a TFRecord's checksum: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


class Finding(NamedTuple):
    """The id of a record's image, or why the record cannot be used."""

    image_id: str | None
    reason: str | None


def examine(
    content: bytes | tf.errors.OpError, stated: Stated | None = None, pixels: bool = True
) -> Finding:
    """Check a record that `read_raw` gave.

    Args:
        content: The record.
        stated: What the data set says of it; None: it is only checked by itself.
        pixels: Decode image and label too.
    """
    try:
        if not isinstance(content, bytes):
            raise content
        record = _fields(content)
        image_id = bytes(record[IMAGE_ID]).decode()
        _check_sizes(record)
        _check_polygons(record)
        if stated:
            _check_stated(record, stated, image_id)
        if pixels:
            _check_pixels(record, stated)
    except (tf.errors.OpError, ValueError) as error:
        return Finding(None, first_line(error))
    return Finding(image_id, None)


Fields = Mapping[str, Any]
"""The values of a record, single ones as they are and lists as arrays."""

_LISTS = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}


def _fields(content: bytes) -> Fields:
    """Return what `parse` does, without TensorFlow's overhead for what is well formed.

    Raises:
        Exception: What `parse` raises for the record.
    """
    try:
        features = tf.train.Example.FromString(content).features.feature
        return {name: _values(features.get(name), form) for name, form in FEATURES.items()}
    except (DecodeError, ValueError):
        return {name: value.numpy() for name, value in parse(content).items()}


def _values(feature: tf.train.Feature | None, form: Any) -> Any:
    kind = _LISTS[form.dtype]
    values: Any = getattr(feature, kind).value if feature else ()
    if feature and feature.WhichOneof("kind") != kind:
        raise ValueError("a feature of another kind")
    if isinstance(form, tf.io.FixedLenFeature):
        if len(values) != 1:
            raise ValueError(f"{len(values)} values, expected one")
        return values[0]
    return np.array(values, form.dtype.as_numpy_dtype)


def _size(record: Fields) -> tuple[int, int]:
    return int(record[IMAGE_HEIGHT]), int(record[IMAGE_WIDTH])


def _check_sizes(record: Fields) -> None:
    """Compare the stated size with those in the headers, before anything claims memory for them."""
    size = height, width = _size(record)
    if min(size) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"size {size}, expected 1 to {MAX_PIXELS} pixels")
    for name in (IMAGE_ENCODED, LABEL_ENCODED):
        try:
            found = _size_in_header(bytes(record[name]))
        except Exception as error:  # Pillow raises whatever it stumbles over
            raise ValueError(f"{name}: {error}") from None
        if found != size:
            raise ValueError(f"{name}: {found} pixels, expected {size}")


def _size_in_header(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        return image.height, image.width


def _check_polygons(record: Fields) -> None:
    class_ids, lengths = (record[name].tolist() for name in (POLYGON_CLASS, POLYGON_LENGTH))
    points = record[POLYGON_POINTS]
    if len(class_ids) != len(lengths) or min(lengths, default=1) < 1:
        raise ValueError(f"polygons of {len(class_ids)} classes and {len(lengths)} lengths above 0")
    if 2 * sum(lengths) != len(points):
        raise ValueError(f"polygons of {sum(lengths)} points, found {len(points)} coordinates")
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError(f"a polygon's point beyond {MAX_COORDINATE:g} pixels")
    if not all(0 <= class_id <= 255 for class_id in class_ids):
        raise ValueError("a polygon of a class beyond 0 to 255")


def _check_stated(record: Fields, stated: Stated, image_id: str) -> None:
    if image_id not in stated.images:
        raise ValueError(f"image {image_id!a}, which {IMAGES} does not list")
    entry, size = stated.images[image_id], _size(record)
    if size != (entry.height, entry.width):
        raise ValueError(f"size {size}, {IMAGES} says {(entry.height, entry.width)}")
    clicks = len(record[POLYGON_POINTS]) // 2
    if clicks != entry.clicks:
        raise ValueError(f"polygons of {clicks} points, {IMAGES} says {entry.clicks}")
    _check_ids("a polygon", np.unique(record[POLYGON_CLASS]), stated.classes)


def _check_ids(what: str, ids: np.ndarray, classes: Classes) -> None:
    unknown = np.setdiff1d(ids, [*range(len(classes)), classes.ignore_id])
    if unknown.size:
        raise ValueError(f"{what} of id {unknown[0]}, neither a class nor the ignore id")


def _check_pixels(record: Fields, stated: Stated | None) -> None:
    size = tuple(decode_image(record[IMAGE_ENCODED]).shape[:2])
    label = decode_label(record[LABEL_ENCODED]).numpy()
    if not size == label.shape == _size(record):
        raise ValueError(f"image {size} and label {label.shape}, not {_size(record)}")
    if stated:
        classes = stated.classes
        if not ((label < len(classes)) | (label == classes.ignore_id)).all():
            _check_ids("a pixel", np.unique(label), classes)
        labelled = stated.images[bytes(record[IMAGE_ID]).decode()].labelled
        if not labelled and (label != classes.ignore_id).any():
            raise ValueError("a labelled pixel, in an image without labels")
