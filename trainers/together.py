"""Training by several workers: what Keras's `fit` does, with the gradients summed between them."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.trainers.normalization import nested_layers
from cereals_tf.trainers.strategy import split_among, summed
from cereals_tf.trainers.workers import Workers


class JointTraining:
    """Trains a model on this worker's part of each batch, and all workers' models alike.

    As on the devices of `--strategy=mirrored`, each worker normalises its own part of a batch, and
    the chief's moving averages count.

    Args:
        model: A compiled model in plain variables, equal at all workers.
        loss: A mean over weighted positions, or their sum.
        workers: All of them.
        batches: Of all epochs, the same at all workers.
        positions: See `fitting.fit`.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: keras.losses.Loss,
        workers: Workers,
        batches: tf.data.Dataset,
        positions: float | None = None,
    ) -> None:
        self._workers = workers
        self._batches = iter(workers.parts(split_among(batches, workers.count, positions)))
        self._averages = list(_averages(model))
        total, weights, optimizer = summed(loss), model.trainable_variables, model.optimizer

        @tf.function(reduce_retracing=True, autograph=False)
        def step(batches: Iterator) -> tuple[tf.Tensor, tf.Tensor]:
            seen, targets, shares = next(batches)
            with tf.GradientTape() as tape:
                own = total(targets, model(seen, training=True), shares)
                regular = sum(map(tf.reduce_sum, model.losses)) / workers.count
                scaled = optimizer.scale_loss(own + regular)
            zero = tf.UnconnectedGradients.ZERO
            gradients = tape.gradient(scaled, weights, unconnected_gradients=zero)
            *gradients, loss = workers.sum([*gradients, own])
            optimizer.apply(gradients, weights)
            return loss, tf.shape(shares)[0]

        self._step = step

    def epoch(self, steps: int, on_step: Callable[[], object]) -> float:
        """Train on so many batches, those of an epoch, and return the mean loss."""
        losses, sizes = [], []
        for _ in range(steps):
            loss, size = self._step(self._batches)
            losses.append(loss)
            sizes.append(size)
            on_step()
        self._workers.follow_chief(self._averages)
        return float(np.average(np.array(losses, np.float64), weights=np.array(sizes)))


def _averages(model: keras.Model) -> Iterator[keras.Variable]:
    """Return what training changes beside the weights, as batch normalisation's averages."""
    for layer in nested_layers(model):
        if layer.trainable and not isinstance(layer, keras.Model):
            for variable in layer.non_trainable_variables:
                if keras.backend.is_float_dtype(variable.dtype):
                    yield variable
