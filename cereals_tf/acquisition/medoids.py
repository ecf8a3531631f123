"""Medoids: a few vectors that stand for many, for a first choice that covers the pool."""

import numpy as np

_MOST_ITERATIONS = 100


def k_means_medoids(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose vectors that cover a set: of each k-means cluster the one that is nearest its mean.

    Lloyd's algorithm from centres drawn by k-means++ (Arthur and Vassilvitskii, "k-means++: The
    Advantages of Careful Seeding", 2007). As round 0 of active learning: Hacohen et al., "Active
    Learning on a Budget: Opposite Strategies Suit High and Low Budgets", 2022, and others.

    Args:
        features: float [N, D], finite.
        count: how many to choose, 1 to N.
        seed: of the first centres, >= 0.

    Returns:
        int64 [count], different places in `features`, ascending.

    Raises:
        ValueError: `count` is outside 1 to N, or a feature is not finite.
    """
    features = np.asarray(features, np.float64)
    if not 1 <= count <= len(features):
        raise ValueError(f"`count` must be 1 to {len(features)}. Received: {count}")
    if not np.isfinite(features).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity")
    features = features - features.mean(axis=0)
    centres = _spread(features, count, np.random.default_rng(seed))
    nearest = np.full(len(features), -1)
    for _ in range(_MOST_ITERATIONS):
        before, nearest = nearest, _squared_distances(features, centres).argmin(axis=1)
        if (before == nearest).all():
            break
        for cluster in np.unique(nearest):
            centres[cluster] = features[nearest == cluster].mean(axis=0)
    return _medoids(_squared_distances(features, centres), nearest)


def _spread(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw different vectors, each with a chance by its squared distance from those before it."""
    chosen = [int(rng.integers(len(features)))]
    left = np.ones(len(features))
    distances = np.full(len(features), np.inf)
    for _ in range(count - 1):
        left[chosen[-1]] = 0
        newest = features[chosen[-1]][None]
        distances = np.minimum(distances, _squared_distances(features, newest)[:, 0])
        weights = distances * left
        weights = weights if weights.any() else left
        chosen.append(int(rng.choice(len(features), p=weights / weights.sum())))
    return features[chosen]


def _squared_distances(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return float64 [N, K], at least 0."""
    products = features @ centres.T
    norms = (features**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(norms - 2 * products, 0)


def _medoids(distances: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Return of each cluster the member nearest its centre; for one that is empty, any nearest."""
    members = np.where(nearest[:, None] == np.arange(distances.shape[1]), distances, np.inf)
    chosen: list[int] = []
    empty = []
    for cluster, own in enumerate(members.T):
        if np.isfinite(own).any():
            chosen.append(int(own.argmin()))
        else:
            empty.append(cluster)
    for cluster in empty:
        order = np.argsort(distances[:, cluster], kind="stable").tolist()
        chosen.append(next(place for place in order if place not in chosen))
    return np.sort(np.array(chosen))
