"""An acquisition step in pictures, side by side for one image.

As in the supplement of Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for
Semantic Segmentation", BMVC 2018, Figures 6 and 7: what was annotated before, ground truth,
prediction, information, cost, fused score, and what was then selected.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from cereals_tf.acquisition.fusion import Scale, fuse
from cereals_tf.acquisition.information import RANDOM
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_scorer
from cereals_tf.campaign.pool.scoring import image_maps
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.grid import STRIDE, Box
from cereals_tf.data_prep.progress import Progress
from cereals_tf.report.figures import INK, MUTED, WIDTH, plain, png
from cereals_tf.report.statistics import annotated_by_image, annotated_train, unlabelled_cells
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import click_target

UNITS = {
    "entropy": "nats",
    "vote_entropy": "nats",
    "bald": "nats",
    "margin": "1 - margin",
    "least_confidence": "1 - confidence",
}
"""What the values of each information measure are."""

BEFORE_COLOUR = "#ffd60a"
NEW_COLOUR = "#22e6ff"
MARGIN, GAP, ABOVE, BELOW, LEGEND_LINE = 0.1, 0.16, 0.3, 0.52, 0.24
LEGEND_COLUMNS = 8


@dataclass(frozen=True)
class ImageView:
    """One image of the train split at an acquisition step.

    Attributes:
        image_id: The image's id.
        image: uint8 [H, W, 3].
        label: uint8 [H, W], ground-truth train ids; where the split has no labels, those that
            people drew up to now.
        prediction: uint8 [H, W], class ids that the model predicted before the step.
        information: float32 [h, w] by the campaign's measure; None for random acquisition.
        cost: float32 [h, w], predicted clicks or seconds per stride-8 position.
        clicks: float32 [h, w], true clicks (polygon vertices) per position.
        before: The regions annotated before the step.
        new: The regions that the step selected.
    """

    image_id: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    information: np.ndarray | None
    cost: np.ndarray
    clicks: np.ndarray
    before: Sequence[Annotated]
    new: Sequence[Annotated]

    @property
    def unlabelled(self) -> np.ndarray:
        """Which positions were not labelled before the step, bool [h, w]."""
        return unlabelled_cells(self.before, *self.label.shape)


@dataclass(frozen=True)
class AcquisitionStep:
    """What a round's regions were chosen by, seen on some images.

    Attributes:
        campaign: The campaign.
        number: The round, at least 1; its models are those of the round before.
        complete: Whether the round's regions are known; if not, it is the round to come.
        views: The images.
    """

    campaign: Campaign
    number: int
    complete: bool
    views: Sequence[ImageView]

    def fusing_cost(self, view: ImageView) -> np.ndarray:
        """Return the click map that the campaign's fusion uses, float32 [h, w]."""
        return view.clicks if self.campaign.options.cost == "gt" else view.cost

    def fused(self, view: ImageView) -> np.ndarray | None:
        """Fuse an image's information and cost position by position, float32 [h, w].

        They are scaled over the unlabelled positions of all the views. The campaign itself fuses
        the sums over regions, scaled over the regions of the pool. None for random acquisition.
        """
        if view.information is None:
            return None
        options = self.campaign.options
        scales = [
            _scale(values[seen.unlabelled] for seen, values in maps)
            for maps in (
                [(seen, seen.information) for seen in self.views],
                [(seen, self.fusing_cost(seen)) for seen in self.views],
            )
        ]
        cost = self.fusing_cost(view)
        return fuse(options.fusion, view.information, cost, *scales, options.alpha)


def _scale(parts: Iterator[np.ndarray]) -> Scale:
    values = np.concatenate(list(parts))
    return Scale(float(values.min()), float(values.max())) if values.size else Scale(0.0, 0.0)


def acquisition_step(
    campaign: Campaign,
    count: int,
    *,
    number: int | None = None,
    image_ids: Sequence[str] | None = None,
) -> AcquisitionStep:
    """Compute the maps by which a round's regions were chosen, for some images.

    Args:
        campaign: The campaign, with one committed round or more.
        count: The most images to show: those with the most new regions, or, of a round to come,
            the first ones with candidates.
        number: The round, from 1 to the round to come. Default: the last committed one, or 1.
        image_ids: The images to show instead.

    Raises:
        UserError: There is no such round or image, or the data set changed or is damaged.
        ValueError: `number` is below 1.
    """
    if number is None:
        number = max(1, campaign.round(None).number)
    if number < 1:
        raise ValueError(f"`number` must be at least 1. Received: {number}")
    before = [campaign.round(place) for place in range(number)]
    after = campaign.rounds()[number : number + 1]
    labelled, new = annotated_by_image(before), annotated_by_image(after)
    reader = (
        open_split(campaign, "train")
        if campaign.data.labelled("train")
        else annotated_train(campaign)
    )
    if image_ids is None:
        image_ids = _most_new(new, count) if after else _candidates(campaign, reader, labelled)
        image_ids = image_ids[:count]
    unknown = set(image_ids) - {entry.image_id for entry in reader.images}
    if unknown:
        raise UserError(f"{min(unknown)}: no image of the train split has this id")
    with damage_named(campaign.data, "train"):
        views = {
            view.image_id: view
            for view in _views(campaign, before[-1], reader, image_ids, labelled, new)
        }
    return AcquisitionStep(
        campaign, number, bool(after), [views[image_id] for image_id in image_ids]
    )


