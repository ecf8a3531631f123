"""What one operation of a Keras model reads of its inputs, along rows or along columns.

Output position i reads the input positions floor(stride * i + low) to floor(stride * i + high),
where they exist; strided layers have a stride above 1, upsampling layers one below 1.

Layers of one's own take part by a method `dependence(axis, sizes) -> (size, reads)`: the output's
size along `axis` (0: rows, 1: columns) for inputs of these sizes, and for each input (stride, low,
high), or None for one of which only the size matters.

All this is about inference. Batch normalisation in training takes its statistics from its input.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import keras
import numpy as np

from cereals_tf.trainers.keras_graph import Cast


class Span(NamedTuple):
    """A half-open interval of positions, [start, stop)."""

    start: int
    stop: int


class OpaqueError(Exception):
    """An operation of which this module does not know what it reads."""


class Reads(NamedTuple):
    """Output position i reads floor(stride * i + low) to floor(stride * i + high)."""

    stride: Fraction
    low: Fraction
    high: Fraction

    def window(self, output: Span) -> Span:
        """Return the input positions, existing or not, that some output positions read."""
        first = math.floor(self.stride * output.start + self.low)
        last = math.floor(self.stride * (output.stop - 1) + self.high)
        return Span(first, last + 1)


Dependence = tuple[int, tuple[Reads | None, ...]]


def _reads(stride: Any, low: Any, high: Any) -> Reads:
    return Reads(Fraction(stride), Fraction(low), Fraction(high))


_SAME_POSITION = _reads(1, 0, 0)
_ONLY_POSITION = _reads(0, 0, 0)


def dependence(operation: Any, axis: int, sizes: tuple[int, ...]) -> Dependence:
    """Return an operation's output size and what it reads of each input.

    Raises:
        OpaqueError: the operation is not known.
    """
    own = getattr(operation, "dependence", None)
    if own is not None:
        size, reads = own(axis, sizes)
        found = size, tuple(None if read is None else _reads(*read) for read in reads)
    else:
        rule = _RULES.get(type(operation), _operation_rule(operation))
        known = _is_channels_last(operation) and _has_known_activation(operation)
        found = rule(operation, axis, sizes) if rule and known else None
    if found is None or not _is_usable(*found, sizes):
        raise OpaqueError(f"what {operation.name} ({type(operation).__name__}) reads is not known")
    return found


def _is_usable(size: int, reads: tuple[Reads | None, ...], sizes: tuple[int, ...]) -> bool:
    moves_with_input = any(read is not None and read.stride > 0 for read in reads)
    return size > 0 and len(reads) == len(sizes) and moves_with_input


def _is_channels_last(operation: Any) -> bool:
    return getattr(operation, "data_format", "channels_last") == "channels_last"


def _has_known_activation(operation: Any) -> bool:
    activation = getattr(operation, "activation", None)
    return activation is None or activation in vars(keras.activations).values()


def _pointwise(operation: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
    """Rule for layers whose output at a position depends on that position only."""
    channels = getattr(operation, "axis", None)
    if channels is not None and any(a not in (-1, 3) for a in np.atleast_1d(channels)):
        return None
    return _merge(operation, axis, sizes)


def _merge(operation: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
    """Rule for element-wise operations on one or more inputs; size 1 is broadcast."""
    size = max(sizes)
    if any(s not in (1, size) for s in sizes):
        return None
    return size, tuple(_SAME_POSITION if s == size else _ONLY_POSITION for s in sizes)


def _windowed(kernel_of: Callable[[Any], Any]) -> Callable[..., Dependence | None]:
    """Return the rule for convolutions and pooling; `kernel_of` gives a layer's window size."""

    def rule(layer: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
        dilation = getattr(layer, "dilation_rate", (1, 1))[axis]
        extent = (kernel_of(layer)[axis] - 1) * dilation + 1
        stride, (size,) = layer.strides[axis], sizes
        if layer.padding == "valid":
            return (size - extent) // stride + 1, (_reads(stride, 0, extent - 1),)
        target = (size + stride - 1) // stride
        before = max((target - 1) * stride + extent - size, 0) // 2
        return target, (_reads(stride, -before, extent - 1 - before),)

    return rule


def _transposed(layer: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
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


def _upsampled(layer: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
    """Rule for UpSampling2D: nearest, or bilinear with half-pixel centres."""
    factor, (size,) = layer.size[axis], sizes
    stride = Fraction(1, factor)
    if layer.interpolation == "nearest" or factor == 1:
        return size * factor, (_reads(stride, 0, 0),)
    if layer.interpolation == "bilinear":
        low = (stride - 1) / 2
        return size * factor, (_reads(stride, low, low + 1),)
    return None


def _padded(layer: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
    before, after = layer.padding[axis]
    return sizes[0] + before + after, (_reads(1, -before, -before),)


def _cropped(layer: Any, axis: int, sizes: tuple[int, ...]) -> Dependence | None:
    before, after = layer.cropping[axis]
    return sizes[0] - before - after, (_reads(1, before, before),)


_Rule = Callable[[Any, int, tuple[int, ...]], Dependence | None]

# By exact type: a subclass may compute anything.
_RULES: dict[type, _Rule] = {
    Cast: _pointwise,
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
