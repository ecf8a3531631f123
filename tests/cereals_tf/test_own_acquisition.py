"""A measure and a fusion of one's own, by name and as registered, through every command."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.acquisition.fusion import FUSIONS, Fusion, Scale
from cereals_tf.acquisition.information import MEASURES, Measure
from cereals_tf.campaign.folder.campaign import Campaign
from tests.cereals_tf.conftest import OPTIONS

OWN = """
from cereals_tf.acquisition.information import entropy


def doubt(probabilities):
    return 1.0 * entropy(probabilities)


def bargain(information, cost):
    return information * (1.0 - cost)


bargain.scaled = True
"""
"""What `entropy` and `product` do, by other names."""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_acquisition.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    yield __import__("own_acquisition")
    sys.path.remove(str(folder))


def typed(**options):
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture
def succeeds(cereals):
    """Runs a command line that must not fail."""

    def run(*arguments):
        status, _, err = cereals(*arguments)
        assert status == 0, err

    return run


@pytest.mark.long
def test_plug_ins_in_a_campaign(own, succeeds, toy_data, three_rounds, tmp_path, outcome):
    names = {"information": "own_acquisition:doubt", "fusion": "own_acquisition:bargain"}
    campaign, model = tmp_path / "campaign", tmp_path / "model"
    succeeds("start", campaign, *typed(data=toy_data, **OPTIONS, **names))
    succeeds("run", campaign, "--rounds=2")
    for done, known in zip(Campaign.open(campaign).rounds(), three_rounds.rounds(), strict=False):
        assert outcome(done.folder) == outcome(known.folder)

    succeeds("report", campaign, tmp_path / "report")
    assert names["fusion"] in (tmp_path / "report" / "index.html").read_text()

    succeeds("export", campaign, model)
    about = json.loads((model / "assets.extra" / "cereals.json").read_text())
    assert {name: about[name] for name in names} == names
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    score = tf.saved_model.load(str(model)).signatures["score"]
    found = score(tf.stack([tf.io.encode_png(image) for image in images]))
    maps = [found[name].numpy() for name in ("information", "cost")]
    scales = tuple(Scale(part.min(), part.max()) for part in maps)
    expected = FUSIONS["product"].score(*maps, scales)
    np.testing.assert_allclose(found["fused"], expected, rtol=1e-5, atol=1e-6)


def test_registered_in_a_grid(own, succeeds, toy_data, plugin_folder, tmp_path, monkeypatch):
    measure = Measure(own.doubt, unit="doubts", help="as an example")
    fusion = Fusion(own.bargain, unit="bargains", help="as an example", scaled=True)
    monkeypatch.setitem(MEASURES, "doubt", measure)
    monkeypatch.setitem(FUSIONS, "bargain", fusion)
    grid = {"informations": "doubt,random", "fusions": "bargain,own_acquisition:bargain"}
    grid |= {"costs": "est", "regions": "16", "fusion_region": "16", "repeats": 1, "rounds": 1}
    shared = {name: value for name, value in OPTIONS.items() if name != "region"}
    settings = typed(data=toy_data, **grid, **shared)
    succeeds("reproduce", tmp_path / "out", *settings, "--no_estimate")
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert [(cell["information"], cell["fusion"]) for cell in cells] == [
        ("doubt", "none"),
        ("random", "none"),
        ("doubt", "bargain"),
        ("doubt", "own_acquisition:bargain"),
    ]
    succeeds("report", tmp_path / "out" / "campaigns" / "doubt-16x16-bargain-est-seed0")


def test_a_wrong_one_is_refused_before_anything_is_written(own, refused, toy_data, tmp_path):
    own.flat = lambda probabilities: probabilities
    own.free = lambda information, cost: information / cost
    wrong = {"information": "own_acquisition:flat", "fusion": "own_acquisition:free"}
    for option, name in wrong.items():
        chosen = typed(data=toy_data, **OPTIONS, **{option: name})
        assert f"--{option}={name}: " in refused("start", tmp_path / "campaign", *chosen)
        shared = {key: value for key, value in OPTIONS.items() if key != "region"}
        grid = typed(data=toy_data, **shared, **{f"{option}s": name, "regions": "16"})
        message = refused("reproduce", tmp_path / "out", *grid, "--fusion_region=16")
        assert f"--{option}={name}: " in message
