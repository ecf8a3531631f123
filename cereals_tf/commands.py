"""The commands, as functions: what `cereals COMMAND` does, and what a program may call.

Signatures and docstrings are the command line's options and help. TensorFlow is imported only by
the functions that need it.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cereals_tf.quiet import load_tensorflow
from data_prep.errors import UserError


def toy(
    out: str,
    *,
    train_images: int = 60,
    val_images: int = 20,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
) -> None:
    """Draw street scenes with polygons, in the Cityscapes folder layout.

    Args:
        out: New folder to write.
        train_images: Images in the train split.
        val_images: Images in the val split.
        height: Height of the images, pixels.
        width: Width of the images, pixels.
        seed: The same seed draws the same scenes.
    """
    from tqdm import tqdm

    from data_prep.toy import write_toy

    def progress(items: Iterable) -> Iterable:
        return tqdm(items, desc="toy", unit="image")

    write_toy(Path(out), train_images, val_images, height, width, seed, progress)
    _note(f"{out}: {train_images} train and {val_images} val scenes of {height}x{width} pixels")


def prepare(
    source: str,
    out: str,
    *,
    dataset: str,
    images: str = "",
    labels: str = "",
    classes: str = "classes.json",
    tolerance: float = 2.0,
    val_percent: float = 20.0,
    annotations: str = "",
    workers: int = 0,
) -> None:
    """Convert a data set to TFRecord splits; after an interruption, the same command goes on.

    Args:
        source: The data set's folder.
        out: New folder for the prepared data set.
        dataset: What the source is: cityscapes, voc, coco, labelme, camvid or masks.
        images: Folder of the images in SOURCE, {split} standing for train or val (masks; coco,
            there by default {split}2017).
        labels: Folder of the id masks in SOURCE, likewise (masks).
        classes: JSON file in SOURCE with class names, palette and ignore_id (camvid, masks; voc and
            labelme, where it may be missing).
        tolerance: How far a polygon may be from its mask, pixels (camvid, masks, voc; coco's RLE;
            circles and masks of labelme).
        val_percent: Share of the images that become val where the source has no splits (masks,
            coco, labelme).
        annotations: gtFine or gtCoarse (cityscapes, by default gtFine); the JSON file in SOURCE,
            {split} standing for train or val (coco, by default
            annotations/instances_{split}2017.json).
        workers: Images that are converted at a time, large data sets in as many processes; 0: one
            per core.
    """
    load_tensorflow()
    from data_prep.prepare import prepare as convert
    from data_prep.sources.source import SourceOptions

    options = SourceOptions(
        images or None, labels or None, classes, tolerance, val_percent, annotations or None
    )
    convert(Path(source), Path(out), dataset, options, workers)
    inspect(out)


def inspect(data: str, *, verify: bool = False, json: bool = False) -> None:
    """Show what a prepared data set holds: splits, classes, pixels, clicks.

    Args:
        data: The prepared data set.
        verify: Read and decode every record too, and name the damaged ones.
        json: Print JSON instead of tables.
    """
    from cereals_tf import tables
    from data_prep.dataset import PreparedData
    from data_prep.findings import findings

    prepared = PreparedData.open(data)
    if verify:
        load_tensorflow()
        from data_prep.verify import verify as verify_records

        verify_records(prepared)
    if json:
        _print_json({**prepared.description, "warnings": findings(prepared)})
    else:
        tables.show_dataset(prepared)


def start(campaign: str, *, data: str, **options: Any) -> None:
    """Create a campaign: its folder and its configuration.

    Args:
        campaign: New folder for the campaign.
        data: The prepared data set.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.
    """
    load_tensorflow()
    from cereals_tf.campaign.start import start_campaign

    started = start_campaign(Path(campaign), Path(data), options)
    _note(f"{campaign}: started, regions of {started.options.region}; next: cereals step")


def step(campaign: str) -> None:
    """Do the campaign's next round, or finish an interrupted one.

    Args:
        campaign: The campaign's folder.
    """
    from cereals_tf import tables
    from cereals_tf.campaign.state import Campaign

    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import step_campaign

    done = step_campaign(opened)
    if done is None:
        _note(f"{campaign}: the pool is empty, there is nothing left to annotate")
    tables.show_rounds(opened)


def run(campaign: str, *, rounds: int, target: float = 1.0) -> None:
    """Step until so many rounds are complete, a target is met or the pool is empty.

    Args:
        campaign: The campaign's folder.
        rounds: Complete rounds to reach, those already complete included.
        target: Stop once the mIoU on val reaches it, 0 to 1.
    """
    from cereals_tf import tables
    from cereals_tf.campaign.state import Campaign

    if rounds < 1:
        raise UserError(f"--rounds={rounds}: expected at least 1")
    if not 0 < target <= 1:
        raise UserError(f"--target={target:g}: expected an mIoU above 0, at most 1")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import run_campaign

    _note(f"{campaign}: {run_campaign(opened, rounds, target)}")
    tables.show_rounds(opened)


def status(campaign: str, *, reference: str = "", json: bool = False) -> None:
    """Show a line per round: mIoU, annotated pixels and clicks in percent, time.

    Args:
        campaign: The campaign's folder.
        reference: A campaign of the same models that labels everything (--initial=100%): shows
            p95 and c95 too, the percent of pixels and clicks that reach 95 % of its mIoU.
        json: Print JSON instead of a table.
    """
    from cereals_tf import tables
    from cereals_tf.campaign.savings import savings
    from cereals_tf.campaign.state import Campaign

    opened = Campaign.open(campaign)
    saved = savings(opened, Campaign.open(reference)) if reference else {}
    if json:
        _print_json({**tables.rounds_summary(opened), **saved})
    else:
        tables.show_rounds(opened)
        if saved:
            tables.show_savings(saved)


def evaluate(campaign: str, *, round: int = -1, json: bool = False) -> None:
    """Measure mIoU and IoU per class on val with a round's model.

    Args:
        campaign: The campaign's folder.
        round: The round whose model to measure. Default: the last.
        json: Print JSON instead of a table.
    """
    from cereals_tf import tables
    from cereals_tf.campaign.state import Campaign

    opened = Campaign.open(campaign)
    chosen = opened.round(None if round == -1 else round)
    load_tensorflow()
    from cereals_tf.campaign.evaluate import evaluate_round

    result = evaluate_round(opened, chosen)
    if json:
        _print_json(result)
    else:
        tables.show_iou(opened, result)


def export(campaign: str, out: str, *, round: int = -1) -> None:
    """Write a SavedModel for serving.

    Args:
        campaign: The campaign's folder.
        out: New folder for the SavedModel.
        round: The round whose models to export. Default: the last.
    """
    from cereals_tf.campaign.state import Campaign

    opened = Campaign.open(campaign)
    chosen = opened.round(None if round == -1 else round)
    load_tensorflow()
    from cereals_tf.export import export_round

    export_round(opened, chosen, Path(out))
    _note(f"{out}: the models of round {chosen.number}")


def report(campaign: str, out: str = "", *, beside: str = "") -> None:
    """Write pictures and an HTML page about a campaign.

    Args:
        campaign: The campaign's folder.
        out: New folder for the report. Default: report/ in the campaign, replaced.
        beside: Other campaigns' folders, joined by commas, whose curves are drawn beside this one.
    """
    from cereals_tf.campaign.state import Campaign

    opened = Campaign.open(campaign)
    others = [Campaign.open(folder) for folder in beside.split(",") if folder]
    load_tensorflow()
    from cereals_tf.report import write_report

    page = write_report(opened, Path(out) if out else None, others)
    _note(f"{page}: open it in a browser")


def demo(out: str = "cereals-demo") -> None:
    """Run the main job on drawn street scenes: data, campaign, report and export.

    Args:
        out: New folder for everything that the demo makes.
    """
    load_tensorflow()
    from cereals_tf.demo import run_demo

    run_demo(Path(out))


COMMANDS = (
    toy,
    prepare,
    inspect,
    start,
    step,
    run,
    status,
    evaluate,
    export,
    report,
    demo,
)


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content))


def _note(text: str) -> None:
    print(text, file=sys.stderr)
