import sys

import keras
import numpy as np
import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.build import build_model
from cereals_tf.models.plugin import build_plugin
from cereals_tf.plugin import load_function

PLUGIN = """
import keras

VALUE = 3

def network(channels, stride=4, size=None):
    image = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, strides=stride, padding="same", activation="relu")(x)
    return keras.Model(image, keras.layers.Conv2D(channels, 1)(x))

def at_stride_16(channels): return network(channels, 16)
def at_full_size(channels): return network(channels, 1)
def one_channel_too_many(channels): return network(channels + 1)
def nothing(channels): return None
def broken(channels): raise RuntimeError("no such backbone")
def of_fixed_size(channels): return network(channels, size=64)
def pooled(channels):
    image = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, keras.layers.Dense(channels)(x))
def two_outputs(channels):
    model = network(channels)
    return keras.Model(model.input, [model.output, model.output])

@keras.saving.register_keras_serializable("test_plugin")
class Subclassed(keras.Model):
    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.convolution = keras.layers.Conv2D(channels, 5, strides=8, padding="same")

    def call(self, image):
        return self.convolution(image)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}
"""


@pytest.fixture(autouse=True)
def plugin_module(tmp_path, monkeypatch):
    """A module in the current directory, which is not on sys.path, as for console scripts."""
    (tmp_path / "my_networks.py").write_text(PLUGIN)
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "unfinished.py").write_text("def network(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield
    for name in ("my_networks", "needs_more", "unfinished"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("function", ["network", "at_stride_16", "at_full_size", "Subclassed"])
def test_plugin_lands_on_the_stride_8_grid(function, tmp_path):
    model = build_plugin(f"my_networks:{function}", 3)
    assert model.output_shape == (None, None, None, 3)
    image = np.random.default_rng(0).integers(0, 256, (2, 33, 95, 3), "uint8")
    output = model(image)
    assert output.shape == (2, 5, 12, 3)
    assert output.dtype == "float32"
    np.testing.assert_allclose(model(image.astype("float32")), output, rtol=1e-6)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(restored(image), output, rtol=1e-6)


def test_models_may_be_plugins_also_in_mixed_precision():
    options = {"model": "my_networks:at_full_size", "precision": "mixed_bfloat16"}
    image = np.zeros((1, 20, 24, 3), "uint8")
    for model, channels in (
        (build_model("segmentation", 6, **options), 6),
        (build_model("cost", 1, **options), 1),
    ):
        assert model(image).shape == (1, 3, 3, channels)
        assert model(image).dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_networks", "expected package.module:function"),
        ("my_networks.py:network", "found no module 'my_networks.py'"),
        (":network", "expected package.module:function"),
        ("my_networks:", "expected package.module:function"),
        ("my networks:network", "expected package.module:function"),
        ("their_networks:network", "found no module 'their_networks'"),
        ("my_networks:missing", "no function 'missing'"),
        ("my_networks:VALUE", "'VALUE' of type int"),
        ("needs_more:network", "importing needs_more failed.*not_installed_anywhere"),
        ("unfinished:network", "importing unfinished failed: SyntaxError"),
    ],
)
def test_names_what_is_wrong_with_a_specification(spec, message):
    with pytest.raises(UserError, match=message) as error:
        load_function(spec, "--model")
    assert f"--model={spec}" in str(error.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "expected a keras.Model, found NoneType"),
        ("broken", "RuntimeError: no such backbone"),
        ("one_channel_too_many", r"expected .*3\], found an output \[1, 16, 24, 4\]"),
        ("pooled", r"found an output \[1, 3\]"),
        ("two_outputs", "found list"),
        ("of_fixed_size", r"failed on an image \[1, 64, 96, 3\]"),
    ],
)
def test_names_what_is_wrong_with_a_model(function, message):
    with pytest.raises(UserError, match=message) as error:
        build_plugin(f"my_networks:{function}", 3)
    assert "\n" not in str(error.value)
