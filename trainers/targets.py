"""What models learn at stride 8, and with which weight: labels, clicks, regions."""

from typing import Literal

import tensorflow as tf

from cereals_tf.data_prep.clicks import MAX_CLICKS_PER_PIXEL
from cereals_tf.data_prep.grid import STRIDE, cells

Target = Literal["segmentation", "cost"]


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
        centres = tf.range(cells(length)) * STRIDE + STRIDE // 2
        label = tf.gather(label, tf.minimum(centres, length - 1), axis=axis)
    return label


def click_target(points: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Count clicks: vertices per pixel clipped to [0, 10], then summed over 8x8 pixels.

    The TensorFlow twin of `cereals_tf.data_prep.clicks.click_map`.

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
    grid = (cells(height), cells(width))
    cell = pixel // width // STRIDE * grid[1] + pixel % width // STRIDE
    return tf.reshape(tf.math.unsorted_segment_sum(clicks, cell, grid[0] * grid[1]), grid)


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
            (regions[:, 0], regions[:, 2], tf.range(cells(height)) * STRIDE),
            (regions[:, 1], regions[:, 3], tf.range(cells(width)) * STRIDE),
        )
    ]
    covered = inside[0][:, :, None] & inside[1][:, None, :]
    return tf.cast(tf.reduce_any(covered, axis=0), tf.float32)


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
