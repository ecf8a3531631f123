"""One harness for all layers and models: what each of them must satisfy."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest

from cereals_tf.models.backbones import scaled_width
from cereals_tf.models.build import build_model
from cereals_tf.models.encoder import encode, encoder_of
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.layers import CropToGrid, PadToMultiple, ResizeToGrid
from cereals_tf.models.weights import convolution_names

WIDTH = 0.03
ODD_SIZES = [(70, 131), (32, 32), (33, 95)]


class Case(NamedTuple):
    """A model under test and the sizes of its outputs."""

    build: Callable[[], keras.Model]
    output_size: Callable[[int], int]
    channels: int


def _ceil8(size):
    return -(-size // 8)


def _around(layer, stride=None):
    """A model that applies one of our layers, behind a convolution, as the networks do."""
    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(2, 3, strides=stride or 1, padding="same")(image)
    inputs = features if stride is None else [features, image]
    return keras.Model(image, layer(inputs))


CASES = {
    "pad": Case(lambda: _around(PadToMultiple(32)), lambda n: -(-n // 32) * 32, 2),
    "crop": Case(lambda: _around(CropToGrid(8, dtype="float32"), 4), _ceil8, 2),
    "resize_down": Case(lambda: _around(ResizeToGrid(8, dtype="float32"), 2), _ceil8, 2),
    "resize_up": Case(lambda: _around(ResizeToGrid(8, dtype="float32"), 16), _ceil8, 2),
    **{
        f"{backbone}_{normalization}": Case(
            lambda b=backbone, n=normalization: fcn8s(5, b, WIDTH, n), _ceil8, 5
        )
        for backbone in ("vgg16", "mobilenet")
        for normalization in ("batch", "none")
    },
}
FCN8S_CASES = [name for name in CASES if name.startswith(("vgg16", "mobilenet"))]


@pytest.fixture(scope="module", params=list(CASES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def case(name):
    return CASES[name]


@pytest.fixture(scope="module")
def model(case):
    """One model per case for all tests of this file, as building takes the most time."""
    keras.utils.set_random_seed(1)
    return case.build()


def _image(height, width, batch=1):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), "uint8")


def test_saves_and_restores(model, tmp_path):
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    image = _image(33, 45)
    np.testing.assert_array_equal(model(image), restored(image))
    assert [layer.get_config() for layer in model.layers] == [
        layer.get_config() for layer in restored.layers
    ]


def test_output_shape_for_odd_sizes_eager_and_compiled(case, model):
    assert model.output_shape == (None, None, None, case.channels)
    for height, width in ODD_SIZES:
        image = _image(height, width, batch=2)
        expected = (2, case.output_size(height), case.output_size(width), case.channels)
        eager = np.asarray(model(image))
        assert eager.shape == expected
        compiled = model.predict(image, verbose=0)
        np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-4)


def test_static_shape_inference(case, model):
    shape = model.compute_output_shape((1, 70, 131, 3))
    assert tuple(shape) == (1, case.output_size(70), case.output_size(131), case.channels)


def test_same_seed_gives_same_weights(case, model):
    def same_as(other):
        pairs = zip(model.trainable_weights, other.trainable_weights, strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    keras.utils.set_random_seed(2)
    assert not same_as(case.build())
    keras.utils.set_random_seed(1)
    assert same_as(case.build())


def test_one_step_moves_all_trainable_weights(name, case, model):
    jit_compile = name not in FCN8S_CASES  # XLA takes a minute for the whole networks
    model.compile(keras.optimizers.SGD(100.0), "mse", jit_compile=jit_compile)
    before = [np.array(w) for w in model.trainable_weights]
    image = _image(64, 96, batch=2)
    target = np.ones((2, case.output_size(64), case.output_size(96), case.channels), "float32")
    history = model.fit(image, target, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    unmoved = [
        w.path
        for w, old in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(w, old)
    ]
    assert unmoved == []


@pytest.mark.parametrize(
    ("backbone", "normalization", "precision"),
    [
        ("vgg16", "batch", "mixed_float16"),
        ("vgg16", "none", "mixed_bfloat16"),
        ("mobilenet", "batch", "mixed_bfloat16"),
    ],
)
def test_mixed_precision_outputs_float32(backbone, normalization, precision):
    options = {
        "backbone": backbone,
        "normalization": normalization,
        "width_multiplier": WIDTH,
        "precision": precision,
    }
    model = build_model("segmentation", 4, **options)
    assert model.get_layer("fc7").compute_dtype == precision.removeprefix("mixed_")
    assert model(_image(32, 40)).dtype == "float32"
    assert all(w.dtype == "float32" for w in model.trainable_weights)
    assert keras.config.dtype_policy().name == "float32"


def test_cost_model_is_the_same_network_with_one_linear_output():
    options = {"backbone": "mobilenet", "width_multiplier": WIDTH}
    cost, segmentation = (
        build_model("cost", 1, **options),
        build_model("segmentation", 1, **options),
    )
    assert cost.output_shape == (None, None, None, 1)
    assert [w.shape for w in cost.weights] == [w.shape for w in segmentation.weights]
    assert cost.get_layer("score_stride8").activation is keras.activations.linear


def test_pixels_are_scaled_in_float32_under_mixed_precision():
    model = build_model(
        "cost", 1, backbone="mobilenet", width_multiplier=WIDTH, precision="mixed_bfloat16"
    )
    scaled = keras.Model(model.input, model.get_layer("rescale").output)
    pixels = np.array([0, 100.3, 254.9, 255], "float32").reshape(1, 2, 2, 1).repeat(3, axis=-1)
    image = keras.ops.convert_to_tensor(pixels)
    np.testing.assert_allclose(scaled(image), pixels / 127.5 - 1, atol=1e-6)


def test_precision_is_restored_after_a_failed_build():
    with pytest.raises(ValueError, match="resnet"):
        build_model("cost", 1, backbone="resnet", precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


def test_batch_normalization_only_where_asked(name, model):
    normalizations = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert bool(normalizations) == name.endswith("_batch")
    assert all(x.momentum == 0.9 for x in normalizations)


def test_dropout_is_in_dropout_layers_of_the_given_rate():
    for rate in (0.5, 0.25):
        layers = fcn8s(2, "mobilenet", WIDTH, dropout=rate).layers
        assert [x.rate for x in layers if isinstance(x, keras.layers.Dropout)] == [rate, rate]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet"}, "backbone.*'resnet'"),
        ({"normalization": "layer"}, "normalization.*'layer'"),
        ({"width_multiplier": 0}, "alpha.*0"),
    ],
)
def test_refuses_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        fcn8s(2, **options)


@pytest.mark.parametrize("backbone", ["vgg16", "mobilenet"])
def test_width_multiplier_scales_parameters_quadratically(backbone):
    def parameters(alpha):
        image = keras.Input((None, None, 3))
        model = keras.Model(image, list(encode(image, backbone, alpha, "none")))
        return sum(w.shape.num_elements() for w in model.trainable_weights if "kernel" in w.path)

    ratio = parameters(0.5) / parameters(0.25)
    assert 3.2 < ratio < 4.0


def test_scaled_width():
    for filters in (32, 64, 128, 256, 512, 1024):
        for alpha in (0.25, 0.5, 0.75, 1.0):
            assert scaled_width(filters, alpha) == int(filters * alpha)
    assert scaled_width(64, 0.01) == 8
    assert scaled_width(100, 0.99) == 96
    assert scaled_width(100, 1.01) == 104


@pytest.mark.parametrize(("name", "original"), [("vgg16", "VGG16"), ("mobilenet", "MobileNet")])
def test_backbone_strides_and_layer_names(name, original):
    model = encoder_of(fcn8s(2, name, WIDTH, "none"), name)
    sizes = [feature.shape[1:3] for feature in model(np.zeros((1, 70, 130, 3)))]
    assert sizes == [(12, 20), (6, 10), (3, 5)]
    assert convolution_names(model) == convolution_names(
        getattr(keras.applications, original)(weights=None, include_top=False)
    )


def test_output_is_the_same_wherever_padding_is_added_outside():
    """Padding with mid-grey up to a multiple of 32 is what the model does itself."""
    model = fcn8s(2, "mobilenet", WIDTH)
    image = _image(40, 50).astype("float32")
    padded = np.pad(image, ((0, 0), (0, 24), (0, 14), (0, 0)), constant_values=127.5)
    np.testing.assert_allclose(model(padded)[:, :5, :7], model(image), atol=1e-6)
