"""Models that are used again: nothing of what they were used for before is left in them."""

import keras
import numpy as np
import pytest

from cereals_tf.campaign.learning import lending
from cereals_tf.campaign.learning.lending import lent
from cereals_tf.campaign.run import run_campaign

FCN8S = {"model": "", "cost_model": "", "backbone": "mobilenet", "width_multiplier": 0.03}


@pytest.fixture(autouse=True)
def none_idle(monkeypatch):
    monkeypatch.setattr(lending, "_idle", type(lending._idle)())


@pytest.mark.parametrize("options", [{}, pytest.param(FCN8S, marks=pytest.mark.long)])
def test_rounds_are_the_same_whatever_their_process_did_before(
    tmp_path, begin, outcome, weights_of, options
):
    def last_round(name, seed, rounds=2):
        campaign = begin(tmp_path / name, seed=seed, **options)
        run_campaign(campaign, rounds, 1.0)
        done = campaign.rounds()[-1]
        return outcome(done.folder), weights_of(campaign, done)

    metrics, weights = last_round("alone", 1)
    assert len(lending._idle) == 2
    assert last_round("other", 2, rounds=1)[0] != metrics
    metrics_after, weights_after = last_round("after", 1)
    assert metrics_after == metrics
    assert all(map(np.array_equal, weights, weights_after))


def dense(units):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])


def test_what_is_lent_twice_at_once_are_two_models():
    with lent("a", lambda: dense(1)) as one, lent("a", lambda: dense(1)) as other:
        assert one is not other
    with lent("a", lambda: dense(1)) as again:
        assert again is one  # which came back last


def test_a_model_that_was_in_use_when_something_failed_is_not_used_again():
    with pytest.raises(ValueError), lent("a", lambda: dense(1)) as broken:
        raise ValueError
    with lent("a", lambda: dense(1)) as model:
        assert model is not broken


@pytest.mark.parametrize("build", [None, "large"])
def test_unknown_and_large_models_are_not_kept(build, monkeypatch):
    monkeypatch.setattr(lending, "MOST_WEIGHTS", 2)
    with lent(build, lambda: dense(1)):
        pass
    assert not lending._idle


class Counting(keras.layers.Layer):
    """A layer of somebody's own."""

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize(
    "layer, is_kept",
    [
        (keras.layers.Dense(1, activation="relu", kernel_regularizer="l2"), True),
        (keras.Sequential([keras.layers.Dropout(0.5)]), True),
        (keras.layers.TimeDistributed(keras.layers.Dense(1)), True),
        (Counting(), False),
        (keras.Sequential([Counting()]), False),
        (keras.layers.TimeDistributed(Counting()), False),
        (keras.layers.Lambda(lambda inputs: inputs), False),
    ],
)
def test_kept_are_models_of_keras_own_layers(layer, is_kept):
    entry = keras.Input((2, 2))
    with lent("a", lambda: keras.Model(entry, layer(entry))):
        pass
    assert bool(lending._idle) == is_kept


def test_no_more_are_kept_than_are_used_in_turn():
    for units in range(1, 10):
        with lent(units, lambda units=units: dense(units)):
            pass
    assert list(lending._idle) == list(range(10 - lending.MOST_MODELS, 10))
