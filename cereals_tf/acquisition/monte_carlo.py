"""A committee from one model by Monte-Carlo dropout.

Gal and Ghahramani, "Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep
Learning", 2016: each pass with dropout switched on is a member of the committee. Everything else
stays in inference mode, batch normalisation above all, and whatever no dropout layer comes before
is computed once for all members.

Of the calls that make up the model, those that depend on no dropout layer run once, the others once
per member. A layer or model that cannot be opened is one call; nothing in it is shared.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from cereals_tf.trainers.keras_graph import Call, Slot, layers_of, open_model

_DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)
"""The dropout layers of Keras; the spatial ones are subclasses of the first."""


def has_dropout(model: keras.Model) -> bool:
    """Return whether the model's output depends on a dropout layer with a rate above 0.

    Args:
        model: one output.
    """
    return bool(_Passes.of(model).random)


def committee(model: keras.Model, members: int) -> Callable[[Any], Any]:
    """Return a function that passes images through the model once per member of the committee.

    Every member is a pass of its own, not a slice of one large batch, so that its dropout masks
    are its own whatever their `noise_shape` is, and memory need not hold all members at once.

    Args:
        model: any Keras model with one output that depends on dropout.
        members: E, the number of passes, >= 1.

    Returns:
        A function of images, or of what else the model takes, that returns the outputs of
        the members, [E, batch, ...] of the model's output dtype. It can run eagerly or be traced,
        and draws new masks every time unless `cereals_tf.trainers.randomness.reseed` sets the
        state of the model's random layers before.

    Raises:
        ValueError: `members` is below 1, or the model's output depends on no dropout layer.
    """
    if members < 1:
        raise ValueError(f"`members` must be >= 1. Received: {members}")
    passes = _Passes.of(model)
    if not passes.random:
        raise ValueError(f"`model` must have dropout before its output. Received: {model.name}")

    def outputs(images: Any) -> Any:
        seen = dict(zip(passes.inputs, keras.tree.flatten(images), strict=True))
        values = _run(passes.fixed, seen)
        with _switched_on(_dropout_layers(model)):
            return ops.stack([_run(passes.random, values)[passes.output] for _ in range(members)])

    return outputs


class _Passes(NamedTuple):
    """A model as calls: those to run once and those to run for each member."""

    inputs: list[Slot]
    fixed: list[Call]
    random: list[Call]
    output: Slot

    @classmethod
    def of(cls, model: keras.Model) -> "_Passes":
        """Split a model with one output."""
        graph = open_model(model)
        (output,) = graph.outputs
        depends, fixed, random = set(), [], []
        for call in graph.calls:
            if _dropout_layers(call.operation) or not depends.isdisjoint(call.inputs):
                depends.update(call.outputs)
                random.append(call)
            else:
                fixed.append(call)
        return cls(graph.inputs, fixed, random if output in depends else [], output)


def _dropout_layers(operation: Callable) -> list[keras.Layer]:
    """Return the layers with random dropout in an operation, the operation itself included."""
    layers = layers_of(operation)
    return [layer for layer in layers if isinstance(layer, _DROPOUT) and layer.rate > 0]


def _run(calls: list[Call], values: dict[Slot, Any]) -> dict[Slot, Any]:
    """Return `values` together with the tensors that the calls compute from them, for inference."""
    values = dict(values)
    for operation, args, kwargs, slots in calls:
        args, kwargs = keras.tree.map_structure(
            lambda leaf: values[leaf] if isinstance(leaf, Slot) else leaf, (args, kwargs)
        )
        if isinstance(operation, keras.Layer):
            kwargs["training"] = False
        outputs = keras.tree.flatten(operation(*args, **kwargs))
        values.update(zip(slots, outputs, strict=True))
    return values


@contextlib.contextmanager
def _switched_on(dropout_layers: list[keras.Layer]) -> Iterator[None]:
    """Make dropout layers drop although all around them runs, and calls them, for inference."""

    def call_in_training(call: Callable, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        return call(*args, training=True, **kwargs)

    for layer in dropout_layers:
        layer.call = functools.partial(call_in_training, layer.call)
    try:
        yield
    finally:
        for layer in dropout_layers:
            del layer.call
