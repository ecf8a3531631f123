"""Datasets whose elements are computed in parallel."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def mapped(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Apply a function to every element, in parallel, in the elements' order.

    The function is traced as it is: Python's `if` and loops in it are not of tensors.
    """
    as_it_is = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(as_it_is, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
