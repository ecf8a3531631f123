"""The Python of docs/serving.md, run as it stands."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.campaign.learning.scorer import load_scorer
from cereals_tf.data_prep import records
from cereals_tf.export.export import export_round
from cereals_tf.trainers.split import Split

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
IN_PROCESS, SUMS = (
    next(block for block in BLOCKS if text in block)
    for text in ("tf.saved_model.load", "def region_cost")
)


@pytest.fixture
def street(counting, tmp_path, monkeypatch):
    """The first val image of 64x96 pixels as street.png in the current folder, decoded."""
    monkeypatch.chdir(tmp_path)
    (record,) = Split(counting.data, "val").records().take(1)
    Path("street.png").write_bytes(record[records.IMAGE_ENCODED].numpy())
    return records.decode_image(record[records.IMAGE_ENCODED])


def export(campaign, name: str, **options) -> None:
    export_round(campaign, campaign.rounds()[-1], Path("OUT"), name, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("onnx", 'InferenceSession("OUT'),
        pytest.param("openvino", "import openvino", marks=pytest.mark.long),
        ("litert", "ai_edge_litert"),
    ],
)
def test_clients_of_other_runtimes(needs, counting, street, name, text):
    needs(name)
    export(counting, name)
    said = {}
    (client,) = (block for block in BLOCKS if text in block)
    exec(client, {"print": lambda *values: said.update(shape=values[0])})
    assert said["shape"] == ((1, 60, 90) if name == "litert" else (1, 64, 96))


class BaseModel:
    """What X-AnyLabeling-Server's base class does with a configuration."""

    def __init__(self, config):
        self.model_id, self.display_name = config["model_id"], config["display_name"]
        self.params = config.get("params", {})


def test_x_anylabelings_server_draws_what_the_model_sees(needs, counting, street, monkeypatch):
    needs("onnx")
    yaml = pytest.importorskip("yaml")
    export(counting, "onnx")
    config = yaml.safe_load(Path("OUT/x-anylabeling.yaml").read_text())
    values = {widget["name"]: widget["value"] for widget in config["widgets"]}
    assert values == {"button_run": None, "toggle_preserve_existing_annotations": False}
    assert config["params"]["classes"] == list(counting.classes.names)
    registered = {}
    served = {
        "app.core.registry": {
            "register_model": lambda name: lambda kind: registered.update({name: kind})
        },
        "app.models.base": {"BaseModel": BaseModel},
        "app.schemas.shape": {"Shape": SimpleNamespace},
    }
    for name, contents in served.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    (block,) = (block for block in BLOCKS if "register_model" in block)
    exec(block, {"__name__": "app.models.cereals"})
    monkeypatch.chdir("OUT")
    model = registered[config["model_id"]](config)
    model.load()
    shapes = model.predict(street.numpy()[:, :, ::-1], {})["shapes"]
    painted = np.full((64, 96), 255, np.uint8)
    for shape in shapes:
        outline = np.array(shape.points, np.int32)
        cv2.fillPoly(painted, [outline], counting.classes.names.index(shape.label))
    (seen,) = model.model.run(["classes"], {"image": street.numpy()[None]})
    assert (painted == seen[0]).mean() > 0.9


def test_regions_cost_what_the_campaign_estimates(counting, street):
    """Every dense window of 2x3 cells, with some cells labelled and with none."""
    export(counting, "savedmodel")
    names = {"print": lambda *values: None}
    exec(IN_PROCESS + SUMS, names)
    scorer = load_scorer(counting, counting.rounds()[-1])
    resized = records.resize_image(street, counting.image_size)[None]
    maps, region_cost = names["maps"], names["region_cost"]
    rows, columns = maps["cost"].shape
    drawn = np.random.default_rng(1).random((rows, columns)) < 0.7
    for unlabelled in (None, drawn):
        given = np.ones((rows, columns), bool) if unlabelled is None else unlabelled
        found = np.array(
            [
                [region_cost(maps, (y, x, 2, 3), unlabelled) for x in range(columns - 2)]
                for y in range(rows - 1)
            ]
        )
        expected = scorer.windows(resized, given[None], tf.constant([16, 24]))
        np.testing.assert_allclose(found, expected["cost_estimated"][0], rtol=1e-5, atol=1e-5)
    assert maps["crossings_left"].any()
    assert maps["crossings_top"].any()
