"""Exported files, run by their own runtimes, against the Keras models."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.learning.scorer import load_scorer
from cereals_tf.data_prep import records
from cereals_tf.data_prep.errors import UserError
from cereals_tf.export import formats
from cereals_tf.export.export import export_round
from cereals_tf.export.formats import FORMATS
from cereals_tf.export.portable import Portable, half_precision
from cereals_tf.export.source import Source, size_of_all
from cereals_tf.models.build import build_encoder, build_head, build_model
from cereals_tf.models.head import on_encoder
from cereals_tf.trainers.split import Split

SIZES = (97, 131), (1, 1), (8, 8), (33, 65), (100, 37), (129, 57), (31, 32), (7, 200), (95, 63)
SIZES += ((64, 96),)
SMALL = {"backbone": "vgg16", "width_multiplier": 0.03125, "precision": "float32"}
CLASSES = 5


def paper():
    return build_model("segmentation", CLASSES, **SMALL)


def mobilenet():
    return build_model("segmentation", CLASSES, **SMALL | {"backbone": "mobilenet"})


def fast():
    encoder = build_encoder(rounded=True, **SMALL)
    head = build_head("segmentation", CLASSES, encoder, normalization="batch", **SMALL)
    return on_encoder(encoder, head)


def plugin():
    return build_model("segmentation", CLASSES, model="tiny_plugin:build")


MODELS = {paper: (97, 131), mobilenet: (33, 65), fast: (100, 37), plugin: (7, 20)}
"""Each with the odd size at which a format of one size is tried."""


def drawn(size: tuple[int, int], seed: int) -> np.ndarray:
    """Return an image of blocks of 4x4 pixels, uint8 [H, W, 3]."""
    blocks = (-(-size[0] // 4), -(-size[1] // 4), 3)
    image = np.random.default_rng(seed).integers(0, 256, blocks, np.uint8)
    return image.repeat(4, axis=0).repeat(4, axis=1)[: size[0], : size[1]]


@pytest.fixture(scope="module")
def scorers(plugin_folder):
    """Returns a function from a model to a scorer that holds it with random weights."""
    made = {}

    def make(build):
        if build not in made:
            keras.utils.set_random_seed(1)
            made[build] = Scorer(build(), build(), "entropy", 1)
        return made[build]

    return make


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "savedmodel"])
@pytest.mark.parametrize(
    "build",
    [*(pytest.param(build, marks=pytest.mark.long) for build in (mobilenet, paper, plugin)), fast],
)
def test_classes_are_the_keras_models_at_odd_sizes(
    needs, scorers, build, name, tmp_path, monkeypatch
):
    needs(name)
    monkeypatch.setattr(Portable, "functions", property(lambda its: {"model": its.segment}))
    chosen = FORMATS[name]
    size = None if chosen.any_size else MODELS[build]
    names = SimpleNamespace(names=["class"] * CLASSES)
    campaign = SimpleNamespace(image_size=None, classes=names)
    done = SimpleNamespace(number=0)
    source = Source(campaign, done, scorers(build), name, size, "none")
    segment = chosen.write(source, tmp_path)
    agreeing, pixels = 0, 0
    for seed, own in enumerate([size] * 3 if size else SIZES):
        image = drawn(own, seed)
        expected, found = source.keras_classes(image), segment(image)
        assert (found.shape, found.dtype) == (own, np.uint8)
        agreeing, pixels = agreeing + (found == expected).sum(), pixels + expected.size
    assert agreeing >= 0.9999 * pixels, f"{pixels - agreeing} of {pixels} pixels differ"
    assert len(np.unique(expected)) > 1


def test_arithmetic_rounds_as_a_cast_does():
    """But for ties, one value in 2^13, of which it rounds some to the other neighbour."""
    drawn = np.random.default_rng(0).normal(size=1 << 16).astype("float32")
    drawn = drawn[np.abs(drawn) > 1e-4]  # float16 has fewer bits for smaller ones
    values = np.concatenate([drawn, 1e4 * drawn, [0, 1, -1, 2049, 65504]]).astype("float32")
    found, expected = half_precision(values), values.astype("float16").astype("float32")
    np.testing.assert_array_equal(np.float16(found), found)
    np.testing.assert_allclose(found, expected, rtol=2**-10)
    assert (found != expected).mean() < 2**-12


def onnx_runner(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"))
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {"image": image}), strict=True))


def openvino_runner(path):
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path.with_suffix(".xml"), "CPU", hint)
    names = [output.any_name for output in model.outputs]
    return lambda image: dict(zip(names, model({"image": image}).values(), strict=True))


def litert_runner(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path.with_suffix(".tflite"))).get_signature_runner()
    return lambda image: runner(image=image)


RUNNERS = {"onnx": onnx_runner, "openvino": openvino_runner, "litert": litert_runner}


@pytest.mark.parametrize(
    "name", ["onnx", pytest.param("openvino", marks=pytest.mark.long), "litert"]
)
def test_files_of_a_campaign_that_resizes(needs, counting, name, tmp_path):
    """Confidence, score maps and the description; images are resized in the file.

    Where a pixel lies between two grey levels, converters may round it otherwise.
    """
    needs(name)
    size = None if FORMATS[name].any_size else (64, 96)
    done = counting.rounds()[-1]
    exported = export_round(counting, done, tmp_path / "out", name, size=size)
    assert (exported.images, exported.size) == (2, size)
    assert exported.agreement >= 0.999
    images = np.stack([*Split(counting.data, "val").records().map(_image).as_numpy_iterator()])
    resized = records.resize_image(tf.constant(images[:1]), counting.image_size)
    scorer = load_scorer(counting, done)
    found = RUNNERS[name](tmp_path / "out" / "score")(images[:1])
    expected = scorer.named_maps(resized)
    assert found.keys() == expected.keys() >= {"information", "cost", "crossings_left"}
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=2e-3, err_msg=key)
    segmented = RUNNERS[name](tmp_path / "out" / "model")(images[:1])
    logits = tf.image.resize(scorer.segmentation(resized), (64, 96))
    logits = tf.image.resize(logits[:, :60, :90], (64, 96))
    confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1).numpy().mean()
    np.testing.assert_allclose(segmented["confidence"], [confidence], atol=1e-3)
    description = json.loads((tmp_path / "out" / "cereals.json").read_text())
    assert description["format"] == name
    assert description["size"] == (list(size) if size else None)


def _image(record):
    return records.decode_image(record[records.IMAGE_ENCODED])


def test_int8_is_smaller_and_nearly_as_exact(needs, cereals, counting, tmp_path):
    needs("litert")
    sizes = {}
    for quantize, typed in (("none", []), ("int8", ["--size=60x90"])):
        out = tmp_path / quantize
        words = ["export", counting.folder, out, "--format=litert", f"--quantize={quantize}"]
        status, _, said = cereals(*words, *typed)
        assert status == 0, said
        sizes[quantize] = (out / "model.tflite").stat().st_size
        agreement = float(re.search(r"([\d.]+)% of the pixels of 2 images", said)[1])
        assert "for images of 60x90;" in said
        assert agreement >= (99.99 if quantize == "none" else 90)
    assert sizes["int8"] < sizes["none"]


def test_a_missing_package_is_named(refused, counting, tmp_path, monkeypatch):
    missing = replace(FORMATS["onnx"], needs=("no_such_package",))
    monkeypatch.setitem(formats.FORMATS, "onnx", missing)
    said = refused("export", counting.folder, tmp_path / "out", "--format=onnx")
    assert "pip install 'cereals-tf[onnx]'" in said


def test_other_classes_than_keras_sees_are_refused(refused, counting, tmp_path, monkeypatch):
    never = replace(FORMATS["savedmodel"], agreement=1.5)
    monkeypatch.setitem(formats.FORMATS, "savedmodel", never)
    said = refused("export", counting.folder, tmp_path / "out")
    assert "at 100.0000% of the pixels of 2 images" in said


def test_options_that_a_format_has_not_are_refused(refused, counting, tmp_path):
    for option in ("--quantize=int8", "--size=64x96"):
        said = refused("export", counting.folder, tmp_path / "out", option)
        assert "has an effect only with --format=litert" in said


def test_one_size_must_be_known(counting):
    first, second = counting.data.images["val"]
    mixed = replace(counting.data)
    vars(mixed)["images"] = {"val": [first, replace(second, height=72)]}
    with pytest.raises(UserError, match="--size=HEIGHTxWIDTH"):
        size_of_all(mixed, FORMATS["litert"])
