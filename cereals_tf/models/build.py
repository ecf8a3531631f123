"""A campaign's models by their options: FCN8s, heads on an encoder, or a model of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from cereals_tf.models import encoder as encoders
from cereals_tf.models.encoder import Features
from cereals_tf.models.fcn8s import DROPOUT, decode, fcn8s
from cereals_tf.models.head import head_on
from cereals_tf.models.plugin import build_plugin
from cereals_tf.models.pyramid import pyramid
from cereals_tf.models.registry import BACKBONES


def build_model(
    name: str,
    channels: int,
    *,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    normalization: str = "batch",
    precision: str = "float32",
    model: str | None = None,
) -> keras.Model:
    """Build a model that takes images and gives outputs at stride 8.

    It takes images [batch, H, W, 3], uint8 or float32, RGB in 0..255, any H and W, and gives
    float32 outputs [batch, ceil(H / 8), ceil(W / 8), channels].

    Args:
        name: `segmentation` or `cost`.
        channels: Outputs per position.
        backbone: One of `registry.BACKBONES`.
        width_multiplier: Factor on every layer's width, above 0.
        normalization: 'batch', 'group' or 'none'.
        precision: A Keras dtype policy: 'float32', 'mixed_bfloat16' or 'mixed_float16'. It holds
            for this model only.
        model: `package.module:function`, a model of the user's own; backbone, width multiplier
            and normalisation do not apply to it.

    Raises:
        ValueError: Unknown `backbone`, `normalization` or `precision`.
        UserError: `model` does not name a function that gives a fitting model.
    """
    with _dtype_policy(precision):
        if model is not None:
            return build_plugin(model, channels, name, option_of(name))
        return fcn8s(channels, backbone, width_multiplier, normalization, name=name)


def option_of(name: str) -> str:
    """Return the option that takes a plug-in for the model of this name."""
    return "--cost_model" if name == "cost" else "--model"


def build_encoder(
    *, backbone: str, width_multiplier: float, precision: str, rounded: bool
) -> keras.Model:
    """Build an encoder, see `encoder.build_encoder`; arguments as in `build_model`."""
    with _dtype_policy(precision):
        return encoders.build_encoder(backbone, width_multiplier, rounded=rounded)


def build_head(
    name: str,
    channels: int,
    encoder: keras.Model,
    *,
    backbone: str,
    width_multiplier: float,
    normalization: str,
    precision: str,
) -> keras.Model:
    """Build what stands on an encoder: FCN8s' decoder, or the pyramid of a cost model.

    Arguments as in `build_model`; the head takes `encoder`'s features, see `head.head_on`.
    """

    def outputs(features: Features) -> Any:
        if name == "cost":
            return pyramid(features, channels, width_multiplier, normalization)
        entry = BACKBONES[backbone]
        return decode(features, channels, entry, width_multiplier, normalization, DROPOUT)

    with _dtype_policy(precision):
        return head_on(encoder, outputs, name)


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
