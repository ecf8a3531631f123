"""Layers that let a network of any stride take images of any size and answer on one grid.

All images and feature maps are channels-last, [batch, height, width, channels].

Each layer has a method `dependence(axis, sizes)`, which tells what an output position depends on.
It returns `(size, reads)`: the output's size along `axis` (0: rows, 1: columns) for inputs of the
given `sizes`, and one `(stride, low, high)` per input: output position i reads the input positions
floor(stride * i + low) to floor(stride * i + high), both included, where they exist. None stands
for an input of which only the size matters. `cereals_tf.trainers.receptive_field` composes these.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import keras
import numpy as np

Reads = tuple[Fraction, Fraction, Fraction]
Dependence = tuple[int, tuple[Reads | None, ...]]

_SAME_POSITION: Reads = (Fraction(1), Fraction(0), Fraction(0))


def _ceil_div(size: Any, divisor: int) -> Any:
    """Round size / divisor up; `size` is an int, a scalar tensor or None (unknown)."""
    return None if size is None else (size + divisor - 1) // divisor


@keras.saving.register_keras_serializable("cereals")
class HalfDropout(keras.layers.Dropout):
    """Dropout at rate 0.5 whose masks are random bits: a fraction of the random numbers to draw.

    Monte-Carlo dropout draws a mask per pass, which would cost nearly as much as what follows it.
    Input and output: float, of any shape.

    Args:
        **kwargs: `keras.layers.Dropout` arguments without `rate` and `noise_shape`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(0.5, **kwargs)

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Zero every unit with probability 0.5 and double the others, in training."""
        if not training:
            return inputs
        *others, channels = keras.ops.shape(inputs)
        shape = (*others, _ceil_div(channels, 16))
        draws = keras.random.randint((*shape, 1), 0, 1 << 16, seed=self.seed_generator)
        bits = keras.ops.bitwise_and(keras.ops.right_shift(draws, keras.ops.arange(16)), 1)
        factors = keras.ops.reshape(keras.ops.cast(2 * bits, inputs.dtype), (*others, -1))
        return inputs * (factors if channels % 16 == 0 else factors[..., :channels])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        return {key: config[key] for key in config if key not in ("rate", "noise_shape")}

    def dependence(self, axis: int, sizes: tuple[int, ...]) -> Dependence:
        """Tell what an output position depends on; see the module's docstring."""
        return sizes[0], (_SAME_POSITION,)


@keras.saving.register_keras_serializable("cereals")
class GroupNormalization(keras.layers.GroupNormalization):
    """Keras's group normalisation of feature maps, in a third of its time.

    Wu, He, "Group Normalization", ECCV 2018: each image is normalised by the mean and the variance
    of its own groups of neighbouring channels, in training as in inference.

    Input and output: [batch, height, width, channels].

    Args:
        groups: int. Number of groups, which divides the number of channels.
        **kwargs: `keras.layers.GroupNormalization` arguments without `axis`, `scale`, `center`.
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(groups, autocast=False, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Normalise; shapes as in the class's description."""
        features = keras.ops.cast(inputs, "float32")
        means = keras.ops.mean(features, axis=(1, 2))
        squares = keras.ops.mean(keras.ops.square(features), axis=(1, 2))
        scales, shifts = self.affine_of(means, squares)
        normalized = features * scales[:, None, None] + shifts[:, None, None]
        return keras.ops.cast(normalized, self.compute_dtype)

    def affine_of(self, means: Any, squares: Any) -> tuple[Any, Any]:
        """Return the scale and the shift that normalise each channel of each image.

        `cereals_tf.trainers.normalization` trains layers with this method in fewer operations.

        Args:
            means: float32 [batch, channels], each channel's mean.
            squares: float32 [batch, channels], the mean of its squares.

        Returns:
            Two float32 [batch, channels].
        """
        channels = means.shape[-1]
        grouped = (self.groups, channels // self.groups)
        mean, square = (
            keras.ops.mean(keras.ops.reshape(part, (-1, *grouped)), axis=-1, keepdims=True)
            for part in (means, squares)
        )
        gamma, beta = (keras.ops.reshape(part, grouped) for part in (self.gamma, self.beta))
        variance = keras.ops.maximum(square - keras.ops.square(mean), 0.0)
        scales = keras.ops.rsqrt(variance + self.epsilon) * gamma
        shifts = beta - mean * scales
        return keras.ops.reshape(scales, (-1, channels)), keras.ops.reshape(shifts, (-1, channels))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        return {key: config[key] for key in config if key not in ("axis", "scale", "center")}


@keras.saving.register_keras_serializable("cereals")
class PadToMultiple(keras.layers.Layer):
    """Zero-pads images at the bottom and right until `multiple` divides their height and width.

    Input: [batch, H, W, channels]. Output: [batch, H', W', channels], H' and W' being the smallest
    multiples of `multiple` that are not below H and W.

    Args:
        multiple: int. What the output's height and width shall be multiples of.
        **kwargs: `keras.layers.Layer` arguments.
    """

    def __init__(self, multiple: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images: Any) -> Any:
        """Pad; shapes as in the class's description."""
        _, height, width, _ = keras.ops.shape(images)
        below, right = self._padded(height) - height, self._padded(width) - width
        return keras.ops.pad(images, ((0, 0), (0, below), (0, right), (0, 0)))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the output's shape; unknown sizes are None."""
        batch, *sizes, channels = input_shape
        padded = (None if size is None else self._padded(size) for size in sizes)
        return batch, *padded, channels

    def dependence(self, axis: int, sizes: tuple[int, ...]) -> Dependence:
        """Tell what an output position depends on; see the module's docstring."""
        return self._padded(sizes[0]), (_SAME_POSITION,)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "multiple": self.multiple}

    def _padded(self, size: int) -> int:
        return _ceil_div(size, self.multiple) * self.multiple


