"""The commands, as functions: what `cereals COMMAND` does; `cereals_tf.api` is what programs call.

Signatures and docstrings are the command line's options and help; what is returned is the command
line that comes next. TensorFlow is imported only by the functions that need it.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cereals_tf.campaign.options import Size, optional_size
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import refuse_occupied, refuse_unwritable
from cereals_tf.data_prep.option import KeyOf, Need, Share, number, one_of
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.data_prep.remote import folder_at, local_folder
from cereals_tf.data_prep.text import counted
from cereals_tf.export.formats import FORMATS, QUANTIZE
from cereals_tf.trainers.choices import STRATEGIES

if TYPE_CHECKING:
    from pathlib import Path

    from cereals_tf.annotation.formats import Format as Tool
    from cereals_tf.annotation.server import Server


Runner = Annotated[str, one_of("local", "beam")]
Strategy = Annotated[str, one_of(*STRATEGIES)]
Invalid = Annotated[str, one_of("refuse", "skip")]
Format = Annotated[str, KeyOf("cereals_tf.annotation.formats", "FORMATS")]
ExportFormat = Annotated[str, KeyOf("cereals_tf.export.formats", "FORMATS")]
SceneStyle = Annotated[str, KeyOf("cereals_tf.data_prep.toy.registry", "STYLES")]
WITH_BEAM = Need("with --runner=beam", lambda values: values["runner"] == "beam")
WITHOUT_BEAM = Need("with --runner=local", lambda values: values["runner"] == "local")
WITH_SERVER = Need("with a --format whose tool has servers", lambda values: _live(values["format"]))
WITH_URL = Need("with --url", lambda values: bool(values["url"]))
WITHOUT_URL = Need("without --url", lambda values: not values["url"])
WITH_SOURCE = Need("with a SOURCE", lambda values: bool(values["source"]))
WITH_QUANTIZING = Need("with --format=litert", lambda its: bool(FORMATS[its["format"]].quantizes))
WITH_ONE_SIZE = Need("with --format=litert", lambda its: not FORMATS[its["format"]].any_size)
SHARE = Share()
WITH_FUSIONS = Need("with --fusions", lambda values: bool(values["fusions"]))


def toy(
    out: str,
    *,
    style: SceneStyle = "streets",
    train_images: int = 60,
    val_images: int = 20,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
) -> str:
    """Draw street scenes or aerial images with polygons, in the Cityscapes folder layout.

    Args:
        out: New folder to write.
        style: What to draw: {choices}.
        train_images: Images in the train split.
        val_images: Images in the val split.
        height: Height of the images, pixels.
        width: Width of the images, pixels.
        seed: The same seed draws the same scenes.

    Example:
        cereals toy land --style=aerial --train_images=40 --height=256 --width=256
    """
    from cereals_tf import next_command
    from cereals_tf.data_prep.progress import Progress
    from cereals_tf.data_prep.toy import write_toy

    def progress(items: Iterable) -> Iterable:
        return Progress(items, desc="toy", unit="image")

    write_toy(local_folder(out), train_images, val_images, height, width, seed, progress, style)
    _note(f"{out}: {train_images} train and {val_images} val scenes of {height}x{width} pixels")
    return next_command.after_toy(local_folder(out))


def prepare(
    source: str,
    out: str,
    *,
    dataset: Annotated[str, KeyOf("cereals_tf.data_prep.sources.registry", "KINDS")],
    invalid: Invalid = "refuse",
    problems: str = "",
    workers: Annotated[int, WITHOUT_BEAM] = 0,
    runner: Runner = "local",
    beam_options: Annotated[str, WITH_BEAM] = "",
    no_estimate: bool = False,
    **options: Any,
) -> str:
    """Convert a data set to TFRecord splits; after an interruption, the same command goes on.

    Args:
        source: The data set's folder, or a zip file of it.
        out: New folder for the prepared data set, also in an object store: s3://BUCKET/FOLDER.
        dataset: What SOURCE is: {choices}.
        invalid: What becomes of images and shapes that cannot be used: refuse (nothing is
            written), or skip (they are left out, counted in dataset.json and listed in
            left_out.csv of OUT).
        problems: A file to list all of them in, as CSV.
        workers: Images that are converted at a time, large data sets in as many processes; 0: one
            per core.
        runner: local, or beam: as a pipeline of Apache Beam (pip install 'cereals-tf[beam]'), so
            that a cluster does it. Its workers need CEREALS installed, and SOURCE and OUT on a file
            system that they share.
        beam_options: Beam's own options, in one string, as "--runner=DirectRunner
            --direct_num_workers=4 --direct_running_mode=multi_processing" or those of FlinkRunner,
            SparkRunner, DataflowRunner. Without any, one process here does it all.
        no_estimate: Of a large data set, do not try the work on a few images to say what rounds of
            a campaign would take at most.
        **options: How SOURCE is read: options of its kind, in
            `cereals_tf.data_prep.sources.registry`, by name.

    Example:
        cereals prepare cityscapes cityscapes-data --dataset=cityscapes
    """
    from cereals_tf import api, next_command, tables

    in_beam = beam_options if runner == "beam" else None
    prepared = api.prepare(
        source,
        out,
        dataset=dataset,
        invalid=invalid,
        problems=problems,
        workers=workers,
        beam_options=in_beam,
        note=_note,
        **options,
    )
    tables.show_dataset(prepared)
    if not no_estimate and (found := api.estimate_of_large(prepared)):
        for line in tables.estimate_lines(found):
            _note(f"{out}: with the defaults of start {line}")
    return next_command.after_prepare(prepared)


def inspect(data: str, *, verify: bool = False, json: bool = False) -> str | None:
    """Show what a prepared data set holds: splits, classes, pixels, clicks.

    Args:
        data: The prepared data set's folder, also in an object store: s3://BUCKET/FOLDER.
        verify: Read and decode every record too, and name the damaged ones.
        json: Print JSON instead of tables.

    Example:
        cereals inspect data --verify
    """
    from cereals_tf import api, next_command, tables

    prepared = api.inspect(data, verify=verify)
    if json:
        _print_json(tables.dataset_summary(prepared))
        return None
    tables.show_dataset(prepared)
    return next_command.after_prepare(prepared)


def start(
    campaign: str,
    *,
    data: str,
    annotations: str = "",
    no_estimate: bool = False,
    **options: Any,
) -> str:
    """Create a campaign: its folder and its configuration.

    Args:
        campaign: New folder for the campaign.
        data: The prepared data set, also in an object store: s3://BUCKET/FOLDER or gs://.
        annotations: Another campaign, or a prepared data set, whose annotations of train's images
            become round 0 (with --annotator=files).
        no_estimate: Do not try the work on a few images to say what rounds will take at most.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.

    Example:
        cereals start campaign --data=data --region=128 --fusion=ratio --budget=2%
    """
    from cereals_tf import api, next_command, tables

    started = api.Campaign.start(
        campaign,
        data=data,
        annotations=annotations,
        note=lambda text: _note(f"{campaign}: {text}"),
        **options,
    )
    _note(f"{campaign}: started with --region={started.options.region}")
    if not no_estimate:
        for line in tables.estimate_lines(started.estimate()):
            _note(f"{campaign}: {line}")
    return next_command.after_start(started.opened)


def step(
    campaign: str,
    *,
    recipe: Annotated[str, one_of("", "fast", "best")] = "",
    strategy: Strategy = "none",
) -> str | None:
    """Do the campaign's next round, or finish an interrupted one.

    Where people annotate (start --annotator=files), it completes the round once all of its regions
    are collected or skipped, and goes on to ask for those of the next one.

    Args:
        campaign: The campaign's folder.
        recipe: Train this round by another recipe than the campaign's: best, for the model that is
            shipped, or fast. An interrupted round goes on as it was begun.
        strategy: none (train on one device), mirrored (on all GPUs of this machine) or multiworker
            (by all workers that TF_CONFIG names, each of which runs this command), which share the
            images of a step: --batch_size of start must be a multiple of their number.

    Example:
        cereals step campaign
    """
    from cereals_tf import api, next_command, tables
    from cereals_tf.campaign.folder.waiting import why_it_stopped

    shown = _shown_by_chief(strategy)
    stepped = api.Campaign.open(campaign)
    opened, done = stepped.opened, stepped.step(strategy=strategy, recipe=recipe)
    if not shown:
        return None
    tables.show_rounds(opened)
    if done and opened.options.annotator == "oracle":
        return next_command.after_step(opened)
    _note(f"{campaign}: {why_it_stopped(opened)}")
    return next_command.after_run(opened)


def score(
    campaign: str,
    *,
    shard: Annotated[str, WITHOUT_BEAM] = "1/1",
    runner: Runner = "local",
    beam_options: Annotated[str, WITH_BEAM] = "",
) -> str:
    """Score a share of the pool ahead of step, which then computes what is missing.

    Several processes can score at once, also on machines that share the folder.

    Args:
        campaign: The campaign's folder.
        shard: I/N scores the I-th of N equal shares, I from 1 to N (0 means N).
            Default: all.
        runner: local, or beam: all of the pool as a pipeline of Apache Beam (pip install
            'cereals-tf[beam]'), so that a cluster does it. Its workers need CEREALS and plug-in
            models installed, and the campaign and its data on a file system that they share.
        beam_options: Beam's own options, in one string, as "--runner=DirectRunner
            --direct_num_workers=4 --direct_running_mode=multi_processing" or those of FlinkRunner,
            SparkRunner, DataflowRunner. Without any, one process here does it all.

    Example:
        cereals score campaign --shard=1/4
    """
    from cereals_tf import next_command
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.campaign.pool.share import parse_share

    share = parse_share(shard)
    in_beam = beam_options if runner == "beam" else None
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import score_campaign

    images = score_campaign(opened, share, in_beam)
    scored = counted(images, "image is", "images are")
    _note(f"{campaign}: {scored} scored, share {shard} of the pool")
    return next_command.after_step(opened)


def run(
    campaign: str,
    *,
    rounds: Annotated[int, number(1)],
    target: Annotated[float, number(0, 1, above=True)] = 1.0,
    strategy: Strategy = "none",
) -> str | None:
    """Step until so many rounds are complete, a target is met or the pool is empty.

    Where people annotate (start --annotator=files), it stops at a round that waits for them.

    Args:
        campaign: The campaign's folder.
        rounds: Complete rounds to reach, those already complete included.
        target: Stop once the mIoU on val reaches it, 0 to 1.
        strategy: none (train on one device), mirrored (on all GPUs of this machine) or multiworker
            (by all workers that TF_CONFIG names, each of which runs this command), which share the
            images of a step: --batch_size of start must be a multiple of their number.

    Example:
        cereals run campaign --rounds=5 --target=0.6
    """
    from cereals_tf import next_command, tables
    from cereals_tf.campaign.folder.campaign import Campaign

    shown = _shown_by_chief(strategy)
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.run import run_campaign
    from cereals_tf.data_prep.progress import note

    why = run_campaign(opened, rounds, target, strategy, lambda done: note(tables.round_line(done)))
    if not shown:
        return None
    tables.show_rounds(opened)
    _note(f"{campaign}: {why}")
    return next_command.after_run(opened)


def status(campaign: str, *, reference: str = "", json: bool = False) -> str | None:
    """Show a line per round: mIoU, annotated pixels and clicks in percent, time.

    Args:
        campaign: The campaign's folder.
        reference: A campaign of the same models that labels everything (--initial=100%): shows
            p95 and c95 too, the percent of pixels and clicks that reach 95 % of its mIoU.
        json: Print JSON instead of a table.

    Example:
        cereals status campaign
    """
    from cereals_tf import next_command, tables
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.campaign.savings import savings

    opened = Campaign.open(campaign)
    saved = savings(opened, Campaign.open(reference)) if reference else {}
    if json:
        _print_json({**tables.rounds_summary(opened), **saved})
        return None
    tables.show_rounds(opened)
    if saved:
        tables.show_savings(saved)
    tables.show_standing(opened)
    tables.show_progress(opened)
    return next_command.after_step(opened)


def set(campaign: str, **options: Any) -> str:
    """Change options of a campaign, from the first round on whose regions are not chosen yet.

    Rounds that are done, and one that is in progress, keep the options that they have.

    Args:
        campaign: The campaign's folder.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.

    Example:
        cereals set campaign --budget=3% --epochs=50
    """
    from cereals_tf import api, next_command, tables

    changed = api.Campaign.open(campaign)
    number = changed.set(**options)
    for line in tables.changed_lines(changed.opened, number):
        _note(f"{campaign}: {line}")
    return next_command.after_step(changed.opened)


def exclude(
    campaign: str,
    image: Sequence[str],
    *,
    training: bool = False,
    undo: bool = False,
) -> str:
    """Let images of train never be proposed again, or undo that and the skipping of regions.

    It counts from the first round on whose regions are not chosen yet. What is annotated in them is
    kept and trained on; shares are of the images that are left.

    Args:
        campaign: The campaign's folder.
        image: Ids of images, or patterns of ids in quotes, as 'night/*'.
        training: Train on nothing of them either.
        undo: Let them be proposed again, with the regions in them that were skipped.

    Example:
        cereals exclude campaign aachen/blurred_000012 'night/*'
    """
    from cereals_tf import api, next_command, tables

    load_tensorflow()
    opened = api.Campaign.open(campaign)
    if undo and training:
        raise UserError("--training: has no effect with --undo")
    changed = opened.include(*image) if undo else opened.exclude(*image, training=training)
    _note(f"{campaign}: {tables.exclusion_line(opened.opened, changed, undo)}")
    if undo:
        tables.show_progress(opened.opened)
    if asked := tables.asked_in(opened.opened, [] if undo else changed):
        _note(f"{campaign}: regions still asked for in them: {asked}; to skip these:")
        return next_command.command_line("collect", campaign, skip=asked)
    return next_command.after_step(opened.opened)


def add(
    campaign: str,
    source: str = "",
    *,
    dataset: Annotated[
        str, KeyOf("cereals_tf.data_prep.sources.registry", "ADDED_KINDS"), WITH_SOURCE
    ] = "images",
    split: Annotated[str, one_of("train", "val"), WITH_SOURCE] = "train",
    prefix: Annotated[str, WITH_SOURCE] = "",
    add_class: str = "",
    invalid: Annotated[str, one_of("refuse", "skip"), WITH_SOURCE] = "refuse",
    problems: Annotated[str, WITH_SOURCE] = "",
    workers: Annotated[int, WITH_SOURCE] = 0,
    **options: Any,
) -> str:
    """Add images to the data set of a campaign, or a class: rounds not chosen yet see them.

    They are written beside what was prepared, which stays as it is. Rounds that are done, and other
    campaigns on the data set, see no difference. After an interruption, the same command goes on.

    Args:
        campaign: The campaign's folder.
        source: The folder with all the images to add, or a zip file of it; left out where only a
            class is added.
        dataset: What SOURCE is: {choices}.
        split: train (where all may lack labels if people annotate) or val (with labels).
        prefix: What the images' ids begin with beside their names, as june/, where a campaign has
            images of the same names already.
        add_class: Name of a class to append, or several joined by commas. Models of later rounds
            have an output more.
        invalid: What becomes of images and shapes that cannot be used, as in prepare: refuse or
            skip.
        problems: A file to list all of them in, as CSV.
        workers: Images that are converted at a time; 0: one per core.
        **options: How SOURCE is read: options of its kind, in
            `cereals_tf.data_prep.sources.registry`, by name.

    Example:
        cereals add campaign new-photographs
    """
    from cereals_tf import api, next_command

    opened = api.Campaign.open(campaign)
    added = opened.add(
        source or None,
        dataset=dataset,
        split=split,
        prefix=prefix,
        classes=[name for name in add_class.split(",") if name],
        invalid=invalid,
        problems=problems,
        workers=workers,
        note=_note,
        **options,
    )
    for line in added.lines():
        _note(f"{campaign}: {line}")
    return next_command.after_step(opened.opened)


def move(campaign: str, *, data: str) -> str:
    """Tell a campaign where its data set lies now; it must be the same one, by its fingerprint.

    Args:
        campaign: The campaign's folder.
        data: The prepared data set's folder, also in an object store: s3://BUCKET/FOLDER or gs://.

    Example:
        cereals move campaign --data=archive/data
    """
    from cereals_tf import api, next_command

    moved = api.Campaign.open(campaign)
    moved.move(data)
    _note(f"{campaign}: its data set is at {moved.opened.data_folder}")
    return next_command.after_step(moved.opened)


def evaluate(
    campaign: str,
    *,
    round: int = -1,
    split: Annotated[str, one_of("val", "test")] = "val",
    json: bool = False,
) -> None:
    """Measure mIoU and IoU per class of a round's model, over labels at their own size.

    Args:
        campaign: The campaign's folder.
        round: The round whose model to measure. Default: the last.
        split: val, which chose the epochs of training, or test.
        json: Print JSON instead of a table.

    Example:
        cereals evaluate campaign --round=0
    """
    from cereals_tf import api, tables

    opened = api.Campaign.open(campaign)
    number = opened.round_number(_last_if(round))
    quality = opened.evaluate(number, split=split)
    if json:
        _print_json({"round": number, **quality._asdict()})
    else:
        tables.show_iou(opened.opened, number, quality)


def export(
    campaign: str,
    out: str,
    *,
    round: int = -1,
    format: ExportFormat = "savedmodel",
    quantize: Annotated[str, one_of(*QUANTIZE), WITH_QUANTIZING] = "none",
    size: Annotated[str, optional_size, WITH_ONE_SIZE] = "",
) -> None:
    """Write a round's models for serving, and compare their classes with Keras's on val.

    Args:
        campaign: The campaign's folder.
        out: New folder for the model.
        round: The round whose models to export. Default: the last.
        format: What is written: {choices}.
        quantize: int8 computes in 8 bits, whose ranges val images give: smaller and less exact.
        size: Height and width of the images, pixels, as 512x1024, where a format takes one size.
            Default: the campaign's --image_size, or that of the images.

    Example:
        cereals export campaign model --format=onnx
    """
    from cereals_tf import api

    opened = api.Campaign.open(campaign)
    number = opened.round_number(_last_if(round))
    done = opened.opened.round(number)
    load_tensorflow()
    from cereals_tf.export.export import export_round

    exported = export_round(
        opened.opened,
        done,
        local_folder(out),
        format,
        quantize=quantize,
        size=optional_size(str(size)),
    )
    taken = f"of {Size(*exported.size)}" if exported.size else "of any size"
    _note(
        f"{out}: the models of round {number}, for images {taken}; as Keras sees them at "
        f"{exported.agreement:.3%} of the pixels of {counted(exported.images, 'image')}"
    )


def tasks(
    campaign: str,
    out: str = "",
    *,
    format: Format = "labelme",
    preannotate: bool = False,
    regions: str = "",
    overlap: Annotated[str, SHARE, WITHOUT_URL] = "",
    url: Annotated[str, WITH_SERVER] = "",
    project: Annotated[str, WITH_URL] = "",
    token: Annotated[str, WITH_URL] = "",
) -> str:
    """Write what annotators open: the images of the round that waits, its regions drawn in them.

    The same command goes on after an interruption, and never overwrites what is drawn already.

    Args:
        campaign: The campaign's folder.
        out: Folder for the tasks; left out with --url.
        format: The annotation tool: {choices}.
        preannotate: Draw what the model of the round before sees in the regions, as polygons.
        regions: Numbers of the regions, joined by commas, as to share them out. Default: all that
            are waited for.
        overlap: Hand out some regions, as 5%, to a second annotator too, in a folder named after
            OUT with -second at its end; review says how far the two agree.
        url: Address of a running server of the tool that gets the tasks, as http://localhost:8080
            (pip install 'cereals-tf[labelstudio]' or 'cereals-tf[cvat]').
        project: Number of its project, or the name of one, which is created if it is new.
        token: Access token of its user. Default: the environment variable LABEL_STUDIO_API_KEY or
            CVAT_ACCESS_TOKEN.

    Example:
        cereals tasks campaign campaign-tasks --preannotate
    """
    from cereals_tf import next_command
    from cereals_tf.annotation import formats
    from cereals_tf.campaign.folder.campaign import Campaign

    chosen, only = formats.named(format), _numbers("regions", regions)
    server = _server(chosen, url, project, token, out)
    if not out and server is None:
        raise UserError("tasks: OUT is missing, expected a folder for the tasks")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.annotation.handed_out import HandOut, note_hand_out
    from cereals_tf.annotation.handout import hand_out, outgoing_tasks, overlap_of
    from cereals_tf.campaign.folder.waiting import refuse_not_waiting

    asked = refuse_not_waiting(opened)
    numbers = only or asked.missing
    to = HandOut(asked.round, numbers, format)
    if server and chosen.live:
        outgoing = outgoing_tasks(opened, preannotate, only)
        pushed = chosen.live.push(server, outgoing, opened.data.classes)
        new, before = counted(pushed.new, "new region"), counted(pushed.before, "was", "were")
        _note(f"{server.url}/projects/{pushed.project}: {new} to annotate, {before} there")
        note_hand_out(opened, replace(to, url=server.url, project=str(pushed.project)))
        return next_command.command_line(
            "collect", campaign, format=format, url=server.url, project=pushed.project
        )
    folder = local_folder(out)
    count = hand_out(opened, folder, chosen, preannotate, only)
    _note(f"{out}: {counted(count, 'region')} to annotate; {chosen.advice(folder)}")
    note_hand_out(opened, replace(to, folder=str(folder.absolute())))
    if overlap:
        other = folder.with_name(f"{folder.name}-second")
        drawn_twice = overlap_of(asked, SHARE.of(overlap), opened.options.seed)
        if among := [number for number in drawn_twice if number in numbers]:
            hand_out(opened, other, chosen, preannotate, among, second=True)
            again = next_command.command_line(
                "collect", campaign, chosen.result(other), format=format
            )
            _note(f"{other}: {len(among)} of them for a second annotator; then: {again}")
    return next_command.command_line("collect", campaign, chosen.result(folder), format=format)


def collect(
    campaign: str,
    source: str = "",
    *,
    format: Format = "labelme",
    partial: Annotated[str, SHARE] = "",
    skip: str = "",
    annotator: str = "",
    force: bool = False,
    invalid: Invalid = "refuse",
    problems: str = "",
    holes: str = "",
    url: Annotated[str, WITH_SERVER] = "",
    project: Annotated[str, WITH_URL] = "",
    token: Annotated[str, WITH_URL] = "",
) -> str:
    """Take in what annotators drew inside the regions of the round that waits.

    Can be called as often as work comes in. All is checked before anything is stored, and all that
    is wrong is said.

    Args:
        campaign: The campaign's folder.
        source: What annotators made: the folder with LabelMe's JSON files, the file that Label
            Studio exports as JSON, or CVAT's export. May be left out with --skip; left out with
            --url.
        format: The annotation tool: {choices}.
        partial: Keep pixels without a shape as ignored, instead of refusing the region; with
            --partial=2% if they are at most 2 percent of it.
        skip: Numbers of regions that nobody will annotate, joined by commas. They are never
            proposed again.
        annotator: Who drew SOURCE. Default: whom the tool names, else SOURCE itself.
        force: Lose drawn work without being asked: of regions that are skipped, and of regions that
            another annotator drew before.
        invalid: What becomes of wrong shapes, and of regions that are not complete: refuse (nothing
            is stored), or skip (what is right is stored: regions that are complete, of files and
            tasks without a wrong shape).
        problems: A file to list all that is wrong in, as CSV.
        holes: A folder for pictures of the regions that have parts without a shape, in magenta.
        url: Address of a running server of the tool, whose annotations are taken (pip install
            'cereals-tf[labelstudio]' or 'cereals-tf[cvat]').
        project: Number or name of its project.
        token: Access token of its user. Default: the environment variable LABEL_STUDIO_API_KEY or
            CVAT_ACCESS_TOKEN.

    Example:
        cereals collect campaign campaign-tasks
    """
    from cereals_tf import next_command
    from cereals_tf.annotation import formats
    from cereals_tf.annotation.collect import collect as collect_drawings
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.data_prep.problems import SHOWN, Problem, SourceLog, report

    chosen, skipped = formats.named(format), _numbers("skip", skip)
    server = _server(chosen, url, project, token, source)
    if not source and not skipped and server is None:
        raise UserError("collect: SOURCE is missing, expected what annotators made")
    if problems:
        refuse_unwritable(local_folder(problems))
    opened, log = Campaign.open(campaign), SourceLog()
    if server and chosen.live:
        from cereals_tf.annotation.tasks import request_ids
        from cereals_tf.campaign.folder.waiting import refuse_not_waiting

        drawings = chosen.live.pull(server, request_ids(refuse_not_waiting(opened)), log)
    else:
        drawings = chosen.read_drawings(_work_in(source, chosen), log) if source else []
    came_from = server.url if server else str(local_folder(source).resolve())
    drawings = [
        replace(drawn, annotator=annotator or drawn.annotator or came_from) for drawn in drawings
    ]

    def say(found: Sequence[Problem]) -> None:
        file = local_folder(problems) if problems else None
        report([*log.problems, *found], _note, invalid == "skip", file)

    if holes:
        load_tensorflow()
    folder = local_folder(holes) if holes else None
    agree = _lose if force else _ask_before_losing
    collected = collect_drawings(opened, drawings, SHARE.of(partial), skipped, say, folder, agree)
    for doubt in collected.doubts[:SHOWN]:
        _note(f"warning: {doubt}")
    if len(collected.doubts) > SHOWN:
        _note(f"warning: and {len(collected.doubts) - SHOWN} more of this kind")
    _note(f"{campaign}: {collected.summary}")
    if not collected.waiting.missing or not (source or server):
        return next_command.after_step(opened)
    place = {"url": url, "project": project} if server else {}
    place |= {"annotator": annotator} if annotator else {}
    again = ["collect", campaign, *([source] if source else [])]
    return next_command.command_line(*again, format=format, **place)


def reopen(campaign: str, *, regions: str) -> str:
    """Have regions of earlier rounds drawn again; the next step trains on the corrected labels.

    They wait to be drawn beside the regions of the round that waits, or as a round of their own
    where none does. Rounds that are complete stay as they are, and what was drawn first is kept in
    them. Drawing again takes clicks again, but no pixels. A region that is skipped (collect --skip)
    keeps its first label.

    Args:
        campaign: The campaign's folder.
        regions: The regions, each as ROUND:NUMBER, joined by commas; review lists them so.

    Example:
        cereals reopen campaign --regions=0:3,1:12
    """
    from cereals_tf import next_command
    from cereals_tf.campaign.folder.campaign import Campaign
    from cereals_tf.campaign.reopen import region_names
    from cereals_tf.campaign.reopen import reopen as reopen_regions

    opened = Campaign.open(campaign)
    waiting = reopen_regions(opened, region_names(regions))
    _note(f"{campaign}: {waiting.text()}; drawn again: {waiting.again_text()}")
    return next_command.after_reopen(waiting)


def review(
    campaign: str,
    out: str = "",
    *,
    folds: Annotated[int, number(0)] = 5,
    most: Annotated[int, number(1)] = 20,
    json: bool = False,
) -> str | None:
    """List annotated regions whose labels look wrong, the worst first.

    A region's labels are held against what a model predicts that has not seen them: how much worse
    they fit than the model expects itself, in nats per position, and than is usual for labels of
    their classes; above 0 where it is sure of something else. Where two annotators drew the same
    regions (tasks --overlap), their IoU stands beside. Look at the pictures in OUT before anything
    is drawn again.

    Args:
        campaign: The campaign's folder.
        out: New folder for a page with pictures, index.html, and a table of all regions,
            review.csv.
        folds: Parts of the annotated images; the regions of each are judged by a head that is
            trained on those of the others, which takes as long as so many trainings of a round's
            segmentation with --recipe=fast. 0: the regions of a round are judged by the model of
            the round before, those of round 0 not at all; so it is too where no pretrained encoder
            is there.
        most: Regions that are listed; those of them with a score above 0 are proposed to be drawn
            again.
        json: Print all as JSON instead of a table.

    Example:
        cereals review campaign campaign-review
    """
    from cereals_tf import next_command, tables
    from cereals_tf.campaign.folder.campaign import Campaign

    if folds == 1:
        raise UserError("--folds=1: expected 0, or 2 and more")
    opened = Campaign.open(campaign)
    load_tensorflow()
    from cereals_tf.campaign.agreement import agreement
    from cereals_tf.campaign.review import first_names
    from cereals_tf.campaign.review import review as review_regions

    folder = local_folder(out) if out else None
    if folder:
        refuse_occupied(folder)
    reviewed, agreed = review_regions(opened, folds), agreement(opened)
    if folder:
        from cereals_tf.report.review import write_review

        _note(f"{write_review(opened, reviewed, folder, most)}: open it in a browser")
    if json:
        _print_json(tables.review_summary(opened, reviewed, agreed))
        return None
    if reviewed:
        tables.show_review(opened, reviewed[:most])
    if left_out := len(first_names(opened)) - len(reviewed):
        regions = counted(left_out, "region is", "regions are")
        _note(f"{campaign}: {regions} not judged: no model without them, or no label")
    if agreed:
        tables.show_agreement(opened, agreed)
    doubted = [each.name for each in reviewed[:most] if each.score > 0]
    return next_command.after_review(opened, doubted)


def report(
    campaign: str, out: str = "", *, rounds: str = "", beside: str = "", baseline: bool = False
) -> str:
    """Write pictures and an HTML page about a campaign.

    Args:
        campaign: The campaign's folder.
        out: New folder for the report. Default: report/ in the campaign, replaced.
        rounds: Rounds whose acquisition is shown in pictures, from 1 to the one to come, joined by
            commas; by default the first and the last.
        beside: Other campaigns' folders, joined by commas, whose curves are drawn beside this one.
        baseline: Draw regions at random from the same pool for the same budgets, train on these
            too (a campaign in CAMPAIGN/random, which takes about as long as the rounds did), and
            say how far this one is ahead. In simulations.

    Example:
        cereals report campaign --beside=random-campaign
    """
    from cereals_tf import api, next_command

    shown = _numbers("rounds", rounds)
    opened = api.Campaign.open(campaign)
    others = [api.Campaign.open(folder) for folder in beside.split(",") if folder]
    page = opened.report(out or None, beside=others, rounds=shown, baseline=baseline)
    _note(f"{page}: open it in a browser")
    return next_command.after_report(opened.opened)


def reproduce(
    out: str,
    *,
    data: str,
    informations: str = "entropy,vote_entropy,random_grid,random",
    regions: str = "image,1/4,1/8,1/16",
    fusions: str = "ratio,product,convex0.5,convex0.75,convex0.9",
    fusion_region: Annotated[str, WITH_FUSIONS] = "1/16",
    costs: Annotated[str, WITH_FUSIONS] = "gt,est",
    repeats: Annotated[int, number(1)] = 5,
    rounds: Annotated[int, number(1)] = 10,
    split: Annotated[str, one_of("val", "test")] = "val",
    shard: str = "1/1",
    grid: str = "",
    no_estimate: bool = False,
    **options: Any,
) -> None:
    """Run the paper's Table 1 on a data set: a grid of campaigns; the same command goes on.

    Writes a page, index.html, with a conclusion in words, and table.md, table.tex and table.csv,
    rounds.csv, results.json and curves.png. Each repeat has a reference beside its campaigns, the
    same model trained on everything. Where nothing depends on estimated costs, a linear model that
    trains in no time takes the cost model's place.

    Args:
        out: Folder for the campaigns and the results; what is there is not done again.
        data: The prepared data set.
        informations: Measures, each as --information of start has it, joined by commas.
        regions: Sizes of the regions of campaigns without fusion: image, 1/N of the images' width,
            or pixels; joined by commas.
        fusions: Fusions of each measure but random, beside none: each as --fusion of start has it,
            convex with its alpha, as convex0.75; joined by commas, or '' for none.
        fusion_region: Size of the regions of campaigns with fusion.
        costs: Where their costs come from, est and gt, joined by commas.
        repeats: Campaigns of each kind, with seeds from --seed on.
        rounds: Rounds of a campaign, the first one included.
        split: Whose mIoU the tables and curves are of, val or test; val chooses the epochs.
        shard: I/N does the I-th of N equal shares, I from 1 to N (0 means N), for several processes
            or machines that share OUT.
        grid: A JSON file with these settings, as the grid.json in OUT; what is typed goes before.
        no_estimate: Do not try the work on a few images to say how long it will take at most.
        **options: Fields of `cereals_tf.campaign.options.Options` by name.

    Example:
        cereals reproduce table1 --data=data --repeats=1 --epochs=20
    """
    from cereals_tf.campaign.options import Options
    from cereals_tf.campaign.pool.share import parse_share
    from cereals_tf.reproduce.grid import Grid, names

    share = parse_share(shard)
    chosen = Grid(
        names(informations),
        names(regions),
        names(fusions),
        fusion_region,
        names(costs),
        repeats,
        rounds,
        split,
    )
    base = Options.by_recipe(**{"recipe": "paper", **options})
    load_tensorflow()
    from cereals_tf.reproduce.reproduce import read_grid
    from cereals_tf.reproduce.reproduce import reproduce as reproduce_grid

    if grid:
        chosen, base = read_grid(local_folder(grid), chosen, base)
    folder = local_folder(out)
    reproduce_grid(folder, folder_at(data), chosen, base, share, not no_estimate)
    _note(f"{folder / 'index.html'}: open it in a browser")


def help(
    command: Annotated[str, KeyOf("cereals_tf.usage", "COMMANDS")] = "",
) -> None:
    """Explain a command and its options, or list the commands.

    Args:
        command: The command. Default: all.

    Example:
        cereals help start
    """
    from cereals_tf.help import help_on, overview

    print(help_on(command) if command else overview())


def completion(shell: Annotated[str, KeyOf("cereals_tf.completion", "SHELLS")]) -> None:
    """Print a script by which a shell completes commands, options and their values.

    Args:
        shell: bash or zsh.

    Example:
        source <(cereals completion bash)
    """
    from cereals_tf.completion import SHELLS

    print(SHELLS[shell](), end="")


def version() -> None:
    """Print the versions of CEREALS, TensorFlow and Keras; --version does too.

    Example:
        cereals version
    """
    from importlib.metadata import version as version_of

    from cereals_tf import __version__

    others = f"TensorFlow {version_of('tensorflow')}, Keras {version_of('keras')}"
    print(f"cereals {__version__}, {others}")


def _work_in(source: str, tool: "Tool") -> "Path":
    """Return the file or folder of what annotators made: of tasks, where the tool exports it to."""
    from cereals_tf.annotation.formats import format_of

    place = local_folder(source)
    if not place.exists():
        raise UserError(f"{source}: no such file or folder, expected what annotators made")
    result = tool.result(place) if format_of(place) == tool.name else place
    return result if result.exists() else place


def _live(format: str) -> bool:
    from cereals_tf.annotation.formats import FORMATS

    return FORMATS[format].live is not None


def _server(tool: "Tool", url: str, project: str, token: str, folder: str) -> "Server | None":
    """Return the running server that the options name, None if they name none.

    Raises:
        UserError: A folder is named too, or what is typed of the server cannot be.
    """
    if not url or tool.live is None:
        return None
    if folder:
        raise UserError(f"{folder}: not with --url, expected one or the other")
    return tool.live.open(url, project, token)


def _last_if(round: int) -> int | None:
    """Return a round as it is typed, None for the last one."""
    return None if round == -1 else round


def _numbers(option: str, text: str) -> list[int]:
    """Return numbers that are joined by commas, none where there is no text."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--{option}={text}: expected whole numbers joined by commas, as 1,3")
    return [int(part) for part in parts]


def _lose(loss: str) -> None:
    _note(loss)


def _ask_before_losing(loss: str) -> None:
    """Go on only if a user at a terminal says so."""
    from cereals_tf.annotation.collect import refuse_loss

    if sys.stdin is not None and sys.stdin.isatty():
        print(f"{loss}; go on? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    refuse_loss(loss)


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content))


def _shown_by_chief(strategy: str) -> bool:
    """Whether this process shows what it does; of several workers the chief alone does."""
    from cereals_tf.data_prep.progress import show_progress
    from cereals_tf.trainers.cluster import writes

    shown = writes(strategy)
    if not shown:
        show_progress(False)
    return shown


def _note(text: str) -> None:
    print(text, file=sys.stderr)
