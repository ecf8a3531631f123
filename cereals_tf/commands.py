"""The commands, as functions: what `cereals COMMAND` does, and what a program may call.

Signatures and docstrings are the command line's options and help. TensorFlow is imported only by
the functions that need it.
"""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.data_prep.remote import RemotePath, folder_at, local_folder

if TYPE_CHECKING:
    from cereals_tf.annotation.labelstudio_server import Server


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
    from cereals_tf.data_prep.progress import Progress
    from cereals_tf.data_prep.toy import write_toy

    def progress(items: Iterable) -> Iterable:
        return Progress(items, desc="toy", unit="image")

    write_toy(local_folder(out), train_images, val_images, height, width, seed, progress)
    _note(f"{out}: {train_images} train and {val_images} val scenes of {height}x{width} pixels")


def prepare(
    source: str,
    out: str,
    *,
    dataset: str,
    workers: int = 0,
    runner: str = "local",
    beam_options: str = "",
    **options: Any,
) -> None:
    """Convert a data set to TFRecord splits; after an interruption, the same command goes on.

    Args:
        source: The data set's folder.
        out: New folder for the prepared data set, also in an object store: s3://BUCKET/FOLDER.
        dataset: What SOURCE is: {kinds}.
        workers: Images that are converted at a time, large data sets in as many processes; 0: one
            per core (runner local).
        runner: local, or beam: as a pipeline of Apache Beam (pip install 'cereals-tf[beam]'), so
            that a cluster does it. Its workers need CEREALS installed, and SOURCE and OUT on a file
            system that they share.
        beam_options: Beam's own options, in one string, as "--runner=DirectRunner
            --direct_num_workers=4 --direct_running_mode=multi_processing" or those of FlinkRunner,
            SparkRunner, DataflowRunner. Without any, one process here does it all.
        **options: How SOURCE is read: options of its kind, in
            `cereals_tf.data_prep.sources.registry`, by name.
    """
    in_beam = _options_of_beam(runner, beam_options)
    if in_beam is not None and workers:
        raise UserError(
            f"--workers={workers}: not with --runner=beam, expected Beam's own option in "
            "--beam_options, as --direct_num_workers"
        )
    load_tensorflow()
    from cereals_tf.data_prep.prepare import prepare as convert

    convert(local_folder(source), folder_at(out), dataset, options, workers, in_beam, _note)
    inspect(out)


def inspect(data: str, *, verify: bool = False, json: bool = False) -> None:
    """Show what a prepared data set holds: splits, classes, pixels, clicks.

    Args:
        data: The prepared data set's folder, also in an object store: s3://BUCKET/FOLDER.
        verify: Read and decode every record too, and name the damaged ones.
        json: Print JSON instead of tables.
    """
    from cereals_tf import tables
    from cereals_tf.data_prep.dataset import PreparedData

    folder = folder_at(data)
    if verify or isinstance(folder, RemotePath):
        load_tensorflow()
    prepared = PreparedData.open(folder)
    if verify:
        from cereals_tf.data_prep.verify import verify as verify_records

        verify_records(prepared)
    if json:
        _print_json(tables.dataset_summary(prepared))
    else:
        tables.show_dataset(prepared)


def start(campaign: str, *, data: str, **options: Any) -> None:
    """Create a campaign: its folder and its configuration.

    Args:
        campaign: New folder for the campaign.
        data: The prepared data set, also in an object store: s3://BUCKET/FOLDER or gs://.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.
    """
    from cereals_tf.campaign.options import Options

    chosen = Options.of(**options)
    load_tensorflow()
    from cereals_tf.campaign.start import start_campaign

    started = start_campaign(local_folder(campaign), folder_at(data), chosen)
    _note(f"{campaign}: started, regions of {started.options.region}; next: cereals step")


def step(campaign: str, *, strategy: str = "none") -> None:
    """Do the campaign's next round, or finish an interrupted one.

    Where people annotate (start --annotator=files), it stops once the round's regions are chosen,
    and completes the round when all of them are collected or skipped.

    Args:
        campaign: The campaign's folder.
        strategy: none (train on one device) or mirrored (on all GPUs of this machine, which share
            the images of a step; --batch_size of start must be a multiple of their number).
    """
    from cereals_tf import tables
    from cereals_tf.campaign.folder.campaign import Campaign

    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import step_campaign, why_it_stopped

    if step_campaign(opened, strategy) is None:
        _note(f"{campaign}: {why_it_stopped(opened)}")
    tables.show_rounds(opened)


