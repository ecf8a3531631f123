"""Composing a batch: in which order a pool's regions are taken, given the score of each alone.

The regions that are best alone are often alike, and a batch of them tells the model less than their
scores promise. A new way to compose a batch is an entry in `SELECTIONS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from cereals_tf.acquisition.selection import Windows


def by_score(windows: "Windows") -> "np.ndarray":
    """Return the scores themselves: the best region goes first."""
    return windows.score


def power(windows: "Windows") -> "np.ndarray":
    """Return the scores, each divided by a number from the exponential distribution.

    The order is that of log score + G with Gumbel noise G: the next region is drawn with a chance
    proportional to its score, of those that are left. Kirsch et al., "Stochastic Batch Acquisition:
    A Simple Baseline for Deep Active Learning", 2021, power acquisition with beta = 1.

    Args:
        windows: an image's windows, with lots; scores below 0 count as 0.
    """
    import numpy as np

    assert windows.lots is not None
    return np.maximum(windows.score, 0) / windows.lots.exponential(windows.score.shape)


def by_class(windows: "Windows") -> "np.ndarray":
    """Return the class that most of a window's positions are predicted to be."""
    assert windows.classes is not None
    return windows.classes.astype("int64")


@dataclass(frozen=True)
class Composition:
    """A way to compose a batch, and the words for it.

    Attributes:
        help: what it is, in a few words.
        rank: maps an image's windows to what decides among them, float [rows, columns]: higher
            goes first, and suppresses what it overlaps.
        lists: maps an image's windows to the list that each is in, int [rows, columns] >= 0;
            regions are taken in turn from all lists. None: there is one list.
        draws_lots: whether windows have lots, which settle ties; else id and place do.
        needs_classes: whether windows have predicted classes.
    """

    help: str
    rank: Callable[["Windows"], "np.ndarray"] = by_score
    lists: Callable[["Windows"], "np.ndarray"] | None = None
    draws_lots: bool = True
    needs_classes: bool = False


SELECTIONS: dict[str, Composition] = {
    "best": Composition("best first"),
    "power": Composition("drawn in proportion to the score", rank=power),
    "stratified": Composition(
        "in turn from a list for each predicted class", lists=by_class, needs_classes=True
    ),
    "by_id": Composition("best first, ties by image id, as version 0.1", draws_lots=False),
}
"""The ways to compose a batch, by name."""


def compose(names: Sequence[str]) -> Composition:
    """Return a way to compose a batch, or of two, the rank of one and the lists of the other.

    Args:
        names: Of `SELECTIONS`.

    Raises:
        ValueError: These are no such names, or no two of these kinds.
    """
    if not set(names) <= SELECTIONS.keys():
        raise ValueError(f"one of {', '.join(SELECTIONS)}, or two joined by +")
    parts = [SELECTIONS[name] for name in names]
    if len(parts) == 1:
        return parts[0]
    ranked = [part for part in parts if part.rank is not by_score and part.lists is None]
    listed = [part for part in parts if part.rank is by_score and part.lists is not None]
    if len(parts) != 2 or len(ranked) != 1 or len(listed) != 1:
        raise ValueError("one that draws and one of several lists, as power+stratified")
    (first,), (second,) = ranked, listed
    return Composition(
        f"{first.help}, {second.help}",
        rank=first.rank,
        lists=second.lists,
        needs_classes=first.needs_classes or second.needs_classes,
    )
