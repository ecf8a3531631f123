"""What a grid gave: p95 and c95 of each campaign, mean and spread of each cell."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.savings import TARGET_SHARE, reached, share_of_rounds
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.reproduce.campaigns import folder_of, refuse_other
from cereals_tf.reproduce.grid import BASELINES, Cell, Planned, unfused
from cereals_tf.reproduce.paper import paper_value

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


def leads(cell: Cell, cells: Mapping[Cell, Sequence[Outcome]]) -> dict[str, Spread]:
    """Return a cell's lead over each baseline's regions of its size, see `lead`."""
    return {name: lead(cells[cell], other) for name, other in _baselines(cell, cells).items()}


def areas(cell: Cell, cells: Mapping[Cell, Sequence[Outcome]]) -> dict[str, Spread]:
    """Return a cell's lead at equal clicks over each baseline, see `lead_at_equal_clicks`."""
    return {
        name: lead_at_equal_clicks(cells[cell], other)
        for name, other in _baselines(cell, cells).items()
    }


def _baselines(cell: Cell, cells: Mapping[Cell, Sequence[Outcome]]) -> dict[str, Sequence[Outcome]]:
    """Return the baselines of regions of a cell's size, of which it has none beside itself."""
    plain = unfused(cells)
    others = {name: plain.get((name, cell.size), cell) for name in BASELINES}
    return {name: [] if other == cell else cells[other] for name, other in others.items()}


def lead_at_equal_clicks(outcomes: Sequence[Outcome], baseline: Sequence[Outcome]) -> Spread:
    """Return by how much a cell's curve of mIoU over clicks is above another's, seed by seed.

    Args:
        outcomes: The outcomes of a cell.
        baseline: Those of the other cell.
    """
    others = {outcome.planned.repeat: outcome.rounds for outcome in baseline}
    return Spread.of(
        height
        for outcome in outcomes
        if outcome.planned.repeat in others
        and (height := height_between(outcome.rounds, others[outcome.planned.repeat])) is not None
    )


def height_between(rounds: Sequence[Metrics], others: Sequence[Metrics]) -> float | None:
    """Return the mean height between two curves of mIoU over clicks, where both are.

    That is the area between them over its width. Between rounds both run along straight lines.

    Args:
        rounds: What each round of one campaign gave.
        others: Likewise of the other one.

    Returns:
        None where clicks or mIoU are not known, or the curves share no width.
    """
    curves = [[(done.clicks_percent, done.miou) for done in part] for part in (rounds, others)]
    if any(None in point for curve in curves for point in curve):
        return None
    (own, mious), (their, their_mious) = (np.array(curve, float).T for curve in curves)
    first, last = max(own[0], their[0]), min(own[-1], their[-1])
    if not first < last:
        return None
    inside = [clicks[(first < clicks) & (clicks < last)] for clicks in (own, their)]
    places = np.unique(np.concatenate([[first, last], *inside]))
    heights = np.interp(places, own, mious) - np.interp(places, their, their_mious)
    area = np.diff(places) @ (heights[1:] + heights[:-1]) / 2
    return float(area / (last - first))


def lead(outcomes: Sequence[Outcome], baseline: Sequence[Outcome]) -> Spread:
    """Return by how much the mIoU of a cell is above another's, seed by seed.

    Campaigns of one seed start from the same round 0: pairs of them differ less by chance than the
    cells' means do.

    Args:
        outcomes: The outcomes of a cell, compared after the last round that all of them have.
        baseline: Those of the other cell. Repeats of which it lacks that round are left out.
    """
    last = min(len(outcome.rounds) for outcome in outcomes) - 1
    others = {
        outcome.planned.repeat: outcome.rounds[last].miou
        for outcome in baseline
        if len(outcome.rounds) > last
    }
    pairs = (
        (outcome.rounds[last].miou, others[outcome.planned.repeat])
        for outcome in outcomes
        if outcome.planned.repeat in others
    )
    return Spread.of(own - other for own, other in pairs if own is not None and other is not None)


def to_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything as one JSON object: campaigns, and cells with mean and spread."""
    cells = by_cell(outcomes)
    return {
        "target_share": TARGET_SHARE,
        "campaigns": [_row(outcome) for outcome in outcomes],
        "cells": [
            {
                **_cell(cell),
                **{name: vars(spread) for name, spread in _summary(cell, cells).items()},
                "paper": {name: paper_value(cell, name) for name in IN_PAPER},
                "rounds": [
                    {key: vars(spread) for key, spread in part.items()}
                    for part in round_by_round(found)
                ],
            }
            for cell, found in cells.items()
        ],
    }


def _summary(cell: Cell, cells: Mapping[Cell, Sequence[Outcome]]) -> dict[str, Spread]:
    over = {f"lead_over_{name}": spread for name, spread in leads(cell, cells).items()}
    area = {
        f"lead_at_equal_clicks_over_{name}": spread for name, spread in areas(cell, cells).items()
    }
    return {**savings_of(cells[cell]), **over, **area}


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.planned.name,
        **_cell(outcome.planned.cell),
        "repeat": outcome.planned.repeat,
        "seed": outcome.planned.options.seed,
        "complete": outcome.is_complete,
        "reference_miou": outcome.reference_miou,
        "p95": outcome.p95,
        "c95": outcome.c95,
        "c90": outcome.c90,
        "rounds": [
            {
                key: getattr(metrics, key)
                for key in ("round", "miou", "pixels_percent", "clicks_percent")
            }
            for metrics in outcome.rounds
        ],
    }


def _cell(cell: Cell | None) -> dict[str, Any]:
    if cell is None:
        return {"information": None, "region": None, "size": None, "fusion": None, "cost": None}
    return {
        "information": cell.information,
        "region": cell.region,
        "size": cell.size,
        "fusion": str(cell.fusion),
        "cost": cell.cost or None,
    }


def cell_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each cell: mean, deviation and count of its figures, and the paper's."""
    cells = by_cell(outcomes)
    return [_cell_row(cell, cells) for cell in cells]


def _cell_row(cell: Cell, cells: Mapping[Cell, Sequence[Outcome]]) -> dict[str, Any]:
    rounds = round_by_round(cells[cell])
    row = {**_cell(cell), "repeats": len(cells[cell]), "rounds": len(rounds)}
    for name, spread in {**_summary(cell, cells), **rounds[-1]}.items():
        row[name] = spread.mean
        row[f"{name}_deviation"] = spread.deviation
        row[f"{name}_count"] = spread.count
    return row | {f"{name}_paper": paper_value(cell, name) for name in IN_PAPER}


def round_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each round of each campaign."""
    rows = []
    for outcome in outcomes:
        campaign = _row(outcome)
        rounds = campaign.pop("rounds")
        rows += [{**campaign, **part} for part in rounds]
    return rows