def score(
    campaign: str, *, shard: str = "1/1", runner: str = "local", beam_options: str = ""
) -> None:
    """Score a share of the pool ahead of step, which then computes what is missing.

    Several processes can score at once, also on machines that share the folder.

    Args:
        campaign: The campaign's folder.
        shard: I/N scores the I-th of N equal shares, I from 1 to N (0 means N).
            Default: all (runner local).
        runner: local, or beam: all of the pool as a pipeline of Apache Beam (pip install
            'cereals-tf[beam]'), so that a cluster does it. Its workers need CEREALS and plug-in
            models installed, and the campaign and its data on a file system that they share.
        beam_options: Beam's own options, in one string, as "--runner=DirectRunner
            --direct_num_workers=4 --direct_running_mode=multi_processing" or those of FlinkRunner,
            SparkRunner, DataflowRunner. Without any, one process here does it all.
    """
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.campaign.pool.share import ALL, parse_share

    share = parse_share(shard)
    in_beam = _options_of_beam(runner, beam_options)
    if in_beam is not None and share != ALL:
        raise UserError(f"--shard={shard}: not with --runner=beam, which shares out all by itself")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import score_campaign

    images = score_campaign(opened, share, in_beam)
    _note(f"{campaign}: {images} images are scored, share {shard} of the pool; next: cereals step")


def run(campaign: str, *, rounds: int, target: float = 1.0, strategy: str = "none") -> None:
    """Step until so many rounds are complete, a target is met or the pool is empty.

    Where people annotate (start --annotator=files), it stops at a round that waits for them.

    Args:
        campaign: The campaign's folder.
        rounds: Complete rounds to reach, those already complete included.
        target: Stop once the mIoU on val reaches it, 0 to 1.
        strategy: none (train on one device) or mirrored (on all GPUs of this machine, which share
            the images of a step; --batch_size of start must be a multiple of their number).
    """
    from cereals_tf import tables
    from cereals_tf.campaign.folder.campaign import Campaign

    if rounds < 1:
        raise UserError(f"--rounds={rounds}: expected at least 1")
    if not 0 < target <= 1:
        raise UserError(f"--target={target:g}: expected an mIoU above 0, at most 1")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import run_campaign

    _note(f"{campaign}: {run_campaign(opened, rounds, target, strategy)}")
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
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.campaign.savings import savings

    opened = Campaign.open(campaign)
    saved = savings(opened, Campaign.open(reference)) if reference else {}
    if json:
        _print_json({**tables.rounds_summary(opened), **saved})
    else:
        tables.show_rounds(opened)
        tables.show_next(opened)
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
    from cereals_tf.campaign.folder.campaign import Campaign

    opened = Campaign.open(campaign)
    chosen = opened.round(None if round == -1 else round)
    load_tensorflow()
    from cereals_tf.campaign.learning.evaluate import evaluate_round

    quality = evaluate_round(opened, chosen)
    if json:
        _print_json({"round": chosen.number, **quality._asdict()})
    else:
        tables.show_iou(opened, chosen.number, quality)


def export(campaign: str, out: str, *, round: int = -1) -> None:
    """Write a SavedModel for serving.

    Args:
        campaign: The campaign's folder.
        out: New folder for the SavedModel.
        round: The round whose models to export. Default: the last.
    """
    from cereals_tf.campaign.folder.campaign import Campaign

    opened = Campaign.open(campaign)
    chosen = opened.round(None if round == -1 else round)
    load_tensorflow()
    from cereals_tf.export import export_round

    export_round(opened, chosen, local_folder(out))
    _note(f"{out}: the models of round {chosen.number}")


