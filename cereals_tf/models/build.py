"""The two models by their options: FCN8s, or a model of the user's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.plugin import build_plugin


def build_segmentation_model(
    num_classes: int,
    *,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    normalization: str = "batch",
    precision: str = "float32",
    model: str | None = None,
) -> keras.Model:
    """Build the model that gives class logits at stride 8.

    The model takes images [batch, H, W, 3], uint8 or float32, RGB in 0..255, any H and W, and
    gives float32 logits [batch, ceil(H / 8), ceil(W / 8), num_classes].

    Args:
        num_classes: Number of classes.
        backbone: One of `registry.BACKBONES`.
        width_multiplier: Factor on every layer's width, above 0.
        normalization: 'batch', 'group' or 'none'.
        precision: A Keras dtype policy: 'float32', 'mixed_bfloat16' or 'mixed_float16'. It holds
            for this model only.
        model: `package.module:function`, a model of the user's own; backbone, width multiplier
            and normalisation do not apply to it.

    Raises:
        ValueError: unknown `backbone`, `normalization` or `precision`.
        UserError: `model` does not name a function that gives a fitting model.
    """
    return _build(
        "segmentation", num_classes, backbone, width_multiplier, normalization, precision, model
    )


def build_cost_model(
    *,
    backbone: str = "vgg16",
    width_multiplier: float = 1.0,
    normalization: str = "batch",
    precision: str = "float32",
    model: str | None = None,
) -> keras.Model:
    """Build the model that gives expected clicks at stride 8, [batch, ceil(H/8), ceil(W/8), 1].

    The architecture of the segmentation model with one linear output; arguments and errors as
    in `build_segmentation_model`.
    """
    return _build("cost", 1, backbone, width_multiplier, normalization, precision, model)


def _build(
    name: str,
    channels: int,
    backbone: str,
    width_multiplier: float,
    normalization: str,
    precision: str,
    model: str | None,
) -> keras.Model:
    with _dtype_policy(precision):
        if model is not None:
            option = "--cost_model" if name == "cost" else "--model"
            return build_plugin(model, channels, name, option)
        return fcn8s(channels, backbone, width_multiplier, normalization, name=name)


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
