"""The information measures against slow references in double precision."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition import information

ALL = [name for name, measure in information.MEASURES.items() if not measure.of_windows]


def slow_entropy(distribution):
    return -math.fsum(p * math.log(p) for p in distribution if p > 0)


def slow_votes(members):
    votes = [list(member).index(max(member)) for member in members]
    return [votes.count(c) / len(members) for c in range(len(members[0]))]


SLOW = {
    "entropy": lambda members: slow_entropy(np.mean(members, axis=0)),
    "vote_entropy": lambda members: slow_entropy(slow_votes(members)),
    "bald": lambda members: (
        slow_entropy(np.mean(members, axis=0))
        - math.fsum(map(slow_entropy, members)) / len(members)
    ),
    "margin": lambda members: 1 + np.subtract(*np.sort(np.mean(members, axis=0))[-2:]),
    "least_confidence": lambda members: 1 - max(np.mean(members, axis=0)),
}
HIGHEST = {
    "entropy": lambda e, c: math.log(c),
    "vote_entropy": lambda e, c: math.log(min(e, c)),
    "bald": lambda e, c: math.log(min(e, c)),
    "margin": lambda e, c: 1,
    "least_confidence": lambda e, c: 1 - 1 / c,
}


def committees(seed, members, classes, shape=(2, 3)):
    """Random distributions, some probabilities exactly 0, some positions of one class only."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (members, *shape, classes)) * rng.random((classes,))
    weights[..., rng.integers(classes)] += 1e-3
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def test_every_measure_has_a_reference():
    assert set(SLOW) == set(HIGHEST) == set(ALL)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 7))
def test_measures_equal_references(seed, members, classes):
    probabilities = committees(seed, members, classes)
    for name in ALL:
        found = keras.ops.convert_to_numpy(information.MEASURES[name].function(probabilities))
        expected = [
            [SLOW[name](probabilities[:, y, x].astype(np.float64)) for x in range(3)]
            for y in range(2)
        ]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6, err_msg=name)
        assert found.min() >= 0
        assert found.max() <= HIGHEST[name](members, classes) + 1e-6


@pytest.mark.parametrize("name", ALL)
def test_certain_positions_hold_no_information(name):
    certain = np.broadcast_to(np.float32([0, 1, 0]), (4, 5, 5, 3))
    found = keras.ops.convert_to_numpy(information.MEASURES[name].function(certain))
    np.testing.assert_array_equal(found, np.zeros((5, 5)))


@pytest.mark.parametrize("name", ALL)
def test_highest_value_is_reached(name):
    """By members that each vote for a class of their own, or by a uniform distribution."""
    members = np.eye(4, dtype=np.float32)[:, None]
    found = float(information.MEASURES[name].function(members)[0])
    assert found == pytest.approx(HIGHEST[name](4, 4), abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_committee_of_one(name):
    measure = information.MEASURES[name]
    found = keras.ops.convert_to_numpy(measure.function(committees(0, 1, 5)))
    assert (np.abs(found).max() < 1e-6) == measure.needs_committee


@pytest.mark.parametrize("name", ALL)
def test_measures_that_accept_logits_give_the_same_for_them(name):
    measure = information.MEASURES[name]
    logits = np.random.default_rng(0).normal(size=(4, 5, 5, 3)).astype(np.float32)
    of_logits, found = map(measure.function, (logits, keras.ops.softmax(logits)))
    assert np.allclose(of_logits, found, atol=1e-3) == measure.accepts_logits


@pytest.mark.parametrize("name", ALL)
def test_not_a_number_stays_visible(name):
    probabilities = committees(3, 4, 5)
    probabilities[2, 1, 1] = np.nan
    found = keras.ops.convert_to_numpy(information.MEASURES[name].function(probabilities))
    np.testing.assert_array_equal(np.argwhere(np.isnan(found)), [[1, 1]])
    assert found.dtype == np.float32


def test_equal_probabilities_vote_for_the_lowest_class():
    members = np.float32([[0.4, 0.4, 0.2], [0.5, 0.25, 0.25], [0.1, 0.45, 0.45], [0, 0.5, 0.5]])
    expected = slow_entropy([0.5, 0.5, 0])
    assert float(information.vote_entropy(members)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_arithmetic_is_float32_whatever_the_input(name, dtype):
    probabilities = tf.cast(committees(1, 3, 5), dtype)
    function = information.MEASURES[name].function
    found = function(probabilities)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, function(tf.cast(probabilities, tf.float32)))


@pytest.mark.parametrize("name", ALL)
def test_traced_with_unknown_sizes(name):
    function = information.MEASURES[name].function
    traced = tf.function(function, input_signature=[tf.TensorSpec([None, None, None, 5])])
    probabilities = committees(2, 3, 5)
    np.testing.assert_allclose(traced(probabilities), function(probabilities), atol=1e-6)


def test_random_windows_are_reproducible_and_differ_between_images_and_seeds():
    first = information.random_windows(7, 3, (5, 6))
    assert first.dtype == np.float32
    assert first.shape == (5, 6)
    np.testing.assert_array_equal(first, information.random_windows(7, 3, (5, 6)))
    for seed, key in [(7, 4), (8, 3), (3, 7)]:
        assert not np.intersect1d(first, information.random_windows(seed, key, (5, 6))).size


def test_every_window_is_equally_likely_to_come_first():
    """Chi-squared with 11 degrees of freedom; 31.26 is exceeded with a chance of 0.1 %."""
    counts = np.zeros(12)
    for key in range(1200):
        windows = information.random_windows(0, key, (3, 4))
        assert 0 <= windows.min() <= windows.max() < 1
        counts[windows.argmax()] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 31.26
