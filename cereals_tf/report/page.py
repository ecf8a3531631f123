"""The page of a report: one HTML file with its pictures inside."""

import base64
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.task import SEGMENTATION
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import new_folder
from cereals_tf.report import figures
from cereals_tf.report.panels import AcquisitionStep, acquisition_step, draw_panels
from cereals_tf.report.statistics import (
    CostQuality,
    annotated_by_image,
    annotated_train,
    class_pixels,
    cost_quality,
    position_maps,
    unlabelled_cells,
)
from cereals_tf.tables import format_duration, format_iou
from cereals_tf.trainers.calibration import measure_calibration
from cereals_tf.trainers.split import Split

PAGE = "index.html"
SHOWN_IMAGES = 3
LISTED_IMAGES = 5

Table = dict[str, Any]
"""`headings`, and `rows` of text."""


def write_report(
    campaign: Campaign,
    out: Path | None,
    beside: Sequence[Campaign] = (),
    rounds: Sequence[int] = (),
) -> Path:
    """Write the report on a campaign: `index.html`, complete in itself, and its pictures as files.

    Args:
        campaign: The campaign, with one committed round or more.
        out: New folder for the report. None: `report/` in the campaign, replaced as a whole.
        beside: Other campaigns, whose curves are drawn beside this one's.
        rounds: The rounds whose acquisition is shown in pictures, from 1 to the round to come.
            Default: the first and the last that were chosen by score.

    Returns:
        The page.

    Raises:
        UserError: No round is complete, one of `rounds` is not there, `out` is taken or cannot be
            written, or the data set changed or is damaged.
    """
    for shown in (campaign, *beside):
        shown.round(None)
    last = campaign.round(None).number
    numbers = _checked(rounds, last + 1) if rounds else sorted({1, max(1, last)})
    folder = out or campaign.folder / "report"
    with new_folder(out) if out else _replaced_folder(folder) as partial:
        pictures = _Pictures(partial)
        content = _content(campaign, beside, numbers, pictures)
        (partial / PAGE).write_text(render(content), encoding="utf-8")
    return folder / PAGE


def _checked(rounds: Sequence[int], to_come: int) -> list[int]:
    """Return the rounds in order, each once, if all can be shown."""
    for number in rounds:
        if not 1 <= number <= to_come:
            raise UserError(
                f"--rounds={number}: expected 1 to {to_come}, the rounds that are chosen by score "
                f"(round {to_come} is the one to come)"
            )
    return sorted(set(rounds))


def render(content: dict[str, Any]) -> str:
    """Return the page as HTML; every text in `content` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(content)


@contextmanager
def _replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` when the block ends.

    Raises:
        UserError: `folder` is there but is no folder, or its parent is read-only.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder}: exists and is not a folder")
    fresh, old = (folder.with_name(f".{folder.name}.{k}-{os.getpid()}") for k in ("new", "old"))
    with new_folder(fresh) as partial:
        yield partial
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class _Pictures:
    """Writes figures as files and gives them to the page."""

    folder: Path

    def add(self, name: str, figure: Figure, description: str) -> dict[str, str]:
        """Write `name`.png; return the picture's address as a data URI and its description."""
        content = figures.png(figure)
        (self.folder / f"{name}.png").write_bytes(content)
        encoded = base64.b64encode(content).decode()
        return {"source": f"data:image/png;base64,{encoded}", "description": description}


def _content(
    campaign: Campaign, beside: Sequence[Campaign], numbers: Sequence[int], pictures: _Pictures
) -> dict[str, Any]:
    """Return everything that the page shows."""
    rounds = campaign.rounds()
    last = rounds[-1].metrics
    return {
        "name": campaign.folder.resolve().name,
        "headline": _headline(rounds),
        "setup": _setup(campaign),
        "options": campaign.options.to_json(),
        "rounds": _rounds_table(rounds),
        "curves": pictures.add(
            "curves",
            figures.learning_curves(
                {
                    shown.folder.resolve().name: [done.metrics for done in shown.rounds()]
                    for shown in (campaign, *beside)
                }
            ),
            "mIoU over annotated pixels and over annotated clicks",
        ),
        "training": pictures.add(
            "training",
            figures.training_curves(last.training, campaign.options.cost_unit),
            "Loss and val metric of both models per epoch",
        ),
        "last_round": rounds[-1].number,
        "iou": _iou_table(campaign.data, rounds),
        "spending": _spending(campaign, rounds, pictures),
        "cost": _cost(campaign.options, rounds, pictures),
        "calibration": _calibration(campaign, pictures),
        "steps": [
            _step(acquisition_step(campaign, SHOWN_IMAGES, number=number), pictures)
            for number in numbers
        ],
        "versions": last.versions,
    }


