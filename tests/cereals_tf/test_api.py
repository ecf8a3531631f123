"""The Python door: data instead of text, and a quiet screen."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import cereals_tf

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PROGRAM = """
import json, sys
import cereals_tf
assert "tensorflow" not in sys.modules
data, folder, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
shown = cereals_tf.inspect(data)
campaign = cereals_tf.Campaign.start(folder + "/campaign", data=data, **options)
first = campaign.step()
curve = cereals_tf.Campaign.open(folder + "/campaign").run(2)
status = campaign.status()
try:
    campaign.regions(9)
except cereals_tf.UserError as error:
    refused = str(error)
print(json.dumps({
    "classes": len(shown.classes),
    "miou": [metrics.miou for metrics in curve],
    "first": first.miou,
    "rounds": len(status.rounds),
    "waiting": status.waiting,
    "pixels": sum(region.pixels for region in campaign.regions()),
    "own": len(campaign.regions(1)),
    "again": campaign.evaluate().miou_resized,
    "page": str(campaign.report()),
    "model": str(campaign.export(folder + "/model")),
    "refused": refused,
}))
"""


def test_a_program_gets_data_and_sees_nothing(tmp_path, toy_data, plugin_folder, three_rounds):
    given = three_rounds.options.to_json()
    names = ("model", "cost_model", "region", "initial", "budget", "epochs", "learning_rate")
    options = {name: given[name] for name in (*names, "image_size", "min_steps")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, toy_data, tmp_path, json.dumps(options)],
        cwd=plugin_folder,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    rounds = three_rounds.rounds()[:2]
    assert found["miou"] == pytest.approx([one.metrics.miou for one in rounds])
    assert found["first"] == found["miou"][0]
    assert found["again"] == pytest.approx(found["miou"][1])
    assert (found["rounds"], found["waiting"], found["classes"]) == (2, None, 19)
    assert found["pixels"] == rounds[1].metrics.pixels
    assert found["own"] == len(rounds[1].regions)
    assert "--round=9" in found["refused"]
    assert Path(found["page"]).is_file() and (Path(found["model"]) / "saved_model.pb").is_file()


def test_names_are_those_of_the_door():
    assert set(cereals_tf.__all__) <= set(dir(importlib.import_module("cereals_tf.api")))
    with pytest.raises(AttributeError, match="nothing"):
        _ = cereals_tf.nothing


@pytest.mark.long
@pytest.mark.parametrize("name", ["own_model", "own_measure", "compare_strategies"])
def test_examples_run(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module(name)
    small = {} if name == "own_model" else {"width": 0.01}
    made = example.main(str(tmp_path), images=3, rounds=2, epochs=1, **small)
    assert made.exists()


def test_every_example_has_its_test():
    (run,) = (mark for mark in test_examples_run.pytestmark if mark.name == "parametrize")
    assert set(run.args[1]) == {path.stem for path in EXAMPLES.glob("*.py")}
