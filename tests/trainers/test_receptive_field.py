"""Dependence and crops, compared with what the networks really do when pixels change."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.layers import CropToGrid, PadToMultiple, ResizeToGrid
from cereals_tf.trainers.dependence import OpaqueError, Span
from cereals_tf.trainers.receptive_field import CropFinder, Geometry, steps_of, total_stride

L = keras.layers


def _model(function, channels=2):
    image = keras.Input((None, None, channels))
    return keras.Model(image, function(image))


def _randomize(model):
    """Give batch normalisation something to do in inference mode."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            shape = layer.gamma.shape  # gamma, beta, mean, variance
            layer.set_weights([generator.uniform(low, 1.0, shape) for low in (0.5, -1, -1, 0.5)])
    return model


# Layers one by one, against the rows that really matter.

LAYERS = {
    "conv": lambda: L.Conv2D(2, (3, 2), padding="same"),
    "conv_valid": lambda: L.Conv2D(2, (3, 2)),
    "conv_even": lambda: L.Conv2D(2, (4, 5), padding="same"),
    "conv_strided": lambda: L.Conv2D(2, (5, 3), strides=(2, 3), padding="same"),
    "conv_strided_valid": lambda: L.Conv2D(2, (3, 1), strides=(2, 3)),
    "conv_dilated": lambda: L.Conv2D(2, (3, 2), dilation_rate=(2, 3), padding="same"),
    "depthwise": lambda: L.DepthwiseConv2D(3, strides=2, padding="same"),
    "separable": lambda: L.SeparableConv2D(2, 3, padding="same"),
    "max_pool": lambda: L.MaxPooling2D(2),
    "max_pool_same": lambda: L.MaxPooling2D((3, 2), strides=2, padding="same"),
    "average_pool": lambda: L.AveragePooling2D((2, 3), strides=(1, 2), padding="same"),
    **{
        f"transposed_{kernel}_{stride}_{padding}": (
            lambda k=kernel, s=stride, p=padding: L.Conv2DTranspose(2, k, strides=s, padding=p)
        )
        for kernel, stride in ((4, 2), (3, 2), (2, 3), (3, 1), (5, 3), (1, 2))
        for padding in ("same", "valid")
    },
    "transposed_dilated": lambda: L.Conv2DTranspose(2, 2, dilation_rate=2, padding="same"),
    "upsample": lambda: L.UpSampling2D((2, 3)),
    "upsample_bilinear": lambda: L.UpSampling2D((2, 3), interpolation="bilinear"),
    "zero_padding": lambda: L.ZeroPadding2D(((0, 1), (2, 1))),
    "cropping": lambda: L.Cropping2D(((1, 0), (0, 2))),
    "dense": lambda: L.Dense(3, activation="tanh"),
    "normalization": lambda: L.LayerNormalization(),
    "softmax": lambda: L.Softmax(),
    "pad": lambda: PadToMultiple(4),
}


def _input_span(model, axis, output, size):
    """The rows (columns) of an image that can influence those of the output."""
    return Geometry(steps_of(model), axis, size).needed(output)[0]


def _stride(model):
    rows, columns = (total_stride(steps_of(model), axis) for axis in (0, 1))
    assert rows == columns
    return rows


def _assert_reads_everything(model):
    with pytest.raises(OpaqueError):
        _input_span(model, 0, Span(2, 3), 40)
    assert CropFinder(model).crop(Span(2, 3), Span(4, 5), 40, 48) == (0, 40, 0, 48)


def _influence(model, axis, size, other=6):
    """Boolean [input positions, output positions] along an axis: does the one alter the other?"""
    generator = np.random.default_rng(0)
    channels = model.input_shape[-1]
    images = np.repeat(generator.normal(size=(1, size, other, channels)), size + 1, axis=0)
    for position in range(size):
        images[position, position] += generator.uniform(10, 20, (other, channels))
    images = images.astype("float32")
    if axis:
        images = images.swapaxes(1, 2)
    outputs = np.asarray(model(images))
    if axis:
        outputs = outputs.swapaxes(1, 2)
    return np.abs(outputs[:-1] - outputs[-1]).max(axis=(2, 3)) > 1e-6


def _check_spans(model, axis, size, slack):
    """Compare all spans with the influence; `slack` positions too many are tolerated."""
    influence = _influence(model, axis, size)
    targets = influence.shape[1]
    for start in range(targets):
        for stop in range(start + 1, targets + 1):
            span = _input_span(model, axis, Span(start, stop), size)
            rows = np.flatnonzero(influence[:, start:stop].any(axis=1))
            if not len(rows):
                assert span.stop - span.start <= slack
                continue
            assert 0 <= span.start <= rows[0]
            assert rows[-1] < span.stop <= size
            assert rows[0] - span.start <= slack
            assert span.stop - 1 - rows[-1] <= slack
    with pytest.raises(ValueError, match="within"):
        _input_span(model, axis, Span(0, targets + 1), size)


