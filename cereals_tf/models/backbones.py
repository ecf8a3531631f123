"""Backbones: raw pixels to features at strides 8, 16 and 32, with a width multiplier.

Layers are named as in `keras.applications`, so that weights can be loaded by name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from cereals_tf.models.layers import PadToMultiple

TOTAL_STRIDE = 32

_VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_MOBILENET_BLOCKS = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024)),
)


class Features(NamedTuple):
    """Feature maps [batch, H' / stride, W' / stride, channels] of the padded H' x W' image."""

    stride8: Any
    stride16: Any
    stride32: Any


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
        normalization: 'batch' (convolution without bias, batch normalisation) or 'none' (with
            bias). Batch normalisation's momentum is 0.9, because runs here are short.
        name: Name of the convolution; the others are `{name}_bn` and `{name}_relu`.
        layer: `Conv2D` or `DepthwiseConv2D`, initialised after He et al., "Delving Deep into
            Rectifiers", ICCV 2015.
        max_value: Upper limit of the ReLU (MobileNet: 6), or None.
        **options: Further arguments of `layer`.

    Raises:
        ValueError: unknown `normalization`.
    """
    if normalization not in ("batch", "none"):
        raise ValueError(f"`normalization` must be 'batch' or 'none'. Received: {normalization!r}")
    if layer is keras.layers.DepthwiseConv2D:
        # A depthwise output has one input channel; Keras counts all of them in its fan-in.
        options["depthwise_initializer"] = keras.initializers.VarianceScaling(2.0, mode="fan_out")
    else:
        options["kernel_initializer"] = "he_normal"
    x = layer(use_bias=normalization == "none", name=name, **options)(features)
    if normalization == "batch":
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value, name=f"{name}_relu")(x)


def vgg16(image: Any, width_multiplier: float, normalization: str) -> Features:
    """Build VGG-16's convolutions; the features are pool3, pool4 and pool5.

    Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, configuration D.

    Args:
        image: Symbolic raw pixels [batch, H, W, 3], RGB in 0..255.
        width_multiplier: Factor on every layer's width.
        normalization: 'batch' or 'none', the letter of the paper.
    """
    x = _prepare(image)
    pools = []
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
        pools.append(x)
    return Features(*pools[2:])


def mobilenet(image: Any, width_multiplier: float, normalization: str) -> Features:
    """Build MobileNet v1; the features are the last ones at strides 8, 16 and 32.

    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017, table 1.

    Args:
        image: Symbolic raw pixels [batch, H, W, 3], RGB in 0..255.
        width_multiplier: Factor on every layer's width.
        normalization: 'batch' (the paper's) or 'none'.
    """
    x = conv_unit(
        _prepare(image),
        normalization,
        name="conv1",
        max_value=6.0,
        filters=scaled_width(32, width_multiplier),
        kernel_size=3,
        strides=2,
        padding="same",
    )
    last_at_stride, stride = {}, 2
    for block, (strides, filters) in enumerate(_MOBILENET_BLOCKS, start=1):
        x = _separable_unit(
            x, normalization, block, strides, scaled_width(filters, width_multiplier)
        )
        stride *= strides
        last_at_stride[stride] = x
    return Features(last_at_stride[8], last_at_stride[16], last_at_stride[32])


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


def _prepare(image: Any) -> Any:
    """Scale raw pixels to [-1, 1], in float32 whatever the precision, then pad with zeros."""
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
    return PadToMultiple(TOTAL_STRIDE, name="pad")(x)


BACKBONES: dict[str, Callable[[Any, float, str], Features]] = {
    "vgg16": vgg16,
    "mobilenet": mobilenet,
}


def convolution_names(backbone: str) -> list[str]:
    """Return the names of a backbone's convolutions, from the image on."""
    if backbone == "vgg16":
        return [
            f"block{block}_conv{index}"
            for block, (convolutions, _) in enumerate(_VGG16_BLOCKS, start=1)
            for index in range(1, convolutions + 1)
        ]
    blocks = range(1, len(_MOBILENET_BLOCKS) + 1)
    return ["conv1", *(f"conv_{kind}_{block}" for block in blocks for kind in ("dw", "pw"))]
