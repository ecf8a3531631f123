"""This project's side of the comparison."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.information import MEASURES
from cereals_tf.acquisition.monte_carlo import committee
from cereals_tf.models.build import build_model
from cereals_tf.trainers.fitting import compile_model, segmentation_loss
from cereals_tf.trainers.normalization import fused_normalization
from tests.bench.peer_process import Setting, asked, serve


def main() -> None:
    """Answer requests."""
    keras.utils.set_random_seed(0)
    setting = asked()
    builders = {
        "network": network,
        "product": product,
        "forward": forward,
        "step": step,
        **{name: partial(information, name=name) for name in ("vote_entropy", "bald")},
    }
    serve({name: partial(builder, setting) for name, builder in builders.items()})


def network(setting: Setting) -> Callable[[], dict[str, int]]:
    """Describe the network, and write weights, image and logits for the other side.

    Returns:
        Stage that returns `parameters` and the `flops` of a forward pass.
    """

    def run() -> dict[str, int]:
        model, images = _model(setting, "float32"), _images(setting)
        arrays = {variable.path: variable.numpy() for variable in model.weights}
        logits = model(images, training=False)
        file = Path(setting.folder, "network.npz")
        np.savez(file, images=images.numpy(), logits=logits.numpy(), **arrays)
        flops = forward_flops(model, setting.height, setting.width)
        return {"parameters": model.count_params(), "flops": flops}

    return run


def forward_flops(model: keras.Model, height: int, width: int) -> int:
    """Count the multiplications and additions in the convolutions of one image's forward pass.

    Args:
        model: Functional model of one image input.
        height: Of the image.
        width: Of the image.
    """
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose)
    layers = [layer for layer in model.layers if isinstance(layer, kinds)]
    # A kernel is applied once per output position, a transposed one once per input position.
    grids = [
        layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output
        for layer in layers
    ]
    image = keras.KerasTensor((1, height, width, 3))
    grids = keras.Function(model.inputs, grids).compute_output_spec([image])
    return sum(
        2 * math.prod(layer.kernel.shape) * grid.shape[1] * grid.shape[2]
        for layer, grid in zip(layers, grids, strict=True)
    )


def product(setting: Setting, precision: str) -> Callable[[], None]:
    """Build a product of two matrices."""
    factor = tf.random.normal((setting.product_size, setting.product_size))
    factor = tf.cast(factor, tf.float32 if precision == "float32" else tf.bfloat16)
    return _compiled(lambda: tf.matmul(factor, factor))


def forward(setting: Setting, precision: str) -> Callable[[], None]:
    """Build the deterministic pass."""
    model, images = _model(setting, precision), _images(setting)
    return _compiled(lambda: model(images, training=False))


def information(setting: Setting, precision: str, name: str) -> Callable[[], None]:
    """Build the information map of a committee."""
    model, images = _model(setting, precision), _images(setting)
    logits = committee(model, setting.members)
    measure = MEASURES[name]
    prepared = tf.identity if measure.accepts_logits else tf.nn.softmax
    return _compiled(lambda: measure.function(prepared(tf.cast(logits(images), tf.float32))))


def step(setting: Setting, precision: str) -> Callable[[], None]:
    """Build a training step as `cereals_tf.trainers.fitting.fit` has Keras do it."""
    model, images = _model(setting, precision), _images(setting)
    labels = tf.random.uniform(
        (1, -(-setting.height // 8), -(-setting.width // 8)), maxval=setting.classes, dtype=tf.int32
    )
    compile_model(model, segmentation_loss(), 1e-4)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels, tf.ones(labels.shape))).repeat())

    def run() -> None:
        with fused_normalization(model):
            model.train_function(batches)

    return run


def _model(setting: Setting, precision: str) -> keras.Model:
    return build_model(
        "segmentation",
        setting.classes,
        width_multiplier=setting.width_multiplier,
        precision=precision,
    )


def _images(setting: Setting) -> tf.Tensor:
    shape = (1, setting.height, setting.width, 3)
    return tf.cast(tf.random.uniform(shape, maxval=256, dtype=tf.int32), tf.uint8)


def _compiled(function: Callable[[], tf.Tensor]) -> Callable[[], None]:
    graph = tf.function(function)

    def run() -> None:
        graph().numpy()

    return run


if __name__ == "__main__":
    main()