def _headline(rounds: Sequence[CommittedRound]) -> list[tuple[str, str]]:
    last = rounds[-1].metrics
    seconds = sum(done.metrics.total_seconds for done in rounds)
    return [
        (format_iou(last.miou), f"mIoU after round {rounds[-1].number}"),
        (f"{last.pixels_percent:.1f} %", "of the train pixels annotated"),
        _clicks_spent(last),
        (f"{last.regions:,}", "regions"),
        (format_duration(seconds), "of computing"),
    ]


def _clicks_spent(metrics: Metrics) -> tuple[str, str]:
    """Return the clicks spent, as a share where it is known of how many."""
    if metrics.clicks_percent is None:
        return f"{metrics.clicks:,}", "clicks spent"
    return f"{metrics.clicks_percent:.1f} %", "of the train clicks spent"


def _setup(campaign: Campaign) -> list[tuple[str, str]]:
    """Return the data set and the options that matter most, as pairs of text."""
    options, data = campaign.options, campaign.data
    train, val = data.split("train"), data.split("val")
    sizes = train.image_sizes
    size = next(iter(sizes)) if len(sizes) == 1 else f"{len(sizes)} sizes"
    information = options.information.replace("_", " ")
    if options.information in ("vote_entropy", "bald"):
        information += f" of {options.committee} passes"
    fusion = options.fusion + (f", alpha {options.alpha:g}" if options.fusion == "convex" else "")
    model = options.model or f"FCN8s, {options.backbone}, width {options.width_multiplier:g}"
    read_as = f", read as {options.image_size}" if options.image_size else ""
    return [
        ("Data set", f"{data.folder.name} ({data.description.source})"),
        ("Images", f"{train.images:,} train, {val.images:,} val"),
        ("Image size", size + read_as),
        ("Classes", str(len(data.classes))),
        ("Region", options.region if options.region == "image" else f"{options.region} px"),
        ("Information", information),
        ("Fusion", fusion),
        ("Annotator", {"oracle": "ground truth", "files": "people"}[options.annotator]),
        ("Cost", {"est": f"cost model, {options.cost_unit}", "gt": "ground truth"}[options.cost]),
        ("Clicks that count", " + ".join(options.clicks)),
        ("Budget a round", str(options.budget)),
        ("Round 0", str(options.initial)),
        ("Model", model),
        ("Trained on", options.train_on + (", warm start" if options.warm_start else "")),
        ("Seed", str(options.seed)),
    ]


def _rounds_table(rounds: Sequence[CommittedRound]) -> Table:
    rows = []
    for done in rounds:
        metrics = done.metrics
        rows.append(
            [
                str(done.number),
                format_iou(metrics.miou),
                f"{len(done.regions):,}",
                f"{metrics.regions:,}",
                f"{metrics.pixels_percent:.2f}",
                f"{metrics.clicks:,}",
                _formatted(metrics.clicks_percent),
                format_duration(metrics.total_seconds),
            ]
        )
    headings = ["round", "mIoU", "new regions", "regions", "pixels %", "clicks", "clicks %", "time"]
    return {"headings": headings, "rows": rows}


def _iou_table(data: PreparedData, rounds: Sequence[CommittedRound]) -> Table:
    """Return a row per class: its name, its share of the train pixels, its IoU by round."""
    train = data.split("train")
    none = "-" if train.labelled else "n/a"
    rows = []
    for name in data.classes.names:
        share = 100 * train.pixels_per_class[name] / train.pixels
        by_round = [done.metrics.iou_per_class[name] for done in rounds]
        rows.append((name, f"{share:.2f}" if share else none, _heat(by_round)))
    mean = _heat([done.metrics.miou for done in rounds])
    return {"headings": [str(done.number) for done in rounds], "rows": rows, "mean": mean}


def _heat(values: Sequence[float | None]) -> list[tuple[str, float]]:
    """Return (text, opacity of the cell's colour) for IoUs."""
    return [(format_iou(value), round(0.75 * (value or 0.0), 3)) for value in values]


def _chosen(rounds: Sequence[CommittedRound]) -> Sequence[CommittedRound]:
    """Return the rounds whose regions were chosen by score; round 0 if it is the only one."""
    return rounds[1:] or rounds


def _spending(
    campaign: Campaign, rounds: Sequence[CommittedRound], pictures: _Pictures
) -> dict[str, Any]:
    """Return where the annotations went: to which images and to which classes."""
    data = campaign.data
    reader = annotated_train(campaign)
    chosen = annotated_by_image(_chosen(rounds))
    before = annotated_by_image(rounds[:1]) if rounds[1:] else {}
    with damage_named(data, "train"):
        acquired = class_pixels(reader, chosen, before)
    per_class = data.split("train").pixels_per_class
    available = np.array([per_class[name] for name in data.classes.names])
    numbers = np.array([len(chosen.get(entry.image_id, ())) for entry in reader.images])
    return {
        "picture": pictures.add(
            "spending",
            figures.spending(numbers, data.classes.names, acquired, available),
            "Regions per image, and the classes' shares of the acquired and of all pixels",
        ),
        "positions": pictures.add(
            "positions",
            figures.position_maps(*position_maps(reader.images, chosen, campaign.options.clicks)),
            "Where in the image plane the regions lie, and where their clicks were spent",
        ),
        "sizes": len({(entry.height, entry.width) for entry in reader.images}),
        "labelled": data.labelled("train"),
        "after_start": bool(rounds[1:]),
        "images": int(np.count_nonzero(numbers)),
        "all_images": len(numbers),
        "table": _most_annotated(campaign.options, reader, chosen),
    }


