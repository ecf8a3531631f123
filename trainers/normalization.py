"""Batch normalisation in training by TensorFlow's fused operation, for models of any make."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf

_LEAST_EPSILON = 1.001e-5
"""cuDNN's limit."""
_VECTOR_CHANNELS = 16
"""Fused half-precision kernels need multiples of it to be faster than those in float32."""


@contextmanager
def fused_normalization(model: keras.Model) -> Iterator[None]:
    """While the block lasts, normalise the batches that `model` is trained on in one operation.

    Keras computes mean, variance and the normalised batch in several passes over the features, and
    differentiates each. The results are the same up to rounding; inference is left alone, and so is
    what differs from plain batch normalisation of feature maps.

    Args:
        model: Any Keras model; the layers of models within it are found too.
    """
    layers = [layer for layer in _layers(model) if _is_plain(layer)]
    for layer in layers:
        layer.call = partial(_normalize, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _is_plain(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.center
        and layer.scale
        and not layer.synchronized
        and not layer.renorm
        and layer.epsilon >= _LEAST_EPSILON
    )


def _normalize(
    layer: keras.layers.BatchNormalization,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: Any = None,
) -> tf.Tensor:
    """Do what `BatchNormalization.call` does."""
    if not training or not layer.trainable or mask is not None or len(inputs.shape) != 4:
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    channels = layer.gamma.shape[-1]
    direct = channels % _VECTOR_CHANNELS == 0
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs if direct else tf.cast(inputs, tf.float32),
        scale=layer.gamma,
        offset=layer.beta,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs) // channels, tf.float32)
    biased = variance * (count - 1) / count
    for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
        moving.assign(moving * layer.momentum + batch * (1 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)
