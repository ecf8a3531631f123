"""Pretrained weights for the backbones: ImageNet's as the registry names them, or a file."""

import io
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.encoder import encoder_of
from cereals_tf.models.registry import BACKBONES, Backbone

Weights = dict[str, list[np.ndarray]]
Update = tuple[keras.layers.Layer, list[np.ndarray]]

# Mean pixel that VGG-16's weights expect to be subtracted, in blue, green, red
# (`keras.applications.vgg16.preprocess_input`).
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68])

# Of batch normalisation, in Keras, in MobileNet and here.
_EPSILON = 1e-3


def load_backbone_weights(
    model: keras.Model, source: str, backbone: str, width_multiplier: float
) -> None:
    """Load pretrained weights into a model's backbone, in place, by layer name.

    Of VGG-16 and MobileNet the convolutions are loaded. Pretrained weights and `model` may differ
    in normalisation: a convolution's bias becomes the shift of its batch normalisation, and batch
    normalisation is folded into a convolution with bias. In inference mode the features are the
    same either way. VGG-16's weights expect BGR pixels less a mean; that is folded into the first
    convolution exactly, save that the zero padding around the image then stands for mid-grey in
    place of the mean pixel. VGG-16's fc1 and fc2, if the file has them, become fc6 and fc7 (Long,
    Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015). A file
    saved from a model of this project works too.

    Args:
        model: A model built on the backbone.
        source: 'imagenet', for the weights that the registry names, which may be downloaded;
            'none', to leave the model as it is; a file; or nothing, for the backbone's default. Of
            EfficientNet-Lite0 the file is one saved from a model of this project, of the others
            one saved from the class of `keras.applications`: `.weights.h5`, `.h5` or `.keras`.
        backbone: One of `registry.BACKBONES`.
        width_multiplier: The model's width multiplier.

    Raises:
        UserError: the file is missing, unreadable or lacks a layer; a shape does not fit; or the
            weights cannot be downloaded. The model is then unchanged.
    """
    entry = BACKBONES[backbone]
    source = source or entry.default_weights
    if source == "none":
        return
    option = f"--weights={source}"
    read = _imagenet if source == "imagenet" else _from_file
    weights = read(source, backbone, width_multiplier)
    encoder = encoder_of(model, backbone)
    if entry.widths:
        updates = _convolutions(model, encoder, weights, backbone, option)
    else:
        updates = _layers(encoder, weights, backbone, option)
    for layer, values in updates:
        layer.set_weights(values)


def _layers(encoder: keras.Model, weights: Weights, backbone: str, option: str) -> list[Update]:
    """Return the weights to set for every layer of an encoder, checked."""
    updates = []
    for layer in encoder.layers:
        if not layer.weights:
            continue
        if layer.name not in weights:
            raise UserError(f"{option}: expected the layers of {backbone}, found no {layer.name}")
        values = weights[layer.name]
        found, expected = ([tuple(w.shape) for w in part] for part in (values, layer.weights))
        if found != expected:
            raise UserError(
                f"{option}: layer {layer.name} has weights of shapes {found}, {backbone}'s has "
                f"{expected}"
            )
        updates.append((layer, values))
    return updates


def _convolutions(
    model: keras.Model, encoder: keras.Model, weights: Weights, backbone: str, option: str
) -> list[Update]:
    """Return the weights to set for convolutions and their batch normalisations, checked."""
    layers = {layer.name: layer for layer in model.layers}
    names = convolution_names(encoder)
    missing = [name for name in names if name not in weights]
    if missing:
        raise UserError(f"{option}: expected the layers of {backbone}, found no {missing[0]}")
    if backbone == "vgg16" and "fc6" not in weights:
        weights = _from_caffe(weights, names)
        names += [name for name in ("fc6", "fc7") if name in weights and name in layers]
    return [update for name in names for update in _updates(layers, weights, name, option)]


