"""A decoder that joins features before it decides: for what is small, as clicks in a cell are."""

from typing import Any

import keras

from cereals_tf.models.backbones import conv_unit, normalized_relu, scaled_width
from cereals_tf.models.encoder import Features

FILTERS = 128


def pyramid(
    features: Features,
    channels: int,
    width_multiplier: float,
    normalization: str,
    dropout: float = 0.5,
) -> Any:
    """Build linear outputs at stride 8, float32 [batch, H' / 8, W' / 8, channels].

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, with its three levels
    joined at once, as Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, do. FCN8s
    adds up what each level scores by itself: of what is at stride 8 a linear function. A count of
    clicks in a cell is not one.

    Args:
        features: Symbolic features of the padded image.
        channels: Number of outputs per position.
        width_multiplier: Factor on the width of what joins the levels, above 0.
        normalization: As in `backbones.conv_unit`.
        dropout: Rate after the levels are joined, in [0, 1).
    """
    filters = scaled_width(FILTERS, width_multiplier)
    levels = []
    for name, level, factor in zip(Features._fields, features, (1, 2, 4), strict=True):
        lateral = keras.layers.Conv2D(filters, 1, name=f"lateral_{name}")(level)
        levels.append(keras.layers.UpSampling2D(factor, name=f"upsample_{name}")(lateral))
    joined = normalized_relu(keras.layers.Add(name="join")(levels), normalization, "join")
    joined = keras.layers.Dropout(dropout, name="join_dropout")(joined)
    seen = conv_unit(
        joined, normalization, name="fuse", filters=filters, kernel_size=3, padding="same"
    )
    return keras.layers.Conv2D(channels, 1, dtype="float32", name="score")(seen)
