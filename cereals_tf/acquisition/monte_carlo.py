"""A committee from one model by Monte-Carlo dropout.

Gal and Ghahramani, "Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep
Learning", 2016: each pass with dropout switched on is a member of the committee. Everything else
stays in inference mode, batch normalisation above all, and whatever no dropout layer comes before
is computed once for all members.

The model's graph, with the nested Functional and Sequential models opened, is written down as a
list of calls. The calls that depend on no dropout layer run once, the others once per member. Any
other layer or model that holds dropout layers inside is one call; nothing in it is shared.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

_DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)
"""The dropout layers of Keras; the spatial ones are subclasses of the first."""


def has_dropout(model: keras.Model) -> bool:
    """Return whether the model's output depends on a dropout layer with a rate above 0.

    Args:
        model: one input, one output.
    """
    return bool(_Passes.of(model).random)


def committee(model: keras.Model, members: int) -> Callable[[Any], Any]:
    """Return a function that passes images through the model once per member of the committee.

    Every member is a pass of its own, not a slice of one large batch, so that its dropout masks
    are its own whatever their `noise_shape` is, and memory need not hold all members at once.

    Args:
        model: any Keras model with one input and one output that depends on dropout.
        members: E, the number of passes, >= 1.

    Returns:
        A function of images, [batch, ...] as the model takes them, that returns the outputs of
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
        values = _run(passes.fixed, {passes.input: images})
        with _switched_on(_dropout_layers(model)):
            return ops.stack([_run(passes.random, values)[passes.output] for _ in range(members)])

    return outputs


class _Slot:
    """Stands for one tensor, by identity."""


class _Call(NamedTuple):
    """One step of a pass; slots in its arguments stand for tensors."""

    operation: Callable
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[_Slot]


class _Passes(NamedTuple):
    """A model as calls: those to run once and those to run for each member."""

    input: _Slot
    fixed: list[_Call]
    random: list[_Call]
    output: _Slot

    @classmethod
    def of(cls, model: keras.Model) -> "_Passes":
        """Split a model with one input and one output."""
        image, calls = _Slot(), []
        (output,) = _record(model, (image,), {}, 1, calls)
        depends, fixed, random = set(), [], []
        for call in calls:
            if _dropout_layers(call.operation) or not depends.isdisjoint(_slots(call)):
                depends.update(call.outputs)
                random.append(call)
            else:
                fixed.append(call)
        return cls(image, fixed, random if output in depends else [], output)


def _record(
    operation: Callable, args: tuple, kwargs: dict[str, Any], count: int, calls: list[_Call]
) -> list[_Slot]:
    """Append the calls that make up `operation(*args, **kwargs)`; return its `count` outputs."""
    graph = _graph(operation)
    if graph is not None:
        return _record_graph(graph, _slots((args, kwargs)), calls)
    if isinstance(operation, keras.Layer):
        kwargs = {**kwargs, "training": False}
    outputs = [_Slot() for _ in range(count)]
    calls.append(_Call(operation, args, kwargs, outputs))
    return outputs


def _record_graph(graph: keras.Function, inputs: list[_Slot], calls: list[_Call]) -> list[_Slot]:
    """Append the calls of a graph in the order in which they can run; return its outputs."""
    slots = {}
    for tensor, slot in zip(graph.inputs, inputs, strict=True):
        convert = functools.partial(ops.convert_to_tensor, dtype=tensor.dtype)
        (slots[id(tensor)],) = _record(convert, (slot,), {}, 1, calls)
    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if not node.is_input:
                args, kwargs = node.arguments.fill_in(slots)
                outputs = _record(node.operation, args, kwargs, len(node.outputs), calls)
                slots.update(zip(map(id, node.outputs), outputs, strict=True))
    return [slots[id(tensor)] for tensor in graph.outputs]


def _graph(operation: Callable) -> keras.Function | None:
    """Return the graph of a Functional or Sequential model that has no call of its own."""
    call = getattr(type(operation), "call", None)
    if isinstance(operation, keras.Function) and call.__qualname__ == "Functional.call":
        return operation
    if call is keras.Sequential.call:
        return keras.Function(operation.inputs, operation.outputs)
    return None


def _slots(arguments: Any) -> list[_Slot]:
    return [leaf for leaf in keras.tree.flatten(arguments) if isinstance(leaf, _Slot)]


def _dropout_layers(operation: Callable) -> list[keras.Layer]:
    """Return the layers with random dropout in an operation, the operation itself included."""
    if not isinstance(operation, keras.Layer):
        return []
    layers = operation._flatten_layers()
    return [layer for layer in layers if isinstance(layer, _DROPOUT) and layer.rate > 0]


def _run(calls: list[_Call], values: dict[_Slot, Any]) -> dict[_Slot, Any]:
    """Return `values` together with the tensors that the calls compute from them."""
    values = dict(values)
    for operation, args, kwargs, slots in calls:
        args, kwargs = keras.tree.map_structure(
            lambda leaf: values[leaf] if isinstance(leaf, _Slot) else leaf, (args, kwargs)
        )
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
