"""Training on several devices, with tf.distribute."""

from functools import partial
from typing import Any

import keras
import tensorflow as tf

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.trainers.choices import STRATEGIES


def open_strategy(name: str, batch_size: int) -> tf.distribute.Strategy:
    """Return the strategy in whose scope a model is built that `fit` is to train with it.

    Args:
        name: `none`: one device; `multiworker` too, of whose workers each has one, see
            `cereals_tf.trainers.workers`. `mirrored`: all GPUs of this machine, its CPU devices if
            there are none; each holds the model and gets an equal part of the images of a step.
        batch_size: Images in a step, on all devices together.

    Raises:
        UserError: Unknown name, or the devices cannot share the images of a step equally.
    """
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name}: expected one of {', '.join(STRATEGIES)}")
    if name != "mirrored":
        return tf.distribute.get_strategy()
    strategy = tf.distribute.MirroredStrategy()
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"--strategy={name}: {replicas} devices share the images of a step, so the campaign's "
            f"--batch_size must be a multiple of {replicas}; it is {batch_size}"
        )
    return strategy


def summed(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Return a loss as the sum over weighted positions, for batches that `split_among` gives."""
    return type(loss).from_config({**loss.get_config(), "reduction": "sum"})


def split_among(
    batches: tf.data.Dataset, replicas: int, positions: float | None = None
) -> tf.data.Dataset:
    """Prepare batches that replicas split, so that together they do what one device does.

    The weights of a batch are made to sum to one: the weighted sums of the parts then add up to the
    weighted mean of the whole, however the weight is spread. A batch that cannot be split equally
    is filled up with its last sample, which weighs nothing then; no part is empty.

    Args:
        batches: (seen, targets, weights), each [B, ...]; `seen` is images, or a tuple of features.
        replicas: How many devices there are.
        positions: What the weights are divided by in place of their sum, see `fitting.fit`.
    """

    def prepare(
        seen: Any, targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[Any, tf.Tensor, tf.Tensor]:
        whole = tf.reduce_sum(weights) if positions is None else positions
        shares = tf.math.divide_no_nan(weights, whole)
        if replicas == 1:  # the number of images stays known
            return seen, targets, shares
        missing = tf.math.floormod(-tf.shape(weights)[0], replicas)
        filled = tf.nest.map_structure(partial(_fill, missing=missing), (seen, targets))
        return *filled, tf.concat([shares, tf.zeros_like(_last(shares, missing))], axis=0)

    return mapped(batches, prepare)


def _fill(part: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    return tf.concat([part, _last(part, missing)], axis=0)


def _last(part: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    return tf.repeat(part[-1:], times, axis=0)
