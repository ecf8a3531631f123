"""EfficientNet-Lite0 by an independent implementation, run in the environment of the peers.

Usage: python peer_lite0.py WEIGHTS FOLDER. Reads FOLDER/images.npy, float32 [N, 3, 224, 224] as the
network takes them, and writes FOLDER/features.npz with the features at strides 8, 16 and 32. Writes
FOLDER/state.pth, a state dictionary in the legacy format, and FOLDER/state.npz with its arrays.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

LAST_BLOCKS = {"stride8": 4, "stride16": 10, "stride32": 15}


def write_features(weights: str, folder: Path) -> None:
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    features = {}
    for name, index in LAST_BLOCKS.items():

        def keep(module, inputs, output, name=name):
            features[name] = output.numpy()

        network._blocks[index].register_forward_hook(keep)
    with torch.no_grad():
        network.extract_features(torch.from_numpy(np.load(folder / "images.npy")))
    np.savez(folder / "features.npz", **features)


def write_state(folder: Path) -> None:
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    state = OrderedDict(
        contiguous=base,
        permuted=base.permute(2, 0, 1),
        part=base[1:, 2],
        every_second=base[:, ::2],
        scalar=torch.tensor(3.5),
        counts=torch.arange(7),
        empty=torch.zeros(0, 4),
        own=torch.randn(2, 3, 4, 5),
        shared=torch.nn.Linear(3, 2).weight.detach(),
    )
    torch.save(state, folder / "state.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "state.npz", **{name: value.numpy() for name, value in state.items()})


if __name__ == "__main__":
    write_features(sys.argv[1], Path(sys.argv[2]))
    write_state(Path(sys.argv[2]))
