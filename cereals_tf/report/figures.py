"""Curves and charts of a campaign, drawn with matplotlib's object-oriented interface."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from cereals_tf.campaign.folder.metrics import Metrics, Training
from cereals_tf.trainers.calibration import Calibration

WIDTH = 12.0
"""Width of every figure, inches."""

DPI = 170
INK = "#1f2933"
MUTED = "#8a94a0"
ACCENT = "#0f6fc5"
SECOND = "#d9480f"
CURVES = (ACCENT, SECOND, "#2b8a3e", "#862e9c", "#8a94a0", "#c2255c")
MOST_CLASSES = 40


def raster(figure: Figure) -> np.ndarray:
    """Return a figure's pixels, uint8 [h, w, 3]."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is, without looking for formulas in it."""
    return text.replace("$", r"\$")


def learning_curves(campaigns: Mapping[str, Sequence[Metrics]]) -> Figure:
    """Draw mIoU over annotated pixels and over annotated clicks.

    Clicks are in % of the train split's, or their number where those are unknown.

    Args:
        campaigns: What each round gave, by the campaign's name. The rounds of the first one
            are numbered.
    """
    figure, charts = _charts(2, height=4.2)
    known = all(
        metrics.clicks_percent is not None for rounds in campaigns.values() for metrics in rounds
    )
    clicks = ("clicks_percent", "annotated clicks, %") if known else ("clicks", "annotated clicks")
    shares = (("pixels_percent", "annotated pixels, %"), clicks)
    for chart, (key, label) in zip(charts, shares, strict=True):
        for number, (name, rounds) in enumerate(campaigns.items()):
            x = [getattr(metrics, key) for metrics in rounds]
            miou = [np.nan if metrics.miou is None else metrics.miou for metrics in rounds]
            colour = CURVES[number % len(CURVES)]
            chart.plot(
                x,
                miou,
                "o-",
                color=colour,
                linewidth=2,
                markersize=6,
                clip_on=False,
                label=plain(name),
                zorder=3 - number / 100,
            )
            if number == 0 and len(rounds) <= 20:
                _number_rounds(chart, rounds, x, miou)
        chart.set_xlabel(label)
        chart.set_ylabel("mIoU on val")
        chart.margins(0.08)
        chart.set_xlim(left=0)
        chart.set_ylim(bottom=0)
        if len(campaigns) > 1:
            chart.legend(loc="lower right", frameon=False, fontsize=11)
    return figure


def _number_rounds(
    chart: Axes, rounds: Sequence[Metrics], x: Sequence[float], y: Sequence[float]
) -> None:
    for metrics, here, height in zip(rounds, x, y, strict=True):
        if np.isfinite(height):
            chart.annotate(
                f"{metrics.round}",
                (here, height),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=10.5,
                color=INK,
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )


def training_curves(training: Mapping[str, Training], cost_unit: str) -> Figure:
    """Draw the loss and the val metric of both models over the epochs of a round.

    Args:
        training: How the training of each went, by name.
        cost_unit: What the cost model predicts: clicks or seconds.
    """
    figure, charts = _charts(4, height=3.1)
    curves = [
        ("segmentation", "losses", "training loss"),
        ("segmentation", "val_metrics", "val mIoU at stride 8"),
        ("cost", "losses", "training loss"),
        ("cost", "val_metrics", f"val squared error, {cost_unit}²"),
    ]
    for chart, (model, key, label) in zip(charts, curves, strict=True):
        values = np.array(getattr(training[model], key), float)
        best = training[model].best_epoch
        epochs = np.arange(1, len(values) + 1)
        colour = ACCENT if model == "segmentation" else SECOND
        marker = "o" if len(values) <= 30 else ""
        chart.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, markersize=4)
        chart.axvline(best, color=MUTED, linewidth=1, linestyle=":")
        chart.set_title(f"{model}\n{label}", fontsize=11, loc="left", color=INK)
        chart.set_xlabel("epoch")
        chart.set_xlim(0.5, len(values) + 0.5)
        chart.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    return figure


def spending(
    regions_per_image: np.ndarray,
    names: Sequence[str],
    acquired: np.ndarray,
    available: np.ndarray,
) -> Figure:
    """Draw how many images have how many regions, and the classes' shares of the pixels.

    Where no pixel's class is known, the shares are left out.

    Args:
        regions_per_image: int [N], of every image of the train split.
        names: Class names.
        acquired: float [C], pixels per class in the acquired regions.
        available: float [C], pixels per class in the train split.
    """
    shown = np.flatnonzero((acquired > 0) | (available > 0))
    shown = shown[np.argsort(-available[shown], kind="stable")][:MOST_CLASSES]
    figure, charts = _charts(1 + bool(len(shown)), height=max(4.2, 0.9 + 0.24 * len(shown)))
    images, *classes = charts
    _draw_regions_per_image(images, regions_per_image)
    for chart in classes:
        _draw_class_shares(
            chart,
            [names[int(class_id)] for class_id in shown],
            _percent(acquired)[shown],
            _percent(available)[shown],
        )
    return figure