@pytest.mark.parametrize("name", list(LAYERS))
def test_span_of_a_layer_is_exact(name):
    """Dilated kernels leave positions out; bilinear weights at the end may be zero."""
    keras.utils.set_random_seed(0)
    slack = 2 if "dilated" in name else int("bilinear" in name)
    model = _model(LAYERS[name]())
    for axis in (0, 1):
        for size in (6, 7, 9):
            _check_spans(model, axis, size, slack)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [6, 17, 24])
def test_span_through_resizing_is_exact(stride, size):
    keras.utils.set_random_seed(0)
    model = _model(
        lambda image: ResizeToGrid(4)([L.Conv2D(2, 1, strides=stride)(image), image]),
    )
    _check_spans(model, 0, size, slack=0)


def test_span_through_cropping_to_the_grid_is_exact():
    def network(image):
        return CropToGrid(4)([L.Conv2D(2, 4, strides=4)(PadToMultiple(8)(image)), image])

    for size in (6, 9, 13):
        _check_spans(_model(network), 1, size, slack=0)


def test_span_is_the_union_over_branches_and_nested_models():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([L.Input((None, None, 2)), L.Conv2D(2, 5, padding="same"), L.ReLU()])
    inner_twice = _model(lambda image: inner(L.MaxPooling2D(2)(inner(image))))

    def network(image):
        deep = L.UpSampling2D(2)(inner_twice(image))
        shallow = L.Conv2D(2, 1)(image)
        return L.Concatenate()([deep + 2.0 * shallow, L.Activation("relu")(shallow)])

    _check_spans(_model(network), 0, 24, slack=1)


def test_a_layer_of_ones_own_takes_part_by_its_method():
    class Shift(L.Layer):
        def call(self, images):
            return keras.ops.pad(images, ((0, 0), (0, 2), (0, 2), (0, 0)))[:, 2:, 2:]

        def dependence(self, axis, sizes):
            return sizes[0], ((1, 2, 2),)

    model = _model(Shift())
    assert _input_span(model, 0, Span(1, 3), 9) == Span(3, 5)


def _strange(x):
    return x / keras.ops.max(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: L.Conv2D(2, 1)(L.Multiply()([x, L.GlobalAveragePooling2D(keepdims=True)(x)])),
        lambda x: L.Add()([x, L.Conv2D(2, 1)(L.Lambda(lambda y: y + 1)(x))]),
        lambda x: L.GroupNormalization(1)(x),
        lambda x: L.Softmax(axis=1)(x),
        lambda x: L.Conv2D(2, 1, activation=_strange)(x),
        lambda x: x * keras.ops.mean(x, axis=1, keepdims=True),
        lambda x: L.Concatenate(axis=1)([x, x]),
        lambda x: L.Conv2DTranspose(2, 3, strides=2, output_padding=1)(x),
        lambda x: L.UpSampling2D(2, interpolation="bicubic")(x),
    ],
)
def test_unknown_layers_read_everything(function):
    _assert_reads_everything(_model(function))


def test_subclasses_read_everything():
    class Blur(L.Conv2D):
        pass

    class Network(keras.Model):
        def call(self, image):
            return image

    for model in (_model(Blur(2, 3)), Network()):
        _assert_reads_everything(model)


# Crops of whole networks, against the whole image.


def _dilated_network(image):
    x = L.Conv2D(4, 5, strides=2, padding="same", activation="relu")(image)
    x = L.Conv2D(4, 3, dilation_rate=3, padding="same", activation="relu")(x)
    skip = x
    x = L.AveragePooling2D(3, strides=2, padding="same")(x)
    x = L.SeparableConv2D(4, (7, 3), padding="same", activation="relu")(x)
    x = L.UpSampling2D(2, interpolation="bilinear")(x)
    skip = L.Conv2D(4, 1)(L.Conv2D(4, 3, strides=2, padding="same")(skip))
    x = L.MaxPooling2D(2)(x)
    return L.Conv2D(2, 2, padding="same")(x * 0.5 + skip)


def _strided_network(image):
    for kernel in (5, 3, 7):
        image = L.Conv2D(4, kernel, strides=2, padding="same", activation="relu")(image)
    return image


def _plugin(function):
    """A network wrapped as `cereals_tf.models.plugin` does."""
    inner = _model(function, 3)
    return _model(lambda image: ResizeToGrid(8)([inner(image), image]), 3)


NETWORKS = {
    "vgg16_batch": lambda: fcn8s(2, "vgg16", 0.03, "batch"),
    "vgg16_none": lambda: fcn8s(2, "vgg16", 0.03, "none"),
    "mobilenet_batch": lambda: fcn8s(2, "mobilenet", 0.03, "batch"),
    "mobilenet_none": lambda: fcn8s(2, "mobilenet", 0.03, "none"),
    "dilated": lambda: _plugin(_dilated_network),
    "strided": lambda: _model(_strided_network, 3),
    "full_size": lambda: _plugin(lambda image: L.Conv2D(2, 3, padding="same")(image)),
    "coarse": lambda: _plugin(
        lambda image: L.Conv2D(2, 7, strides=16, padding="same")(L.Rescaling(1 / 255)(image))
    ),
    "valid": lambda: _plugin(lambda image: L.Conv2D(2, 5, strides=4)(image)),
}
DEEP = {"vgg16_batch", "vgg16_none", "mobilenet_batch", "mobilenet_none"}