def tasks(
    campaign: str,
    out: str = "",
    *,
    format: str = "labelme",
    preannotate: bool = False,
    url: str = "",
    project: str = "",
    token: str = "",
) -> None:
    """Write what annotators open: the images of the round that waits, its regions drawn in them.

    The same command goes on after an interruption, and never overwrites what is drawn already.

    Args:
        campaign: The campaign's folder.
        out: Folder for the tasks; left out with --url.
        format: labelme (JSON files beside the images, labels.txt, labelmerc.yaml with the colours)
            or labelstudio (tasks.json to import, config.xml, images/).
        preannotate: Draw what the model of the round before sees in the regions, as polygons.
        url: Address of a running Label Studio that gets the tasks, as http://localhost:8080
            (format labelstudio; pip install 'cereals-tf[labelstudio]').
        project: Number of its project, or the name of one, which is created if it is new.
        token: Access token of its user. Default: the environment variable LABEL_STUDIO_API_KEY.
    """
    from cereals_tf.annotation import formats
    from cereals_tf.campaign.folder.campaign import Campaign

    chosen = formats.named(format)
    server = _label_studio(url, project, token, format, out)
    if not out and server is None:
        raise UserError("tasks: OUT is missing, expected a folder for the tasks")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.annotation.handout import hand_out, outgoing_tasks

    if server:
        from cereals_tf.annotation.labelstudio_server import push

        pushed = push(server, outgoing_tasks(opened, preannotate), opened.data.classes)
        _note(
            f"{server.url}/projects/{pushed.project}: {pushed.new} new regions to annotate, "
            f"{pushed.before} were there"
        )
        named = f"--url={server.url} --project={pushed.project}"
        _note(f"next: cereals collect {campaign} --format={format} {named}")
        return
    regions = hand_out(opened, local_folder(out), chosen, preannotate)
    _note(f"{out}: {regions} regions to annotate; {chosen.advice(out)}")
    _note(f"next: cereals collect {campaign} {chosen.result(out)} --format={format}")


def collect(
    campaign: str,
    source: str = "",
    *,
    format: str = "labelme",
    partial: bool = False,
    skip: str = "",
    url: str = "",
    project: str = "",
    token: str = "",
) -> None:
    """Take in what annotators drew inside the regions of the round that waits.

    Can be called as often as work comes in. All is checked before anything is stored.

    Args:
        campaign: The campaign's folder.
        source: What annotators made: the folder with LabelMe's JSON files, or the file that Label
            Studio exports as JSON. May be left out with --skip; left out with --url.
        format: labelme or labelstudio.
        partial: Keep pixels without a shape as ignored, instead of refusing the region.
        skip: Numbers of regions that nobody will annotate, joined by commas. They are never
            proposed again.
        url: Address of a running Label Studio, whose submitted annotations are taken (format
            labelstudio; pip install 'cereals-tf[labelstudio]').
        project: Number or name of its project.
        token: Access token of its user. Default: the environment variable LABEL_STUDIO_API_KEY.
    """
    from cereals_tf.annotation import formats
    from cereals_tf.annotation.collect import collect as collect_drawings
    from cereals_tf.campaign.folder.campaign import Campaign

    chosen, skipped = formats.named(format), _numbers("skip", skip)
    server = _label_studio(url, project, token, format, source)
    if not source and not skipped and server is None:
        raise UserError("collect: SOURCE is missing, expected what annotators made")
    opened = Campaign.open(campaign)
    if server:
        from cereals_tf.annotation.labelstudio_server import pull
        from cereals_tf.annotation.tasks import request_id
        from cereals_tf.campaign.folder.waiting import refuse_not_waiting

        drawings = pull(server, request_id(refuse_not_waiting(opened).request))
    else:
        drawings = chosen.read_drawings(local_folder(source)) if source else []
    _note(f"{campaign}: {collect_drawings(opened, drawings, partial, skipped).summary}")


def report(campaign: str, out: str = "", *, rounds: str = "", beside: str = "") -> None:
    """Write pictures and an HTML page about a campaign.

    Args:
        campaign: The campaign's folder.
        out: New folder for the report. Default: report/ in the campaign, replaced.
        rounds: Rounds whose acquisition is shown in pictures, from 1 to the one to come, joined by
            commas; by default the first and the last.
        beside: Other campaigns' folders, joined by commas, whose curves are drawn beside this one.
    """
    from cereals_tf.campaign.folder.campaign import Campaign

    shown = _numbers("rounds", rounds)
    opened = Campaign.open(campaign)
    others = [Campaign.open(folder) for folder in beside.split(",") if folder]
    load_tensorflow()
    from cereals_tf.report import write_report

    page = write_report(opened, local_folder(out) if out else None, others, shown)
    _note(f"{page}: open it in a browser")