class _GridLayer(keras.layers.Layer):
    """A layer called on [features, image] whose output lies on the image's grid of `stride`."""

    def __init__(self, stride: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "stride": self.stride}

    def _grid(self, image: Any) -> tuple[Any, Any]:
        _, height, width, _ = keras.ops.shape(image)
        return _ceil_div(height, self.stride), _ceil_div(width, self.stride)

    def compute_output_shape(
        self, input_shape: Sequence[Sequence[int | None]]
    ) -> tuple[int | None, ...]:
        """Return the output's shape; unknown sizes are None."""
        (batch, *_, channels), (_, height, width, _) = input_shape
        return batch, _ceil_div(height, self.stride), _ceil_div(width, self.stride), channels


@keras.saving.register_keras_serializable("cereals")
class CropToGrid(_GridLayer):
    """Crops features to the cells of `stride` pixels that the image covers.

    Called on [features, image]: features [batch, h, w, channels] at `stride`, computed from the
    image after padding, and the image [batch, H, W, 3] before it, of which only the size is used.
    Output: [batch, ceil(H / stride), ceil(W / stride), channels], the top left of the features.

    Args:
        stride: int. Pixels per cell.
        **kwargs: `keras.layers.Layer` arguments.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        """Crop; shapes as in the class's description."""
        features, image = inputs
        rows, columns = self._grid(image)
        return features[:, :rows, :columns, :]

    def dependence(self, axis: int, sizes: tuple[int, ...]) -> Dependence:
        """Tell what an output position depends on; see the module's docstring."""
        features, image = sizes
        return min(features, _ceil_div(image, self.stride)), (_SAME_POSITION, None)


@keras.saving.register_keras_serializable("cereals")
class ResizeToGrid(_GridLayer):
    """Resizes logits of any stride to the image's grid of `stride`.

    Called on [logits, image]: logits [batch, h, w, channels] and the image [batch, H, W, 3], of
    which only the size is used. Output: [batch, ceil(H / stride), ceil(W / stride), channels].

    Bilinear with half-pixel centres. Where it reduces, the triangle is as many times wider as the
    result is smaller, which keeps it from aliasing; at the borders the weights are renormalised.
    Logits that are on the grid already pass unchanged. Both axes are products with small
    matrices rather than `keras.ops.image.resize`, because TensorFlow has the antialiased operation
    for the CPU only and XLA does not compile it.

    Args:
        stride: int. Pixels per cell.
        **kwargs: `keras.layers.Layer` arguments.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        """Resize; shapes as in the class's description."""
        logits, image = inputs
        rows, columns = self._grid(image)
        _, height, width, _ = keras.ops.shape(logits)
        if not _known_equal(height, rows):
            weights = triangle_weights(height, rows, logits.dtype)
            logits = keras.ops.einsum("ij,bjwc->biwc", weights, logits)
        if not _known_equal(width, columns):
            weights = triangle_weights(width, columns, logits.dtype)
            logits = keras.ops.einsum("ij,bhjc->bhic", weights, logits)
        return logits

    def dependence(self, axis: int, sizes: tuple[int, ...]) -> Dependence:
        """Tell what an output position depends on; see the module's docstring."""
        source, image = sizes
        target = _ceil_div(image, self.stride)
        stride = Fraction(source, target)
        centre, radius = (stride - 1) / 2, max(stride, Fraction(1))
        # Weights are zero at a distance of `radius`; distances are multiples of 1 / (2 target).
        step = Fraction(1, 2 * target)
        return target, ((stride, centre - radius + 1, centre + radius - step), None)


def _known_equal(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a == b


def triangle_weights(source: Any, target: Any, dtype: str) -> Any:
    """Return the [target, source] matrix of bilinear weights, see `ResizeToGrid`.

    Each row sums to 1. Numerators are whole numbers, so that the weights of a crop are those of the
    whole image.
    """
    out = keras.ops.arange(target, dtype="int32")[:, None]
    into = keras.ops.arange(source, dtype="int32")[None, :]
    distance = keras.ops.abs((2 * out + 1) * source - target - 2 * target * into)
    reach = keras.ops.maximum(2 * source, 2 * target)
    inside = keras.ops.maximum(reach - distance, 0)
    total = keras.ops.sum(inside, axis=1, keepdims=True)
    return keras.ops.cast(inside, dtype) / keras.ops.cast(total, dtype)


@keras.saving.register_keras_serializable("cereals")
class BilinearInitializer(keras.initializers.Initializer):
    """Initial kernel with which a transposed convolution interpolates each channel bilinearly.

    For `keras.layers.Conv2DTranspose` kernels, [height, width, output channels, input channels]:
    the bilinear filter where output and input channel agree, zero elsewhere. A kernel of size 2f
    belongs to the stride f. Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 3.3.
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None, **kwargs: Any) -> Any:
        """Return the kernel of the given shape, as a tensor."""
        height, width, outputs, inputs = shape
        filter_2d = np.outer(_bilinear_filter(height), _bilinear_filter(width))
        kernel = filter_2d[:, :, None, None] * np.eye(outputs, inputs)
        return keras.ops.convert_to_tensor(kernel, dtype=dtype or keras.config.floatx())


def _bilinear_filter(size: int) -> np.ndarray:
    factor = (size + 1) // 2
    centre = (size - 1) / 2 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - centre) / factor