@pytest.fixture(scope="module")
def networks():
    keras.utils.set_random_seed(0)
    return {name: _randomize(build()) for name, build in NETWORKS.items()}


@st.composite
def _image_and_region(draw, longest):
    sizes = [draw(st.integers(16, longest)), draw(st.integers(16, 80))]
    if draw(st.booleans()):
        sizes.reverse()
    spans = []
    for size in sizes:
        grid = -(-size // 8)
        start = draw(st.integers(0, grid - 1))
        stop = draw(st.integers(start + 1, min(grid, start + 6)))
        spans.append(Span(start, stop))
    return *sizes, *spans


def _check_crop(model, height, width, rows, columns):
    """Run a model on the crop and on the whole image; return the crop."""
    image = np.random.default_rng(height).uniform(0, 255, (1, height, width, 3)).astype("float32")
    y0, y1, x0, x1 = CropFinder(model).crop(rows, columns, height, width)
    stride = _stride(model)
    assert y0 % stride == x0 % stride == 0
    for axis, span, size, (start, stop) in (
        (0, rows, height, (y0, y1)),
        (1, columns, width, (x0, x1)),
    ):
        needed = _input_span(model, axis, span, size)
        assert 0 <= start <= needed.start < needed.stop <= stop <= size
        assert stop % stride == 0 or (size - stop) % stride == 0
    whole = np.asarray(model(image))
    crop = np.asarray(model(image[:, y0:y1, x0:x1]))
    expected = whole[:, rows.start : rows.stop, columns.start : columns.stop]
    found = crop[
        :,
        rows.start - y0 // 8 : rows.stop - y0 // 8,
        columns.start - x0 // 8 : columns.stop - x0 // 8,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    return y0, y1, x0, x1


@pytest.mark.parametrize("name", list(NETWORKS))
def test_crop_gives_what_the_whole_image_gives(networks, name):
    model = networks[name]

    @settings(max_examples=8 if name in DEEP else 30)
    @given(_image_and_region(900 if name in DEEP else 200))
    def check(case):
        _check_crop(model, *case)

    check()


@pytest.mark.parametrize(
    ("name", "height", "width", "column", "saved"),
    [
        ("vgg16_batch", 40, 1000, 60, 300),
        ("vgg16_batch", 40, 1000, 0, 500),
        ("vgg16_batch", 70, 1003, 125, 500),
        ("mobilenet_batch", 33, 1003, 60, 300),
        ("dilated", 40, 200, 12, 80),
        ("strided", 40, 203, 12, 80),  # 'same' places windows by the size: the end stays odd
        ("full_size", 40, 200, 12, 160),
        ("coarse", 48, 208, 12, 140),
    ],
)
def test_crop_is_much_smaller_than_a_large_image(networks, name, height, width, column, saved):
    span = Span(column, column + 1)
    _, _, x0, x1 = _check_crop(networks[name], height, width, Span(1, 3), span)
    assert width - (x1 - x0) >= saved


def test_a_crop_one_stride_smaller_changes_the_outputs(networks):
    """The check above can fail: without its ends, the crop gives other values."""
    model = networks["dilated"]
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 240, 3)).astype("float32")
    *_, x0, x1 = CropFinder(model).crop(Span(0, 4), Span(14, 16), 32, 240)
    whole = np.asarray(model(image))[:, :, 14:16]
    for start, stop in ((x0 + 8, x1), (x0, x1 - 8)):
        first = 14 - start // 8
        crop = np.asarray(model(image[:, :, start:stop]))[:, :, first : first + 2]
        assert np.abs(crop - whole).max() > 2e-5 * np.abs(whole).max()


def test_fcn8s_needs_two_hundred_pixels_around_a_region(networks):
    model = networks["vgg16_batch"]
    span = Span(120, 136)
    needed = _input_span(model, 1, span, 2048)
    assert needed.start < 960 - 150 and needed.stop > 1088 + 150
    y0, y1, x0, x1 = CropFinder(model).crop(span, span, 2048, 2048)
    assert (y0, y1) == (x0, x1)
    assert x1 - x0 < 700


def test_total_strides(networks):
    strides = {name: _stride(model) for name, model in networks.items() if name != "valid"}
    assert strides == {
        **dict.fromkeys(DEEP, 32),
        "dilated": 8,
        "strided": 8,
        "full_size": 8,
        "coarse": 16,
    }


def test_refuses_what_is_no_span(networks):
    model = networks["full_size"]
    for span in (Span(3, 3), Span(-1, 2), Span(0, 11)):
        with pytest.raises(ValueError, match="within"):
            CropFinder(model).crop(span, Span(0, 1), 80, 80)
