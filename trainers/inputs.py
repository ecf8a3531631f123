"""From TFRecords to weighted training batches, with tf.data.

A sample's weight is 0 outside the labelled regions, and for the segmentation also on ignored
labels, so that no loss is computed on unlabelled data.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from data_prep import records
from data_prep.clicks import MAX_CLICKS_PER_PIXEL, STRIDE
from data_prep.dataset import ImageEntry, PreparedData
from trainers.samples import Box, Sample

Target = Literal["segmentation", "cost"]
SHUFFLE_BYTES = 1 << 30
CACHE_SHARE_OF_MEMORY = 0.25


@dataclass(frozen=True)
class ImageReader:
    """One split of a prepared data set, seen at one image size.

    Attributes:
        data: The prepared data set.
        split: Name of the split.
        image_size: (height, width) that images and labels are resized to; None: as they are.
    """

    data: PreparedData
    split: str
    image_size: tuple[int, int] | None = None

    @property
    def images(self) -> list[ImageEntry]:
        """The split's images in record order, their sizes as this reader gives them."""
        entries = self.data.images[self.split]
        if self.image_size is None:
            return entries
        return [ImageEntry(entry.image_id, *self.image_size, entry.clicks) for entry in entries]

    def records(self, image_ids: Sequence[str] | None = None) -> tf.data.Dataset:
        """Return parsed records in order, all of them or those of the given images."""
        parsed = records.read_shards(self.data.shards(self.split))
        if image_ids is None:
            return parsed
        if not image_ids:
            return parsed.take(0)
        wanted = _index_table(image_ids)
        return parsed.filter(lambda record: wanted.lookup(record[records.IMAGE_ID]) >= 0)

    def image(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Decode and resize a record's image: uint8 [H, W, 3]."""
        return records.resize_image(
            records.decode_image(record[records.IMAGE_ENCODED]), self.image_size
        )

    def label(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Decode and resize a record's label: uint8 [H, W] train ids."""
        return records.resize_label(
            records.decode_label(record[records.LABEL_ENCODED]), self.image_size
        )

    def points(self, record: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return a record's polygon vertices: float32 [V, 2], (x, y) in the resized pixels."""
        points = tf.reshape(record[records.POLYGON_POINTS], [-1, 2])
        if self.image_size is None:
            return points
        height = tf.cast(record[records.IMAGE_HEIGHT], tf.float32)
        width = tf.cast(record[records.IMAGE_WIDTH], tf.float32)
        scale = [self.image_size[1] / width, self.image_size[0] / height]
        return points * tf.stack(scale)


def _index_table(image_ids: Sequence[str]) -> tf.lookup.StaticHashTable:
    """Return a table from image id to its place in the list, -1 for all others."""
    keys = tf.constant(list(image_ids), tf.string)
    places = tf.range(len(image_ids), dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, places), -1)


def grid_size(length: tf.Tensor) -> tf.Tensor:
    """Return the number of stride-8 positions along an image side of this many pixels."""
    return -(-length // STRIDE)


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
        centres = tf.range(grid_size(length)) * STRIDE + STRIDE // 2
        label = tf.gather(label, tf.minimum(centres, length - 1), axis=axis)
    return label


def click_target(points: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Count clicks: vertices per pixel clipped to [0, 10], then summed over 8x8 pixels.

    The TensorFlow twin of `data_prep.clicks.click_map`.

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
    cells = (grid_size(height), grid_size(width))
    cell = pixel // width // STRIDE * cells[1] + pixel % width // STRIDE
    return tf.reshape(tf.math.unsorted_segment_sum(clicks, cell, cells[0] * cells[1]), cells)


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
            (regions[:, 0], regions[:, 2], tf.range(grid_size(height)) * STRIDE),
            (regions[:, 1], regions[:, 3], tf.range(grid_size(width)) * STRIDE),
        )
    ]
    covered = inside[0][:, :, None] & inside[1][:, None, :]
    return tf.cast(tf.reduce_any(covered, axis=0), tf.float32)


@dataclass(frozen=True)
class TrainingData:
    """The labelled part of a split as weighted samples.

    Attributes:
        reader: Where images come from.
        target: `segmentation`: int32 train ids [h, w]; `cost`: float32 clicks [h, w, 1].
        regions: The labelled regions per image id.
        samples: The training samples per image id, see `plan_samples`.
        batch_size: Samples per step; more than one needs samples of one size.
    """

    reader: ImageReader
    target: Target
    regions: Mapping[str, Sequence[Box]]
    samples: Mapping[str, Sequence[Sample]]
    batch_size: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decoded", self._decode())

    @property
    def steps(self) -> int:
        """Training steps in one epoch."""
        return -(-sum(map(len, self.samples.values())) // self.batch_size)

    def epoch(self, seed: int) -> tf.data.Dataset:
        """Return one epoch of (image uint8 [B,H,W,3], target [B,h,w,...], weight float32 [B,h,w]).

        The order depends on the seed and on TensorFlow's global seed, which `fit` sets: to set it
        here would make TensorFlow optimise its graphs anew in every epoch.
        """
        samples = self._decoded.flat_map(self._cut)
        count = sum(map(len, self.samples.values()))
        pixels = max(sample.crop.area for part in self.samples.values() for sample in part)
        buffer = int(np.clip(SHUFFLE_BYTES // (4 * pixels), 1, count))
        samples = samples.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        batches = samples.batch(self.batch_size).prefetch(tf.data.AUTOTUNE)
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps))

    def _decode(self) -> tf.data.Dataset:
        image_ids = list(self.samples)
        places = _index_table(image_ids)
        regions = tf.ragged.constant(
            [[tuple(box) for box in self.regions[image_id]] for image_id in image_ids],
            ragged_rank=1,
            inner_shape=(4,),
            dtype=tf.int32,
        )

        def decode(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            image = self.reader.image(record)
            height, width = tf.shape(image)[0], tf.shape(image)[1]
            place = places.lookup(record[records.IMAGE_ID])
            weight = region_weights(regions[place], height, width)
            if self.target == "cost":
                clicks = click_target(self.reader.points(record), height, width)
                return place, image, clicks[..., None], weight
            label = downscale_label(self.reader.label(record))
            return place, image, *masked_label(label, weight, self.reader.data.classes.ignore_id)

        decoded = self.reader.records(image_ids).map(
            decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        sizes = {entry.image_id: entry.height * entry.width for entry in self.reader.images}
        return cached_if_it_fits(decoded, sum(sizes[image_id] for image_id in image_ids))

    def _cut(
        self, place: tf.Tensor, image: tf.Tensor, target: tf.Tensor, weight: tf.Tensor
    ) -> tf.data.Dataset:
        samples = tf.ragged.constant(
            [[(*sample.crop, *sample.core) for sample in part] for part in self.samples.values()],
            ragged_rank=1,
            inner_shape=(8,),
            dtype=tf.int32,
        )

        def cut(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            y, x, height, width = tf.unstack(sample[:4])
            rows = slice(y // STRIDE, grid_size(y + height))
            columns = slice(x // STRIDE, grid_size(x + width))
            core = region_weights(sample[None, 4:], *tf.unstack(tf.shape(image)[:2]))
            return (
                image[y : y + height, x : x + width],
                target[rows, columns],
                (weight * core)[rows, columns],
            )

        return tf.data.Dataset.from_tensor_slices(samples[place]).map(cut)


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


def cached_if_it_fits(decoded: tf.data.Dataset, pixels: int) -> tf.data.Dataset:
    """Keep decoded samples of so many pixels in memory if a quarter of it is enough for them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fits = 4 * pixels <= CACHE_SHARE_OF_MEMORY * memory
    return decoded.cache() if fits else decoded
