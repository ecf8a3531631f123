"""The names by which a model's options choose, and the backbones before they are built.

This module imports neither Keras nor TensorFlow, so that options and help are quick.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple


class Scaling(NamedTuple):
    """A factor, and then a summand, of all channels or of red, green and blue, for raw pixels."""

    factor: float | tuple[float, ...]
    summand: float | tuple[float, ...]


NORMALIZATIONS = ("batch", "group", "none")
"""What follows a convolution."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""Keras's dtype policies that a model can have."""


@dataclass(frozen=True)
class Backbone:
    """A network whose feature maps FCN8s' decoder reads.

    Attributes:
        help: What it is, in a few words.
        taps: Names of the layers that give the features at strides 8, 16 and 32.
        scaling: What makes raw pixels, 0 to 255, what the network takes.
        weights: Where its ImageNet weights are: a class of `keras.applications`, or
            `module:function`, which returns them by layer name.
        network: `module:function` that builds its layers, where it is not the class of
            `keras.applications` itself. The function takes pixels scaled as above,
            [batch, H', W', 3] with H' and W' multiples of 32, and, where the width can be scaled,
            width multiplier and normalisation; it returns the last feature map.
        widths: Width multipliers that there are weights for; none where the width is fixed, and
            the width multiplier scales the decoder alone.
        looks_at_whole_image: Whether a feature depends on all of the image (squeeze and
            excitation), so that no crop gives the same.
        context_filters: Width of the decoder's fc6 and fc7.
        depthwise_context: Whether fc6 is a 7x7 depthwise convolution before a 1x1 one, the same
            reach as 7x7 at a fraction of the weights.
    """

    help: str
    taps: tuple[str, str, str]
    scaling: Scaling
    weights: str
    network: str = ""
    widths: tuple[float, ...] = ()
    looks_at_whole_image: bool = False
    context_filters: int = 1024
    depthwise_context: bool = True

    @property
    def default_weights(self) -> str:
        """What `--weights` is where it is not given."""
        return "none" if self.widths else "imagenet"

    def build(self, pixels: Any, width_multiplier: float, normalization: str) -> Any:
        """Build the network's layers on scaled pixels and return the last feature map."""
        if not self.network:
            return _imported("cereals_tf.models.applications:application")(self.weights, pixels)
        options = (width_multiplier, normalization) if self.widths else ()
        return _imported(self.network)(pixels, *options)

    def own_weights(self) -> dict[str, Any] | None:
        """Return ImageNet weights by layer name, None where they are `keras.applications`'s."""
        return _imported(self.weights)() if ":" in self.weights else None


def _imported(reference: str) -> Callable[..., Any]:
    module, _, function = reference.partition(":")
    return getattr(import_module(module), function)


_TO_UNIT = Scaling(1 / 127.5, -1.0)
"""To [-1, 1]."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STANDARDIZED = Scaling(
    tuple(1 / (255 * deviation) for deviation in _DEVIATION),
    tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
)
"""To mean 0 and variance 1 over ImageNet, channel by channel."""


def _mobilenet_v3(size: str, taps: tuple[str, str, str]) -> Backbone:
    return Backbone(
        f"MobileNetV3 {size}",
        taps=taps,
        scaling=_TO_UNIT,
        weights=f"MobileNetV3{size.capitalize()}",
        looks_at_whole_image=True,
    )


def _efficientnet_v2(variant: str, taps: tuple[str, str, str]) -> Backbone:
    return Backbone(
        f"EfficientNetV2 {variant}",
        taps=taps,
        scaling=_STANDARDIZED,
        weights=f"EfficientNetV2{variant}",
        looks_at_whole_image=True,
    )


BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone(
        "VGG-16, the paper's",
        taps=("block3_pool", "block4_pool", "block5_pool"),
        scaling=_TO_UNIT,
        weights="VGG16",
        network="cereals_tf.models.backbones:vgg16",
        widths=(1.0,),
        context_filters=4096,
        depthwise_context=False,
    ),
    "mobilenet": Backbone(
        "MobileNet v1",
        taps=("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
        scaling=_TO_UNIT,
        weights="MobileNet",
        network="cereals_tf.models.backbones:mobilenet",
        widths=(0.25, 0.5, 0.75, 1.0),
    ),
    "efficientnet_lite0": Backbone(
        "EfficientNet-Lite0, ImageNet weights at hand",
        taps=("block3b_add", "block5c_add", "block7a_project_bn"),
        scaling=Scaling(1 / 128, -127 / 128),
        weights="cereals_tf.models.efficientnet_lite:imagenet_weights",
        network="cereals_tf.models.efficientnet_lite:efficientnet_lite0",
    ),
    "mobilenet_v3_small": _mobilenet_v3(
        "small", ("expanded_conv_2_add", "expanded_conv_7_add", "expanded_conv_10_add")
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        "large", ("expanded_conv_5_add", "expanded_conv_11_add", "expanded_conv_14_add")
    ),
    "efficientnet_v2_b0": _efficientnet_v2("B0", ("block3b_add", "block5e_add", "block6h_add")),
    "efficientnet_v2_b1": _efficientnet_v2("B1", ("block3c_add", "block5f_add", "block6i_add")),
    "efficientnet_v2_b2": _efficientnet_v2("B2", ("block3c_add", "block5f_add", "block6j_add")),
    "efficientnet_v2_b3": _efficientnet_v2("B3", ("block3c_add", "block5g_add", "block6l_add")),
    "convnext_tiny": Backbone(
        "ConvNeXt Tiny",
        taps=(
            "convnext_tiny_stage_1_block_2_identity",
            "convnext_tiny_stage_2_block_8_identity",
            "convnext_tiny_stage_3_block_2_identity",
        ),
        scaling=_STANDARDIZED,
        weights="ConvNeXtTiny",
    ),
    "resnet50_v2": Backbone(
        "ResNet50V2",
        taps=("conv3_block3_out", "conv4_block5_out", "post_relu"),
        scaling=_TO_UNIT,
        weights="ResNet50V2",
    ),
}