def _most_new(new: dict[str, list[Annotated]], count: int) -> list[str]:
    numbers = Counter({image_id: len(new[image_id]) for image_id in sorted(new)})
    return [image_id for image_id, _ in numbers.most_common(count)]


def _candidates(
    campaign: Campaign, reader: Split, labelled: dict[str, list[Annotated]]
) -> list[str]:
    return [
        entry.image_id
        for entry in reader.images
        if unlabelled_cells(labelled.get(entry.image_id, ()), entry.height, entry.width).any()
    ]


def _views(
    campaign: Campaign,
    previous: CommittedRound,
    reader: Split,
    image_ids: Sequence[str],
    labelled: dict[str, list[Annotated]],
    new: dict[str, list[Annotated]],
) -> Iterator[ImageView]:
    if not image_ids:
        return
    options = campaign.options
    scorer = load_scorer(campaign, previous)
    bar = Progress(reader.records(image_ids), desc="maps", total=len(image_ids), unit="image")
    for record in bar:
        image_id = record[records.IMAGE_ID].numpy().decode()
        image, label = reader.image(record), reader.label(record)
        number = previous.number + 1
        information, predicted = image_maps(options, scorer, image_id, image, number)
        logits = upsample_logits(scorer.segmentation(image[None], training=False), *label.shape)
        yield ImageView(
            image_id=image_id,
            image=image.numpy(),
            label=label.numpy(),
            prediction=tf.argmax(logits[0], axis=-1).numpy().astype(np.uint8),
            information=None if options.information == RANDOM else information,
            cost=predicted,
            clicks=click_target(reader.points(record), *label.shape).numpy(),
            before=labelled.get(image_id, []),
            new=new.get(image_id, []),
        )


def write_panels(
    campaign: Campaign, path: Path, *, number: int | None = None, image_id: str | None = None
) -> None:
    """Write the pictures of one image at an acquisition step as one PNG file.

    Args:
        campaign: The campaign.
        path: The file to write.
        number: See `acquisition_step`.
        image_id: The image. Default: the one with the most new regions.

    Raises:
        UserError: There is no such round or image, or nothing is left to annotate.
    """
    chosen = None if image_id is None else [image_id]
    step = acquisition_step(campaign, 1, number=number, image_ids=chosen)
    if not step.views:
        raise UserError(f"{campaign.folder}: no image has anything left to annotate")
    write_atomically(path, png(draw_panels(step, step.views[0])))


