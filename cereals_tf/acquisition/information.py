"""Information measures: how much a label at an output position would tell the model.

A measure maps the class probabilities of a committee, float [E, ..., C], to information,
float32 [...]. The first axis is the committee (E = 1 for a single deterministic pass), the last
one the classes, and each distribution sums to 1. Arithmetic is float32 whatever the input, the
logarithm is natural, 0 log 0 is 0, and a larger value always means a more informative position.
Where a member's distribution is NaN the information is NaN, so that a model that has diverged
does not pass for a certain one.
"Eq." refers to Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for
Semantic Segmentation", BMVC 2018.

A new measure is a function and its entry in `MEASURES`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Tensor = Any
"""Anything `keras.ops` accepts: a NumPy array, or an eager or symbolic tensor of the backend."""


class _KerasOps:
    """`keras.ops`, imported when it is first used: the command line needs the words alone."""

    def __getattr__(self, name: str) -> Any:
        from keras import ops

        return getattr(ops, name)


ops = _KerasOps()


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of the committee's mean distribution (Eq. 1 where E = 1).

    Args:
        probabilities: float [E, ..., C] in [0, 1].

    Returns:
        float32 [...] in [0, log C].
    """
    return _entropy(_mean_distribution(probabilities))


def vote_entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of the members' votes (Eq. 2).

    A member votes for its most probable class, among equals for the one with the lowest id.

    Args:
        probabilities: float [E, ..., C] in [0, 1], or logits, as their order alone matters.

    Returns:
        float32 [...] in [0, log min(E, C)].
    """
    probabilities = _float32(probabilities)
    classes = ops.shape(probabilities)[-1]
    winning = probabilities == ops.max(probabilities, axis=-1, keepdims=True)
    votes = ops.min(ops.where(winning, ops.arange(classes), classes), axis=-1)
    information = _entropy(ops.mean(ops.one_hot(votes, classes, dtype="float32"), axis=0))
    return ops.where(ops.all(votes < classes, axis=0), information, math.nan)


def bald(probabilities: Tensor) -> Tensor:
    """Return the mutual information of the label and the committee member (BALD).

    The entropy of the mean distribution less the mean entropy of the members: Houlsby et al.,
    "Bayesian Active Learning for Classification and Preference Learning", 2011.

    Args:
        probabilities: float [E, ..., C] in [0, 1].

    Returns:
        float32 [...] in [0, log min(E, C)].
    """
    expected = ops.mean(_entropy(_float32(probabilities)), axis=0)
    return ops.maximum(entropy(probabilities) - expected, 0.0)


def margin(probabilities: Tensor) -> Tensor:
    """Return 1 less the lead of the most probable class over the second (of the mean).

    Args:
        probabilities: float [E, ..., C] in [0, 1], C >= 2.

    Returns:
        float32 [...] in [0, 1].
    """
    best, _ = ops.top_k(_mean_distribution(probabilities), 2)
    return 1.0 - (best[..., 0] - best[..., 1])


def least_confidence(probabilities: Tensor) -> Tensor:
    """Return 1 less the probability of the most probable class (of the mean distribution).

    Args:
        probabilities: float [E, ..., C] in [0, 1].

    Returns:
        float32 [...] in [0, 1 - 1 / C].
    """
    return 1.0 - ops.max(_mean_distribution(probabilities), axis=-1)


def random_windows(seed: int, key: int, shape: tuple[int, int]) -> "np.ndarray":
    """Return the information of an image's candidate windows under the random baseline.

    One independent number per window, not a sum over positions: sums of overlapping windows are
    alike, and near a labelled region or the image border they have fewer or more terms, so that
    the windows would not be equally likely.

    Args:
        seed: the round's seed, >= 0.
        key: what tells the image from the others, e.g. its index in the pool, >= 0.
        shape: (rows, columns) of the grid of windows.

    Returns:
        float32 [rows, columns], uniform in [0, 1), always the same for equal arguments.
    """
    import numpy as np

    return np.random.default_rng([seed, key]).random(shape, dtype=np.float32)


@dataclass(frozen=True)
class Measure:
    """An information measure, and the words for it.

    Attributes:
        function: maps probabilities float [E, ..., C] to information float32 [...] >= 0.
        unit: what its values are.
        help: what it is, in a few words.
        needs_committee: whether it is 0 everywhere for a committee of one.
        accepts_logits: whether `function` maps logits to the same as their softmax.
        of_windows: whether it ranks windows instead of positions, whatever a model predicts;
            `function` is then one like `random_windows`.
        of_tiles: whether the tiles of a grid are drawn in their place, and nothing is scored.
    """

    function: Callable[..., Any]
    unit: str
    help: str
    needs_committee: bool = False
    accepts_logits: bool = False
    of_windows: bool = False
    of_tiles: bool = False


MEASURES: dict[str, Measure] = {
    "entropy": Measure(entropy, unit="nats", help="Eq. 1"),
    "vote_entropy": Measure(
        vote_entropy, unit="nats", help="Eq. 2", needs_committee=True, accepts_logits=True
    ),
    "bald": Measure(bald, unit="nats", help="mutual information", needs_committee=True),
    "margin": Measure(margin, unit="1 - margin", help="of the two best classes"),
    "least_confidence": Measure(least_confidence, unit="1 - confidence", help="of the best class"),
    "random": Measure(
        random_windows,
        unit="0 to 1",
        help="any window, mostly of an image's middle",
        of_windows=True,
    ),
    "random_grid": Measure(
        random_windows,
        unit="0 to 1",
        help="the baseline that covers all pixels alike, the tiles of a grid",
        of_windows=True,
        of_tiles=True,
    ),
}
"""The measures by name."""


def _float32(probabilities: Tensor) -> Tensor:
    return ops.cast(probabilities, "float32")


def _mean_distribution(probabilities: Tensor) -> Tensor:
    return ops.mean(_float32(probabilities), axis=0)


def _entropy(distribution: Tensor) -> Tensor:
    """Return the entropy over the last axis; rounding never makes it negative."""
    logarithm = ops.log(ops.where(distribution == 0, 1.0, distribution))
    return ops.maximum(-ops.sum(distribution * logarithm, axis=-1), 0.0)
