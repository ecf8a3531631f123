"""Datasets whose elements are computed by functions that are traced as they are.

Python's `if` and loops in them are not of tensors: to look for such takes longer than to trace.

TensorFlow does not tune their parallelism, which is the number of cores: the thread that would is
not always woken when an iterator ends, which then waits as long as it has lasted, for seconds.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def mapped(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Apply a function to every element, in parallel, in the elements' order."""
    ordered = dataset.map(
        as_it_is(function), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return _untuned(ordered)


def flat_mapped(
    dataset: tf.data.Dataset, function: Callable[..., tf.data.Dataset]
) -> tf.data.Dataset:
    """Put the elements of a dataset that a function makes of it in every element's place."""
    return _untuned(dataset.flat_map(as_it_is(function)))


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep TensorFlow from rewriting a function before it traces it."""
    return tf.autograph.experimental.do_not_convert(function)