def draw_panels(step: AcquisitionStep, view: ImageView) -> Figure:
    """Draw the pictures of one image side by side, with the classes' colours below."""
    classes, panels = step.campaign.data.classes, _panels(step, view)
    columns = -(-len(panels) // 2)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    height = width * view.label.shape[0] / view.label.shape[1]
    legend = _legend(view, classes)
    legend_height = LEGEND_LINE * -(-len(legend) // LEGEND_COLUMNS) + 0.12
    total = 2 * (ABOVE + height + BELOW) + legend_height
    figure = Figure(figsize=(WIDTH, total))
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        left = MARGIN + column * (width + GAP)
        top = row * (ABOVE + height + BELOW) + ABOVE
        bottom = total - top - height
        axes = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
        panel.draw(axes)
    figure.legend(
        handles=legend,
        loc="lower left",
        bbox_to_anchor=(MARGIN / WIDTH, 0),
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    return figure


@dataclass(frozen=True)
class _Picture:
    """A panel with an image, outlined regions and a line of text below."""

    title: str
    pixels: np.ndarray
    below: str = ""
    outlined: Sequence[Annotated] = ()
    colour: str = NEW_COLOUR
    interpolation: str = "antialiased"

    def draw(self, axes: Axes) -> None:
        height, width = self.pixels.shape[:2]
        axes.imshow(self.pixels, interpolation=self.interpolation, extent=(0, width, height, 0))
        _frame(axes, self.title, height, width)
        inset = 0.004 * max(self.pixels.shape)
        for region in self.outlined:
            axes.add_patch(_outline(region.region.box, inset, self.colour))
        axes.text(
            0,
            -0.09 / _inches(axes),
            self.below,
            transform=axes.transAxes,
            va="top",
            fontsize=9,
            color=INK,
        )


@dataclass(frozen=True)
class _Map:
    """A panel with a stride-8 map, hatched where it was labelled before, and its colour bar."""

    title: str
    values: np.ndarray
    unit: str
    colours: str
    view: ImageView

    def draw(self, axes: Axes) -> None:
        height, width = self.view.label.shape
        shown = np.ma.masked_where(~self.view.unlabelled, self.values)
        low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.0, 0.0)
        low = 0.0 if 0 < low < 0.1 * high else low
        drawn = axes.imshow(
            shown,
            self.colours,
            vmin=low,
            vmax=high if high > low else low + 1,
            interpolation="nearest",
            extent=(0, STRIDE * shown.shape[1], STRIDE * shown.shape[0], 0),
        )
        _frame(axes, self.title, height, width)
        for region in self.view.before:
            axes.add_patch(_hatched(region.region.box))
        inch = 1 / _inches(axes)
        scale = axes.inset_axes((0.03, -0.17 * inch, 0.49, 0.09 * inch))
        bar = axes.figure.colorbar(drawn, cax=scale, orientation="horizontal")
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(4)
        bar.formatter.set_useOffset(False)
        bar.update_ticks()
        scale.tick_params(labelsize=8.5, color=MUTED, labelcolor=INK, pad=2)
        axes.text(
            0.56,
            -0.125 * inch,
            self.unit,
            transform=axes.transAxes,
            va="center",
            fontsize=9,
            color=INK,
        )


def _panels(step: AcquisitionStep, view: ImageView) -> list[_Picture | _Map]:
    """Return the panels of one image in reading order."""
    options, classes = step.campaign.options, step.campaign.data.classes
    colours = _colour_table(classes)
    right = (view.prediction == view.label)[view.label != classes.ignore_id]
    labelled, of_cells = step.campaign.data.labelled("train"), "per 8x8 px"
    pixels = "pixels" if labelled else "annotated pixels"
    accuracy = f"{100 * right.mean():.0f} % of the {pixels} right" if right.size else ""
    truth = "Ground truth" if labelled else "Annotations"
    panels = [
        _Picture("Annotated before", view.image, _before_text(view), view.before, BEFORE_COLOUR),
        _Picture(truth, colours[view.label], interpolation="nearest"),
        _Picture("Prediction", colours[view.prediction], accuracy, interpolation="nearest"),
    ]
    fused = step.fused(view)
    if fused is not None:
        title = f"Information: {options.information.replace('_', ' ')}"
        unit = UNITS[options.information]
        panels.append(_Map(title, view.information, unit, "viridis", view))
    cost_unit = f"{options.cost_unit} {of_cells}"
    panels.append(_Map("Predicted cost", view.cost, cost_unit, "magma", view))
    if labelled:
        panels.append(_Map("True clicks", view.clicks, f"clicks {of_cells}", "magma", view))
    if fused is not None:
        panels.append(_Map(f"Fused: {options.fusion}", fused, _fused_unit(step), "viridis", view))
    if step.complete:
        clicks = sum(region.clicks.of(options.clicks) for region in view.new)
        text = f"{_count(view.new)}, {clicks} clicks to annotate"
        panels.append(_Picture("Newly selected", view.image, text, view.new))
    return panels


def _fused_unit(step: AcquisitionStep) -> str:
    options = step.campaign.options
    unit = UNITS[options.information]
    return {"none": unit, "ratio": f"{unit} / ({options.cost_unit} + 1)"}.get(
        options.fusion, "score, 0 to 1"
    )


def _before_text(view: ImageView) -> str:
    if not view.before:
        return "nothing yet"
    pixels = sum(region.pixels for region in view.before)
    return f"{_count(view.before)}, {100 * pixels / view.label.size:.0f} % of the pixels"


def _count(regions: Sequence[Annotated]) -> str:
    return f"{len(regions)} region{'' if len(regions) == 1 else 's'}"


def _colour_table(classes: Classes) -> np.ndarray:
    """Return the colour of every label id, uint8 [256, 3]; ignored pixels are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.palette
    return table


def _legend(view: ImageView, classes: Classes) -> list[Patch]:
    occurring = np.union1d(view.label, view.prediction)
    entries = [
        (tuple(channel / 255 for channel in classes.palette[class_id]), classes.names[class_id])
        for class_id in occurring[occurring < len(classes)]
    ]
    if (view.label == classes.ignore_id).any():
        entries.append(((0.0, 0.0, 0.0), "no label"))
    handles = [Patch(facecolor=colour, label=plain(name)) for colour, name in entries]
    if view.before:
        handles.append(_hatched(Box(0, 0, 1, 1), "labelled before"))
    return handles


def _frame(axes: Axes, title: str, height: int, width: int) -> None:
    axes.set_title(title, fontsize=10.5, loc="left", color=INK, pad=5)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _inches(axes: Axes) -> float:
    """Return an axes' height in inches."""
    return axes.get_position().height * axes.figure.get_figheight()


def _outline(box: Box, inset: float, colour: str) -> Rectangle:
    inset = min(inset, box.height / 4, box.width / 4)
    return Rectangle(
        (box.x + inset, box.y + inset),
        box.width - 2 * inset,
        box.height - 2 * inset,
        fill=False,
        edgecolor=colour,
        linewidth=1.5,
        path_effects=[withStroke(linewidth=2.5, foreground="black")],
    )


def _hatched(box: Box, label: str | None = None) -> Rectangle:
    return Rectangle(
        (box.x, box.y),
        box.width,
        box.height,
        facecolor="#e3e6ea",
        edgecolor="#aab2bb",
        hatch="////",
        linewidth=0,
        label=label,
    )
