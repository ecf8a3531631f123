"""The exact dependence of a model's outputs on its inputs, and crops that respect it.

For training on crops, a labelled region is cut out together with the pixels that its outputs
depend on. Which these are follows from the layer graph, walked from the output to the image with
intervals of rows, and of columns. Every layer here is of one kind: output position i reads the
input positions floor(stride * i + low) to floor(stride * i + high), where they exist; strided
layers have a stride above 1, upsampling layers one below 1.

A crop gives the same outputs as the whole image if, at each layer that matters, its positions are
those of the whole image, only shifted, and each needed window finds the same of its positions in
the crop as in the whole image (what is missing in both is padding in both). `CropFinder` checks
just that, and enlarges the crop where it does not hold; strided layers with 'same' padding, for
example, place their windows by the parity of the image size.

A layer that this module does not know (attention, global pooling, Lambda) may read anything: the
whole image is then the answer, which is correct and saves nothing. Layers of one's own take part
by a method `dependence(axis, sizes) -> (size, reads)`: the output's size along `axis` (0: rows,
1: columns) for inputs of these sizes, and for each input (stride, low, high), or None for one of
which only the size matters.

All this is about inference. Batch normalisation in training takes its statistics from the crop.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count, product
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

Axis = Literal["y", "x", 0, 1]


class Span(NamedTuple):
    """A half-open interval of positions, [start, stop)."""

    start: int
    stop: int


def input_span(model: keras.Model, axis: Axis, output: Span, input_size: int) -> Span:
    """Return the input rows (columns) that can influence the output rows (columns) `output`.

    Args:
        model: A model with one image input [batch, H, W, channels] and one output of rank 4.
        axis: 'y' or 0 for rows, 'x' or 1 for columns.
        output: Rows or columns of the output; not empty.
        input_size: The image's rows or columns.

    Returns:
        The smallest known interval, within [0, input_size]; all of it for a model whose layers
        are not all known.

    Raises:
        ValueError: unknown `axis`; or `output` is empty or not within the model's output.
    """
    axis_index = _axis_index(axis)
    try:
        steps = _steps_of(model)
        geometry = _Geometry(steps, axis_index, input_size)
    except _OpaqueError:
        return Span(0, input_size)
    return geometry.needed(output)[0]


def total_stride(model: keras.Model) -> int:
    """Return the least shift of the image, in pixels, that shifts every layer by whole positions.

    This is the least common multiple of all layers' strides, 32 for FCN8s.

    Raises:
        ValueError: the model has a layer that this module does not know.
    """
    try:
        steps = _steps_of(model)
        return math.lcm(*(_stride_on(steps, axis) for axis in (0, 1)))
    except _OpaqueError as error:
        raise ValueError(f"`model` has no known stride: {error}") from error


class CropFinder:
    """Finds the crop of an image on which the model's outputs of a region are unchanged.

    What is found along an axis is remembered: the regions of a campaign repeat.

    Args:
        model: A model with one image input [batch, H, W, channels] and one output of rank 4.
    """

    def __init__(self, model: keras.Model) -> None:
        try:
            self._steps = _steps_of(model)
        except _OpaqueError:
            self._steps = None
        self._found: dict[tuple[int, Span, int], Span] = {}

    def crop(
        self, output_rows: Span, output_cols: Span, image_height: int, image_width: int
    ) -> tuple[int, int, int, int]:
        """Return the crop for a region.

        With (y0, y1, x0, x1) the result and s the output's stride, the outputs of
        `model(image[y0:y1, x0:x1])` at rows output_rows - y0 / s and columns output_cols - x0 / s
        equal those of the whole image in inference mode, up to floating-point rounding.

        Args:
            output_rows: The region's rows, in output positions.
            output_cols: The region's columns, in output positions.
            image_height: Rows of the image.
            image_width: Columns of the image.

        Returns:
            (y0, y1, x0, x1), the smallest crop that holds what the region depends on, such that y0
            and x0 are multiples of the model's total stride. So are y1 and x1 as a rule; otherwise
            they are a multiple of it before the image's border, or the border.

        Raises:
            ValueError: a span is empty or not within the model's output.
        """
        rows = self._along(0, output_rows, image_height)
        columns = self._along(1, output_cols, image_width)
        if rows is None or columns is None:
            return 0, image_height, 0, image_width
        return *rows, *columns

    def _along(self, axis: int, output: Span, size: int) -> Span | None:
        """Return the crop along one axis, None if a layer is unknown."""
        if self._steps is None:
            return None
        key = (axis, output, size)
        if key not in self._found:
            try:
                self._found[key] = _crop_axis(self._steps, axis, output, size)
            except _OpaqueError:
                self._steps = None
                return None
        return self._found[key]


def _crop_axis(steps: "list[_Step]", axis: int, output: Span, size: int) -> Span:
    whole = _Geometry(steps, axis, size)
    needed = whole.needed(output)
    stride = _stride_on(steps, axis)
    start = needed[0].start // stride * stride
    stop = max(needed[0].stop, start + 1)
    stops = (
        min(-(-stop // stride) * stride, size),
        size - (size - stop) // stride * stride,
        size,
    )
    candidates = (Span(*ends) for ends in product((start, 0), stops))
    return next(crop for crop in candidates if whole.agrees_with(crop, needed))


def _axis_index(axis: Axis) -> int:
    indices = {"y": 0, "x": 1, 0: 0, 1: 1}
    if axis not in indices:
        raise ValueError(f"`axis` must be 'y', 'x', 0 or 1. Received: {axis!r}")
    return indices[axis]


# The layer graph.


class _OpaqueError(Exception):
    """A layer of which this module does not know what it reads."""


class _Step(NamedTuple):
    """One operation of the graph; tensors are numbered, the image is 0."""

    operation: Any
    inputs: tuple[int, ...]
    output: int


def _steps_of(model: keras.Model) -> list[_Step]:
    """Return the operations in the order of execution; the last one gives the output."""
    steps = list(_flatten(model, 0, count(1)))
    if not steps:
        raise _OpaqueError(f"{model.name} has no layers")
    return steps


def _flatten(model: keras.Model, image: int, numbers: Iterator[int]) -> Iterator[_Step]:
    """Yield the operations of a model and of the models within it."""
    if not _is_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise _OpaqueError(f"{model.name} is no functional model with one input and one output")
    tensors = {id(model.inputs[0]): image}
    for node in _nodes(model):
        operation = node.operation
        inputs = tuple(tensors[id(tensor)] for tensor in node.input_tensors)
        _check_node(node)
        if _is_graph(operation):
            inner = list(_flatten(operation, inputs[0], numbers))
            yield from inner
            output = inner[-1].output if inner else inputs[0]
        else:
            output = next(numbers)
            yield _Step(operation, inputs, output)
        tensors[id(node.outputs[0])] = output


def _is_graph(operation: Any) -> bool:
    """Tell whether this is a functional or sequential model of Keras, with Keras's own `call`."""
    return (
        isinstance(operation, keras.Model)
        and type(operation).__module__.startswith("keras.")
        and bool(getattr(operation, "inputs", None))
    )


