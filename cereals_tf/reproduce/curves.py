"""Curves of a grid: mIoU over annotated pixels and over annotated clicks, with the spread."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cereals_tf.campaign.savings import TARGET_SHARE
from cereals_tf.report.figures import CURVES, MUTED, WIDTH
from cereals_tf.reproduce.grid import BASELINES, NONE, Cell, unfused
from cereals_tf.reproduce.results import Outcome, Spread, round_by_round

Cells = Mapping[Cell, Sequence[Outcome]]
HEIGHT = 3.6
STYLES = ("o-", "s--", "^:")
COSTS = {"gt": "true costs", "est": "estimated costs"}
AXES = {"pixels_percent": "annotated pixels, %", "clicks_percent": "annotated clicks, %"}


def grid_curves(cells: Cells, references: Sequence[float]) -> Figure:
    """Draw a row of two charts for each size of regions, and for each measure fused with each cost.

    Fusions are seen beside the same measure without fusion and beside random regions of their size.
    A line runs through the means over the repeats, round by round; its band is one standard
    deviation of the mIoU to either side.

    Args:
        cells: The outcomes of each cell.
        references: mIoU of the reference models; their mean times the target share is drawn.
    """
    groups = _groups(cells)
    figure = Figure(figsize=(WIDTH, HEIGHT * len(groups)), layout="constrained")
    rows = figure.subplots(len(groups), 2, squeeze=False, sharey=True)
    for row, (title, lines) in zip(rows, groups.items(), strict=True):
        for chart, (key, label) in zip(row, AXES.items(), strict=True):
            for number, (name, cell) in enumerate(lines.items()):
                _draw(chart, key, name, round_by_round(cells[cell]), number)
            if references:
                target = TARGET_SHARE * float(np.mean(references))
                chart.axhline(target, color=MUTED, linestyle="--", linewidth=1)
            chart.set(xlabel=label, title=title)
            chart.set_xlim(left=0)
            chart.spines[["top", "right"]].set_visible(False)
            chart.grid(alpha=0.25)
        row[0].set_ylabel("mIoU on val")
        row[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
    return figure


def _groups(cells: Cells) -> dict[str, dict[str, Cell]]:
    """Return the lines of each row of charts, by title and by the line's name."""
    plain = unfused(cells)
    groups: dict[str, dict[str, Cell]] = {}
    for cell in plain.values():
        groups.setdefault(f"regions {cell.region}", {})[cell.information] = cell
    fused: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.fusion.kind != NONE:
            title = f"{cell.information} fused with {COSTS[cell.cost]}, regions {cell.region}"
            fused.setdefault(title, []).append(cell)
    for title, members in fused.items():
        lines = {NONE: plain.get((members[0].information, members[0].size))}
        lines |= {str(cell.fusion): cell for cell in members}
        lines |= {name: plain.get((name, members[0].size)) for name in BASELINES}
        groups[title] = {name: cell for name, cell in lines.items() if cell}
    return groups


def _draw(
    chart: Axes, key: str, name: str, rounds: Sequence[Mapping[str, Spread]], number: int
) -> None:
    cycle, place = divmod(number, len(CURVES))
    colour, style = CURVES[place], STYLES[cycle % len(STYLES)]
    points = [part for part in rounds if part[key].mean is not None]
    x = np.array([part[key].mean for part in points])
    y = np.array([part["miou"].mean or 0.0 for part in points])
    deviation = np.array([part["miou"].deviation or 0.0 for part in points])
    chart.plot(x, y, style, color=colour, linewidth=1.8, markersize=4, label=name)
    chart.fill_between(x, y - deviation, y + deviation, color=colour, alpha=0.15, linewidth=0)