def convolution_names(encoder: keras.Model) -> list[str]:
    """Return the names of an encoder's convolutions, from the image on."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return [layer.name for layer in encoder.layers if isinstance(layer, kinds)]


def _updates(
    layers: dict[str, keras.layers.Layer], weights: Weights, name: str, option: str
) -> list[Update]:
    """Return the weights to set for one convolution and its batch normalisation, checked."""
    kernel, *bias = weights[name]
    layer, normalization = layers[name], layers.get(f"{name}_bn")
    expected = tuple(layer.kernel.shape)
    if kernel.shape != expected:
        raise UserError(
            f"{option}: layer {name} has weights of shape {kernel.shape}, the model's has "
            f"{expected}; the width multipliers must agree"
        )
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    batch = weights.get(f"{name}_bn") or _as_normalization(bias, kernel, depthwise)
    if normalization is not None:
        return [(layer, [kernel]), (normalization, batch)]
    gamma, beta, mean, variance = batch
    scale = gamma / np.sqrt(variance + _EPSILON)
    kernel = kernel * (scale[:, None] if depthwise else scale)
    return [(layer, [kernel, beta - mean * scale])]


def _as_normalization(
    bias: list[np.ndarray], kernel: np.ndarray, depthwise: bool
) -> list[np.ndarray]:
    """Return gamma, beta, mean and variance that add the bias (or nothing) and do no more."""
    channels = kernel.shape[2 if depthwise else 3]
    zeros, ones = np.zeros(channels, "float32"), np.ones(channels, "float32")
    return [ones, bias[0] if bias else zeros, zeros, ones - np.float32(_EPSILON)]


def _from_caffe(weights: Weights, names: list[str]) -> Weights:
    """Make VGG-16's weights take RGB in [-1, 1], and its dense layers convolutions.

    Pixels p = 127.5 (x + 1) and the original input p - mean in BGR, hence
    W (p - mean) = (127.5 W) x + sum W (127.5 - mean).
    """
    first, last = names[0], names[-1]
    kernel, bias = weights[first]
    if kernel.shape[2] != len(_CAFFE_MEAN_BGR):
        return weights  # not RGB weights, which will not fit the model
    shift = np.einsum("ijco,c->o", kernel.astype("float64"), 127.5 - _CAFFE_MEAN_BGR)
    converted = {**weights, first: [kernel[:, :, ::-1] * 127.5, (bias + shift).astype("float32")]}
    pooled = (7, 7, weights[last][0].shape[-1])
    if "fc2" in weights and weights["fc1"][0].shape[0] == np.prod(pooled):
        (fc1, fc1_bias), (fc2, fc2_bias) = weights["fc1"], weights["fc2"]
        converted["fc6"] = [fc1.reshape(*pooled, -1), fc1_bias]
        converted["fc7"] = [fc2[None, None], fc2_bias]
    return converted


def _read_file(path: Path, option: str) -> Weights:
    """Read all layers' weights by layer name."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        else:
            content = path
        with h5py.File(content, "r") as file:
            return _read_hdf5(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{option}: expected a .weights.h5, .h5 or .keras file of Keras, found something "
            f"else ({error})"
        ) from error


def _read_hdf5(file: h5py.File) -> Weights:
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        return _read_legacy(root)
    weights: Weights = {}

    def collect(_: str, group: h5py.Group | h5py.Dataset) -> None:
        if isinstance(group, h5py.Group) and "name" in group.attrs and len(group):
            weights[group.attrs["name"]] = [group[str(i)][()] for i in range(len(group))]

    file.visititems(collect)
    return weights


def _read_legacy(root: h5py.Group) -> Weights:
    """Read the format of Keras 2, in which `keras.applications` are offered: a group per layer."""

    def as_text(name: str | bytes) -> str:
        return name.decode() if isinstance(name, bytes) else name

    return {
        layer: [root[layer][as_text(name)][()] for name in root[layer].attrs["weight_names"]]
        for layer in map(as_text, root.attrs["layer_names"])
    }


def _imagenet(source: str, backbone: str, width_multiplier: float) -> Weights:
    entry = BACKBONES[backbone]
    if entry.widths and width_multiplier not in entry.widths:
        raise UserError(
            f"--weights={source}: {backbone} has ImageNet weights for a width multiplier of "
            f"{' or '.join(map(str, entry.widths))}, found {width_multiplier}"
        )
    own = entry.own_weights()
    if own is not None:
        return own
    try:
        original = _original(entry, source, width_multiplier)
    except Exception as error:
        raise UserError(
            f"--weights={source}: the download failed ({_first_line(error)}); where the network is "
            f"out of reach, give a file saved from keras.applications.{entry.weights}"
            "(include_top=False): --weights=FILE.weights.h5"
        ) from error
    return _by_name(original)


def _from_file(source: str, backbone: str, width_multiplier: float) -> Weights:
    """Read a file; nothing in it is executed."""
    entry = BACKBONES[backbone]
    option, path = f"--weights={source}", Path(source)
    if not path.is_file():
        raise UserError(f"{option}: no such file; expected a file, 'imagenet' or 'none'")
    if entry.network:
        return _read_file(path, option)
    original = _original(entry, None, width_multiplier)
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras's, of each layer that is missing.
            original.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{option}: expected weights saved from keras.applications.{entry.weights}"
            f"(include_top=False), found something else ({_first_line(error)})"
        ) from error
    return _by_name(original)


def _original(entry: Backbone, weights: str | None, width_multiplier: float) -> keras.Model:
    """Build a backbone as `keras.applications` has it, without top."""
    width = {"alpha": width_multiplier} if len(entry.widths) > 1 else {}
    build = getattr(keras.applications, entry.weights)
    return build(input_shape=(224, 224, 3), weights=weights, include_top=False, **width)


def _by_name(model: keras.Model) -> Weights:
    return {layer.name: layer.get_weights() for layer in model.layers}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".:")
