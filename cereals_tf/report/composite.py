"""The pictures of one image side by side in one figure, drawn with matplotlib."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from cereals_tf.report.figures import INK, MUTED, WIDTH, plain
from cereals_tf.report.panels import ColourScale, Key, Panel

MARGIN, GAP, ABOVE, BELOW, LEGEND_LINE = 0.1, 0.16, 0.3, 0.52, 0.24
"""Inches."""

LEGEND_COLUMNS = 8
HATCHED: dict[str, Any] = {
    "facecolor": "#e3e6ea",
    "edgecolor": "#aab2bb",
    "hatch": "////",
    "linewidth": 0,
}


def draw_panels(panels: Sequence[Panel], legend: Sequence[Key] = (), rows: int = 2) -> Figure:
    """Draw pictures of equal frames in some rows, with the colours' meanings below."""
    columns = -(-len(panels) // rows)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    height = width * panels[0].frame[0] / panels[0].frame[1]
    total = rows * (ABOVE + height + BELOW)
    if legend:
        total += LEGEND_LINE * -(-len(legend) // LEGEND_COLUMNS) + 0.12
    figure = Figure(figsize=(WIDTH, total))
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        left = MARGIN + column * (width + GAP)
        bottom = total - row * (ABOVE + height + BELOW) - ABOVE - height
        axes = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
        _draw(axes, panel, height)
    if legend:
        _add_legend(figure, legend)
    return figure


def _draw(axes: Axes, panel: Panel, inches: float) -> None:
    """Draw a picture into axes of that height."""
    height, width = panel.frame
    axes.set_title(panel.title, fontsize=10.5, loc="left", color=INK, pad=5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.add_patch(Rectangle((0, 0), width, height, zorder=-1, **HATCHED))
    rows, columns = (panel.stride * side for side in panel.pixels.shape[:2])
    smooth = "antialiased" if panel.photograph else "nearest"
    axes.imshow(panel.pixels, interpolation=smooth, extent=(0, columns, rows, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for x, y, across, down in panel.outlines():
        axes.add_patch(_outline(x, y, across, down, panel.colour))
    inch = 1 / inches
    if panel.scale:
        _add_scale(axes, panel.scale, inch)
    else:
        _write(axes, 0, -0.09 * inch, panel.words, "top")


def _add_scale(axes: Axes, scale: ColourScale, inch: float) -> None:
    """Draw a colour bar and its unit below a map."""
    colours = ScalarMappable(Normalize(scale.low, scale.high), colormaps[scale.colours])
    inner = axes.inset_axes((0.03, -0.17 * inch, 0.49, 0.09 * inch))
    bar = axes.figure.colorbar(colours, cax=inner, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4)
    bar.formatter = ScalarFormatter(useOffset=False)
    bar.update_ticks()
    inner.tick_params(labelsize=8.5, color=MUTED, labelcolor=INK, pad=2)
    _write(axes, 0.56, -0.125 * inch, scale.unit, "center")


def _write(axes: Axes, x: float, y: float, words: str, aligned: str) -> None:
    axes.text(x, y, words, transform=axes.transAxes, va=aligned, fontsize=9, color=INK)


def _outline(x: float, y: float, width: float, height: float, colour: str) -> Rectangle:
    casing = withStroke(linewidth=2.5, foreground="black")
    return Rectangle(
        (x, y), width, height, fill=False, edgecolor=colour, linewidth=1.5, path_effects=[casing]
    )


def _add_legend(figure: Figure, keys: Sequence[Key]) -> None:
    figure.legend(
        handles=[_patch(key) for key in keys],
        loc="lower left",
        bbox_to_anchor=(MARGIN / WIDTH, 0),
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _patch(key: Key) -> Patch:
    look: dict[str, Any] = {"facecolor": key.colour} if key.colour else HATCHED
    return Patch(label=plain(key.name), **look)
