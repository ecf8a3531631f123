"""Calibration: whether a model is right as often as it is confident.

Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015, and Guo et
al., "On Calibration of Modern Neural Networks", 2017: predictions are sorted into bins of equal
width by their confidence, the largest class probability. In a calibrated model, a bin's accuracy is
its mean confidence.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.trainers.evaluation import READ_ANEW, split_batches, with_progress
from cereals_tf.trainers.split import Record, Split
from cereals_tf.trainers.targets import downscale_label, masked_label

BINS = 15
"""As many as Guo et al. use."""


@dataclass(frozen=True)
class Calibration:
    """Predictions in M bins; bin m holds the confidences in (m/M, (m+1)/M].

    Attributes:
        counts: int64 [M], predictions.
        right: int64 [M], predictions of the true class.
        confidences: float64 [M], sum of the predictions' confidences.
    """

    counts: np.ndarray
    right: np.ndarray
    confidences: np.ndarray

    @property
    def bin_accuracy(self) -> np.ndarray:
        """Share of right predictions in each bin, float64 [M], NaN where a bin is empty."""
        return _ratio(self.right, self.counts)

    @property
    def bin_confidence(self) -> np.ndarray:
        """Mean confidence in each bin, float64 [M], NaN where a bin is empty."""
        return _ratio(self.confidences, self.counts)

    @property
    def accuracy(self) -> float:
        """Share of right predictions, NaN without any prediction."""
        return float(_ratio(self.right.sum(), self.counts.sum()))

    @property
    def confidence(self) -> float:
        """Mean confidence, NaN without any prediction."""
        return float(_ratio(self.confidences.sum(), self.counts.sum()))

    @property
    def expected_error(self) -> float:
        """Expected calibration error, 0 to 1: the bins' |accuracy - confidence|, by their counts.

        Guo et al., Eq. 3. NaN without any prediction.
        """
        return float(_ratio(np.abs(self.right - self.confidences).sum(), self.counts.sum()))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def binned(
    probabilities: tf.Tensor, class_ids: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Count predictions by confidence where the weight is not 0.

    Args:
        probabilities: float32 [..., C], summing to 1.
        class_ids: int32 [...], true classes.
        weights: float32 [...].

    Returns:
        Counts int64 [BINS], right predictions int64 [BINS], sums of confidences float64 [BINS].
    """
    there = weights > 0
    confidence = tf.boolean_mask(tf.reduce_max(probabilities, axis=-1), there)
    predicted = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    right = tf.boolean_mask(predicted == class_ids, there)
    places = tf.cast(tf.math.ceil(confidence * BINS), tf.int32) - 1
    places = tf.clip_by_value(places, 0, BINS - 1)
    sizes = {"minlength": BINS, "maxlength": BINS}
    with tf.device("CPU"):  # On a GPU TensorFlow has no deterministic count.
        return (
            tf.math.bincount(places, dtype=tf.int64, **sizes),
            tf.math.bincount(tf.boolean_mask(places, right), dtype=tf.int64, **sizes),
            tf.math.bincount(places, tf.cast(confidence, tf.float64), dtype=tf.float64, **sizes),
        )


def measure_calibration(
    model: keras.Model, split: Split, description: str | None = None
) -> Calibration:
    """Measure a segmentation model's calibration on a split, at stride 8.

    That is where the probabilities are that information is computed from. A batch is in memory at a
    time, and of the ones before it only the bins.

    Args:
        model: Maps images to logits at stride 8.
        split: The split; ignored labels do not count.
        description: Shows a progress bar of this name.
    """
    ignore_id = split.data.classes.ignore_id

    def target(record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        label = downscale_label(split.label(record))
        return masked_label(label, tf.ones(tf.shape(label)), ignore_id)

    @tf.function(reduce_retracing=True, autograph=False)
    def binned_batch(
        seen: Any, class_ids: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits = tf.cast(model(seen, training=False), tf.float32)
        return binned(tf.nn.softmax(logits), class_ids, weights)

    totals = [np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), np.zeros(BINS)]
    batches = split_batches(split, target, "segmentation", READ_ANEW)
    for batch in with_progress(batches, len(split.images), description):
        for total, part in zip(totals, binned_batch(*batch), strict=True):
            total += part.numpy()
    return Calibration(*totals)
