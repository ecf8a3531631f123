"""What a grid gave, as rows and as one object."""

from collections.abc import Mapping, Sequence
from typing import Any

from cereals_tf.campaign.savings import TARGET_SHARE
from cereals_tf.reproduce.comparison import (
    Cells,
    area,
    leads,
    leads_at_equal_clicks,
    shared_clicks,
)
from cereals_tf.reproduce.grid import Cell
from cereals_tf.reproduce.outcomes import (
    IN_PAPER,
    Outcome,
    Spread,
    by_cell,
    round_by_round,
    savings_of,
)
from cereals_tf.reproduce.paper import paper_value


def to_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything as one JSON object: campaigns, and cells with mean and spread."""
    cells = by_cell(outcomes)
    between = shared_clicks(cells)
    return {
        "target_share": TARGET_SHARE,
        "area_from_to": between,
        "campaigns": [_row(outcome) for outcome in outcomes],
        "cells": [
            {
                **_cell(cell),
                **_to_json(_summary(cell, cells, between)),
                "paper": {name: paper_value(cell, name) for name in IN_PAPER},
                "rounds": [_to_json(part) for part in round_by_round(found)],
            }
            for cell, found in cells.items()
        ],
    }


def _to_json(figures: Mapping[str, Spread]) -> dict[str, Any]:
    return {name: spread.to_json() for name, spread in figures.items()}


def _summary(cell: Cell, cells: Cells, between: tuple[float, float] | None) -> dict[str, Spread]:
    after, equal = leads(cell, cells), leads_at_equal_clicks(cell, cells)
    return {
        **savings_of(cells[cell]),
        **{f"lead_over_{name}": spread for name, spread in after.items()},
        **{f"lead_at_equal_clicks_over_{name}": spread for name, spread in equal.items()},
        "area": area(cells[cell], between),
        "seconds": Spread.of(outcome.seconds for outcome in cells[cell]),
    }


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
        "seconds": round(outcome.seconds, 1),
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
    between = shared_clicks(cells)
    return [_cell_row(cell, cells, between) for cell in cells]


def _cell_row(cell: Cell, cells: Cells, between: tuple[float, float] | None) -> dict[str, Any]:
    rounds = round_by_round(cells[cell])
    row = {**_cell(cell), "repeats": len(cells[cell]), "rounds": len(rounds)}
    for name, spread in {**_summary(cell, cells, between), **rounds[-1]}.items():
        row[name] = spread.mean
        row[f"{name}_deviation"] = spread.deviation
        row[f"{name}_interval"] = spread.interval
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
