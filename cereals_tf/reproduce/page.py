"""The page of a grid: one HTML file with its conclusion, tables and curves inside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cereals_tf.report.figures import raster
from cereals_tf.report.page import render
from cereals_tf.report.pictures import chart_uri
from cereals_tf.report.tables import Bar, Column, Table, duration
from cereals_tf.reproduce.comparison import OTHERS, Cells, leads_at_equal_clicks
from cereals_tf.reproduce.conclusion import conclusion, sign
from cereals_tf.reproduce.grid import NONE
from cereals_tf.reproduce.outcomes import Outcome, Spread, by_cell
from cereals_tf.reproduce.table import NOTES, interval_text, tables
from cereals_tf.reproduce.table import Table as TextTable

AXES = ("annotated pixels", "annotated clicks")


def grid_page(
    name: str,
    outcomes: Sequence[Outcome],
    planned: int,
    figures: Mapping[str, Figure],
    described: Mapping[str, Any],
) -> str:
    """Return the page, complete in itself.

    Args:
        name: What the grid is called.
        outcomes: What its campaigns gave so far.
        planned: How many campaigns it has.
        figures: Its curves, as `grid_curves` draws them.
        described: The grid, as grid.json has it.
    """
    cells = by_cell(outcomes)
    complete = sum(len(each.rounds) >= each.planned.rounds for each in outcomes)
    content = {
        "name": name,
        "headline": _headline(outcomes, cells, f"{complete} of {planned}", described["split"]),
        "sentences": {
            term: " ".join(words) for term, words in conclusion(cells, planned - complete).items()
        },
        "leads": _leads_table(cells),
        "tables": [_shown(made, number) for number, made in enumerate(tables(cells), start=1)],
        "notes": NOTES,
        "charts": [chart for title, figure in figures.items() for chart in _charts(title, figure)],
        "options": {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in {**described, **described["options"]}.items()
            if name != "options"
        },
        "versions": outcomes[-1].rounds[-1].versions if outcomes else {},
    }
    return render(content, "grid.html")


def _headline(
    outcomes: Sequence[Outcome], cells: Cells, complete: str, split: str
) -> list[tuple[str, str]]:
    references = Spread.of(
        outcome.rounds[0].miou for outcome in outcomes if outcome.planned.cell is None
    )
    reached = "-" if references.mean is None else f"{references.mean:.3f}"
    return [
        (str(len(cells)), "cells"),
        (complete, "campaigns complete"),
        (reached, f"mIoU on {split} with everything annotated"),
        (duration(sum(outcome.seconds for outcome in outcomes)), "of computing"),
    ]


def _leads_table(cells: Cells) -> Table | None:
    """Return the leads at equal clicks as bars, the largest over the fair baseline first."""
    found = {cell: leads_at_equal_clicks(cell, cells) for cell in cells}
    there = [name for name in OTHERS if any(leads[name].count for leads in found.values())]
    if not there:
        return None
    ends = [
        end
        for leads in found.values()
        for name in there
        if (mean := leads[name].mean) is not None
        for end in (mean - (leads[name].interval or 0), mean + (leads[name].interval or 0))
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    rows = [
        [cell.title, *(_bar(leads[name], low, high) for name in there)]
        for cell, leads in sorted(
            found.items(), key=lambda item: -(item[1][there[0]].mean or -np.inf)
        )
        if any(leads[name].count for name in there)
    ]
    columns = [Column("campaign")]
    columns += [Column(f"over {'no fusion' if name == NONE else name}", "mIoU") for name in there]
    return Table("leads-table", columns, rows)


def _bar(lead: Spread, low: float, high: float) -> Bar | str:
    """Return a lead with its interval as it lies between two ends."""
    if lead.mean is None:
        return "-"
    half, width = lead.interval or 0.0, high - low or 1.0
    begin, middle, end, zero = (
        (place - low) / width for place in (lead.mean - half, lead.mean, lead.mean + half, 0.0)
    )
    return Bar(interval_text(lead), begin, middle, end, zero, sign(lead))


def _shown(made: TextTable, number: int) -> dict[str, Any]:
    columns = [Column(heading) for heading in made.header]
    return {"title": made.title, "table": Table(f"table-{number}", columns, made.rows)}


def _charts(title: str, figure: Figure) -> list[dict[str, str]]:
    charts = np.array_split(raster(figure), len(AXES), axis=1)
    return [
        {"source": chart_uri(chart), "description": f"mIoU over {axis}: {title}"}
        for chart, axis in zip(charts, AXES, strict=True)
    ]
