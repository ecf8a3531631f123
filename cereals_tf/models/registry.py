"""The backbones by name: what there is to say of each before it is built.

This module imports neither Keras nor TensorFlow, so that options and help are quick.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Backbone:
    """A network whose feature maps FCN8s' decoder reads.

    Attributes:
        help: What it is, in a few words.
        network: `module:function` that builds its layers. The function takes pixels scaled as
            below, [batch, H', W', 3] with H' and W' multiples of 32, the width multiplier and the
            normalisation, and returns the last feature map.
        taps: Names of the layers that give the features at strides 8, 16 and 32.
        scale: Factor that makes raw pixels, 0 to 255, what the network takes.
        offset: Summand, after the factor.
        context_filters: Width of the decoder's fc6 and fc7.
        depthwise_context: Whether fc6 is a 7x7 depthwise convolution before a 1x1 one, the same
            reach as 7x7 at a fraction of the weights.
        application: The class of `keras.applications` that offers weights for it.
        published_widths: Width multipliers that it offers weights for.
    """

    help: str
    network: str
    taps: tuple[str, str, str]
    scale: float
    offset: float
    context_filters: int
    depthwise_context: bool
    application: str
    published_widths: tuple[float, ...]

    def build(self, pixels: Any, width_multiplier: float, normalization: str) -> Any:
        """Build the network's layers; arguments and result as the function's of `network`."""
        module, _, function = self.network.partition(":")
        build: Callable[[Any, float, str], Any] = getattr(import_module(module), function)
        return build(pixels, width_multiplier, normalization)


BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone(
        "VGG-16, the paper's",
        network="cereals_tf.models.backbones:vgg16",
        taps=("block3_pool", "block4_pool", "block5_pool"),
        scale=1 / 127.5,
        offset=-1.0,
        context_filters=4096,
        depthwise_context=False,
        application="VGG16",
        published_widths=(1.0,),
    ),
    "mobilenet": Backbone(
        "MobileNet v1",
        network="cereals_tf.models.backbones:mobilenet",
        taps=("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
        scale=1 / 127.5,
        offset=-1.0,
        context_filters=1024,
        depthwise_context=True,
        application="MobileNet",
        published_widths=(0.25, 0.5, 0.75, 1.0),
    ),
}
