"""Encoders: raw pixels of any size to a backbone's features at strides 8, 16 and 32."""

from typing import Any, NamedTuple

import keras

from cereals_tf.models.layers import CropToGrid, PadToMultiple
from cereals_tf.models.registry import BACKBONES

TOTAL_STRIDE = 32


class Features(NamedTuple):
    """Feature maps [batch, H' / stride, W' / stride, channels] of the padded H' x W' image."""

    stride8: Any
    stride16: Any
    stride32: Any


def encode(image: Any, backbone: str, width_multiplier: float, normalization: str) -> Features:
    """Build a backbone on an image.

    Pixels are scaled in float32, whatever the precision, and then padded with zeros below and on
    the right, as the backbone's own convolutions pad.

    Args:
        image: Symbolic raw pixels [batch, H, W, 3], RGB in 0..255, any H and W.
        backbone: One of `registry.BACKBONES`.
        width_multiplier: Factor on every layer's width, above 0.
        normalization: As in `backbones.conv_unit`.

    Raises:
        ValueError: unknown `backbone` or `normalization`, or `width_multiplier` not positive.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"`backbone` must be one of {list(BACKBONES)}. Received: {backbone!r}")
    entry = BACKBONES[backbone]
    scale = keras.layers.Rescaling(*entry.scaling, dtype="float32", name="rescale")
    pixels = PadToMultiple(TOTAL_STRIDE, name="pad")(scale(image))
    network = keras.Model(image, entry.build(pixels, width_multiplier, normalization))
    return Features(*(network.get_layer(tap).output for tap in entry.taps))


def build_encoder(
    backbone: str, width_multiplier: float = 1.0, normalization: str = "batch", rounded: bool = True
) -> keras.Model:
    """Build an encoder that is a model by itself, for a `head.head_on` to stand on.

    Args:
        backbone: One of `registry.BACKBONES`.
        width_multiplier: Factor on every layer's width, above 0.
        normalization: As in `backbones.conv_unit`.
        rounded: Whether features are rounded to float16, as they are kept on disk, so that a head
            sees the same with and without the disk between. An encoder that is to be trained needs
            all digits.

    Returns:
        A model from images [batch, H, W, 3], uint8 or float32, RGB in 0..255, any H and W, to
        three feature maps: [batch, ceil(H / 8), ceil(W / 8), C], and [batch, H' / 16, W' / 16, C]
        and [batch, H' / 32, W' / 32, C], where H' and W' are the next multiples of 32.

    Raises:
        ValueError: See `encode`.
    """
    image = keras.Input((None, None, 3), name="image")
    features = encode(image, backbone, width_multiplier, normalization)
    maps = features._replace(stride8=CropToGrid(8, name="crop")([features.stride8, image]))
    dtype = "float16" if rounded else None
    outputs = [
        keras.layers.Identity(dtype=dtype, name=name)(tap)
        for name, tap in zip(Features._fields, maps, strict=True)
    ]
    return keras.Model(image, outputs, name="encoder")


def encoder_of(model: keras.Model, backbone: str) -> keras.Model:
    """Return the part of a model that is the backbone, which shares the model's layers.

    Args:
        model: A model built on `encode`.
        backbone: Its backbone.

    Returns:
        A model from images [batch, H, W, 3] to `Features`.

    Raises:
        ValueError: the model has no layers of this backbone.
    """
    taps = [model.get_layer(tap).output for tap in BACKBONES[backbone].taps]
    return keras.Model(model.input, taps, name="encoder")