def _nodes(model: keras.Model) -> list[Any]:
    """Return the calls that make up a functional model, each after those it depends on."""
    ordered: list[Any] = []
    done = {id(tensor) for tensor in model.inputs}
    stack = list(model.outputs)
    while stack:
        tensor = stack[-1]
        if id(tensor) in done:
            stack.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        waiting = [source for source in node.input_tensors if id(source) not in done]
        if waiting:
            stack.extend(waiting)
        else:
            ordered.append(node)
            done.update(id(output) for output in node.outputs)
    return ordered


def _check_node(node: Any) -> None:
    """Refuse calls whose tensors are not image-like, or that mix in arrays with positions."""
    tensors = [*node.input_tensors, *node.outputs]
    arguments = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    constants = [value for value in arguments if not isinstance(value, keras.KerasTensor)]
    if (
        not node.input_tensors
        or len(node.outputs) != 1
        or any(len(tensor.shape) != 4 for tensor in tensors)
        or any(np.ndim(value) > 1 for value in constants)
    ):
        raise _OpaqueError(f"{node.operation.name} does not map feature maps to a feature map")


# What operations read.


class _Reads(NamedTuple):
    """Output position i reads floor(stride * i + low) to floor(stride * i + high)."""

    stride: Fraction
    low: Fraction
    high: Fraction

    def window(self, output: Span) -> Span:
        """Return the input positions, existing or not, that some output positions read."""
        first = math.floor(self.stride * output.start + self.low)
        last = math.floor(self.stride * (output.stop - 1) + self.high)
        return Span(first, last + 1)


