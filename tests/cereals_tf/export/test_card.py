"""The model card against what the campaign's files say."""

import json

import yaml

from cereals_tf.export.card import model_card
from cereals_tf.export.formats import FORMATS


def test_hubs_and_people_read_what_the_round_gave(counting):
    first, last = counting.rounds()
    card = model_card(counting, last, FORMATS["onnx"], 0.99995, 7, "none")
    _, front, text = card.split("---\n", 2)
    found = yaml.safe_load(front)
    written = json.loads((last.folder / "metrics.json").read_text())
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["split"] == "val"
    assert result["metrics"] == [{"type": "mean_iou", "value": written["miou"]}]
    assert (found["pipeline_tag"], found["library_name"]) == ("image-segmentation", "onnx")
    assert found["license"] == "unknown"
    for name, value in written["iou_per_class"].items():
        assert f"| {name} | {'-' if value is None else f'{value:.3f}'} | - |" in text
    for done in (first, last):
        assert f"| {done.number} | {done.metrics.regions} | " in text
    assert "`cost_maps=all`" in text
    assert "99.995%" in text
