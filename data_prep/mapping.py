"""Datasets whose elements are computed in parallel."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def mapped(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Apply a function to every element, in parallel, in the elements' order."""
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
