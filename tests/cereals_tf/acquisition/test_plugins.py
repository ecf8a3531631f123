"""Measures and fusions of the user's own: what is taken, and what is refused with which words."""

import sys

import keras
import numpy as np
import pytest

from cereals_tf.acquisition.fusion import FUSIONS, Scale
from cereals_tf.acquisition.information import MEASURES, bald
from cereals_tf.acquisition.plugins import find_fusion, find_measure
from cereals_tf.data_prep.errors import UserError

PLUGIN = """
import numpy as np
from keras import ops

from cereals_tf.acquisition.information import bald as mutual, vote_entropy

def doubt(probabilities): return 1 - ops.max(probabilities, axis=(0, -1))
def gini(probabilities): return 1 - ops.sum(ops.mean(probabilities, 0) ** 2, -1)
def disagreement(probabilities): return mutual(probabilities)
disagreement.unit, disagreement.needs_committee = "nats", True
def votes(probabilities): return vote_entropy(probabilities)
votes.needs_committee = votes.accepts_logits = True
class Weighted:
    def __init__(self, weights): self.weights = weights
    def __call__(self, probabilities): return ops.sum(probabilities[0] * self.weights, -1)
weighted = Weighted([3.0, 2.0, 1.0])

def fails(probabilities): raise KeyError("no table")
def in_two_lines(probabilities): raise ValueError("no table\\nof the classes")
def of_members(probabilities): return ops.max(probabilities, axis=-1)
def fixed(probabilities): return ops.max(probabilities, axis=(0, -1))[:1, :2, :3]
def ids(probabilities): return ops.argmax(probabilities[0], -1)
def nothing(probabilities): pass
def logarithm(probabilities): return -ops.sum(probabilities[0] * ops.log(probabilities[0]), -1)
def certainty(probabilities): return -ops.max(probabilities, axis=(0, -1))
def in_numpy(probabilities): return 1 - np.max(np.array(probabilities), axis=(0, -1))
def of_logits(probabilities): return 1 / (1 + ops.max(probabilities, axis=(0, -1)) ** 2)
of_logits.accepts_logits = True
def called_yes(probabilities): return doubt(probabilities)
called_yes.needs_committee = "yes"

def root(information, cost): return information / (cost + 1) ** 0.5
def bounded(information, cost): return ops.minimum(information, 1 - cost)
bounded.scaled, bounded.unit = True, "{information} or {cost}"
def weighted_sum(information, cost, alpha): return alpha * information + (1 - alpha) * (1 - cost)
weighted_sum.parameters, weighted_sum.scaled = ("alpha",), True
def unknown(information, cost, beta): return information
unknown.parameters = ("beta",)
def free(information, cost): return information / cost
def free_of_some(information, cost): return information / ops.where(information == 0, 1.0, cost)
def one(information, cost): return 1.0
def total(information, cost): return ops.sum(information - cost)
def double(information, cost): return np.float64(1) * np.array(information, "float64")
def rooted(information, cost): return information / np.sqrt(cost + 1)
def drawn(information, cost): return information * float(np.random.default_rng().random())
def three(information, cost, more): return information
"""


@pytest.fixture(autouse=True, scope="module")
def plugin_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "my_acquisition.py").write_text(PLUGIN)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("my_acquisition", None)


def measure(name, classes=3):
    return find_measure(f"my_acquisition:{name}", classes)


def fusion(name):
    return find_fusion(f"my_acquisition:{name}", {"alpha": 0.25})


def test_names_of_the_registries():
    assert {name: find_measure(name, 3) for name in MEASURES} == MEASURES
    for name in FUSIONS:
        found = find_fusion(name, {"alpha": 0.25, "seed": 3, "region_clicks": 7})
        unit = FUSIONS[name].unit.replace("{region_clicks}", "7")
        assert (found.unit, found.scaled) == (unit, FUSIONS[name].scaled)
    assert find_fusion("convex", {"alpha": 0.25}).function(0.5, 1.0) == 0.125


def test_what_a_measure_says_of_itself():
    committee, plain = measure("disagreement"), measure("gini")
    assert (committee.unit, committee.needs_committee) == ("nats", True)
    assert (plain.unit, plain.needs_committee, plain.accepts_logits) == (
        "information",
        False,
        False,
    )
    assert measure("votes").accepts_logits
    members = np.random.default_rng(0).dirichlet([1, 1, 1], (4, 5)).astype("float32")
    np.testing.assert_array_equal(committee.function(members), bald(members))


def test_a_measure_may_depend_on_the_number_of_classes():
    assert measure("weighted").function
    with pytest.raises(UserError, match=r"--information=my_acquisition:weighted: .*19\]"):
        measure("weighted", 19)


def test_what_a_fusion_says_of_itself():
    found = fusion("bounded")
    assert found.unit_of("nats", "clicks") == "nats or clicks"
    scores = found.score(np.float32([2, 8]), np.float32([1, 9]), (Scale(0, 8), Scale(1, 9)))
    assert keras.ops.convert_to_numpy(scores).tolist() == [0.25, 0]
    assert (fusion("root").unit, fusion("root").scaled) == ("score", False)
    assert fusion("weighted_sum").function(0.5, 1.0) == 0.125


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", r"probabilities float32 \[1, 1, 2, 3, 3\]: KeyError: 'no table'"),
        ("in_two_lines", "ValueError: no table$"),
        ("of_members", r"expected float32 \[1, 2, 3\] .*found float32 \[1, 1, 2, 3\]"),
        ("fixed", r"expected float32 \[2, 4, 2\] .*found float32 \[1, 2, 2\]"),
        ("ids", r"found int32 \[1, 2, 3\]"),
        ("nothing", "found NoneType"),
        ("logarithm", "gives NaN or infinity for probabilities .*some of them 0"),
        ("certainty", "gives -1, expected 0 or more"),
        ("in_numpy", "NotImplementedError: .*symbolic"),
        ("of_logits", "gives other information for logits than for their softmax"),
        ("called_yes", "its needs_committee is 'yes', expected True or False"),
        ("missing", "no function 'missing'"),
    ],
)
def test_no_measure(name, message):
    with pytest.raises(UserError, match=message) as error:
        measure(name)
    assert str(error.value).startswith(f"--information=my_acquisition:{name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("free", "gives NaN or infinity for information and cost"),
        ("free_of_some", "gives NaN or infinity for information and cost"),
        ("one", r"expected float32 \[2, 3, 4\] .*found float"),
        ("total", r"found float32 \[\]"),
        ("double", r"found float64 \[2, 3, 4\]"),
        ("rooted", "tensors: .*symbolic"),
        ("unknown", "its parameter 'beta' is no option"),
        ("drawn", "other scores for tensors than for NumPy arrays"),
        ("three", "NumPy arrays: TypeError: .*'more'"),
    ],
)
def test_no_fusion(name, message):
    with pytest.raises(UserError, match=message) as error:
        fusion(name)
    assert str(error.value).startswith(f"--fusion=my_acquisition:{name}: ")
    assert "\n" not in str(error.value)