def _draw_regions_per_image(chart: Axes, regions_per_image: np.ndarray) -> None:
    most = int(regions_per_image.max())
    step = -(-most // 50)
    edges = [place - 0.5 for place in range(1, most + step + 1, step)]
    some = regions_per_image > 0
    chart.hist(regions_per_image[some], edges, color=ACCENT, edgecolor="white", linewidth=0.8)
    chart.bar(0, np.count_nonzero(~some), width=1, color=MUTED, edgecolor="white")
    chart.set_xlabel("regions in an image")
    chart.set_ylabel("train images")
    chart.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    chart.yaxis.set_major_locator(MaxNLocator(6, integer=True))


def _draw_class_shares(
    chart: Axes, names: Sequence[str], acquired: np.ndarray, available: np.ndarray
) -> None:
    places = np.arange(len(names))
    both = (acquired > 0) & (available > 0)
    chart.hlines(places[both], acquired[both], available[both], color="#c5ccd3", linewidth=2.5)
    for values, colour, label in (
        (available, MUTED, "all train pixels"),
        (acquired, SECOND, "acquired pixels"),
    ):
        there = values > 0
        if there.any():
            chart.plot(values[there], places[there], "o", color=colour, markersize=7, label=label)
    chart.set_xscale("log")
    chart.set_xlabel("share of the labelled pixels, %")
    chart.set_yticks(places, [plain(name) for name in names])
    chart.set_ylim(len(names) - 0.4, -0.6)
    chart.xaxis.set_major_formatter("{x:g}")
    chart.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=11)


def _percent(counts: np.ndarray) -> np.ndarray:
    return 100 * counts / max(counts.sum(), 1)


def reliability(calibration: Calibration) -> Figure:
    """Draw accuracy over confidence, and how frequent each confidence is."""
    figure, (accuracy, share) = _charts(2, height=4.4)
    bins = len(calibration.counts)
    centres = (np.arange(bins) + 0.5) / bins
    there = calibration.counts > 0
    right, confidence = calibration.bin_accuracy[there], calibration.bin_confidence[there]
    width = 0.94 / bins
    accuracy.bar(centres[there], right, width, color=ACCENT, label="accuracy")
    accuracy.bar(
        centres[there],
        confidence - right,
        0.6 * width,
        bottom=right,
        color=SECOND,
        alpha=0.35,
        label="gap to the mean confidence",
    )
    accuracy.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="calibrated")
    accuracy.set_ylabel("right predictions in the bin")
    accuracy.set_ylim(0, 1)
    accuracy.set_aspect("equal", adjustable="box")
    accuracy.legend(frameon=False, loc="upper left", fontsize=11)
    share.bar(centres, _percent(calibration.counts), width, color=MUTED)
    for value, colour, label in (
        (calibration.accuracy, ACCENT, "accuracy"),
        (calibration.confidence, SECOND, "mean confidence"),
    ):
        share.axvline(value, color=colour, linewidth=1.8, label=label)
    share.set_ylabel("share of the positions, %")
    share.legend(frameon=False, loc="upper left", fontsize=11)
    for chart in (accuracy, share):
        chart.set_xlim(0, 1)
        chart.set_xlabel("confidence: probability of the predicted class")
    return figure


def cost_scatter(estimated: np.ndarray, true: Mapping[str, np.ndarray], unit: str) -> Figure:
    """Draw the estimated over the true costs of regions.

    Args:
        estimated: float [N].
        true: float [N] each, by what they count.
        unit: Of the costs: clicks or seconds.
    """
    figure, charts = _charts(len(true), height=4.4)
    for chart, (label, clicks) in zip(charts, true.items(), strict=True):
        end = 1.05 * max(estimated.max(), clicks.max(), 1.0)
        chart.plot([0, end], [0, end], color=MUTED, linewidth=1, linestyle="--")
        chart.plot(
            clicks,
            estimated,
            "o",
            color=SECOND,
            markersize=6,
            markeredgewidth=0,
            alpha=float(np.clip(60 / len(estimated), 0.08, 0.5)),
        )
        chart.set_xlim(-0.02 * end, end)
        chart.set_ylim(-0.02 * end, end)
        chart.set_aspect("equal", adjustable="box")
        chart.set_xlabel(f"true {unit} in the region: {label}")
        chart.set_ylabel(f"estimated {unit}")
    return figure


def _charts(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its charts, side by side in parts of equal width."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(WIDTH, height), layout=layout)
    parts = figure.add_gridspec(1, count)
    charts = [figure.add_subfigure(parts[0, place]).subplots() for place in range(count)]
    for chart in charts:
        chart.spines[["top", "right"]].set_visible(False)
        chart.spines[["left", "bottom"]].set_color(MUTED)
        chart.tick_params(colors=INK, labelsize=11)
        for axis in (chart.xaxis, chart.yaxis):
            axis.label.set(size=11.5, color=INK)
        chart.grid(color="#e4e7eb", linewidth=0.8)
        chart.set_axisbelow(True)
    return figure, charts
