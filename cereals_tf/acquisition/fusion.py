"""Fusing the information and the annotation cost of regions into one score.

Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for Semantic
Segmentation", BMVC 2018, Eq. 3 to 5, as this project reads them. A higher score is annotated
first; every score is non-decreasing in information and non-increasing in cost. Only arithmetic
operators are used, so that NumPy arrays and tensors of any backend work alike.

A new fusion is a function and its entry in `FUSIONS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

Array = Any
"""A NumPy array, or an eager or symbolic tensor."""


def information_alone(information: Array, cost: Array) -> Array:
    """Return the information, whatever the cost.

    Args:
        information: float [...] >= 0.
        cost: float [...] >= 0, clicks.
    """
    return information


def ratio(information: Array, cost: Array, region_clicks: float) -> Array:
    """Return the information per click, I / (C + region_clicks) (Eq. 3).

    Args:
        information: float [...] >= 0.
        cost: float [...] >= 0, clicks.
        region_clicks: what a region takes beside its polygons, in clicks, above 0. It keeps the
            score finite where no click is expected; a tiny value would rank regions of almost no
            expected cost first, whatever their information.
    """
    return information / (cost + region_clicks)


def product(information: Array, cost: Array) -> Array:
    """Return I' (1 - C') (Eq. 4).

    Args:
        information: float [...] in [0, 1] over the pool.
        cost: float [...] in [0, 1] over the pool.

    Returns:
        Float [...] in [0, 1].
    """
    return information * (1.0 - cost)


def convex(information: Array, cost: Array, alpha: float) -> Array:
    """Return alpha I' + (1 - alpha) (1 - C') (Eq. 5).

    Args:
        information: float [...] in [0, 1] over the pool.
        cost: float [...] in [0, 1] over the pool.
        alpha: the weight of information, in [0, 1].

    Returns:
        Float [...] in [0, 1].

    Raises:
        ValueError: `alpha` is outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be in [0, 1]. Received: {alpha}")
    return alpha * information + (1.0 - alpha) * (1.0 - cost)


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

    def apply(self, values: Array) -> Array:
        """Return `values` with low mapped to 0 and high to 1, or 0 where low equals high.

        Args:
            values: float [...] in [low, high].

        Returns:
            Float [...] in [0, 1], of the dtype of `values`.
        """
        if self.high == self.low:
            return values * 0.0
        return (values - self.low) / (self.high - self.low)


UNSCALED = Scale(0.0, 1.0), Scale(0.0, 1.0)
"""The ranges of what is left as it is."""


@dataclass(frozen=True)
class Fusion:
    """A way to fuse information and cost, and the words for it.

    Attributes:
        function: maps information and cost, both float [...] >= 0, to scores float [...].
        unit: what a score is; {information} and {cost} stand for the units of these, the names
            of parameters for their values.
        help: what it is, in a few words.
        scaled: whether `function` gets both scaled to [0, 1] over the pool.
        parameters: what `function` takes besides, the names of a campaign's options.
    """

    function: Callable[..., Array]
    unit: str
    help: str
    scaled: bool = False
    parameters: tuple[str, ...] = ()

    def score(self, information: Array, cost: Array, scales: tuple[Scale, Scale]) -> Array:
        """Return the score of regions.

        Args:
            information: float [...] >= 0.
            cost: float [...] >= 0 in clicks, shaped as `information`.
            scales: the ranges of information and of cost over the pool, used where `scaled`.

        Returns:
            Float [...], larger is better.
        """
        if self.scaled:
            of_information, of_cost = scales
            information, cost = of_information.apply(information), of_cost.apply(cost)
        return self.function(information, cost)

    def with_parameters(self, values: Mapping[str, Any]) -> "Fusion":
        """Return this fusion with its parameters set to some of the values, which are by name."""
        chosen = {name: values[name] for name in self.parameters}
        unit = self.unit
        for name, value in chosen.items():
            unit = unit.replace(f"{{{name}}}", str(value))
        return replace(self, function=partial(self.function, **chosen), unit=unit, parameters=())

    def unit_of(self, information: str, cost: str) -> str:
        """Return what a score is, given what information and cost are."""
        return self.unit.replace("{information}", information).replace("{cost}", cost)


FUSIONS: dict[str, Fusion] = {
    "none": Fusion(information_alone, unit="{information}", help="information alone"),
    "ratio": Fusion(
        ratio,
        unit="{information} / ({cost} + {region_clicks})",
        help="Eq. 3",
        parameters=("region_clicks",),
    ),
    "product": Fusion(product, unit="score, 0 to 1", help="Eq. 4", scaled=True),
    "convex": Fusion(
        convex, unit="score, 0 to 1", help="Eq. 5", scaled=True, parameters=("alpha",)
    ),
}
"""The fusions by name."""
