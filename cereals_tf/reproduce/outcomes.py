"""What the campaigns of a grid gave: p95 and c95 of each, mean and spread of each cell."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.savings import reached, share_of_rounds
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.reproduce.campaigns import folder_of, refuse_other
from cereals_tf.reproduce.grid import Cell, Planned

IN_PAPER = ("p95", "c95")
SAVINGS = (*IN_PAPER, "c90")
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t, the 0.975 quantile, for 1 to 30 degrees of freedom."""


@dataclass(frozen=True)
class Outcome:
    """What one campaign gave.

    Attributes:
        planned: The campaign.
        rounds: What each of its rounds gave.
        reference_miou: mIoU of its repeat's reference; None: not there yet.
        p95: Percent of pixels that reached 95 % of the reference's mIoU; None: not reached.
        c95: Percent of clicks, likewise.
    """

    planned: Planned
    rounds: Sequence[Metrics]
    reference_miou: float | None
    p95: float | None
    c95: float | None

    @property
    def c90(self) -> float | None:
        """Percent of clicks that reached 90 % of the reference's mIoU, as c95 has 95 %."""
        if self.reference_miou is None:
            return None
        clicks = [metrics.clicks_percent for metrics in self.rounds]
        return share_of_rounds(0.9 * self.reference_miou, self.rounds, clicks)

    @property
    def seconds(self) -> float:
        """Computing time of its rounds, a round 0 that another campaign shares included."""
        return sum(metrics.total_seconds for metrics in self.rounds)

    @property
    def is_complete(self) -> bool:
        """Whether p95 and c95 are final: reached, or all rounds are there, and the reference."""
        enough = len(self.rounds) >= self.planned.rounds or self.p95 is not None
        return self.reference_miou is not None and enough


@dataclass(frozen=True)
class Spread:
    """Mean and spread over the repeats that have a value.

    Attributes:
        mean: Their mean.
        deviation: Their standard deviation (of the sample, n - 1); None for a single one.
        count: How many have a value.
        repeats: How many there are.
    """

    mean: float | None
    deviation: float | None
    count: int
    repeats: int

    @property
    def interval(self) -> float | None:
        """Half the width of the mean's 95 % confidence interval, by Student's t; None for one."""
        if self.deviation is None:
            return None
        freedom = min(self.count - 1, len(STUDENT))
        return STUDENT[freedom - 1] * self.deviation / math.sqrt(self.count)

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread":
        """Summarise one value a repeat."""
        everything = list(values)
        known = [value for value in everything if value is not None]
        mean = float(np.mean(known)) if known else None
        deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
        return cls(mean, deviation, len(known), len(everything))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**vars(self), "interval": self.interval}


def read_outcomes(
    out: Path, data: PreparedData, planned: Sequence[Planned], split: str = "val"
) -> list[Outcome]:
    """Read what the campaigns of a grid gave so far, those of no round left out.

    Args:
        out: The grid's folder.
        data: The data set.
        planned: The campaigns.
        split: Whose mIoU counts, `val` or `test`.

    Raises:
        UserError: A campaign's folder holds another campaign, or is damaged.
    """
    rounds = {
        one.name: [metrics.on(split) for metrics in _metrics(out, data, one)] for one in planned
    }
    references = {
        one.repeat: rounds[one.name][0].miou or 0.0
        for one in planned
        if one.cell is None and rounds[one.name]
    }
    return [
        _outcome(one, rounds[one.name], references.get(one.repeat))
        for one in planned
        if rounds[one.name]
    ]


def _metrics(out: Path, data: PreparedData, one: Planned) -> list[Metrics]:
    folder = folder_of(out, one)
    if not folder.exists():
        return []
    campaign = Campaign.open(folder)
    refuse_other(campaign, data, one)
    return [done.metrics for done in campaign.rounds()[: one.rounds]]


def _outcome(one: Planned, rounds: Sequence[Metrics], reference: float | None) -> Outcome:
    if not reference:
        return Outcome(one, rounds, reference, None, None)
    return Outcome(one, rounds, reference, **reached(reference, rounds))


def by_cell(outcomes: Iterable[Outcome]) -> dict[Cell, list[Outcome]]:
    """Return the outcomes of each cell, repeat by repeat; those of references left out."""
    cells: dict[Cell, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.planned.cell is not None:
            cells.setdefault(outcome.planned.cell, []).append(outcome)
    return cells


def savings_of(outcomes: Sequence[Outcome]) -> dict[str, Spread]:
    """Return p95, c95 and c90 of a cell over its complete campaigns."""
    complete = [outcome for outcome in outcomes if outcome.is_complete]
    return {name: Spread.of(getattr(outcome, name) for outcome in complete) for name in SAVINGS}


def round_by_round(outcomes: Sequence[Outcome]) -> list[dict[str, Spread]]:
    """Return mIoU and annotated shares of a cell after each round that all its campaigns have."""
    together = min(len(outcome.rounds) for outcome in outcomes)
    keys = ("pixels_percent", "clicks_percent", "miou")
    return [
        {
            key: Spread.of(getattr(outcome.rounds[number], key) for outcome in outcomes)
            for key in keys
        }
        for number in range(together)
    ]
