"""Normalisation in training by TensorFlow's fused operations, for models of any make."""

from collections.abc import Callable, Iterator
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
    """While the block lasts, normalise what `model` is trained on in few operations.

    Keras computes mean, variance and the normalised batch in several passes over the features, and
    differentiates each. The results are the same up to rounding. Of batch normalisation, inference
    is left alone, and so is what differs from the plain kind for feature maps. Group normalisation
    is that of layers with a method `affine_of`, as `cereals_tf.models.layers.GroupNormalization`;
    batches are left alone that are not known to be a single image when the model is traced.

    Args:
        model: Any Keras model; the layers of models within it are found too.
    """
    # On a GPU the operation that normalises an image has no deterministic gradient.
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    replaced = []
    for layer in nested_layers(model):
        if _is_plain(layer):
            layer.call = partial(_normalize, layer)
        elif hasattr(layer, "affine_of") and not on_gpu:
            layer.call = partial(_normalize_image, layer)
        else:
            continue
        replaced.append(layer)
    try:
        yield
    finally:
        for layer in replaced:
            del layer.call


def nested_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield a model's layers, and those of the models within it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from nested_layers(layer)


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
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=_of_quick_type(inputs),
        scale=layer.gamma,
        offset=layer.beta,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs) // layer.gamma.shape[-1], tf.float32)
    biased = variance * (count - 1) / count
    for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
        moving.assign(moving * layer.momentum + batch * (1 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)


def _normalize_image(layer: Any, inputs: tf.Tensor) -> tf.Tensor:
    """Do what `GroupNormalization.call` does."""
    if inputs.shape[0] != 1:
        return type(layer).call(layer, inputs)
    features = _of_quick_type(inputs)
    scales, shifts = layer.affine_of(*_moments(features))
    return tf.cast(_affine(features, scales[0], shifts[0]), layer.compute_dtype)


@tf.custom_gradient
def _moments(features: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """Return each channel's mean and mean square, float32 [1, C], of features [1, H, W, C].

    Batch normalisation of one image has them at hand: it is quicker than two reductions, although
    what it normalises is not needed.
    """
    ones = tf.ones(features.shape[-1:])
    _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=features,
        scale=ones,
        offset=ones,
        mean=[],
        variance=[],
        epsilon=1e-3,
        is_training=True,
    )
    count = tf.cast(tf.size(features) // features.shape[-1], tf.float32)

    def gradient(of_means: tf.Tensor, of_squares: tf.Tensor) -> tf.Tensor:
        return _affine(features, 2 * of_squares[0] / count, of_means[0] / count)

    squares = variance * (count - 1) / count + tf.square(mean)
    return (mean[None], squares[None]), gradient


def _affine(features: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Return features * scale + shift, in one pass there and one back.

    It is batch normalisation in inference mode, of mean 0 and variance 1.
    """
    epsilon = 1e-3
    mean, variance = tf.zeros_like(scale), tf.ones_like(scale) - epsilon
    return tf.raw_ops.FusedBatchNormV3(
        x=features,
        scale=scale,
        offset=shift,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    )[0]


def _of_quick_type(features: tf.Tensor) -> tf.Tensor:
    """Return features in the type in which fused operations are quick."""
    channels = features.shape[-1]
    direct = channels is not None and channels % _VECTOR_CHANNELS == 0
    return features if direct else tf.cast(features, tf.float32)
