"""The TFRecord form of one annotated image, and reading it back with TensorFlow.

One `tf.train.Example` holds the source's own image bytes, the label as a lossless PNG of train ids,
and the annotation's polygons, from which clicks are counted. Every feature name stands here once.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cereals_tf.data_prep.annotated_image import AnnotatedImage
from cereals_tf.data_prep.clicks import ClickGrid, click_grid
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.data_prep.polygons import Polygon, scaled
from cereals_tf.data_prep.remote import RemotePath

IMAGE_ID = "image/id"
IMAGE_ENCODED = "image/encoded"
IMAGE_FORMAT = "image/format"
IMAGE_HEIGHT = "image/height"
IMAGE_WIDTH = "image/width"
LABEL_ENCODED = "label/encoded"
POLYGON_CLASS = "polygon/class"
POLYGON_LENGTH = "polygon/length"
POLYGON_POINTS = "polygon/points"

_SEQUENCE = {"shape": [], "allow_missing": True}
FEATURES = {
    IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
    IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
    IMAGE_FORMAT: tf.io.FixedLenFeature([], tf.string),
    IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
    IMAGE_WIDTH: tf.io.FixedLenFeature([], tf.int64),
    LABEL_ENCODED: tf.io.FixedLenFeature([], tf.string),
    POLYGON_CLASS: tf.io.FixedLenSequenceFeature(dtype=tf.int64, **_SEQUENCE),
    POLYGON_LENGTH: tf.io.FixedLenSequenceFeature(dtype=tf.int64, **_SEQUENCE),
    POLYGON_POINTS: tf.io.FixedLenSequenceFeature(dtype=tf.float32, **_SEQUENCE),
}


def serialize(image: AnnotatedImage) -> bytes:
    """Return the serialised `tf.train.Example`; equal images give equal bytes."""
    points = [polygon.points for polygon in image.polygons]
    flat = np.concatenate(points).ravel() if points else np.zeros(0)
    features = {
        IMAGE_ID: _bytes(image.image_id.encode()),
        IMAGE_ENCODED: _bytes(image.image_encoded),
        IMAGE_FORMAT: _bytes(image.image_format.encode()),
        IMAGE_HEIGHT: _ints([image.height]),
        IMAGE_WIDTH: _ints([image.width]),
        LABEL_ENCODED: _bytes(image.label_encoded),
        POLYGON_CLASS: _ints([polygon.class_id for polygon in image.polygons]),
        POLYGON_LENGTH: _ints([len(polygon) for polygon in points]),
        POLYGON_POINTS: tf.train.Feature(float_list=tf.train.FloatList(value=flat)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def parse(serialized: tf.Tensor | bytes) -> dict[str, tf.Tensor]:
    """Parse one serialised example (scalar string tensor) into a tensor per feature name."""
    return tf.io.parse_single_example(serialized, FEATURES)


def polygons_of(record: Mapping[str, tf.Tensor | np.ndarray]) -> list[Polygon]:
    """Return the polygons of one parsed record (eager tensors or arrays), points in pixels."""
    points = np.asarray(record[POLYGON_POINTS], np.float64).reshape(-1, 2)
    ends = np.cumsum(np.asarray(record[POLYGON_LENGTH], np.int64))
    parts = np.split(points, ends[:-1]) if len(ends) else []
    return [
        Polygon(int(class_id), part)
        for class_id, part in zip(np.asarray(record[POLYGON_CLASS]), parts, strict=True)
    ]


COUNTED = (IMAGE_HEIGHT, IMAGE_WIDTH, POLYGON_CLASS, POLYGON_LENGTH, POLYGON_POINTS)
"""The part of a record that true clicks are counted by."""


def click_grid_of(
    record: Mapping[str, tf.Tensor | np.ndarray], height: int, width: int
) -> ClickGrid:
    """Return the true clicks of one parsed record, its image resized to a size in pixels."""
    factor_y = height / int(record[IMAGE_HEIGHT])
    factor_x = width / int(record[IMAGE_WIDTH])
    return click_grid(scaled(polygons_of(record), factor_y, factor_x), height, width)


def decode_image(encoded: tf.Tensor | bytes) -> tf.Tensor:
    """Decode JPEG or PNG bytes (scalar string) to uint8 [H, W, 3]; grey becomes RGB."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def decode_label(encoded: tf.Tensor) -> tf.Tensor:
    """Decode an 8-bit greyscale PNG of train ids (scalar string) to uint8 [H, W]."""
    return tf.io.decode_png(encoded, channels=1)[..., 0]


def resize_image(image: tf.Tensor, size: tuple[int, int] | None) -> tf.Tensor:
    """Resize uint8 [..., H, W, 3] to `size` (height, width), bilinear with anti-aliasing.

    The campaign's training, its scoring and the exported model all read images through this
    function, so that they see the same pixels. `None` returns the image unchanged.
    """
    if size is None:
        return image
    resized = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def resize_label(label: tf.Tensor, size: tuple[int, int] | None) -> tf.Tensor:
    """Resize uint8 [H, W] to `size` (height, width), each pixel taking its nearest label."""
    if size is None:
        return label
    return tf.image.resize(tf.expand_dims(label, -1), size, method="nearest")[..., 0]


def read_shards(paths: Sequence[Path | RemotePath]) -> tf.data.Dataset:
    """Return the parsed records of shards, in order, as dictionaries of tensors."""
    shards = tf.data.TFRecordDataset([str(path) for path in paths])
    return mapped(shards, parse)


def first_line(error: Exception) -> str:
    """Return what an error says in one line, without the names of TensorFlow's internals."""
    text = str(getattr(error, "message", error))
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", text).strip()
    return text.partition("\n")[0][:200] or type(error).__name__
