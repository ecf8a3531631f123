"""Medoids against a search through all subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cereals_tf.acquisition.medoids import k_means_medoids


def spread_left(features, chosen):
    """The sum of squared distances to the nearest of those that were chosen."""
    return ((features[:, None] - features[list(chosen)]) ** 2).sum(-1).min(1).sum()


@pytest.mark.parametrize("seed", range(20))
def test_of_clusters_apart_the_best_subset_is_found(seed):
    """Far from 0 too, where squares of coordinates would drown the distances."""
    rng = np.random.default_rng(seed)
    means = 100 * rng.permutation(np.eye(5))[:3]
    features = rng.permutation(np.repeat(means, [3, 4, 5], axis=0) + rng.normal(size=(12, 5)))
    features += 1e8
    best = min(combinations(range(12), 3), key=lambda chosen: spread_left(features, chosen))
    assert k_means_medoids(features, 3, seed).tolist() == list(best)


vectors = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 3)),
    elements=st.sampled_from([-1e6, 0.0, 0.5, 1.0, 1e6]),
)


@settings(max_examples=100)
@given(vectors, st.integers(0, 99), st.data())
def test_places_differ_and_follow_from_the_seed(features, seed, data):
    count = data.draw(st.integers(1, len(features)))
    found = k_means_medoids(features, count, seed).tolist()
    assert found == sorted(set(found)) and len(found) == count
    assert set(found) <= set(range(len(features)))
    assert k_means_medoids(features, count, seed).tolist() == found


def test_one_medoid_is_nearest_the_mean():
    features = np.random.default_rng(0).normal(size=(40, 4))
    (found,) = k_means_medoids(features, 1, seed=3)
    assert found == ((features - features.mean(0)) ** 2).sum(1).argmin()


def test_medoids_leave_less_than_a_draw_does():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 8)) * np.arange(1, 9)
    drawn = [spread_left(features, rng.permutation(300)[:12]) for _ in range(50)]
    found = [spread_left(features, k_means_medoids(features, 12, seed)) for seed in range(10)]
    assert max(found) < np.min(drawn)


@pytest.mark.parametrize(("count", "value"), [(0, 1.0), (5, 1.0), (2, np.nan), (2, np.inf)])
def test_what_cannot_be_chosen_from_is_refused(count, value):
    features = np.ones((4, 2))
    features[1, 1] = value
    with pytest.raises(ValueError, match="must be"):
        k_means_medoids(features, count, 0)
