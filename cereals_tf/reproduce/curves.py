"""Curves of a grid: mIoU over annotated pixels and over annotated clicks, with the spread."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cereals_tf.campaign.savings import TARGET_SHARE
from cereals_tf.report.figures import CURVES, INK, MUTED, WIDTH, plain
from cereals_tf.reproduce.comparison import Cells
from cereals_tf.reproduce.grid import BASELINES, NONE, Cell, unfused
from cereals_tf.reproduce.outcomes import Spread, round_by_round

HEIGHT = 4.0
MOST_LINES = 5
"""Of a chart, besides those that all are compared with."""
MOST_BANDS = 4
"""Of a chart; where it has more lines they would hide each other."""
LEGEND_COLUMNS = 3
COLOURS = (*CURVES[: MOST_LINES - 1], "#b08900")
COMPARED: dict[str, dict[str, Any]] = {
    NONE: {"color": INK, "linestyle": "-", "marker": "o"},
    "random_grid": {"color": MUTED, "linestyle": "--", "marker": "s"},
    "random": {"color": MUTED, "linestyle": ":", "marker": "^"},
}
"""How the lines look that others are compared with."""
COSTS = {"gt": "true costs", "est": "estimated costs"}
AXES = {"pixels_percent": "annotated pixels, %", "clicks_percent": "annotated clicks, %"}


def grid_curves(cells: Cells, references: Sequence[float], split: str = "val") -> dict[str, Figure]:
    """Draw two charts for each size of regions, and for each measure fused with each cost.

    Fusions are seen beside the same measure without fusion and beside random regions of their size.
    A line runs through the means over the repeats, round by round; its band, where there are few
    lines, is one standard deviation of the mIoU to either side. What does not fit into one figure
    has several.

    Args:
        cells: The outcomes of each cell.
        references: mIoU of the reference models; their mean times the target share is drawn.
        split: Whose mIoU it is.

    Returns:
        Figures of two charts side by side, in parts of equal width, by their titles.
    """
    target = TARGET_SHARE * float(np.mean(references)) if references else None
    bands = [
        height
        for found in cells.values()
        for part in round_by_round(found)
        if part["miou"].mean is not None
        for height in _band(part["miou"])
    ]
    heights = [*bands, *([target] if target is not None else [])]
    margin = 0.08 * (max(heights) - min(heights) or 1) if heights else 0
    limits = (min(heights) - margin, max(heights) + margin) if heights else (0, 1)
    figures = {}
    for title, lines in _groups(cells):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        parts = figure.add_gridspec(1, len(AXES))
        for place, (key, label) in enumerate(AXES.items()):
            part = figure.add_subfigure(parts[0, place])
            chart = part.subplots()
            _draw_lines(chart, key, cells, lines)
            if target is not None:
                chart.axhline(target, color=MUTED, linestyle="-.", linewidth=1)
            chart.set(xlabel=label, ylabel=f"mIoU on {split}", ylim=limits)
            chart.set_title(plain(title), loc="left", fontsize=11, color=INK)
            chart.set_xlim(left=0)
            chart.spines[["top", "right"]].set_visible(False)
            chart.grid(alpha=0.25)
            part.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False, fontsize=9)
        figures[title] = figure
    return figures


def _groups(cells: Cells) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Give the lines of each figure with its title, by their names, those of no fusion first."""
    plain_cells = unfused(cells)
    for size in dict.fromkeys(size for _, size in plain_cells):
        lines = {name: cell for (name, of_size), cell in plain_cells.items() if of_size == size}
        region = next(iter(lines.values())).region
        yield from _parts(f"regions {region}", lines)
    fused: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.fusion.kind != NONE:
            title = f"{cell.information} with {COSTS[cell.cost]}, regions {cell.region}"
            fused.setdefault(title, []).append(cell)
    for title, (first, *others) in fused.items():
        lines = {NONE: plain_cells.get((first.information, first.size))}
        lines |= {name: plain_cells.get((name, first.size)) for name in BASELINES}
        lines |= {str(cell.fusion): cell for cell in (first, *others)}
        yield from _parts(title, {name: cell for name, cell in lines.items() if cell})


def _parts(title: str, lines: Mapping[str, Cell]) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Spread lines over figures; what they are compared with is in each of them."""
    compared = {name: cell for name, cell in lines.items() if name in COMPARED}
    others = [name for name in lines if name not in COMPARED]
    parts = [others[at : at + MOST_LINES] for at in range(0, len(others), MOST_LINES)] or [[]]
    for number, names in enumerate(parts, start=1):
        of = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        yield title + of, compared | {name: lines[name] for name in names}


def _draw_lines(chart: Axes, key: str, cells: Cells, lines: Mapping[str, Cell]) -> None:
    colours = iter(COLOURS)
    for name, cell in lines.items():
        look = COMPARED.get(name) or {"color": next(colours), "linestyle": "-", "marker": "o"}
        rounds = round_by_round(cells[cell])
        _draw(chart, key, name, rounds, look, len(lines) <= MOST_BANDS)


def _draw(
    chart: Axes,
    key: str,
    name: str,
    rounds: Sequence[Mapping[str, Spread]],
    look: Mapping[str, Any],
    with_band: bool,
) -> None:
    points = [part for part in rounds if part[key].mean is not None]
    x = np.array([part[key].mean for part in points])
    y = np.array([part["miou"].mean or 0.0 for part in points])
    chart.plot(x, y, linewidth=1.8, markersize=4, label=plain(name), **look)
    if with_band:
        below, above = np.reshape([_band(part["miou"]) for part in points], (-1, 2)).T
        chart.fill_between(x, below, above, color=look["color"], alpha=0.15, linewidth=0)


def _band(height: Spread) -> tuple[float, float]:
    """Return the mean less its deviation, and with it."""
    mean, deviation = height.mean or 0.0, height.deviation or 0.0
    return mean - deviation, mean + deviation
