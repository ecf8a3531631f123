"""The exported SavedModel against the Keras models that it was made from."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.acquisition.fusion import FUSIONS, Scale
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep import records
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.export.export import export_round
from cereals_tf.trainers.evaluation import confusion_matrix, iou, upsample_logits
from cereals_tf.trainers.split import Split

VARIANTS = {
    "plain": {},
    "resized": {
        "image_size": "52x75",
        "information": "vote_entropy",
        "committee": 3,
        "fusion": "convex",
    },
    "random": {"precision": "mixed_bfloat16", "information": "random", "fusion": "ratio"},
}
"""Options that change what is exported but not the shapes of the weights: one training serves."""

CLIENT = """
import json, sys
for name in ("cereals_tf", "trainers", "data_prep", "keras", "tf_keras"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder, image = sys.argv[1:]
model = tf.saved_model.load(folder)
encoded = tf.constant([open(image, "rb").read()])
found = {
    name: {key: value.numpy().tolist() for key, value in model.signatures[name](value).items()}
    for name, value in {
        "serving_default": encoded,
        "score": encoded,
        "predict": tf.io.decode_png(encoded[0])[None],
    }.items()
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A campaign of one round on 64x96 images."""
    folder = tmp_path_factory.mktemp("export")
    write_toy(folder / "toy", train_images=3, val_images=2, height=64, width=96)
    prepare(folder / "toy", folder / "data", "cityscapes")
    options = {"epochs": 1, "width_multiplier": 0.03125, "initial": "2images"}
    campaign = start_campaign(folder / "campaign", folder / "data", Options.of(**options))
    return campaign, step_campaign(campaign)


class Exported:
    """One variant's SavedModel, loaded, beside the Keras models that it should equal."""

    def __init__(self, campaign: Campaign, done: CommittedRound, folder: Path) -> None:
        export_round(campaign, done, folder)
        self.campaign, self.done, self.folder = campaign, done, folder
        self.signatures = tf.saved_model.load(str(folder)).signatures
        options = campaign.options
        self.segmentation, cost = (Models.of(campaign).load_round(task, done) for task in TASKS)
        self.scorer = Scorer(self.segmentation, cost, options.information, options.committee)
        self.records = list(Split(campaign.data, "val").records())
        self.encoded = tf.stack([record[records.IMAGE_ENCODED] for record in self.records])
        self.images = np.stack([decode(encoded) for encoded in self.encoded.numpy()])

    def run(self, signature: str, values) -> dict[str, np.ndarray]:
        found = self.signatures[signature](tf.constant(values))
        return {name: value.numpy() for name, value in found.items()}

    def resized(self) -> np.ndarray:
        return np.asarray(records.resize_image(self.images, self.campaign.image_size))


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Returns a function from a variant's name to its export, each made once."""
    made = {}

    def make(variant: str) -> Exported:
        if variant not in made:
            campaign, done = trained
            campaign = replace(campaign, first_options=campaign.options.but(**VARIANTS[variant]))
            made[variant] = Exported(campaign, done, tmp_path_factory.mktemp(variant) / "1")
        return made[variant]

    return make


def decode(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def encode(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("variant", VARIANTS)
def test_classes_and_confidence_are_the_keras_models(exported, variant):
    model = exported(variant)
    resized = model.resized()
    logits = upsample_logits(model.segmentation(resized), *resized.shape[1:3])
    logits = tf.image.resize(logits, model.images.shape[1:3]).numpy()
    probabilities = tf.nn.softmax(logits).numpy().max(axis=-1)
    for found in (model.run("serving_default", model.encoded), model.run("predict", model.images)):
        assert found["classes"].dtype == np.uint8
        assert found["classes"].shape == model.images.shape[:3]
        assert found["confidence"].dtype == np.float32
        np.testing.assert_array_equal(found["classes"], logits.argmax(axis=-1))
        np.testing.assert_allclose(found["confidence"], probabilities.mean(axis=(1, 2)), atol=1e-5)


def test_classes_give_the_rounds_miou(exported):
    model = exported("plain")
    classes = model.campaign.data.classes
    predicted = model.run("serving_default", model.encoded)["classes"].astype(np.int32)
    true = np.stack([records.decode_label(r[records.LABEL_ENCODED]) for r in model.records])
    weights = np.where(true == classes.ignore_id, 0.0, 1.0)
    confusion = confusion_matrix(true.astype(np.int32), weights, predicted, len(classes)).numpy()
    assert iou(confusion).mean == pytest.approx(model.done.metrics.miou, abs=1e-6)


def test_jpeg_and_png_in_one_call(exported):
    model = exported("plain")
    jpeg, png = encode(model.images[0], "jpeg"), encode(model.images[1], "png")
    found = model.run("serving_default", [jpeg, png])
    decoded = np.stack([tf.io.decode_image(jpeg).numpy(), model.images[1]])
    expected = model.run("predict", decoded)
    np.testing.assert_array_equal(found["classes"], expected["classes"])
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-6)


def test_score_maps_are_the_scorers(exported):
    model = exported("plain")
    found = model.run("score", model.encoded)
    information, cost = (part.numpy() for part in model.scorer.maps(model.images))
    assert information.shape == (2, 8, 12)
    np.testing.assert_allclose(found["information"], information, atol=1e-5)
    np.testing.assert_allclose(found["cost"], cost, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_is_scaled_over_the_call(exported, variant):
    model = exported(variant)
    found = model.run("score", model.encoded)
    parts = found["information"], found["cost"]
    options = model.campaign.options
    information, cost = (Scale(part.min(), part.max()) for part in parts)
    fusion = FUSIONS[options.fusion].with_parameters(vars(options))
    expected = fusion.score(*parts, (information, cost))
    assert all(part.dtype == np.float32 for part in found.values())
    np.testing.assert_allclose(found["fused"], expected, rtol=1e-5, atol=1e-6)


def test_fused_of_a_single_position_is_zero(exported):
    """One 8x8 image has one position: the pool's range is 0."""
    image = encode(np.full((8, 8, 3), 90, np.uint8), "png")
    found = exported("plain").run("score", [image])
    assert found["information"].shape == (1, 1, 1)
    np.testing.assert_array_equal(found["fused"], 0.0)


def test_a_committee_votes_anew_in_every_call(exported):
    model = exported("resized")
    first, second = (model.run("score", model.encoded) for _ in range(2))
    assert first["information"].shape == (2, 7, 10)
    assert (first["information"] != second["information"]).any()
    np.testing.assert_array_equal(first["cost"], second["cost"])
    shares = ([1], [1 / 3, 2 / 3], [1 / 3] * 3)
    possible = np.array([-np.sum(part * np.log(part)) for part in shares], np.float32)
    distance = np.abs(first["information"][..., None] - possible).min(axis=-1)
    assert distance.max() < 1e-5


def test_random_information_is_new_in_every_call(exported):
    model = exported("random")
    first, second = (model.run("score", model.encoded)["information"] for _ in range(2))
    values = np.concatenate([first.ravel(), second.ravel()])
    assert len(np.unique(values)) > 0.99 * len(values)
    assert 0 <= values.min() < 0.1 < 0.9 < values.max() < 1


def test_needs_tensorflow_alone(exported, tmp_path):
    model = exported("plain")
    (tmp_path / "image.png").write_bytes(encode(model.images[0], "png"))
    command = [sys.executable, "-I", "-c", CLIENT, str(model.folder), "image.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for signature, value in (("serving_default", model.encoded), ("predict", model.images)):
        expected = model.run(signature, value[:1])
        np.testing.assert_array_equal(found[signature]["classes"], expected["classes"])
    expected = model.run("score", model.encoded[:1])
    for name, value in expected.items():
        np.testing.assert_allclose(found["score"][name], value, atol=1e-5)


def test_saved_model_cli_shows_the_contracts_names_only(exported):
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "show", "--all", "--dir", exported("plain").folder]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = re.findall(
        r"(signature_def|inputs|outputs)\['(\w+)'\]"
        r"(?: tensor_info:\s+dtype: (\w+)\s+shape: (\(.*\)))?",
        shown,
    )
    segmented = [
        ("outputs", "classes", "DT_UINT8", "(-1, -1, -1)"),
        ("outputs", "confidence", "DT_FLOAT", "(-1)"),
    ]
    encoded = ("inputs", "image_bytes", "DT_STRING", "(-1)")
    assert [entry for entry in named if entry[1] != "__saved_model_init_op"] == [
        ("signature_def", "predict", "", ""),
        ("inputs", "image", "DT_UINT8", "(-1, -1, -1, 3)"),
        *segmented,
        ("signature_def", "score", "", ""),
        encoded,
        *[("outputs", name, "DT_FLOAT", "(-1, -1, -1)") for name in ("cost", "fused")],
        ("outputs", "information", "DT_FLOAT", "(-1, -1, -1)"),
        ("signature_def", "serving_default", "", ""),
        encoded,
        *segmented,
    ]


def test_serving_replays_the_warmup_file(exported):
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2",
        reason="needs TensorFlow Serving's classes: pip install --no-deps tensorflow-serving-api",
    )
    model = exported("resized")
    path = model.folder / "assets.extra" / "tf_serving_warmup_requests"
    signatures = []
    for serialized in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(serialized.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.SerializeToString() == _request(request).SerializeToString()
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        ((name, value),) = inputs.items()
        signatures.append((request.model_spec.signature_name, name))
        found = model.run(request.model_spec.signature_name, value)
        assert all(len(output) == 1 for output in found.values())
        if name == "image":
            np.testing.assert_array_equal(value, model.images[:1])
        else:
            assert list(value) == [model.encoded[0].numpy()]
    assert signatures == [
        ("serving_default", "image_bytes"),
        ("score", "image_bytes"),
        ("predict", "image"),
    ]


def _request(like):
    """Build an equal PredictRequest field by field, so that unknown fields would show."""
    request = type(like)()
    request.model_spec.name = "cereals"
    request.model_spec.signature_name = like.model_spec.signature_name
    for name, tensor in like.inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tf.make_ndarray(tensor)))
    return request


def test_grpc_request(exported):
    predict_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.predict_pb2",
        reason="needs TensorFlow Serving's classes: pip install --no-deps tensorflow-serving-api",
    )
    model = exported("plain")
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(model.encoded.numpy()))
    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    signature = model.signatures[received.model_spec.signature_name]
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in received.inputs.items()}
    found = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    expected = model.run("predict", model.images)
    np.testing.assert_array_equal(found["classes"], expected["classes"])


def test_description_for_clients(exported):
    model = exported("resized")
    found = json.loads((model.folder / "assets.extra" / "cereals.json").read_text())
    classes = model.campaign.data.classes
    assert found["classes"] == list(classes.names)
    assert found["palette"] == [list(colour) for colour in classes.palette]
    assert found["round"] == 0
    assert found["miou"] == model.done.metrics.miou
    assert found["image_size"] == [52, 75]
    assert (found["information"], found["fusion"]) == ("vote_entropy", "convex")


def test_a_taken_folder_is_refused_before_any_work(trained, tmp_path):
    campaign, _ = trained
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="taken: exists and is not empty"):
        export_round(campaign, CommittedRound(tmp_path / "rounds" / "000"), taken)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "mine.txt"]
    assert (taken / "mine.txt").read_text() == "mine"
