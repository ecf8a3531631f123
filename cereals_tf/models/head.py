"""Heads: models by themselves on the features of an encoder, and with it from images on."""

from collections.abc import Callable
from typing import Any

import keras

from cereals_tf.models.encoder import Features
from cereals_tf.models.layers import CropToGrid, PadToMultiple


def head_on(encoder: keras.Model, decode: Callable[[Features], Any], name: str) -> keras.Model:
    """Build a model from an encoder's features, which it normalises by channel, to outputs.

    Args:
        encoder: What gives the features, see `encoder.build_encoder`.
        decode: Builds linear outputs at stride 8, float32 [batch, H' / 8, W' / 8, channels], on
            features of the padded image.
        name: The model's name.

    Returns:
        A model from the encoder's three feature maps to linear outputs, float32
        [batch, ceil(H / 8), ceil(W / 8), channels].
    """
    maps = [
        keras.Input(output.shape[1:], dtype=output.dtype, name=tap)
        for tap, output in zip(Features._fields, encoder.outputs, strict=True)
    ]
    features = Features(
        *(
            keras.layers.BatchNormalization(
                momentum=0.9, center=False, scale=False, name=f"normalize_{tap}"
            )(features)
            for tap, features in zip(Features._fields, maps, strict=True)
        )
    )
    padded = features._replace(stride8=PadToMultiple(4, name="pad")(features.stride8))
    outputs = CropToGrid(1, dtype="float32", name="crop")([decode(padded), features.stride8])
    return keras.Model(maps, outputs, name=name)


def on_encoder(encoder: keras.Model, head: keras.Model) -> keras.Model:
    """Return the model from images to a head's outputs; it shares both models' weights."""
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, head(encoder(image)), name=head.name)