def reproduce(
    out: str,
    *,
    data: str,
    informations: str = "entropy,vote_entropy,random",
    regions: str = "image,1/4,1/8,1/16",
    fusions: str = "ratio,product,convex0.5,convex0.75,convex0.9",
    fusion_region: str = "1/16",
    costs: str = "gt,est",
    repeats: int = 5,
    rounds: int = 10,
    shard: str = "1/1",
    grid: str = "",
    **options: Any,
) -> None:
    """Run the paper's Table 1 on a data set: a grid of campaigns; the same command goes on.

    Writes table.md, table.tex and table.csv, rounds.csv, results.json and curves.png. Each repeat
    has a reference beside its campaigns, the same model trained on everything. Where nothing
    depends on estimated costs, a linear model that trains in no time takes the cost model's place.

    Args:
        out: Folder for the campaigns and the results; what is there is not done again.
        data: The prepared data set.
        informations: Measures of information, joined by commas.
        regions: Sizes of the regions of campaigns without fusion: image, 1/N of the images' width,
            or pixels; joined by commas.
        fusions: Fusions of each measure but random, beside none: ratio, product, convexALPHA;
            joined by commas, or '' for none.
        fusion_region: Size of the regions of campaigns with fusion.
        costs: Where their costs come from, est and gt, joined by commas.
        repeats: Campaigns of each kind, with seeds from --seed on.
        rounds: Rounds of a campaign, the first one included.
        shard: I/N does the I-th of N equal shares, I from 1 to N (0 means N), for several processes
            or machines that share OUT.
        grid: A JSON file with these settings, as the grid.json in OUT; what is typed goes before.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.
    """
    from cereals_tf.campaign.options import Options
    from cereals_tf.campaign.pool.share import parse_share
    from cereals_tf.reproduce.grid import Grid, names

    share = parse_share(shard)
    lists = (names(text) for text in (informations, regions, fusions))
    chosen = Grid(*lists, fusion_region, names(costs), repeats, rounds)
    base = Options.of(**options)
    load_tensorflow()
    from cereals_tf.reproduce.reproduce import read_grid
    from cereals_tf.reproduce.reproduce import reproduce as reproduce_grid

    if grid:
        chosen, base = read_grid(local_folder(grid), chosen, base)
    reproduce_grid(local_folder(out), folder_at(data), chosen, base, share)


COMMANDS = (
    toy,
    prepare,
    inspect,
    start,
    step,
    tasks,
    collect,
    score,
    run,
    status,
    evaluate,
    export,
    report,
    reproduce,
)


def _options_of_beam(runner: str, options: str) -> str | None:
    """Return Beam's options, None if Beam does not run.

    Raises:
        UserError: There is no such runner, or it is not the one that the options are for.
    """
    if runner not in ("local", "beam"):
        raise UserError(f"--runner={runner}: unknown, expected local or beam")
    if runner == "local" and options:
        raise UserError(f"--beam_options={options!r}: expected --runner=beam beside it")
    return options if runner == "beam" else None


def _label_studio(url: str, project: str, token: str, format: str, folder: str) -> "Server | None":
    """Return the Label Studio that the options name, None if they name none.

    Raises:
        UserError: They do not fit each other.
    """
    from cereals_tf.annotation.labelstudio_server import Server

    if not url:
        for name, value in (("project", project), ("token", token)):
            if value:
                raise UserError(f"--{name}: expected --url beside it")
        return None
    if format != "labelstudio":
        raise UserError(f"--url={url}: expected --format=labelstudio beside it")
    if folder:
        raise UserError(f"{folder}: not with --url, expected one or the other")
    return Server.of(url, project, token)


def _numbers(option: str, text: str) -> list[int]:
    """Return numbers that are joined by commas, none where there is no text."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--{option}={text}: expected whole numbers joined by commas, as 1,3")
    return [int(part) for part in parts]


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content))


def _note(text: str) -> None:
    print(text, file=sys.stderr)
