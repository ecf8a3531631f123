"""Intersection over union and click error of a model on a whole split."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.data_prep.progress import Progress
from cereals_tf.trainers.cache import Cache, sample_bytes
from cereals_tf.trainers.graphs import kept, signature_of
from cereals_tf.trainers.split import Record, Split
from cereals_tf.trainers.targets import downscale_label, masked_label
from cereals_tf.trainers.workers import ALONE, Workers

PIXELS_PER_BATCH = 1 << 19
"""Pixels evaluated in one pass; whole images where they are larger."""
READ_ANEW = Cache("none")


class Iou(NamedTuple):
    """Mean IoU (None if no class occurs) and IoU per class, NaN where a class never occurs."""

    mean: float | None
    per_class: np.ndarray


def iou(confusion: np.ndarray) -> Iou:
    """Compute IoU = TP / (TP + FP + FN) from a confusion matrix.

    The mean is over the classes that occur in the ground truth or in the predictions, as in
    Cityscapes' official evaluation.

    Args:
        confusion: int64 [C, C], rows are true classes, columns predicted ones.
    """
    true_positive = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - true_positive
    per_class = np.divide(true_positive, union, out=np.full(len(union), np.nan), where=union > 0)
    return Iou(float(np.nanmean(per_class)) if (union > 0).any() else None, per_class)


def upsample_logits(
    logits: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int
) -> tf.Tensor:
    """Bring stride-8 logits [B, h, w, C] to full resolution [B, height, width, C], bilinearly."""
    full = tf.shape(logits)[1:3] * STRIDE
    return tf.image.resize(logits, full, method="bilinear")[:, :height, :width]


def confusion_matrix(
    class_ids: tf.Tensor, weights: tf.Tensor, predicted: tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Count pairs of true and predicted classes where the weight is not 0.

    Args:
        class_ids: int32 [...] true classes.
        weights: float32 [...].
        predicted: int32 [...] predicted classes.
        num_classes: C.

    Returns:
        int64 [C, C], rows are true classes.
    """
    pairs = tf.boolean_mask(class_ids * num_classes + predicted, weights > 0)
    with tf.device("CPU"):  # On a GPU TensorFlow has no deterministic count.
        counts = tf.math.bincount(pairs, minlength=num_classes**2, dtype=tf.int64)
    return tf.reshape(counts, [num_classes, num_classes])


class SegmentationEvaluator:
    """Measures a segmentation model's IoU on a split.

    Args:
        model: Maps images to logits at stride 8.
        split: The split.
        full_resolution: Compare at the images' resolution, logits upsampled bilinearly, as the
            reported mIoU is defined; otherwise at stride 8, for early stopping.
        cache: Where decoded images are kept between measurements at stride 8.
        own_size: Where images are resized, compare at the labels' own size too, logits resized once
            more, bilinearly; with full resolution.
        workers: Measure it together, each on its share of the images.
    """

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        full_resolution: bool,
        cache: Cache = READ_ANEW,
        own_size: bool = False,
        workers: Workers = ALONE,
    ) -> None:
        seen_as = [split]
        if own_size and split.image_size:
            seen_as.append(replace(split, image_size=None))
        classes = split.data.classes
        self._images, self._workers = len(workers.share(split.images)), workers

        def target(record: Record) -> tuple[tf.Tensor, ...]:
            truths = []
            for labels in seen_as:
                label = labels.label(record)
                label = label if full_resolution else downscale_label(label)
                truths += masked_label(label, tf.ones(tf.shape(label)), classes.ignore_id)
            return (*truths,)

        place = READ_ANEW if full_resolution else cache
        self._batches = split_batches(split, target, "segmentation", place, seen_as[-1], workers)
        self._confusions_of = kept(
            model, _confusions_of, full_resolution, len(classes), signature_of(self._batches)
        )
        self._shape = (len(seen_as), len(classes), len(classes))

    def confusions(self, description: str | None = None) -> np.ndarray:
        """Return the confusion matrices of the model on the split, int64 [1 or 2, C, C].

        The second one, with `own_size` where images are resized, is at the labels' own size.

        Args:
            description: Shows a progress bar of this name.
        """
        total = np.zeros(self._shape, np.int64)
        for batch in with_progress(self._batches, self._images, description):
            total += np.stack(self._confusions_of(*batch))
        return self._workers.total(total)

    def confusion(self, description: str | None = None) -> np.ndarray:
        """Return the first of `confusions`, int64 [C, C]."""
        return self.confusions(description)[0]

    def iou(self, description: str | None = None) -> Iou:
        """Return the model's IoU by `confusion`."""
        return iou(self.confusion(description))


class CostErrors(NamedTuple):
    """A cost model's errors, means over the positions of a split.

    Attributes:
        squared: (predicted - true cost)^2 of the vertices' map.
        poisson: The negative log-likelihood of the true costs, less what does not depend on the
            model, over all maps; only of positive predictions is it a number.
        true_mean: Of the true vertices' map.
        true_square: Mean of its squares.
    """

    squared: float
    poisson: float
    true_mean: float
    true_square: float

    def squared_of(self, constant: float) -> float:
        """Return what `squared` would be if this were predicted everywhere."""
        return self.true_square - 2 * constant * self.true_mean + constant**2


