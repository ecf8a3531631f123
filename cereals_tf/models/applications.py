"""Encoders from `keras.applications`."""

import inspect
from typing import Any

import keras


def application(name: str, pixels: Any) -> Any:
    """Build an encoder's layers, with random weights.

    Dropout within it (stochastic depth) is switched off: an encoder says the same in every pass.

    Args:
        name: A class of `keras.applications`.
        pixels: Symbolic pixels scaled as its weights expect, [batch, H', W', 3], H' and W'
            multiples of 32.

    Returns:
        The last feature map.
    """
    build = getattr(keras.applications, name)
    bare = {"include_preprocessing": False}
    own_scaling = bare if "include_preprocessing" in inspect.signature(build).parameters else {}
    model = build(input_tensor=pixels, include_top=False, weights=None, **own_scaling)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    return model.output
