"""One split of a prepared data set: its images, labels and costs as TensorFlow reads them."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import IMAGES, ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.mapping import as_it_is, mapped
from cereals_tf.data_prep.random_access import columns, read_at, record_offsets
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.trainers.features import Features
from cereals_tf.trainers.targets import click_target, downscale_label

Record = dict[str, tf.Tensor]


def _click_maps(*values: np.ndarray) -> np.ndarray:
    *features, height, width = values
    record: dict[str, np.ndarray] = dict(zip(records.COUNTED, features, strict=True))
    return records.click_grid_of(record, int(height), int(width)).maps


@tf.function(
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)], autograph=False
)
def _record_at(path: tf.Tensor, offset: tf.Tensor) -> Record:
    """Read the record of a file that begins at an offset, by a graph that is traced once."""
    (serialized,) = read_at(tf.data.Dataset.from_tensors((path, offset))).get_single_element()
    return records.parse(serialized)


class Overlay:
    """Labels and costs of some images, which stand before those of their records.

    Args:
        labels: Per image id an 8-bit greyscale PNG of train ids, at the image's original size;
            of one image at least.
        costs: For the same images float32 [h, w, 1 or 3], the costs of each stride-8 position of
            the image as it is read, as many maps as the split has.
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

    def label_encoded(self, record: Record) -> tf.Tensor:
        """Return the PNG of a record's label, scalar string."""
        found = self._labels.lookup(record[records.IMAGE_ID])
        return tf.where(found == b"", record[records.LABEL_ENCODED], found)

    def cost(self, record: Record, own: tf.Tensor) -> tf.Tensor:
        """Return a record's costs, float32 [h, w, maps]; its `own` if none are here."""
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
        name: The split's name.
        image_size: (height, width) that images and labels are resized to; None: as they are.
        overlay: What was annotated since the data set was prepared.
        crossings: Whether costs are of three maps: vertices of each position's cell, crossings of
            the cell's left edge, and of its top edge.
        void: Whether costs have a last map more: 1 where a position is labelled void, else 0.
        features: Stand for the images, where models take the features of a frozen encoder.
    """

    data: PreparedData
    name: str
    image_size: tuple[int, int] | None = None
    overlay: Overlay | None = None
    crossings: bool = False
    void: bool = False
    features: Features | None = None

    @property
    def images(self) -> list[ImageEntry]:
        """The split's images in record order, their sizes as they are seen."""
        entries = self.data.images[self.name]
        if self.image_size is None:
            return entries
        return [ImageEntry(entry.image_id, *self.image_size, entry.clicks) for entry in entries]

    def records(self, image_ids: Sequence[str] | None = None) -> tf.data.Dataset:
        """Return parsed records in order, all of them or those of the given images.

        Of the other images nothing is read but the lengths of their records, except from an object
        store, which gives whole shards many times faster than single records.
        """
        if image_ids is None:
            return records.read_shards(self.data.shards(self.name))
        if isinstance(self.data.folder, RemotePath):
            return self._sifted(image_ids)
        wanted = set(image_ids)
        places = [self.places[entry.image_id] for entry in self.images if entry.image_id in wanted]
        read = read_at(tf.data.Dataset.from_tensor_slices(columns(places)))
        return mapped(read, records.parse)

    def record(self, image_id: str) -> Record:
        """Return the parsed record of one image, as one after the other is asked for."""
        if isinstance(self.data.folder, RemotePath):
            (found,) = self._sifted([image_id])
            return found
        path, offset = self.places[image_id]
        return _record_at(tf.constant(path), tf.constant(offset, tf.int64))

    def examples(
        self,
        target: Callable[[Record], tuple[Any, ...]] | None,
        image_ids: Sequence[str] | None = None,
        together: int = 0,
        keep: Callable[[tf.data.Dataset], tf.data.Dataset] = lambda decoded: decoded,
    ) -> tf.data.Dataset:
        """Return what a model takes of images, and their targets, in order.

        Args:
            target: Makes tensors of a record. None: there are none, and records are not read where
                features stand for the images.
            image_ids: The images. None: all.
            together: Images in a batch, all of one size; 0: no batches.
            keep: Gives what is decoded again and again. Kept features are read anew: they are not
                to fill the memory.

        Returns:
            Elements (seen, *targets); `seen` is an image, uint8 [H, W, 3], or the features that
            stand for it.
        """

        def batched(made: tf.data.Dataset) -> tf.data.Dataset:
            # Of one image it is known then, and so to the model, that it is one.
            return made.batch(together, drop_remainder=together == 1) if together else made

        def decoded(function: Callable[[Record], tuple[Any, ...]]) -> tf.data.Dataset:
            return keep(batched(mapped(self.records(image_ids), function)))

        if self.features is None:
            return decoded(lambda record: (self.image(record), *(target(record) if target else ())))
        wanted = None if image_ids is None else set(image_ids)
        ids = [entry.image_id for entry in self.images]
        ids = [image_id for image_id in ids if wanted is None or image_id in wanted]
        self.features.compute(ids)
        read = self.features.read(tf.data.Dataset.from_tensor_slices(self.features.places(ids)))
        if target is None:
            return batched(read)
        both = tf.data.Dataset.zip((batched(read), decoded(target)))
        return both.map(as_it_is(lambda seen, targets: (*seen, *targets)))

    def _sifted(self, image_ids: Sequence[str]) -> tf.data.Dataset:
        """Read all records and return those of the given images, in order."""
        every = records.read_shards(self.data.shards(self.name))
        if not image_ids:
            return every.take(0)
        keys = tf.constant(list(image_ids), tf.string)
        known = tf.lookup.KeyValueTensorInitializer(keys, tf.ones_like(keys, tf.int64))
        wanted = tf.lookup.StaticHashTable(known, 0)
        return every.filter(as_it_is(lambda record: wanted.lookup(record[records.IMAGE_ID]) > 0))

    @cached_property
    def places(self) -> dict[str, tuple[str, int]]:
        """Where each image's record begins: (shard, offset in bytes).

        Raises:
            UserError: The shards do not hold as many records as there are images.
        """
        entries = self.data.images[self.name]
        offsets = (
            (str(shard), offset)
            for shard in self.data.shards(self.name)
            for offset in record_offsets(shard)
        )
        found = list(islice(offsets, len(entries) + 1))
        if len(found) != len(entries):
            raise UserError(
                f"{self.data.folder}: the shards of {self.name} do not hold the {len(entries)} "
                f"records that {IMAGES} lists; look with: cereals inspect {self.data.folder} "
                "--verify"
            )
        return {entry.image_id: place for entry, place in zip(entries, found, strict=True)}

    def image(self, record: Record) -> tf.Tensor:
        """Decode and resize a record's image: uint8 [H, W, 3]."""
        return records.resize_image(
            records.decode_image(record[records.IMAGE_ENCODED]), self.image_size
        )

    def label(self, record: Record) -> tf.Tensor:
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

    def size(self, record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the height and the width in pixels at which a record is seen, int32 scalars."""
        if self.image_size:
            height, width = map(tf.constant, self.image_size)
            return height, width
        names = records.IMAGE_HEIGHT, records.IMAGE_WIDTH
        height, width = (tf.cast(record[name], tf.int32) for name in names)
        return height, width

    def points(self, record: Record) -> tf.Tensor:
        """Return a record's polygon vertices: float32 [V, 2], (x, y) in the resized pixels."""
        points = tf.reshape(record[records.POLYGON_POINTS], [-1, 2])
        if self.image_size is None:
            return points
        height = tf.cast(record[records.IMAGE_HEIGHT], tf.float32)
        width = tf.cast(record[records.IMAGE_WIDTH], tf.float32)
        scale = [self.image_size[1] / width, self.image_size[0] / height]
        return points * tf.stack(scale)

    def cost(self, record: Record, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Return what a record's resized positions cost: float32 [ceil(H/8), ceil(W/8), maps].

        There is one map of clicks or there are three, an overlay's where it has some; and maybe one
        of what is void.
        """
        costs = self.clicks(record, height, width)
        if not self.void:
            return costs
        void = downscale_label(self.label(record)) == self.data.classes.ignore_id
        return tf.concat([costs, tf.cast(void, tf.float32)[:, :, None]], axis=-1)

    def clicks(self, record: Record, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Return the maps of `cost` but that of void."""
        own = self._own_clicks(record, height, width)
        if self.overlay is None:
            return own
        return tf.ensure_shape(self.overlay.cost(record, own), own.shape)

    def _own_clicks(self, record: Record, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        if not self.crossings:
            return tf.expand_dims(click_target(self.points(record), height, width), -1)
        counted = tf.numpy_function(
            _click_maps,
            [*(record[name] for name in records.COUNTED), height, width],
            tf.float32,
            stateful=False,
        )
        return tf.ensure_shape(counted, [None, None, 3])
