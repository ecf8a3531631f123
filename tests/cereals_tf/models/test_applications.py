import keras
import numpy as np
import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.encoder import encode
from cereals_tf.models.registry import BACKBONES
from cereals_tf.models.weights import load_backbone_weights

NAMES = [name for name, entry in BACKBONES.items() if not entry.network]
FAMILIES = ["mobilenet_v3_small", "efficientnet_v2_b0", "convnext_tiny", "resnet50_v2"]


def encoder(name, height=None, width=None):
    image = keras.Input((height, width, 3))
    return keras.Model(image, list(encode(image, name, 1.0, "batch")))


def original(name, **options):
    build = getattr(keras.applications, BACKBONES[name].weights)
    return build(weights=None, **{"include_top": False, "input_shape": (64, 96, 3)} | options)


def images(height, width):
    return np.random.default_rng(1).integers(0, 256, (2, height, width, 3), "uint8")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.long) for name in NAMES],
)
def test_features_lie_at_strides_8_16_and_32(name):
    model = encoder(name, 40, 70)
    assert [output.shape[1:3] for output in model.outputs] == [(8, 12), (4, 6), (2, 3)]
    pooled = any(isinstance(x, keras.layers.GlobalAveragePooling2D) for x in model.layers)
    assert BACKBONES[name].looks_at_whole_image == pooled
    assert not any(x.rate for x in model.layers if isinstance(x, keras.layers.Dropout))


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, tmp_path_factory):
    """A family's encoder with weights of its own, and the file that they were saved to."""
    generator = np.random.default_rng(0)
    model = original(request.param)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.2, 0.6, w.shape) for w in layer.get_weights()])
    path = tmp_path_factory.mktemp("applications") / f"{request.param}.weights.h5"
    model.save_weights(path)
    return request.param, model, path


def test_a_file_gives_the_features_of_the_original(saved):
    """MobileNetV3, EfficientNetV2 and ConvNeXt scale pixels themselves, ResNet does not."""
    name, original, path = saved
    model = encoder(name)
    load_backbone_weights(model, str(path), name, 0.5)
    image = images(64, 96).astype("float32")
    if name == "resnet50_v2":
        prepared = keras.applications.resnet_v2.preprocess_input(image.copy())
    else:
        prepared = image
    taps = [original.get_layer(tap).output for tap in BACKBONES[name].taps]
    expected = keras.Model(original.input, taps)(prepared)
    for ours, theirs in zip(model(image), expected, strict=True):
        assert np.std(theirs) > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
    assert [feature.shape[1:3] for feature in model(images(33, 70))] == [(8, 12), (4, 6), (2, 3)]


def test_other_files_are_refused_and_change_nothing(tmp_path):
    name = "mobilenet_v3_small"
    original("mobilenet_v3_large").save_weights(tmp_path / "large.weights.h5")
    (tmp_path / "garbage.h5").write_bytes(b"no weights")
    model = encoder(name)
    before = model.get_weights()
    for file in ("large.weights.h5", "garbage.h5"):
        with pytest.raises(UserError, match=r"saved from keras.applications.MobileNetV3Small") as e:
            load_backbone_weights(model, str(tmp_path / file), name, 1.0)
        assert "\n" not in str(e.value)
    with pytest.raises(UserError, match=r"nowhere.h5: no such file; expected a file, 'imagenet'"):
        load_backbone_weights(model, "nowhere.h5", name, 1.0)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_the_format_of_before_keras_3_will_do(tmp_path):
    whole = original("mobilenet_v3_small")
    whole.save(tmp_path / "whole.h5")
    model = encoder("mobilenet_v3_small")
    load_backbone_weights(model, str(tmp_path / "whole.h5"), "mobilenet_v3_small", 1.0)
    for name in ("conv", "expanded_conv_10_project_bn"):
        for ours, theirs in zip(
            model.get_layer(name).get_weights(), whole.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
