"""Models of the user's own: `--model=package.module:function`."""

import keras
import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.layers import ResizeToGrid
from cereals_tf.plugin import load_function

_TRIAL_SIZE = (64, 96)


def build_plugin(
    spec: str, channels: int, name: str = "plugin", option: str = "--model"
) -> keras.Model:
    """Build a user's model and bring its output to the stride-8 grid.

    The function named is called as `function(channels)`. It returns a `keras.Model` that takes
    images [batch, H, W, 3], float32 RGB in 0..255, any H and W, and gives logits or linear costs
    [batch, h, w, channels] at any output stride.

    Args:
        spec: `package.module:function`.
        channels: Number of outputs per position: the classes, or 1 for a cost model.
        name: Name of the model that is returned.
        option: Where `spec` was given, for messages.

    Returns:
        A functional model: images [batch, H, W, 3] to float32
        [batch, ceil(H / 8), ceil(W / 8), channels].

    Raises:
        UserError: as `load_function`; or the function fails, returns something else, or its model
            fails on a small image or gives an output of another shape.
    """
    builder = load_function(spec, option)
    option = f"{option}={spec}"
    try:
        plugin = builder(channels)
    except Exception as error:
        raise UserError(
            f"{option}: calling it with {channels} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(plugin, keras.Model):
        raise UserError(f"{option}: expected a keras.Model, found {type(plugin).__name__}")
    _check_output(plugin, channels, option)
    image = keras.Input((None, None, 3), name="image")
    try:
        logits = plugin(image)
    except Exception as error:
        raise UserError(
            f"{option}: expected a model that takes images of any size, [batch, None, None, 3]; "
            f"{type(error).__name__}: {error}"
        ) from error
    return keras.Model(
        image, ResizeToGrid(8, dtype="float32", name="grid")([logits, image]), name=name
    )


def _check_output(plugin: keras.Model, channels: int, option: str) -> None:
    trial = np.zeros((1, *_TRIAL_SIZE, 3), "float32")
    try:
        output = plugin(trial)
    except Exception as error:
        raise UserError(
            f"{option}: the model failed on an image [1, {_TRIAL_SIZE[0]}, {_TRIAL_SIZE[1]}, 3]: "
            f"{type(error).__name__}: {error}"
        ) from error
    shape = getattr(output, "shape", None)
    found = type(output).__name__ if shape is None else f"an output {list(shape)}"
    if shape is None or len(shape) != 4 or shape[0] != 1 or shape[-1] != channels:
        raise UserError(f"{option}: expected one output [batch, h, w, {channels}], found {found}")
