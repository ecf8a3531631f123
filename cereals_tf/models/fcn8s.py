"""FCN8s: per-pixel logits or costs at stride 8, trained in one go."""

from typing import Any

import keras

from cereals_tf.models.backbones import conv_unit, scaled_width
from cereals_tf.models.encoder import Features, encode
from cereals_tf.models.layers import BilinearInitializer, CropToGrid, HalfDropout
from cereals_tf.models.registry import BACKBONES, Backbone

DROPOUT = 0.5
"""Rate after fc6 and after fc7, of Long et al. and of the VGG-16 before it."""


def fcn8s(
    channels: int,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    normalization: str = "batch",
    dropout: float = DROPOUT,
    name: str = "fcn8s",
) -> keras.Model:
    """Build FCN8s without its last 8x upsampling.

    Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    The model takes images [batch, H, W, 3], uint8 or float32, RGB in 0..255, any H and W, and
    gives linear float32 outputs [batch, ceil(H / 8), ceil(W / 8), channels], also under mixed
    precision. Dropout is in `keras.layers.Dropout` layers, as Monte-Carlo dropout needs.

    Args:
        channels: Number of outputs per position: the classes, or 1 for a cost model.
        backbone: One of `registry.BACKBONES`.
        width_multiplier: Factor on every layer's width, above 0.
        normalization: 'batch', 'group', or 'none', the letter of the paper.
        dropout: Rate after fc6 and after fc7, in [0, 1).
        name: The model's name.

    Raises:
        ValueError: unknown `backbone` or `normalization`, or `width_multiplier` not positive.
    """
    image = keras.Input((None, None, 3), name="image")
    features = encode(image, backbone, width_multiplier, normalization)
    scores = decode(
        features, channels, BACKBONES[backbone], width_multiplier, normalization, dropout
    )
    outputs = CropToGrid(8, dtype="float32", name="crop")([scores, image])
    return keras.Model(image, outputs, name=name)


def decode(
    features: Features,
    channels: int,
    backbone: Backbone,
    width_multiplier: float,
    normalization: str,
    dropout: float,
) -> Any:
    """Build FCN8s' decoder: linear outputs at stride 8, float32 [batch, H' / 8, W' / 8, channels].

    Args:
        features: Symbolic features of the padded image.
        channels: Number of outputs per position.
        backbone: What gave the features.
        width_multiplier: Factor on the width of fc6 and fc7.
        normalization: As in `fcn8s`.
        dropout: As in `fcn8s`.
    """
    context = _fc6_fc7(features.stride32, backbone, width_multiplier, normalization, dropout)
    fused = _score(context, channels, "score_stride32")
    for stride, skip in ((16, features.stride16), (8, features.stride8)):
        upsampled = keras.layers.Conv2DTranspose(
            channels,
            4,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=BilinearInitializer(),
            dtype="float32",
            name=f"upsample_stride{stride}",
        )(fused)
        scores = _score(skip, channels, f"score_stride{stride}")
        fused = keras.layers.Add(dtype="float32", name=f"fuse_stride{stride}")([upsampled, scores])
    return fused


def _fc6_fc7(
    features: Any, backbone: Backbone, width_multiplier: float, normalization: str, dropout: float
) -> Any:
    """Apply fc6 and fc7 as convolutions, with dropout."""
    filters = scaled_width(backbone.context_filters, width_multiplier)
    kernel_size = 7
    if backbone.depthwise_context:
        features = conv_unit(
            features,
            normalization,
            name="fc6_dw",
            layer=keras.layers.DepthwiseConv2D,
            kernel_size=7,
            padding="same",
        )
        kernel_size = 1
    for layer_name, size in (("fc6", kernel_size), ("fc7", 1)):
        features = conv_unit(
            features,
            normalization,
            name=layer_name,
            filters=filters,
            kernel_size=size,
            padding="same",
        )
        name = f"{layer_name}_dropout"
        drop = (
            HalfDropout(name=name) if dropout == 0.5 else keras.layers.Dropout(dropout, name=name)
        )
        features = drop(features)
    return features


def _score(features: Any, channels: int, name: str) -> Any:
    return keras.layers.Conv2D(
        channels, 1, kernel_initializer="glorot_uniform", dtype="float32", name=name
    )(features)
