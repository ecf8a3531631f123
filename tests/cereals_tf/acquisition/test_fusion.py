"""Fusion of information and cost: the formulas and their monotonicity."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.fusion import FUSIONS, UNSCALED, Scale

INFORMATION = np.array([0.0, 2.0, 10.0])
COST = np.array([5.0, 1.0, 3.0])
SCALES = Scale(0.0, 10.0), Scale(1.0, 5.0)
FORMULAS = {
    ("none", 0.5): [0, 2, 10],
    ("ratio", 0.5): [0 / 9, 2 / 5, 10 / 7],
    ("product", 0.5): [0, 0.2, 0.5],
    ("convex", 0.75): [0, 0.75 * 0.2 + 0.25, 0.75 + 0.25 * 0.5],
    ("convex", 1.0): [0, 0.2, 1],
    ("convex", 0.0): [0, 1, 0.5],
}
"""Scores of these three regions, by fusion and alpha."""


def fuse(kind, information, cost, scales, alpha):
    values = {"alpha": alpha, "region_clicks": 4}
    return FUSIONS[kind].with_parameters(values).score(information, cost, scales)


def test_every_fusion_has_its_formula():
    assert {kind for kind, _ in FORMULAS} == set(FUSIONS)


@pytest.mark.parametrize(("kind", "alpha"), FORMULAS)
def test_formulas(kind, alpha):
    found = fuse(kind, INFORMATION, COST, SCALES, alpha)
    np.testing.assert_allclose(found, FORMULAS[kind, alpha], atol=1e-15)


values = st.lists(
    st.tuples(st.floats(0, 1e6, width=32), st.floats(0, 1e5, width=32)), min_size=1, max_size=12
)


@settings(max_examples=100)
@given(values, st.floats(0, 1), st.sampled_from([np.float32, np.float64]))
def test_more_information_or_less_cost_never_lowers_the_score(pairs, alpha, dtype):
    information, cost = np.array(pairs, dtype).T
    scales = Scale(information.min(), information.max()), Scale(cost.min(), cost.max())
    better = (information[:, None] >= information) & (cost[:, None] <= cost)
    for kind, fusion in FUSIONS.items():
        scores = fuse(kind, information, cost, scales, alpha)
        assert scores.dtype == dtype
        assert np.isfinite(scores).all()
        assert (scores[:, None] >= scores)[better].all(), kind
        if fusion.scaled:
            assert scores.min() >= 0
            assert scores.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", FUSIONS)
def test_information_and_cost_both_count(kind):
    """Strictly, away from the ends of the scale; `none` looks at information only."""
    scales = Scale(0, 10), Scale(0, 10)
    score = fuse(kind, 5.0, 5.0, scales, 0.5)
    assert fuse(kind, 6.0, 5.0, scales, 0.5) > score
    dearer = fuse(kind, 5.0, 6.0, scales, 0.5)
    assert dearer == score if kind == "none" else dearer < score


@pytest.mark.parametrize("kind", FUSIONS)
def test_tensors_and_arrays_agree(kind):
    information, cost = INFORMATION.astype(np.float32), COST.astype(np.float32)
    traced = tf.function(lambda i, c: fuse(kind, i, c, SCALES, 0.75))
    found = traced(tf.constant(information), tf.constant(cost))
    np.testing.assert_allclose(found, fuse(kind, information, cost, SCALES, 0.75), rtol=1e-6)


def test_scale_of_a_constant_is_zero():
    scaled = Scale(3.0, 3.0).apply(np.full((2, 2), 3, np.float32))
    np.testing.assert_array_equal(scaled, np.zeros((2, 2), np.float32))


def test_what_is_unscaled_stays():
    for scale in UNSCALED:
        np.testing.assert_array_equal(scale.apply(COST), COST)


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match=r"`alpha`.*\[0, 1\]"):
        fuse("convex", INFORMATION, COST, SCALES, alpha)


def test_units():
    values = {"alpha": 0.5, "region_clicks": 4}
    units = {
        kind: fusion.with_parameters(values).unit_of("nats", "seconds")
        for kind, fusion in FUSIONS.items()
    }
    scaled = "score, 0 to 1"
    expected = {"none": "nats", "ratio": "nats / (seconds + 4)", "product": scaled}
    assert units == {**expected, "convex": scaled}
