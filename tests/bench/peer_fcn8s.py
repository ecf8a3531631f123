"""FCN8s on VGG-16 in PyTorch, layer for layer the one of `cereals_tf.models`.

Layers have the names that they have there, so that its weights can be loaded by name.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

TOTAL_STRIDE, OUTPUT_STRIDE = 32, 8
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class FCN8s(nn.Module):
    """Raw pixels uint8 [B, 3, H, W] to logits float32 [B, channels, ceil(H / 8), ceil(W / 8)].

    Args:
        channels: Number of outputs per position.
        width_multiplier: Factor on every layer's width.
        dropout: Rate after fc6 and after fc7.
    """

    def __init__(self, channels: int, width_multiplier: float, dropout: float = 0.5) -> None:
        super().__init__()
        self.blocks, filters, skip_filters = nn.ModuleList(), 3, []
        for block, (convolutions, full_width) in enumerate(_BLOCKS, start=1):
            layers = nn.Sequential()
            for index in range(1, convolutions + 1):
                inputs, filters = filters, _scaled_width(full_width, width_multiplier)
                _add_conv_unit(layers, f"block{block}_conv{index}", inputs, filters, 3)
            layers.add_module(f"block{block}_pool", nn.MaxPool2d(2))
            self.blocks.append(layers)
            skip_filters.append(filters)
        hidden = _scaled_width(4096, width_multiplier)
        self.context = nn.Sequential()
        for name, inputs, size in (("fc6", filters, 7), ("fc7", hidden, 1)):
            _add_conv_unit(self.context, name, inputs, hidden, size)
            self.context.add_module(f"{name}_dropout", nn.Dropout(dropout))
        self.score_stride32 = nn.Conv2d(hidden, channels, 1)
        self.score_stride16 = nn.Conv2d(skip_filters[3], channels, 1)
        self.score_stride8 = nn.Conv2d(skip_filters[2], channels, 1)
        self.upsample_stride16 = nn.ConvTranspose2d(channels, channels, 4, 2, 1, bias=False)
        self.upsample_stride8 = nn.ConvTranspose2d(channels, channels, 4, 2, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        x = images.float() / 127.5 - 1.0
        x = functional.pad(x, (0, -width % TOTAL_STRIDE, 0, -height % TOTAL_STRIDE))
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        fused = self.score_stride32(self.context(x))
        fused = self.upsample_stride16(fused) + self.score_stride16(features[3])
        fused = self.upsample_stride8(fused) + self.score_stride8(features[2])
        return fused[..., : -(-height // OUTPUT_STRIDE), : -(-width // OUTPUT_STRIDE)]


def parameter_count(model: nn.Module) -> int:
    """Count weights and batch normalisation's statistics."""
    state = model.state_dict().items()
    return sum(tensor.numel() for name, tensor in state if not name.endswith("num_batches_tracked"))


def load_keras_weights(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Set all weights and statistics from arrays named `layer/variable`, as Keras names them.

    Raises:
        ValueError: The arrays' names are not those of this model.
        RuntimeError: Their shapes are not.
    """
    paths = {
        ".".join(path.split(".")[-2:]): path
        for path in model.state_dict()
        if not path.endswith("num_batches_tracked")
    }
    tensors = {}
    for name, array in arrays.items():
        layer, variable = name.rsplit("/", 1)
        # Keras: height, width, in, out; PyTorch: out, in, height, width. Transposed ones alike.
        axes = (3, 2, 0, 1) if variable == "kernel" else (0,)
        tensors[f"{layer}.{_VARIABLES[variable]}"] = torch.from_numpy(array).permute(axes)
    if tensors.keys() != paths.keys():
        raise ValueError(
            f"`arrays` differ from the model in {sorted(tensors.keys() ^ paths.keys())}"
        )
    model.load_state_dict({paths[name]: tensors[name] for name in tensors}, strict=False)


_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _scaled_width(filters: int, alpha: float) -> int:
    return max(8, int(filters * alpha / 8 + 0.5) * 8)


def _add_conv_unit(
    layers: nn.Sequential, name: str, inputs: int, filters: int, kernel_size: int
) -> None:
    convolution = nn.Conv2d(inputs, filters, kernel_size, padding=kernel_size // 2, bias=False)
    layers.add_module(name, convolution)
    layers.add_module(f"{name}_bn", nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1))
    layers.add_module(f"{name}_relu", nn.ReLU(inplace=True))