_Dependence = tuple[int, tuple[_Reads | None, ...]]


def _reads(stride: Any, low: Any, high: Any) -> _Reads:
    return _Reads(Fraction(stride), Fraction(low), Fraction(high))


_SAME_POSITION = _reads(1, 0, 0)
_ONLY_POSITION = _reads(0, 0, 0)


def _dependence(operation: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence:
    """Return an operation's output size and what it reads of each input.

    Raises:
        _OpaqueError: the operation is not known.
    """
    own = getattr(operation, "dependence", None)
    if own is not None:
        size, reads = own(axis, sizes)
        dependence = size, tuple(None if read is None else _reads(*read) for read in reads)
    else:
        rule = _LAYER_RULES.get(type(operation), _operation_rule(operation))
        known = _is_channels_last(operation) and _has_known_activation(operation)
        dependence = rule(operation, axis, sizes) if rule and known else None
    if dependence is None or not _is_usable(*dependence, sizes):
        raise _OpaqueError(f"what {operation.name} ({type(operation).__name__}) reads is not known")
    return dependence


def _is_usable(size: int, reads: tuple[_Reads | None, ...], sizes: tuple[int, ...]) -> bool:
    moves_with_input = any(read is not None and read.stride > 0 for read in reads)
    return size > 0 and len(reads) == len(sizes) and moves_with_input


def _is_channels_last(operation: Any) -> bool:
    return getattr(operation, "data_format", "channels_last") == "channels_last"


def _has_known_activation(operation: Any) -> bool:
    activation = getattr(operation, "activation", None)
    return activation is None or activation in vars(keras.activations).values()


def _pointwise(operation: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    """Rule for layers whose output at a position depends on that position only."""
    channels = getattr(operation, "axis", None)
    if channels is not None and any(a not in (-1, 3) for a in np.atleast_1d(channels)):
        return None
    return _merge(operation, axis, sizes)


def _merge(operation: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    """Rule for element-wise operations on one or more inputs; size 1 is broadcast."""
    size = max(sizes)
    if any(s not in (1, size) for s in sizes):
        return None
    return size, tuple(_SAME_POSITION if s == size else _ONLY_POSITION for s in sizes)


def _windowed(kernel_of: Callable[[Any], Any]) -> Callable[..., _Dependence | None]:
    """Return the rule for convolutions and pooling; `kernel_of` gives a layer's window size."""

    def rule(layer: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
        dilation = getattr(layer, "dilation_rate", (1, 1))[axis]
        extent = (kernel_of(layer)[axis] - 1) * dilation + 1
        stride, (size,) = layer.strides[axis], sizes
        if layer.padding == "valid":
            return (size - extent) // stride + 1, (_reads(stride, 0, extent - 1),)
        target = -(-size // stride)
        before = max((target - 1) * stride + extent - size, 0) // 2
        return target, (_reads(stride, -before, extent - 1 - before),)

    return rule


def _transposed(layer: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    """Rule for transposed convolutions: input j adds to outputs j * stride - before onwards."""
    if layer.output_padding is not None:
        return None
    extent = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
    stride, (size,) = layer.strides[axis], sizes
    overlap = max(extent - stride, 0)
    before, target = (0, size * stride + overlap)
    if layer.padding == "same":
        before, target = (overlap // 2, size * stride)
    low = Fraction(before - extent + stride, stride)
    return target, (_reads(Fraction(1, stride), low, Fraction(before, stride)),)


def _upsampled(layer: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    """Rule for UpSampling2D: nearest, or bilinear with half-pixel centres."""
    factor, (size,) = layer.size[axis], sizes
    stride = Fraction(1, factor)
    if layer.interpolation == "nearest" or factor == 1:
        return size * factor, (_reads(stride, 0, 0),)
    if layer.interpolation == "bilinear":
        low = (stride - 1) / 2
        return size * factor, (_reads(stride, low, low + 1),)
    return None


def _padded(layer: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    before, after = layer.padding[axis]
    return sizes[0] + before + after, (_reads(1, -before, -before),)


def _cropped(layer: Any, axis: int, sizes: tuple[int, ...]) -> _Dependence | None:
    before, after = layer.cropping[axis]
    return sizes[0] - before - after, (_reads(1, before, before),)


_Rule = Callable[[Any, int, tuple[int, ...]], _Dependence | None]

# By exact type: a subclass may compute anything.
_LAYER_RULES: dict[type, _Rule] = {
    keras.layers.Conv2D: _windowed(lambda layer: layer.kernel_size),
    keras.layers.DepthwiseConv2D: _windowed(lambda layer: layer.kernel_size),
    keras.layers.SeparableConv2D: _windowed(lambda layer: layer.kernel_size),
    keras.layers.MaxPooling2D: _windowed(lambda layer: layer.pool_size),
    keras.layers.AveragePooling2D: _windowed(lambda layer: layer.pool_size),
    keras.layers.Conv2DTranspose: _transposed,
    keras.layers.UpSampling2D: _upsampled,
    keras.layers.ZeroPadding2D: _padded,
    keras.layers.Cropping2D: _cropped,
    **dict.fromkeys(
        (
            keras.layers.Activation,
            keras.layers.BatchNormalization,
            keras.layers.Concatenate,
            keras.layers.Dense,
            keras.layers.Dropout,
            keras.layers.ELU,
            keras.layers.GaussianDropout,
            keras.layers.GaussianNoise,
            keras.layers.Identity,
            keras.layers.LayerNormalization,
            keras.layers.LeakyReLU,
            keras.layers.Normalization,
            keras.layers.ReLU,
            keras.layers.Rescaling,
            keras.layers.Softmax,
            keras.layers.SpatialDropout2D,
        ),
        _pointwise,
    ),
    **dict.fromkeys(
        (
            keras.layers.Add,
            keras.layers.Average,
            keras.layers.Maximum,
            keras.layers.Minimum,
            keras.layers.Multiply,
            keras.layers.Subtract,
        ),
        _merge,
    ),
}

# `keras.ops` on symbolic tensors, such as a + b; their classes have no public names.
_POINTWISE_OPERATIONS = frozenset(
    {
        *("Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid"),
        *("HardSilu", "LeakyRelu", "Log", "Log1p", "Maximum", "Minimum", "Multiply", "Negative"),
        *("Power", "Relu", "Relu6", "Sigmoid", "Silu", "Softplus", "Sqrt", "Square", "Subtract"),
        *("Tanh", "TrueDivide"),
    }
)


def _operation_rule(operation: Any) -> _Rule | None:
    cls = type(operation)
    known = cls.__module__.startswith("keras.src.ops.") and cls.__name__ in _POINTWISE_OPERATIONS
    return _merge if known else None


# Positions along one axis.


class _Geometry:
    """Sizes and reads of all tensors of a model along one axis, for an input of one size."""

    def __init__(self, steps: list[_Step], axis: int, size: int) -> None:
        self.steps, self.axis = steps, axis
        self.sizes = {0: size}
        self.strides = {0: Fraction(1)}
        self.reads: list[tuple[_Reads | None, ...]] = []
        for step in steps:
            target, reads = _dependence(
                step.operation, axis, tuple(self.sizes[i] for i in step.inputs)
            )
            self.sizes[step.output] = target
            self.strides[step.output] = max(
                self.strides[i] * read.stride
                for i, read in zip(step.inputs, reads, strict=True)
                if read is not None
            )
            self.reads.append(reads)

    def needed(self, output: Span) -> dict[int, Span]:
        """Return the positions of each tensor that some output positions depend on."""
        last = self.steps[-1].output
        if not 0 <= output.start < output.stop <= self.sizes[last]:
            raise ValueError(
                f"`output` must be a span within [0, {self.sizes[last]}). Received: {output}"
            )
        needed = {0: Span(0, 0), last: output}
        for step, reads in zip(reversed(self.steps), reversed(self.reads), strict=True):
            for i, window in self._windows(step, reads, needed):
                needed[i] = _hull(needed.get(i), _overlap(window, Span(0, self.sizes[i])))
        return {i: span for i, span in needed.items() if span.start < span.stop or i == 0}

    def agrees_with(self, crop: Span, needed: dict[int, Span]) -> bool:
        """Tell whether a crop gives the same values as the whole input wherever needed."""
        try:
            cropped = _Geometry(self.steps, self.axis, crop.stop - crop.start)
        except _OpaqueError:
            return False
        offsets = {0: Fraction(crop.start)}
        for step, reads, crop_reads in zip(self.steps, self.reads, cropped.reads, strict=True):
            if step.output not in needed:
                continue
            offset = crop.start / self.strides[step.output]
            if not _is_shifted(step, reads, crop_reads, offsets, offset):
                return False
            offsets[step.output] = offset
            for i, window in self._windows(step, reads, needed):
                here = Span(int(offsets[i]), int(offsets[i]) + cropped.sizes[i])
                if _overlap(window, here) != _overlap(window, Span(0, self.sizes[i])):
                    return False
        last = self.steps[-1].output
        end = offsets[last] + cropped.sizes[last]
        return offsets[last] <= needed[last].start and needed[last].stop <= end

    def _windows(
        self, step: _Step, reads: tuple[_Reads | None, ...], needed: dict[int, Span]
    ) -> Iterator[tuple[int, Span]]:
        output = needed.get(step.output)
        if output is not None and output.start < output.stop:
            for i, read in zip(step.inputs, reads, strict=True):
                if read is not None:
                    yield i, read.window(output)


def _is_shifted(
    step: _Step,
    reads: tuple[_Reads | None, ...],
    crop_reads: tuple[_Reads | None, ...],
    offsets: dict[int, Fraction],
    offset: Fraction,
) -> bool:
    """Tell whether output position i of the crop does what i + offset does on the whole."""
    return offset.denominator == 1 and all(
        read.stride == crop_read.stride
        and read.stride * offset + read.low == crop_read.low + offsets[i]
        for i, read, crop_read in zip(step.inputs, reads, crop_reads, strict=True)
        if read is not None and crop_read is not None
    )


def _stride_on(steps: list[_Step], axis: int) -> int:
    """Return the least common multiple of all tensors' strides in pixels."""
    # A size that strides of everyday models divide, so that resizing layers have simple factors.
    geometry = _Geometry(steps, axis, 2**8 * 3**3 * 5 * 7)
    return math.lcm(*(stride.numerator for stride in geometry.strides.values()))


def _overlap(a: Span, b: Span) -> Span:
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    return Span(start, stop) if start < stop else Span(0, 0)


def _hull(a: Span | None, b: Span) -> Span:
    if a is None or a.start == a.stop:
        return b
    if b.start == b.stop:
        return a
    return Span(min(a.start, b.start), max(a.stop, b.stop))