class CostEvaluator:
    """Measures a cost model's errors per stride-8 position on a split.

    Args:
        model: Maps images to costs at stride 8.
        split: The split.
        cache: Where decoded images are kept between measurements.
        cost_per_click: What a click of the split stands for, in the unit of the model's costs.
        workers: Measure it together, each on its share of the images.
    """

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        cache: Cache = READ_ANEW,
        cost_per_click: float = 1.0,
        workers: Workers = ALONE,
    ) -> None:
        self._images, self._workers = len(workers.share(split.images)), workers

        def target(record: Record) -> tuple[tf.Tensor]:
            return (split.cost(record, *split.size(record)),)

        self._batches = split_batches(split, target, "cost", cache, workers=workers)
        self._errors_of = kept(model, _errors_of, signature_of(self._batches))
        self._cost_per_click = tf.constant(cost_per_click, tf.float32)

    def errors(self, description: str | None = None) -> CostErrors:
        """Return the means over all positions of the split."""
        totals = np.zeros(5)
        for batch in with_progress(self._batches, self._images, description):
            sums, count = self._errors_of(self._cost_per_click, *batch)
            totals += [*map(float, sums), int(count)]
        *sums, positions = self._workers.total(totals)
        return CostErrors(*(np.array(sums) / positions).tolist())

    def mean_squared_error(self) -> float:
        """Return the mean of (predicted - true cost)^2 of the vertices' map."""
        return self.errors().squared


def _confusions_of(
    model: keras.Model, full_resolution: bool, num_classes: int, signature: tuple[Any, ...]
) -> Callable[..., list[tf.Tensor]]:
    """Return a graph from what a model sees, labels and weights to confusion matrices.

    There may be several pairs of labels and weights, each of a size of its own.
    """

    @tf.function(input_signature=signature, autograph=False)
    def confusions_of(seen: Any, *truths: tf.Tensor) -> list[tf.Tensor]:
        logits, found = model(seen, training=False), []
        for number, (truth, weights) in enumerate(zip(truths[::2], truths[1::2], strict=True)):
            size = tf.shape(truth)[1:3]
            if number:
                logits = tf.image.resize(logits, size, method="bilinear")
            elif full_resolution:
                logits = upsample_logits(logits, *tf.unstack(size))
            predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
            found.append(confusion_matrix(truth, weights, predicted, num_classes))
        return found

    return confusions_of


def _errors_of(
    model: keras.Model, signature: tuple[Any, ...]
) -> Callable[..., tuple[list[tf.Tensor], tf.Tensor]]:
    """Return a graph from a click's cost, what a model sees and clicks to sums and their count."""

    @tf.function(input_signature=(tf.TensorSpec([], tf.float32), *signature), autograph=False)
    def errors_of(
        cost_per_click: tf.Tensor, seen: Any, clicks: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        costs, predicted = cost_per_click * clicks, model(seen, training=False)
        poisson = predicted - costs * tf.math.log(predicted + keras.config.epsilon())
        vertices = costs[:, :, :, 0]
        squares = tf.square(predicted[:, :, :, 0] - vertices)
        parts = (squares, poisson, vertices, tf.square(vertices))
        return [tf.reduce_sum(tf.cast(part, tf.float64)) for part in parts], tf.size(squares)

    return errors_of


def split_batches(
    split: Split,
    target: Callable[[Record], tuple[Any, ...]],
    name: str,
    cache: Cache,
    labels: Split | None = None,
    workers: Workers = ALONE,
) -> tf.data.Dataset:
    """Return a worker's share of a split, several examples at a time where small images are alike.

    Args:
        split: The split.
        target: See `Split.examples`.
        name: Of what `target` gives; tells apart what the cache keeps.
        cache: Where decoded examples are kept.
        labels: The split as `target` sees it. None: as it is.
        workers: Share the images.
    """
    sizes = [(entry.height, entry.width) for entry in (labels or split).images]
    pixels = max(height * width for height, width in sizes)
    together = max(1, PIXELS_PER_BATCH // pixels) if len(set(sizes)) == 1 else 1
    size = sum(sample_bytes(*size, bool(split.features)) for size in workers.share(sizes))
    own = [entry.image_id for entry in workers.share(split.images)] if workers.count > 1 else None
    batches = split.examples(
        target,
        own,
        together=together,
        keep=lambda decoded: cache.sequence(f"{split.name}-{name}", decoded, size),
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def with_progress(
    batches: tf.data.Dataset, images: int, description: str | None
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Yield batches under a progress bar of images, hidden where there is no description."""
    hidden = description is None
    with Progress(desc=description, total=images, unit="image", disable=hidden) as bar:
        for batch in batches:
            yield batch
            bar.update(int(batch[-1].shape[0]))
