"""What a round's regions were estimated to take, beside what they took."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.options import Options


class Bill(NamedTuple):
    """The account of a round's regions, in clicks or in seconds.

    Attributes:
        estimated: What they were expected to take when they were chosen.
        true: What they took.
        rank_correlation: Spearman's, of estimate and truth among them, -1 to 1; None where either
            is the same for all.
    """

    estimated: float
    true: float
    rank_correlation: float | None


def bill_of(regions: Sequence[Annotated], options: Options) -> Bill | None:
    """Return the bill of regions; None where none of them was chosen by a model and measured.

    Args:
        regions: Regions of one round.
        options: Of the round.
    """
    pairs = bills_of(regions, options)
    if not pairs:
        return None
    estimated, true = np.array(pairs, float).T
    return Bill(float(estimated.sum()), float(true.sum()), rank_correlation(estimated, true))


def correction(bills: Sequence[Bill]) -> float:
    """Return what the estimates of the next round's chosen regions are to be multiplied by.

    Those that are chosen are above all those whose cost is underestimated. The factor is the root
    of what, by all these bills, it should have been: estimates grow better from round to round,
    so that all of it would be too much, and a round of few regions is no measure.

    Args:
        bills: What is known, each estimate without a factor.
    """
    estimated, true = sum(bill.estimated for bill in bills), sum(bill.true for bill in bills)
    return math.sqrt(true / estimated) if estimated and true else 1.0


def bills_so_far(rounds: Sequence[Metrics]) -> list[Bill]:
    """Return the bills of rounds, as they were estimated before any factor."""
    return [
        Bill(done.bill_estimated / done.bill_factor, done.bill_true, done.cost_rank_correlation)
        for done in rounds
        if done.bill_estimated and done.bill_true
    ]


def bills_of(regions: Sequence[Annotated], options: Options) -> list[tuple[float, float]]:
    """Return what regions were expected to take and took, of those of which both are known."""
    unit = options.cost_unit
    return [
        (options.bill(region.chosen.cost, unit), taken)
        for region in regions
        if region.chosen.cost is not None and (taken := _taken(region, options)) is not None
    ]


def _taken(region: Annotated, options: Options) -> float | None:
    if options.cost_unit == "seconds":
        return region.seconds
    if region.assisted:
        return None
    return region.bill(options)
