"""The pictures of one image at an acquisition step, as pixels, boxes and words.

As in the supplement of Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for
Semantic Segmentation", BMVC 2018, Figures 6 and 7: what was annotated before, ground truth,
prediction, information, cost, fused score, and what was then selected.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np

from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.grid import STRIDE, Box
from cereals_tf.data_prep.text import counted
from cereals_tf.plugin import words
from cereals_tf.report.views import AcquisitionStep, ImageView

OF_CELLS = "per 8x8 px"
BEFORE, NEW = "#ffd60a", "#22e6ff"
"""Colours of the regions that were annotated before, and of those that the step selected."""

MOST_POSITIONS = 10_000
"""Of a map; those of larger images are drawn as means of several."""

LEVELS = 63
"""Colours of a map: with the transparent one, a palette of 64."""


class ColourScale(NamedTuple):
    """What the colours of a map stand for.

    Attributes:
        colours: The name of matplotlib's colour map.
        low: Value of its first colour.
        high: Value of its last colour.
        unit: Of the values.
    """

    colours: str
    low: float
    high: float
    unit: str

    def pixels(self, values: np.ma.MaskedArray) -> np.ndarray:
        """Return the colours of values [h, w], uint8 RGBA [h, w, 4], transparent where masked."""
        shares = (values - self.low) / (self.high - self.low)
        colours = matplotlib.colormaps[self.colours].resampled(LEVELS).with_extremes(bad="#0000")
        return colours(shares, bytes=True)


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        frame: Height and width of what is shown, pixels of the image.
        pixels: uint8 [h, w, 3], or [h, w, 4] where it is transparent at labelled positions.
        photograph: Whether they are those of the image itself.
        stride: Pixels of the image per pixel of `pixels`, which may reach beyond the frame.
        words: What is to say about it, below.
        scale: What the colours stand for, if it is a map.
        outlined: Boxes to be framed.
        colour: Of their frames.
    """

    title: str
    frame: tuple[int, int]
    pixels: np.ndarray
    photograph: bool = False
    stride: int = 1
    words: str = ""
    scale: ColourScale | None = None
    outlined: Sequence[Box] = ()
    colour: str = NEW

    def outlines(self) -> list[tuple[float, float, float, float]]:
        """Return x, y, width and height of the frames, a little inside of their boxes."""
        inset = 0.005 * max(self.frame)
        return [_inside(box, min(inset, box.height / 4, box.width / 4)) for box in self.outlined]


def _inside(box: Box, inset: float) -> tuple[float, float, float, float]:
    return box.x + inset, box.y + inset, box.width - 2 * inset, box.height - 2 * inset


class Key(NamedTuple):
    """What a colour stands for; None: hatched."""

    colour: str | None
    name: str


def panels_of(step: AcquisitionStep, view: ImageView) -> list[Panel]:
    """Return the pictures of one image in reading order."""
    labelled = step.campaign.data.labelled("train")
    panels = [_before(view), *_labels(view, step.campaign.data.classes, labelled)]
    options = step.options
    information, fused = view.information, step.fused(view)
    if information is not None:
        title = f"Information: {words(options.information)}"
        panels.append(_map(title, view, information, "viridis", step.measure.unit))
    cost_unit = f"{options.cost_unit} {OF_CELLS}"
    panels.append(_map("Predicted cost", view, view.cost, "magma", cost_unit))
    if labelled:
        panels.append(_map("True clicks", view, view.clicks, "magma", f"clicks {OF_CELLS}"))
    if fused is not None:
        title = f"Fused: {words(options.fusion)}"
        unit = step.fusion.unit_of(step.measure.unit, options.cost_unit)
        panels.append(_map(title, view, fused, "viridis", unit))
    if step.complete:
        panels.append(_selected(view, options))
    return panels


def _before(view: ImageView) -> Panel:
    words = "nothing yet"
    if view.before:
        share = 100 * sum(region.pixels for region in view.before) / view.label.size
        words = f"{counted(len(view.before), 'region')}, {share:.0f} % of the pixels"
    boxes = [region.region.box for region in view.before]
    frame = view.label.shape
    title = "Annotated before"
    return Panel(title, frame, view.image, True, words=words, outlined=boxes, colour=BEFORE)


def _labels(view: ImageView, classes: Classes, labelled: bool) -> list[Panel]:
    right = (view.prediction == view.label)[view.label != classes.ignore_id]
    pixels = "pixels" if labelled else "annotated pixels"
    words = f"{100 * right.mean():.0f} % of the {pixels} right" if right.size else ""
    colours = np.zeros((256, 3), np.uint8)  # ignored pixels are black
    colours[: len(classes)] = classes.palette
    title, frame = "Ground truth" if labelled else "Annotations", view.label.shape
    return [
        Panel(title, frame, colours[view.label]),
        Panel("Prediction", frame, colours[view.prediction], words=words),
    ]


def _selected(view: ImageView, options: Options) -> Panel:
    clicks = sum(region.bill(options) for region in view.new)
    words = f"{counted(len(view.new), 'region')}, {counted(clicks, 'click')} to annotate"
    boxes = [region.region.box for region in view.new]
    frame = view.label.shape
    return Panel("Newly selected", frame, view.image, True, words=words, outlined=boxes)


def _map(title: str, view: ImageView, values: np.ndarray, colours: str, unit: str) -> Panel:
    shown = np.ma.masked_where(~view.unlabelled, values)
    return map_panel(title, view.label.shape, shown, colours, unit)


def map_panel(
    title: str, frame: tuple[int, int], values: np.ma.MaskedArray, colours: str, unit: str
) -> Panel:
    """Return a stride-8 map [h, w] as a picture, transparent where it is masked.

    Its scale begins at 0 if its values, compared with the largest one, nearly do.
    """
    side = math.ceil(math.sqrt(values.size / MOST_POSITIONS))
    values = _block_means(values, side)
    low, high = (float(values.min()), float(values.max())) if values.count() else (0.0, 0.0)
    low = 0.0 if 0 < low < 0.1 * high else low
    scale = ColourScale(colours, low, high if high > low else low + 1, unit)
    return Panel(title, frame, scale.pixels(values), stride=side * STRIDE, scale=scale)


def _block_means(values: np.ma.MaskedArray, side: int) -> np.ma.MaskedArray:
    """Return the means of square blocks; only what is there and not masked counts."""
    height, width = values.shape
    rows, columns = -(-height // side), -(-width // side)
    padded = np.ma.masked_all((rows * side, columns * side))
    padded[:height, :width] = values
    return padded.reshape(rows, side, columns, side).mean(axis=(1, 3))


def legend_of(view: ImageView, classes: Classes) -> list[Key]:
    """Return what the colours of an image's pictures stand for."""
    occurring = np.union1d(view.label, view.prediction)
    keys = [
        Key("#" + bytes(classes.palette[class_id]).hex(), classes.names[class_id])
        for class_id in occurring[occurring < len(classes)]
    ]
    if (view.label == classes.ignore_id).any():
        keys.append(Key("#000000", "no label"))
    if view.before:
        keys.append(Key(None, "labelled before"))
    return keys
