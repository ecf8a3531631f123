"""From TFRecords to weighted training batches, with tf.data.

A sample's weight is 0 outside the labelled regions, and for the segmentation also on ignored
labels, so that no loss is computed on unlabelled data.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.grid import STRIDE, Box, cells
from cereals_tf.data_prep.mapping import as_it_is, flat_mapped, mapped
from cereals_tf.data_prep.random_access import columns, read_at
from cereals_tf.trainers.augment import augment_cost, augment_label
from cereals_tf.trainers.cache import Cache, sample_bytes
from cereals_tf.trainers.samples import Sample
from cereals_tf.trainers.split import Record, Split
from cereals_tf.trainers.targets import Target, downscale_label, masked_label, region_weights

Draw = Callable[[tf.data.Dataset], tf.data.Dataset]


class TrainingData:
    """The labelled part of a split as weighted samples.

    Attributes:
        samples: The training samples per image id.
        steps: Training steps in an epoch.
        positions_per_step: Positions in the regions of a mean step.

    Args:
        split: Where images come from.
        target: `segmentation`: int32 train ids [h, w]; `cost`: float32 costs [h, w, maps].
        regions: The labelled regions per image id.
        samples: The training samples per image id, see `plan_samples`.
        batch_size: Samples per step; the smaller ones are filled up with zeros of weight 0.
        cache: Where decoded samples are kept between epochs; the same samples come in the same
            order from everywhere. None: `auto`.
        min_steps: Least steps of an epoch. Where the samples are not enough, all of them come
            again, in another order, and again.
        augment: Whether other views of the images are drawn, see `cereals_tf.trainers.augment`;
            with whole images as samples, and not of features.
    """

    def __init__(
        self,
        split: Split,
        target: Target,
        regions: Mapping[str, Sequence[Box]],
        samples: Mapping[str, Sequence[Sample]],
        batch_size: int = 1,
        cache: Cache | None = None,
        min_steps: int = 1,
        augment: bool = False,
    ) -> None:
        self.samples = samples
        self._split, self._target, self._regions = split, target, regions
        self._batch_size, self._cache = batch_size, cache or Cache()
        self._augment = augment
        crops = [sample.crop for part in samples.values() for sample in part]
        self._count = len(crops)
        positions = sum(
            cells(box.height) * cells(box.width)
            for image_id in samples
            for box in regions[image_id]
        )
        self.positions_per_step = positions * batch_size / self._count
        self._whole = augment or _are_whole(split, samples)
        steps = math.ceil(self._count / batch_size)
        self.steps, self._again = max(min_steps, steps), steps < min_steps
        featured = split.features is not None
        size = sum(sample_bytes(crop.height, crop.width, featured) for crop in crops)
        self._drawn = self._featured(size) if featured else self._source(self._cache.chosen(size))
        one_size = len({(crop.height, crop.width) for crop in crops}) == 1
        self._batched = tf.data.Dataset.batch if one_size else tf.data.Dataset.padded_batch

    def epochs(self, seeds: Sequence[int]) -> tf.data.Dataset:
        """Return epochs of (image uint8 [B,H,W,3], target [B,h,w,...], weight float32 [B,h,w]).

        Where features stand for the images, they take their place, as a tuple. They come from one
        dataset, as TensorFlow takes longer to build and optimise one than to read a small epoch.

        Args:
            seeds: One for each epoch, below 2^63. The order depends on it and on TensorFlow's
                global seed, which `fit` sets (to set it here would make TensorFlow optimise its
                graphs anew); a global seed of 0 is an error of TensorFlow's.

        Returns:
            The batches of the first seed's epoch, of the second's and so on, `steps` of each.
        """
        seeded = tf.data.Dataset.from_tensor_slices(tf.constant(seeds, tf.int64, [len(seeds)]))
        batches = flat_mapped(seeded, self._epoch).prefetch(tf.data.AUTOTUNE)
        return batches.apply(tf.data.experimental.assert_cardinality(len(seeds) * self.steps))

    def _epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        samples = self._drawn(partial(self._shuffle, seed))
        if self._augment:
            samples = mapped(samples.enumerate(), partial(self._augmented, seed))
        # For a batch of one it is known then, and so to the model, that it is one.
        return self._batched(samples, self._batch_size, drop_remainder=self._batch_size == 1)

    def _shuffle(self, seed: Any, samples: tf.data.Dataset) -> tf.data.Dataset:
        order = samples.shuffle(self._count, seed=seed, reshuffle_each_iteration=self._again)
        return order.repeat().take(self._batch_size * self.steps) if self._again else order

    def _augmented(
        self, seed: tf.Tensor, number: tf.Tensor, sample: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return another view of a sample, which is drawn from the epoch's seed and its number."""
        seeds = tf.stack([seed, number])
        if self._target == "cost":
            image, cost, weight = sample
            return augment_cost(image, cost, weight, seeds)
        image, label = sample
        fill = self._split.data.classes.ignore_id
        image, label = augment_label(image, label, fill, seeds)
        label = downscale_label(label)
        return image, *masked_label(label, tf.ones(tf.shape(label)), fill)

    def _source(self, way: str) -> Callable[[Draw], tf.data.Dataset]:
        """Return what gives the samples that are drawn, given what draws from a dataset.

        Samples that are decoded in every epoch are drawn before they are read, so that none has to
        wait in memory for its turn.
        """
        if way == "disk":
            name = f"{self._split.name}-{self._target}"
            return self._cache.file(name, self._in_order()).drawn
        if way == "memory":
            kept = self._in_order().cache()
            return lambda draw: draw(kept)
        plan = self._plan()
        return lambda draw: self._read(draw(plan))

    @property
    def _image_ids(self) -> list[str]:
        """The labelled images in record order."""
        ids = (entry.image_id for entry in self._split.images)
        return [image_id for image_id in ids if image_id in self.samples]

    def _rows(self, image_id: str) -> list[tuple[int, ...]]:
        return [(*sample.crop, *sample.core) for sample in self.samples[image_id]]

    def _plan(self) -> tf.data.Dataset:
        """Return a sample's shard, offset, regions and (crop, core), one after the other."""
        image_ids = [i for i in self._image_ids for _ in self.samples[i]]
        rows = list(chain.from_iterable(map(self._rows, self._image_ids)))
        places = columns([self._split.places[image_id] for image_id in image_ids])
        regions = _ragged([self._regions[image_id] for image_id in image_ids], 4)
        return tf.data.Dataset.from_tensor_slices((*places, regions, tf.constant(rows, tf.int32)))

    def _read(self, plan: tf.data.Dataset) -> tf.data.Dataset:
        def sample(record: tf.Tensor, regions: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, ...]:
            decoded = self._decode(records.parse(record), regions)
            return decoded if self._whole else _cut(row, *decoded)

        return mapped(read_at(plan), sample)

    def _in_order(self) -> tf.data.Dataset:
        """Return the samples in record order; each image is decoded once."""
        image_ids = self._image_ids
        regions = _ragged([self._regions[image_id] for image_id in image_ids], 4)
        rows = _ragged([self._rows(image_id) for image_id in image_ids], 8)
        plan = tf.data.Dataset.from_tensor_slices((regions, rows))

        def decode(record: Record, plan: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            return plan[1], *self._decode(record, plan[0])

        def cut(rows: tf.Tensor, *whole: tf.Tensor) -> tf.data.Dataset:
            parts = tf.data.Dataset.from_tensor_slices(rows)
            return parts.map(as_it_is(lambda row: _cut(row, *whole)))

        both = tf.data.Dataset.zip((self._split.records(image_ids), plan))
        decoded: tf.data.Dataset = mapped(both, decode)
        if self._whole:
            return mapped(decoded, lambda rows, *whole: whole)
        return flat_mapped(decoded, cut)

    def _featured(self, size: int) -> Callable[[Draw], tf.data.Dataset]:
        """Return what `_source` returns, where features stand for the images.

        Targets and weights are kept as decoded samples are; the features are read as they come.

        Args:
            size: Bytes that all targets and weights take.
        """
        features, image_ids = self._split.features, self._image_ids
        assert features
        features.compute(image_ids)
        regions = _ragged([self._regions[image_id] for image_id in image_ids], 4)
        plan = tf.data.Dataset.from_tensor_slices((*features.places(image_ids), regions))

        def decode(record: Record, plan: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            *place, boxes = plan
            return *place, *self._decode_target(record, boxes)

        both = tf.data.Dataset.zip((self._split.records(image_ids), plan))
        targets = mapped(both, decode)
        name = f"{self._split.name}-{self._target}"
        kept = self._cache.sequence(name, targets, size)
        return lambda draw: features.read(draw(kept))

    def _decode(self, record: Record, regions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return an image, its target and its weights; to be augmented, an image and its label."""
        image = self._split.image(record)
        if self._augment and self._target == "segmentation":
            return image, self._annotated_label(record, regions)
        return image, *self._decode_target(record, regions)

    def _annotated_label(self, record: Record, regions: tf.Tensor) -> tf.Tensor:
        """Return an image's label, uint8 [H, W], without what no region covers."""
        label = self._split.label(record)
        height, width = tf.unstack(tf.shape(label))
        covered = region_weights(regions, height, width) > 0
        covered = tf.repeat(tf.repeat(covered, STRIDE, axis=0), STRIDE, axis=1)
        ignored = tf.constant(self._split.data.classes.ignore_id, tf.uint8)
        return tf.where(covered[:height, :width], label, ignored)

    def _decode_target(self, record: Record, regions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return an image's target and its weights."""
        height, width = self._split.size(record)
        weight = region_weights(regions, height, width)
        if self._target == "cost":
            cost = self._split.cost(record, height, width)
            return cost, weight
        label = downscale_label(self._split.label(record))
        return masked_label(label, weight, self._split.data.classes.ignore_id)


def _are_whole(split: Split, samples: Mapping[str, Sequence[Sample]]) -> bool:
    """Whether the samples are images as they are."""
    whole = {entry.image_id: Box(0, 0, entry.height, entry.width) for entry in split.images}
    return all([*part] == [Sample(whole[i], whole[i])] for i, part in samples.items())


def _ragged(rows: Sequence[Sequence[Sequence[int]]], width: int) -> Any:
    """Return rows of tuples of `width` numbers as a ragged int32 [len(rows), None, width]."""
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
