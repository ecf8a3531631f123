"""The cells of a grid beside each other: areas under their curves, and leads seed by seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from cereals_tf.campaign.savings import height_between, mean_height
from cereals_tf.reproduce.grid import BASELINES, NONE, Cell, unfused
from cereals_tf.reproduce.outcomes import Outcome, Spread

Cells = Mapping[Cell, Sequence[Outcome]]
OTHERS = (*BASELINES, NONE)
"""What a cell is compared with: random regions of its size, and its measure without fusion."""


def leads(cell: Cell, cells: Cells) -> dict[str, Spread]:
    """Return a cell's lead over each that it is compared with, by `OTHERS`, see `lead`."""
    return {name: lead(cells[cell], other) for name, other in _others(cell, cells).items()}


def leads_at_equal_clicks(cell: Cell, cells: Cells) -> dict[str, Spread]:
    """Return likewise its leads at equal clicks, see `lead_at_equal_clicks`."""
    return {
        name: lead_at_equal_clicks(cells[cell], other)
        for name, other in _others(cell, cells).items()
    }


def _others(cell: Cell, cells: Cells) -> dict[str, Sequence[Outcome]]:
    """Return what a cell is compared with; nothing in place of a cell that is missing or itself."""
    plain = unfused(cells)
    found = {name: plain.get((name, cell.size), cell) for name in BASELINES}
    found[NONE] = plain.get((cell.information, cell.size), cell)
    return {name: [] if other == cell else cells[other] for name, other in found.items()}


def shared_clicks(cells: Cells) -> tuple[float, float] | None:
    """Return from where to where all curves of mIoU over clicks are, in percent.

    Campaigns of a single round have no curve.

    Returns:
        None where there is no such part, or clicks are not known.
    """
    rounds = (outcome.rounds for outcomes in cells.values() for outcome in outcomes)
    curves = [[done.clicks_percent for done in curve] for curve in rounds if len(curve) > 1]
    known = [[share for share in curve if share is not None] for curve in curves]
    if not curves or known != curves:
        return None
    first, last = max(curve[0] for curve in known), min(curve[-1] for curve in known)
    return (first, last) if first < last else None


def area(outcomes: Sequence[Outcome], between: tuple[float, float] | None) -> Spread:
    """Return the area under a cell's curves of mIoU over clicks, over its width: a mean mIoU.

    Args:
        outcomes: The outcomes of a cell.
        between: From where to where, as `shared_clicks` has it.
    """
    if between is None:
        return Spread.of(())
    found = []
    for outcome in outcomes:
        points = [(done.clicks_percent, done.miou) for done in outcome.rounds]
        known = len(points) > 1 and not any(None in point for point in points)
        found.append(mean_height(np.array(points, float), *between) if known else None)
    return Spread.of(found)


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
