"""A Keras model as the list of calls that it makes, the models within it opened.

Keras has no public way to read the graph of a Functional or Sequential model. What is read of its
private parts is read here, and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras


@dataclass(eq=False)
class Slot:
    """Stands for one tensor, by identity.

    Attributes:
        shape: The tensor's shape, None where a size is unknown; None if nothing is known of it.
    """

    shape: tuple[int | None, ...] | None = None


Operation = Any
"""What a model calls: a layer, an operation of Keras, which declares no types, or a `Cast`."""


@dataclass(frozen=True)
class Cast:
    """What a model does to each of its inputs before its first layer."""

    dtype: str
    name: str = field(default="cast", init=False)

    def __call__(self, tensor: Any) -> Any:
        """Return the tensor in the input's dtype."""
        return keras.ops.convert_to_tensor(tensor, dtype=self.dtype)


class Call(NamedTuple):
    """One call of a layer, an operation or a `Cast`; slots in its arguments stand for tensors."""

    operation: Operation
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[Slot]

    @property
    def inputs(self) -> list[Slot]:
        """The slots among the arguments."""
        return _slots((self.args, self.kwargs))

    @property
    def constants(self) -> list[Any]:
        """The arguments that are no slots."""
        arguments = keras.tree.flatten((self.args, self.kwargs))
        return [value for value in arguments if not isinstance(value, Slot)]


class Graph(NamedTuple):
    """The calls of a model, each after those whose outputs it takes."""

    inputs: list[Slot]
    calls: list[Call]
    outputs: list[Slot]


def open_model(model: keras.Model) -> Graph:
    """Return the calls that make up a model.

    Functional and Sequential models are opened, at any depth. A layer or model that has a `call`
    of its own is one call; if that is `model` itself, it is taken to have one input and one output.

    Args:
        model: Any Keras model.
    """
    graph = _graph(model)
    inputs = [Slot(tensor.shape) for tensor in graph.inputs] if graph else [Slot()]
    shapes = [tensor.shape for tensor in graph.outputs] if graph else [None]
    calls: list[Call] = []
    outputs = _record(model, tuple(inputs), {}, shapes, calls)
    return Graph(inputs, _needed(calls, outputs), outputs)


def layers_of(operation: Operation) -> Iterator[keras.Layer]:
    """Yield a layer and the layers within it, at any depth; nothing for other operations."""
    if isinstance(operation, keras.Layer):
        yield from operation._flatten_layers()


def _record(
    operation: Operation, args: tuple, kwargs: dict[str, Any], shapes: list[Any], calls: list[Call]
) -> list[Slot]:
    """Append the calls that make up `operation(*args, **kwargs)`; return its outputs."""
    graph = _graph(operation)
    if graph is not None:
        return _record_graph(graph, _slots((args, kwargs)), calls)
    outputs = [Slot(shape) for shape in shapes]
    calls.append(Call(operation, args, kwargs, outputs))
    return outputs


def _record_graph(graph: keras.Function, inputs: list[Slot], calls: list[Call]) -> list[Slot]:
    """Append the calls of a graph in the order in which they can run; return its outputs."""
    slots = {}
    for tensor, slot in zip(graph.inputs, inputs, strict=True):
        cast = Cast(tensor.dtype)
        (slots[id(tensor)],) = _record(cast, (slot,), {}, [tensor.shape], calls)
    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if not node.is_input:
                args, kwargs = node.arguments.fill_in(slots)
                shapes = [tensor.shape for tensor in node.outputs]
                outputs = _record(node.operation, args, kwargs, shapes, calls)
                slots.update(zip(map(id, node.outputs), outputs, strict=True))
    return [slots[id(tensor)] for tensor in graph.outputs]


def _graph(operation: Operation) -> keras.Function | None:
    """Return the graph of a Functional or Sequential model that has no call of its own."""
    call = getattr(type(operation), "call", None)
    if (
        isinstance(operation, keras.Function)
        and getattr(call, "__qualname__", "") == "Functional.call"
    ):
        return operation
    if call is keras.Sequential.call:
        return keras.Function(operation.inputs, operation.outputs)
    return None


def _needed(calls: list[Call], outputs: list[Slot]) -> list[Call]:
    """Leave out calls, of a model within the model, on which no output depends."""
    wanted, kept = set(outputs), []
    for call in reversed(calls):
        if not wanted.isdisjoint(call.outputs):
            wanted.update(call.inputs)
            kept.append(call)
    return kept[::-1]


def _slots(arguments: Any) -> list[Slot]:
    return [leaf for leaf in keras.tree.flatten(arguments) if isinstance(leaf, Slot)]
