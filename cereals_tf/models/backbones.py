"""VGG-16 and MobileNet, with a width multiplier.

Layers are named as in `keras.applications`, so that weights can be loaded by name.
"""

from typing import Any

import keras

from cereals_tf.models.layers import GroupNormalization
from cereals_tf.models.registry import NORMALIZATIONS

GROUPS = 8
"""Of channels, in group normalisation; every width is a multiple of it."""

_VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_MOBILENET_BLOCKS = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024)),
)


def scaled_width(filters: int, alpha: float) -> int:
    """Return the multiple of 8 nearest to `filters * alpha`, at least 8.

    For alpha 0.25, 0.5, 0.75 and 1.0 and MobileNet's layers this is MobileNet's own width,
    filters * alpha (Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
    Vision Applications", 2017, section 3.3).

    Args:
        filters: Width of the full model.
        alpha: The width multiplier, above 0.

    Raises:
        ValueError: `alpha` is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"`alpha` must be above 0. Received: {alpha}")
    return max(8, int(filters * alpha / 8 + 0.5) * 8)


def conv_unit(
    features: Any,
    normalization: str,
    *,
    name: str,
    layer: type[keras.layers.Layer] = keras.layers.Conv2D,
    max_value: float | None = None,
    **options: Any,
) -> Any:
    """Apply convolution, normalisation and ReLU.

    Args:
        features: [batch, height, width, channels].
        normalization: 'batch' (convolution without bias, batch normalisation), 'group' (likewise,
            with group normalisation in 8 groups) or 'none' (convolution with bias). Batch
            normalisation's momentum is 0.9, because runs here are short.
        name: Name of the convolution; the others are `{name}_bn` or `{name}_gn`, and
            `{name}_relu`.
        layer: `Conv2D` or `DepthwiseConv2D`, initialised after He et al., "Delving Deep into
            Rectifiers", ICCV 2015.
        max_value: Upper limit of the ReLU (MobileNet: 6), or None.
        **options: Further arguments of `layer`.

    Raises:
        ValueError: unknown `normalization`.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` must be one of {NORMALIZATIONS}. Received: {normalization!r}"
        )
    if layer is keras.layers.DepthwiseConv2D:
        # A depthwise output has one input channel; Keras counts all of them in its fan-in.
        options["depthwise_initializer"] = keras.initializers.VarianceScaling(2.0, mode="fan_out")
    else:
        options["kernel_initializer"] = "he_normal"
    x = layer(use_bias=normalization == "none", name=name, **options)(features)
    return normalized_relu(x, normalization, name, max_value)


def normalized_relu(
    features: Any, normalization: str, name: str, max_value: float | None = None
) -> Any:
    """Apply normalisation and ReLU, see `conv_unit`."""
    if normalization == "batch":
        features = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(features)
    elif normalization == "group":
        features = GroupNormalization(GROUPS, name=f"{name}_gn")(features)
    return keras.layers.ReLU(max_value, name=f"{name}_relu")(features)


def vgg16(pixels: Any, width_multiplier: float, normalization: str) -> Any:
    """Build VGG-16's convolutions up to pool5.

    Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, configuration D.

    Args:
        pixels: Symbolic pixels in [-1, 1], [batch, H', W', 3].
        width_multiplier: Factor on every layer's width.
        normalization: As in `conv_unit`; 'none' is the letter of the paper.
    """
    x = pixels
    for block, (convolutions, filters) in enumerate(_VGG16_BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            x = conv_unit(
                x,
                normalization,
                name=f"block{block}_conv{index}",
                filters=scaled_width(filters, width_multiplier),
                kernel_size=3,
                padding="same",
            )
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def mobilenet(pixels: Any, width_multiplier: float, normalization: str) -> Any:
    """Build MobileNet v1 up to its last convolution.

    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017, table 1.

    Args:
        pixels: Symbolic pixels in [-1, 1], [batch, H', W', 3].
        width_multiplier: Factor on every layer's width.
        normalization: As in `conv_unit`; 'batch' is the paper's.
    """
    x = conv_unit(
        pixels,
        normalization,
        name="conv1",
        max_value=6.0,
        filters=scaled_width(32, width_multiplier),
        kernel_size=3,
        strides=2,
        padding="same",
    )
    for block, (strides, filters) in enumerate(_MOBILENET_BLOCKS, start=1):
        x = _separable_unit(
            x, normalization, block, strides, scaled_width(filters, width_multiplier)
        )
    return x


def _separable_unit(
    features: Any, normalization: str, block: int, strides: int, filters: int
) -> Any:
    """Apply MobileNet's block: 3x3 depthwise, then 1x1 convolution, each normalised, ReLU6."""
    if strides > 1:
        features = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{block}")(features)
    x = conv_unit(
        features,
        normalization,
        name=f"conv_dw_{block}",
        layer=keras.layers.DepthwiseConv2D,
        max_value=6.0,
        kernel_size=3,
        strides=strides,
        padding="valid" if strides > 1 else "same",
    )
    return conv_unit(
        x, normalization, name=f"conv_pw_{block}", max_value=6.0, filters=filters, kernel_size=1
    )
