import os
from pathlib import Path

import keras
import numpy as np
import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.encoder import encode
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.weights import load_backbone_weights

SUFFIXES = [".weights.h5", ".h5", ".keras"]


def _encoder(backbone, width, normalization):
    image = keras.Input((None, None, 3))
    return keras.Model(image, list(encode(image, backbone, width, normalization)))


def _save(model, path):
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


def _randomize(model, seed=0):
    """Give biases and normalisation values other than their initial zeros and ones."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        values = [
            w if w.ndim > 1 else generator.uniform(0.2, 0.6, w.shape) for w in layer.get_weights()
        ]
        layer.set_weights(values)
    return model


def _images(size):
    return np.random.default_rng(1).integers(0, 256, (2, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def vgg_original():
    return _randomize(keras.applications.VGG16(weights=None, include_top=False))


@pytest.fixture(scope="module")
def mobilenet_original():
    return _randomize(
        keras.applications.MobileNet((64, 64, 3), 0.25, weights=None, include_top=False)
    )


@pytest.mark.parametrize(
    ("suffix", "normalization"), [(".weights.h5", "none"), (".keras", "batch")]
)
def test_vgg16_gives_the_original_features(tmp_path, vgg_original, suffix, normalization):
    path = tmp_path / f"vgg{suffix}"
    _save(vgg_original, path)
    model = _encoder("vgg16", 1.0, normalization)
    load_backbone_weights(model, str(path), "vgg16", 1.0)
    # Around the image the original sees mean pixels, ours mid-grey. The four cells in the middle
    # depend on 244 of the 256 pixels, not on what is around them.
    images = _images(256)[:1]
    middle = np.s_[:, 3:5, 3:5]
    expected = vgg_original(keras.applications.vgg16.preprocess_input(images.copy()))[middle]
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(
        model(images)[-1][middle], expected, rtol=1e-3, atol=1e-4 * np.max(expected)
    )


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_mobilenet_gives_the_original_features(tmp_path, mobilenet_original, suffix, normalization):
    path = tmp_path / f"mobilenet{suffix}"
    _save(mobilenet_original, path)
    model = _encoder("mobilenet", 0.25, normalization)
    load_backbone_weights(model, str(path), "mobilenet", 0.25)
    images = _images(64)
    expected = mobilenet_original(keras.applications.mobilenet.preprocess_input(images.copy()))
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(model(images)[-1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_files_with_top_will_do(tmp_path, suffix):
    original = keras.applications.MobileNet((64, 64, 3), 0.25, weights=None, classes=3)
    path = tmp_path / f"mobilenet{suffix}"
    _save(_randomize(original), path)
    model = fcn8s(2, "mobilenet", 0.25)
    load_backbone_weights(model, str(path), "mobilenet", 0.25)
    for name in ("conv1", "conv_dw_7", "conv_pw_13_bn"):
        for ours, theirs in zip(
            model.get_layer(name).get_weights(),
            original.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


class _VGGWithTop:
    """A narrow network with VGG-16's names, of which the full one has half a gigabyte."""

    def __init__(self):
        image = keras.Input((224, 224, 3))
        body = encode(image, "vgg16", 0.05, "none").stride32
        x = keras.layers.Flatten()(body)
        x = keras.layers.Dense(208, activation="relu", name="fc1")(x)
        x = keras.layers.Dense(208, activation="relu", name="fc2")(x)
        self.model = keras.Model(image, x)


def test_dense_layers_become_convolutions(tmp_path):
    original = _randomize(_VGGWithTop().model)
    path = tmp_path / "top.weights.h5"
    original.save_weights(path)
    model = fcn8s(2, "vgg16", 0.05, "none")
    load_backbone_weights(model, str(path), "vgg16", 0.05)
    features = np.random.default_rng(0).uniform(size=(1, 7, 7, 24)).astype("float32")
    dense = features.reshape(1, -1)
    convolved = features
    for name in ("fc1", "fc2"):
        dense = original.get_layer(name)(dense)
    for name in ("fc6", "fc6_relu", "fc7", "fc7_relu"):
        convolved = model.get_layer(name)(convolved)
    np.testing.assert_allclose(convolved[0, 3, 3], dense[0], rtol=1e-4)


def test_own_models_are_loaded_as_they_are(tmp_path):
    original = _randomize(fcn8s(2, "vgg16", 0.05, "batch"))
    original.save(tmp_path / "own.keras")
    model = fcn8s(5, "vgg16", 0.05, "none")
    load_backbone_weights(model, str(tmp_path / "own.keras"), "vgg16", 0.05)
    outputs = [
        keras.Model(m.input, m.get_layer("block5_pool").output)(_images(64))
        for m in (original, model)
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-4)


def test_a_wrong_width_names_layer_and_shapes_and_changes_nothing(tmp_path, mobilenet_original):
    path = tmp_path / "mobilenet.weights.h5"
    mobilenet_original.save_weights(path)
    model = fcn8s(2, "mobilenet", 0.5)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"conv1 .*\(3, 3, 3, 8\).*\(3, 3, 3, 16\)"):
        load_backbone_weights(model, str(path), "mobilenet", 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_other_backbone_is_refused(tmp_path, mobilenet_original):
    path = tmp_path / "mobilenet.weights.h5"
    mobilenet_original.save_weights(path)
    with pytest.raises(UserError, match=r"layers of vgg16, found no block1_conv1"):
        load_backbone_weights(fcn8s(2, "vgg16", 0.05), str(path), "vgg16", 0.05)


def test_missing_and_damaged_files_are_named(tmp_path):
    model = fcn8s(2, "mobilenet", 0.05)
    with pytest.raises(UserError, match=r"nowhere.h5: no such file"):
        load_backbone_weights(model, "nowhere.h5", "mobilenet", 0.05)
    for suffix in SUFFIXES:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(b"not weights")
        with pytest.raises(UserError, match=rf"damaged{suffix}: expected a .weights.h5"):
            load_backbone_weights(model, str(path), "mobilenet", 0.05)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet", "mobilenet_2_5_224_tf_no_top.h5"),
        ("mobilenet_v3_small", "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
    ],
)
def test_imagenet_out_of_reach_says_how_to_give_a_file(monkeypatch, name, file):
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    if (cache / file).exists():
        pytest.skip("the weights have been downloaded before")
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"download failed.*--weights=FILE.weights.h5") as error:
        load_backbone_weights(fcn8s(2, name, 0.25), "imagenet", name, 0.25)
    assert "\n" not in str(error.value)


def test_imagenet_has_certain_widths_only():
    with pytest.raises(UserError, match=r"0.25 or 0.5 or 0.75 or 1.0, found 0.3"):
        load_backbone_weights(fcn8s(2, "mobilenet", 0.3), "imagenet", "mobilenet", 0.3)
