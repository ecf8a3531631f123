"""Whether two measures put things in the same order."""

import numpy as np


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        first: float [N].
        second: float [N].

    Returns:
        A number in [-1, 1]; None where all values of an argument are equal.
    """
    deviations = [ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second))]
    norms = [np.sqrt(deviation @ deviation) for deviation in deviations]
    if not all(norms):
        return None
    return float(np.clip(deviations[0] @ deviations[1] / (norms[0] * norms[1]), -1.0, 1.0))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
