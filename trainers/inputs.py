"""From TFRecords to weighted training batches, with tf.data.

A sample's weight is 0 outside the labelled regions, and for the segmentation also on ignored
labels, so that no loss is computed on unlabelled data.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Literal

import numpy as np
import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import MAX_CLICKS_PER_PIXEL
from cereals_tf.data_prep.dataset import IMAGES, ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE, Box, cells
from cereals_tf.data_prep.random_access import columns, read_at, record_offsets
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.samples import Sample

Target = Literal["segmentation", "cost"]
BYTES_PER_PIXEL = 3
BYTES_PER_POSITION = 8
"""Of a decoded sample: uint8 RGB, and at stride 8 a target and a weight of 4 bytes each."""


class Overlay:
    """Labels and costs of some images, which stand before those of their records.

    Args:
        labels: Per image id an 8-bit greyscale PNG of train ids, at the image's original size;
            of one image at least.
        costs: For the same images float32 [h, w], the cost of each stride-8 position of the image
            as it is read.
    """

    def __init__(self, labels: Mapping[str, bytes], costs: Mapping[str, np.ndarray]) -> None:
        image_ids = tf.constant(list(labels), tf.string)
        packed = [zlib.compress(np.float32(costs[image_id]).tobytes()) for image_id in labels]
        self._labels, self._costs = (
            tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(image_ids, tf.constant(values, tf.string)), b""
            )
            for values in (list(labels.values()), packed)
        )

    def label_encoded(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the PNG of a record's label, scalar string."""
        found = self._labels.lookup(record[records.IMAGE_ID])
        return tf.where(found == b"", record[records.LABEL_ENCODED], found)

    def cost(self, record: dict[str, tf.Tensor], own: tf.Tensor) -> tf.Tensor:
        """Return the cost of a record's positions, float32 [h, w]; its `own` if none is here."""
        packed = self._costs.lookup(record[records.IMAGE_ID])

        def found() -> tf.Tensor:
            values = tf.io.decode_raw(tf.io.decode_compressed(packed, "ZLIB"), tf.float32)
            return tf.reshape(values, tf.shape(own))

        return tf.cond(packed == b"", lambda: own, found)


