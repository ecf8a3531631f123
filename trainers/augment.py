"""Augmentation: other views of an image, whose labels and weights stay exact.

All draws follow from the seed that is given, so that a training that was interrupted goes on with
the same views.
"""

import tensorflow as tf

from cereals_tf.data_prep.grid import STRIDE

SCALES = (0.75, 1.5)
CONTRASTS = (0.8, 1.25)
BRIGHTNESS = 0.1
"""Most that is added or taken away, of white."""


def augment_label(
    image: tf.Tensor, label: tf.Tensor, fill: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Flip, scale, shift and light an image, and its label with it.

    Args:
        image: uint8 [H, W, 3].
        label: uint8 [H, W], each pixel's class, `fill` where it has none that counts.
        fill: The label where nothing of the image is left.
        seed: int64 [2].

    Returns:
        An image and a label of the same size and types.
    """
    flip, scale, light = tf.unstack(tf.random.split(seed, 3))
    turned = tf.random.stateless_uniform([], flip) < 0.5
    image = tf.where(turned, image[:, ::-1], image)
    label = tf.where(turned, label[:, ::-1], label)
    image, label = _scaled(image, label, fill, scale)
    return _lit(image, light), label


def augment_cost(
    image: tf.Tensor, cost: tf.Tensor, weight: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Flip and light an image, and its costs with it; another scale would have other costs.

    Images whose width 8 does not divide are not flipped, as no cell would be one then.

    Args:
        image: uint8 [H, W, 3].
        cost: float32 [ceil(H/8), ceil(W/8), maps], see `Split.cost`.
        weight: float32 [ceil(H/8), ceil(W/8)].
        seed: int64 [2].

    Returns:
        The three, of the same sizes and types.
    """
    flip, light = tf.unstack(tf.random.split(seed, 2))
    whole = tf.math.floormod(tf.shape(image)[1], STRIDE) == 0
    turned = whole & (tf.random.stateless_uniform([], flip) < 0.5)
    image, weight = (tf.where(turned, part[:, ::-1], part) for part in (image, weight))
    cost = tf.where(turned, _turned(cost), cost)
    return _lit(image, light), cost, weight


def _turned(cost: tf.Tensor) -> tf.Tensor:
    """Flip costs; what crossed a cell's left edge then crosses the left edge of the next one."""
    cost = cost[:, ::-1]
    if cost.shape[-1] not in (3, 4):  # no crossings
        return cost
    left = tf.pad(cost[:, :-1, 1:2], [[0, 0], [1, 0], [0, 0]])
    return tf.concat([cost[:, :, :1], left, cost[:, :, 2:]], axis=-1)


def _scaled(
    image: tf.Tensor, label: tf.Tensor, fill: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale by a factor, and cut out or fill up what then lies elsewhere, to the same size."""
    draws = tf.random.stateless_uniform([3], seed)
    low, high = SCALES
    factor = low * tf.pow(high / low, draws[0])
    size = tf.shape(label)
    scaled = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float32) * factor), tf.int32), 1)
    pixels = tf.cast(tf.round(tf.image.resize(image, scaled, antialias=True)), tf.uint8)
    labels = tf.image.resize(label[:, :, None], scaled, method="nearest")
    room = tf.abs(scaled - size)
    offset = tf.cast(draws[1:] * tf.cast(room + 1, tf.float32), tf.int32)
    cut = tf.where(scaled > size, offset, 0)
    shown = tf.minimum(scaled, size)
    before = tf.where(scaled < size, offset, 0)
    paddings = tf.stack([before, size - shown - before], axis=1)
    paddings = tf.concat([paddings, [[0, 0]]], axis=0)

    def placed(part: tf.Tensor, value: int) -> tf.Tensor:
        part = part[cut[0] : cut[0] + shown[0], cut[1] : cut[1] + shown[1]]
        return tf.pad(part, paddings, constant_values=tf.cast(value, part.dtype))

    return placed(pixels, 0), placed(labels, fill)[:, :, 0]


def _lit(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change contrast and brightness."""
    draws = tf.random.stateless_uniform([2], seed)
    low, high = CONTRASTS
    contrast = low * tf.pow(high / low, draws[0])
    brightness = 255 * BRIGHTNESS * (2 * draws[1] - 1)
    pixels = tf.cast(image, tf.float32)
    mean = tf.reduce_mean(pixels)
    lit = (pixels - mean) * contrast + mean + brightness
    return tf.cast(tf.clip_by_value(tf.round(lit), 0.0, 255.0), tf.uint8)