def _most_annotated(options: Options, reader: Split, chosen: dict[str, list[Annotated]]) -> Table:
    sizes = {entry.image_id: (entry.height, entry.width) for entry in reader.images}
    kinds = options.clicks
    most = sorted(chosen, key=lambda image_id: (-len(chosen[image_id]), image_id))
    rows = []
    for image_id in most[:LISTED_IMAGES]:
        regions = chosen[image_id]
        share = 1 - unlabelled_cells(regions, *sizes[image_id]).mean()
        clicks = sum(region.clicks.of(kinds) for region in regions)
        rows.append([image_id, f"{len(regions):,}", f"{100 * share:.1f}", f"{clicks:,}"])
    return {"headings": ["image", "regions", "area %", "clicks"], "rows": rows}


def _cost(
    options: Options, rounds: Sequence[CommittedRound], pictures: _Pictures
) -> dict[str, Any] | None:
    """Return how good the cost estimates of acquired regions were; None without any."""
    counted = _true_costs(options)
    estimated, true, rows = [], {label: [] for label in counted}, []
    for done in rounds:
        regions = [
            region
            for region in done.regions
            if region.chosen.cost is not None
            and all(cost_of(region) is not None for cost_of in counted.values())
        ]
        if not regions:
            continue
        here = np.array([region.chosen.cost for region in regions])
        estimated.append(here)
        row = [str(done.number), f"{len(regions):,}", f"{here.mean():.2f}"]
        for label, cost_of in counted.items():
            costs = np.array([cost_of(region) for region in regions])
            true[label].append(costs)
            row += _quality_cells(cost_quality(here, costs))
        rows.append(row)
    if not rows:
        return None
    everything = np.concatenate(estimated)
    joined = {label: np.concatenate(parts) for label, parts in true.items()}
    return {
        "picture": pictures.add(
            "cost",
            figures.cost_scatter(everything, joined, options.cost_unit),
            "Estimated over true costs of the acquired regions",
        ),
        "groups": list(counted),
        "rows": rows,
        "from_ground_truth": options.cost == "gt",
        "unit": options.cost_unit,
    }


def _true_costs(options: Options) -> dict[str, Callable[[Annotated], float | None]]:
    """Return what the estimated cost of a region is compared with, by what it counts."""
    if options.cost_unit == "seconds":
        return {"all that people needed": lambda region: region.seconds}
    kinds = options.clicks
    return {
        "vertices": lambda region: region.clicks.of(("vertices",)),
        " + ".join(kinds): lambda region: region.clicks.of(kinds),
    }


def _quality_cells(quality: CostQuality) -> list[str]:
    return [
        f"{quality.mean_true:.2f}",
        _formatted(quality.rank_correlation),
        f"{quality.mean_absolute_error:.2f}",
    ]


def _formatted(value: float | None) -> str:
    """Return a number as it is shown, n/a where there is none."""
    return "n/a" if value is None else f"{value:.2f}"


def _calibration(campaign: Campaign, pictures: _Pictures) -> dict[str, Any]:
    """Return how well calibrated the last round's segmentation model is on val."""
    done = campaign.round(None)
    model = SEGMENTATION.load(campaign, done)
    reader = open_split(campaign, "val")
    with damage_named(campaign.data, "val"):
        measured = measure_calibration(model, reader, "calibration")
    measures = {
        "Expected calibration error": measured.expected_error,
        "Accuracy": measured.accuracy,
        "Mean confidence": measured.confidence,
    }
    return {
        "picture": pictures.add(
            "calibration",
            figures.reliability(measured),
            "Accuracy over confidence, and how frequent each confidence is",
        ),
        "round": done.number,
        "positions": f"{measured.counts.sum():,}",
        "bins": len(measured.counts),
        "measures": [
            (term, "n/a" if np.isnan(value) else f"{value:.3f}") for term, value in measures.items()
        ],
    }


def _step(step: AcquisitionStep, pictures: _Pictures) -> dict[str, Any]:
    options = step.campaign.options
    return {
        "number": step.number,
        "complete": step.complete,
        "random": options.information == "random",
        "fusion": options.fusion,
        "from_ground_truth": options.cost == "gt",
        "labelled": step.campaign.data.labelled("train"),
        "views": [
            (
                view.image_id,
                pictures.add(
                    f"step-{step.number:03d}-{place}",
                    draw_panels(step, view),
                    "What the image looked like to the method",
                ),
            )
            for place, view in enumerate(step.views, start=1)
        ],
    }