@dataclass(frozen=True)
class Split:
    """One split of a prepared data set, seen at one image size.

    Attributes:
        data: The prepared data set.
        split: Name of the split.
        image_size: (height, width) that images and labels are resized to; None: as they are.
        overlay: What was annotated since the data set was prepared.
    """

    data: PreparedData
    split: str
    image_size: tuple[int, int] | None = None
    overlay: Overlay | None = None

    @property
    def images(self) -> list[ImageEntry]:
        """The split's images in record order, their sizes as this reader gives them."""
        entries = self.data.images[self.split]
        if self.image_size is None:
            return entries
        return [ImageEntry(entry.image_id, *self.image_size, entry.clicks) for entry in entries]

    def records(self, image_ids: Sequence[str] | None = None) -> tf.data.Dataset:
        """Return parsed records in order, all of them or those of the given images.

        Of the other images nothing is read but the lengths of their records, except from an object
        store, which gives whole shards many times faster than single records.
        """
        if image_ids is None:
            return records.read_shards(self.data.shards(self.split))
        if isinstance(self.data.folder, RemotePath):
            return self._sifted(image_ids)
        wanted = set(image_ids)
        places = [self.places[entry.image_id] for entry in self.images if entry.image_id in wanted]
        read = read_at(tf.data.Dataset.from_tensor_slices(columns(places)))
        return read.map(records.parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _sifted(self, image_ids: Sequence[str]) -> tf.data.Dataset:
        """Read all records and return those of the given images, in order."""
        every = records.read_shards(self.data.shards(self.split))
        if not image_ids:
            return every.take(0)
        keys = tf.constant(list(image_ids), tf.string)
        known = tf.lookup.KeyValueTensorInitializer(keys, tf.ones_like(keys, tf.int64))
        wanted = tf.lookup.StaticHashTable(known, 0)
        return every.filter(lambda record: wanted.lookup(record[records.IMAGE_ID]) > 0)

    @cached_property
    def places(self) -> dict[str, tuple[str, int]]:
        """Where each image's record begins: (shard, offset in bytes).

        Raises:
            UserError: The shards do not hold as many records as there are images.
        """
        entries = self.data.images[self.split]
        offsets = (
            (str(shard), offset)
            for shard in self.data.shards(self.split)
            for offset in record_offsets(shard)
        )
        found = list(islice(offsets, len(entries) + 1))
        if len(found) != len(entries):
            raise UserError(
                f"{self.data.folder}: the shards of {self.split} do not hold the {len(entries)} "
                f"records that {IMAGES} lists; look with: cereals inspect {self.data.folder} "
                "--verify"
            )
        return {entry.image_id: place for entry, place in zip(entries, found, strict=True)}

    def image(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Decode and resize a record's image: uint8 [H, W, 3]."""
        return records.resize_image(
            records.decode_image(record[records.IMAGE_ENCODED]), self.image_size
        )

    def label(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Decode and resize a record's label: uint8 [H, W] train ids.

        An id that is no class fails here, with an `InvalidArgumentError`: some devices would train
        on it without a word.
        """
        overlay = self.overlay
        encoded = overlay.label_encoded(record) if overlay else record[records.LABEL_ENCODED]
        label = records.decode_label(encoded)
        classes = self.data.classes
        known = tf.reduce_all((label < len(classes)) | (label == classes.ignore_id))
        with tf.control_dependencies([tf.debugging.Assert(known, [record[records.IMAGE_ID]])]):
            return records.resize_label(tf.identity(label), self.image_size)

    def points(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return a record's polygon vertices: float32 [V, 2], (x, y) in the resized pixels."""
        points = tf.reshape(record[records.POLYGON_POINTS], [-1, 2])
        if self.image_size is None:
            return points
        height = tf.cast(record[records.IMAGE_HEIGHT], tf.float32)
        width = tf.cast(record[records.IMAGE_WIDTH], tf.float32)
        scale = [self.image_size[1] / width, self.image_size[0] / height]
        return points * tf.stack(scale)

    def cost(self, record: dict[str, tf.Tensor], height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Return what a record's resized positions cost: float32 [ceil(H/8), ceil(W/8)] clicks.

        Where an overlay says so, it is another cost.
        """
        clicks = click_target(self.points(record), height, width)
        return self.overlay.cost(record, clicks) if self.overlay else clicks


def downscale_label(label: tf.Tensor) -> tf.Tensor:
    """Downscale train ids by 8: each position takes the label at its cell's centre.

    Nearest neighbour keeps the classes' shares, where a majority vote would lose thin objects.

    Args:
        label: uint8 [H, W].

    Returns:
        uint8 [ceil(H/8), ceil(W/8)].
    """
    for axis in (0, 1):
        length = tf.shape(label)[axis]
        centres = tf.range(cells(length)) * STRIDE + STRIDE // 2
        label = tf.gather(label, tf.minimum(centres, length - 1), axis=axis)
    return label


def click_target(points: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Count clicks: vertices per pixel clipped to [0, 10], then summed over 8x8 pixels.

    The TensorFlow twin of `cereals_tf.data_prep.clicks.click_map`.

    Args:
        points: float32 [V, 2], (x, y) in pixels; vertices outside count at the border.
        height: Image height in pixels, scalar int32.
        width: Image width in pixels, scalar int32.

    Returns:
        float32 [ceil(H/8), ceil(W/8)].
    """
    column = tf.clip_by_value(tf.cast(tf.floor(points[:, 0]), tf.int32), 0, width - 1)
    row = tf.clip_by_value(tf.cast(tf.floor(points[:, 1]), tf.int32), 0, height - 1)
    pixel, _, clicks = tf.unique_with_counts(row * width + column)
    clicks = tf.minimum(tf.cast(clicks, tf.float32), MAX_CLICKS_PER_PIXEL)
    grid = (cells(height), cells(width))
    cell = pixel // width // STRIDE * grid[1] + pixel % width // STRIDE
    return tf.reshape(tf.math.unsorted_segment_sum(clicks, cell, grid[0] * grid[1]), grid)


def region_weights(regions: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Return 1.0 at the stride-8 positions inside any of the regions, else 0.0.

    Args:
        regions: int32 [R, 4] of (y, x, height, width) in pixels, aligned to 8.
        height: Image height in pixels, scalar int32.
        width: Image width in pixels, scalar int32.

    Returns:
        float32 [ceil(H/8), ceil(W/8)].
    """
    inside = [
        (starts[:, None] <= places) & (places < (starts + lengths)[:, None])
        for starts, lengths, places in (
            (regions[:, 0], regions[:, 2], tf.range(cells(height)) * STRIDE),
            (regions[:, 1], regions[:, 3], tf.range(cells(width)) * STRIDE),
        )
    ]
    covered = inside[0][:, :, None] & inside[1][:, None, :]
    return tf.cast(tf.reduce_any(covered, axis=0), tf.float32)


@dataclass(frozen=True)
class TrainingData:
    """The labelled part of a split as weighted samples.

    Attributes:
        reader: Where images come from.
        target: `segmentation`: int32 train ids [h, w]; `cost`: float32 costs [h, w, 1].
        regions: The labelled regions per image id.
        samples: The training samples per image id, see `plan_samples`.
        batch_size: Samples per step; more than one needs samples of one size.
        cache: Where decoded samples are kept between epochs; the same samples come in the same
            order from everywhere.
    """

    reader: Split
    target: Target
    regions: Mapping[str, Sequence[Box]]
    samples: Mapping[str, Sequence[Sample]]
    batch_size: int = 1
    cache: Cache = field(default_factory=Cache)

    def __post_init__(self) -> None:
        crops = [sample.crop for part in self.samples.values() for sample in part]
        sizes = [sample_bytes(crop.height, crop.width) for crop in crops]
        object.__setattr__(self, "_count", len(crops))
        object.__setattr__(self, "_shuffled", self._source(self.cache.chosen(sum(sizes))))

    @property
    def steps(self) -> int:
        """Training steps in one epoch."""
        return -(-self._count // self.batch_size)

    def epoch(self, seed: int) -> tf.data.Dataset:
        """Return one epoch of (image uint8 [B,H,W,3], target [B,h,w,...], weight float32 [B,h,w]).

        The order depends on the seed and on TensorFlow's global seed, which `fit` sets: to set it
        here would make TensorFlow optimise its graphs anew in every epoch.
        """
        batches = self._shuffled(seed).batch(self.batch_size).prefetch(tf.data.AUTOTUNE)
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps))

    def _source(self, way: str) -> Callable[[int], tf.data.Dataset]:
        """Return what maps a seed to all samples in the order that is drawn with it.

        Samples that are decoded in every epoch are drawn before they are read, so that none has to
        wait in memory for its turn.
        """
        if way == "disk":
            name = f"{self.reader.split}-{self.target}"
            return self.cache.file(name, self._in_order()).shuffled
        if way == "memory":
            kept = self._in_order().cache()
            return lambda seed: self._shuffle(kept, seed)
        plan = self._plan()
        return lambda seed: self._read(self._shuffle(plan, seed))

    def _shuffle(self, samples: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        return samples.shuffle(self._count, seed=seed, reshuffle_each_iteration=False)

    @property
    def _image_ids(self) -> list[str]:
        """The labelled images in record order."""
        ids = (entry.image_id for entry in self.reader.images)
        return [image_id for image_id in ids if image_id in self.samples]

    def _rows(self, image_id: str) -> list[tuple[int, ...]]:
        return [(*sample.crop, *sample.core) for sample in self.samples[image_id]]

    def _plan(self) -> tf.data.Dataset:
        """Return a sample's shard, offset, regions and (crop, core), one after the other."""
        image_ids = [i for i in self._image_ids for _ in self.samples[i]]
        rows = list(chain.from_iterable(map(self._rows, self._image_ids)))
        places = columns([self.reader.places[image_id] for image_id in image_ids])
        regions = _ragged([self.regions[image_id] for image_id in image_ids], 4)
        return tf.data.Dataset.from_tensor_slices((*places, regions, tf.constant(rows, tf.int32)))

    def _read(self, plan: tf.data.Dataset) -> tf.data.Dataset:
        def sample(record: tf.Tensor, regions: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return _cut(row, *self._decode(records.parse(record), regions))

        return read_at(plan).map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _in_order(self) -> tf.data.Dataset:
        """Return the samples in record order; each image is decoded once."""
        image_ids = self._image_ids
        regions = _ragged([self.regions[image_id] for image_id in image_ids], 4)
        rows = _ragged([self._rows(image_id) for image_id in image_ids], 8)
        plan = tf.data.Dataset.from_tensor_slices((regions, rows))

        def decode(
            record: dict[str, tf.Tensor], plan: tuple[tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, ...]:
            return plan[1], *self._decode(record, plan[0])

        def cut(rows: tf.Tensor, *whole: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensor_slices(rows).map(lambda row: _cut(row, *whole))

        both = tf.data.Dataset.zip((self.reader.records(image_ids), plan))
        decoded = both.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return decoded.flat_map(cut)

    def _decode(
        self, record: dict[str, tf.Tensor], regions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return an image, its target and its weights."""
        image = self.reader.image(record)
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        weight = region_weights(regions, height, width)
        if self.target == "cost":
            cost = self.reader.cost(record, height, width)
            return image, cost[..., None], weight
        label = downscale_label(self.reader.label(record))
        return image, *masked_label(label, weight, self.reader.data.classes.ignore_id)


def sample_bytes(height: int, width: int) -> int:
    """Return the memory that a decoded sample of so many pixels takes."""
    return BYTES_PER_PIXEL * height * width + BYTES_PER_POSITION * (cells(height) * cells(width))


def _ragged(rows: Sequence[Sequence[Sequence[int]]], width: int) -> tf.RaggedTensor:
    """Return rows of tuples of `width` numbers as int32 [len(rows), None, width]."""
    return tf.ragged.constant(
        [[tuple(row) for row in part] for part in rows],
        ragged_rank=1,
        inner_shape=(width,),
        dtype=tf.int32,
    )


def _cut(
    row: tf.Tensor, image: tf.Tensor, target: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cut a sample, int32 [8] of crop and core, out of an image, its target and its weights."""
    y, x, height, width = tf.unstack(row[:4])
    rows = slice(y // STRIDE, cells(y + height))
    columns = slice(x // STRIDE, cells(x + width))
    core = region_weights(row[None, 4:], *tf.unstack(tf.shape(image)[:2]))
    return (
        image[y : y + height, x : x + width],
        target[rows, columns],
        (weight * core)[rows, columns],
    )


def masked_label(
    label: tf.Tensor, weight: tf.Tensor, ignore_id: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Give ignored labels weight 0 and a class id that the loss accepts.

    Args:
        label: uint8 [h, w] train ids.
        weight: float32 [h, w].
        ignore_id: The id that is no class.

    Returns:
        int32 [h, w] class ids, and float32 [h, w] weights.
    """
    ignored = label == ignore_id
    class_ids = tf.where(ignored, tf.zeros_like(label), label)
    return tf.cast(class_ids, tf.int32), tf.where(ignored, 0.0, weight)
