"""Fusing the information and the annotation cost of regions into one score.

Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for Semantic
Segmentation", BMVC 2018, Eq. 3 to 5, as this project reads them. A higher score is annotated
first; every score is non-decreasing in information and non-increasing in cost. Only arithmetic
operators are used, so that NumPy arrays and tensors of any backend work alike.
"""

from dataclasses import dataclass
from typing import Any

KINDS = ("none", "ratio", "product", "convex")
"""The names that `fuse` knows."""

SCALED = ("product", "convex")
"""Those that use the ranges over the pool."""

EPSILON = 1.0
"""Clicks added to a region's cost in `ratio`.

Region costs are tens to hundreds of clicks, so one click hardly moves their order. It keeps the
score finite where no click is expected, and it stands for the least that an annotator does in
any region: say which class it is. A tiny value would instead rank regions of almost no expected
cost first, whatever their information.
"""


@dataclass(frozen=True)
class Scale:
    """The range of a quantity over the pool, for scaling to [0, 1].

    Both ends may be scalar tensors, inside `tf.function` too: AutoGraph makes their comparison a
    part of the graph (it would not in the methods of a named tuple).

    Attributes:
        low: the smallest value in the pool.
        high: the largest value in the pool.
    """

    low: Any
    high: Any

    def apply(self, values: Any) -> Any:
        """Return `values` with low mapped to 0 and high to 1, or 0 where low equals high.

        Args:
            values: float [...] in [low, high].

        Returns:
            Float [...] in [0, 1], of the dtype of `values`.
        """
        if self.high == self.low:
            return values * 0.0
        return (values - self.low) / (self.high - self.low)


def fuse(
    kind: str,
    information: Any,
    cost: Any,
    information_scale: Scale,
    cost_scale: Scale,
    alpha: float,
) -> Any:
    """Return the score of regions.

    With I' and C' the information and the cost scaled to [0, 1] over the pool:
    `none` is I, `ratio` (Eq. 3) is I / (C + EPSILON), `product` (Eq. 4) is I' (1 - C'), and
    `convex` (Eq. 5) is alpha I' + (1 - alpha) (1 - C').

    Args:
        kind: one of KINDS.
        information: float [...] >= 0.
        cost: float [...] >= 0 in clicks, shaped as `information`.
        information_scale: the range of information over the pool, for `product` and `convex`.
        cost_scale: the range of cost over the pool, for `product` and `convex`.
        alpha: the weight of information in `convex`, in [0, 1].

    Returns:
        Float [...], larger is better: in [0, 1] for `product` and `convex`.

    Raises:
        ValueError: `kind` is unknown, or `alpha` is outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be in [0, 1]. Received: {alpha}")
    if kind == "none":
        return information
    if kind == "ratio":
        return information / (cost + EPSILON)
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: {kind!r}")
    gain = information_scale.apply(information)
    saving = 1.0 - cost_scale.apply(cost)
    if kind == "product":
        return gain * saving
    return alpha * gain + (1.0 - alpha) * saving
