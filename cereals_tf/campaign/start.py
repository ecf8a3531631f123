"""Starting a campaign: every option is checked against the data before anything is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cereals_tf.acquisition.plugins import find_fusion, find_measure
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.annotators.brought import Brought, brought
from cereals_tf.campaign.annotators.people import labelled_images
from cereals_tf.campaign.folder.campaign import WORKING, Campaign
from cereals_tf.campaign.learning.models import ENCODER, Models, load_weights, random_encoder
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options, Size
from cereals_tf.campaign.pool.choose import budget_of, choose_initial
from cereals_tf.campaign.pool.pool import Pool, region_area, resolve_region
from cereals_tf.data_prep.dataset import Classes, ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import refuse_occupied
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.text import counted
from cereals_tf.trainers.split import Split


def start_campaign(
    folder: Path,
    data_folder: Path | RemotePath,
    options: Options,
    annotations: Path | RemotePath | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> Campaign:
    """Create a campaign.

    Args:
        folder: New folder for the campaign.
        data_folder: The prepared data set.
        options: The campaign's options.
        annotations: A campaign or a prepared data set whose annotations become round 0.
        note: Told what is brought from there.

    Raises:
        UserError: An option is wrong or does not fit the data, or the folder is taken.
    """
    refuse_occupied(folder)
    data = PreparedData.open(data_folder)
    begun = _brought(annotations, data, options) if annotations else None
    options = fitted_options(options, data, begun)
    check_acquisition(options, data.classes)

    def fill(partial: Path) -> None:
        if begun:
            begun.write(partial / WORKING)
        write_encoder(partial, options)
        check_models(Models.at(partial, options, data.classes))

    campaign = Campaign.create(folder, data, with_absolute_paths(options), fill)
    if begun:
        note(begun.summary)
    return campaign


def _brought(folder: Path | RemotePath, data: PreparedData, options: Options) -> Brought:
    if options.annotator != "files":
        raise UserError(
            f"--annotations={folder}: has no effect with --annotator={options.annotator}, expected "
            "--annotator=files, people who go on with them"
        )
    return brought(folder, data, options.image_size)


def fitted_options(options: Options, data: PreparedData, begun: Brought | None = None) -> Options:
    """Return options as a campaign on this data set has them, `--region=auto` resolved.

    Args:
        options: The options.
        data: The data set.
        begun: What the campaign begins with.

    Raises:
        UserError: An option does not fit the data.
    """
    for split in ("train", "val"):
        data.shards(split)
    _check_annotator(options, data)
    train = Split(data, "train", options.image_size)
    fitted = fitted_to_pool(options, train)
    labelled = labelled_images(train)
    measured = begun is not None and begun.has_seconds()
    if (labelled or begun) and options.cost_unit == "seconds" and not measured:
        what = (
            f"{counted(len(labelled), 'image')} of train took that have labels already"
            if labelled
            else "annotations took that --annotations brings"
        )
        raise UserError(f"--cost_unit=seconds: nobody measured what the {what}, expected clicks")
    if not labelled and not begun:
        choose_initial(Pool(fitted, train, {}))
    return fitted


def fitted_to_pool(options: Options, train: Split) -> Options:
    """Return options as any round can have them, `--region=auto` resolved.

    Raises:
        UserError: Regions are larger than an image, or a budget does not pay for one.
    """
    fitted = replace(options, region=resolve_region(options.region, train.images))
    _check_budget(fitted, train)
    return fitted


def with_absolute_paths(options: Options) -> Options:
    """Make the paths among the options independent of where later steps are run."""
    if options.weights not in ("", "none", "imagenet"):
        options = replace(options, weights=str(Path(options.weights).resolve()))
    if "/" in options.cache:
        options = replace(options, cache=str(Path(options.cache).resolve()))
    return options


def _check_annotator(options: Options, data: PreparedData) -> None:
    if options.annotator == "oracle" and not data.labelled("train"):
        raise UserError(
            f"--annotator=oracle: {data.folder} has no labels of train, expected "
            "--annotator=files, people who annotate"
        )


def _check_budget(options: Options, train: Split) -> None:
    """Refuse a budget that does not pay for a region of each image size that occurs."""
    budget, unit = budget_of(options, train.images)
    cheapest: dict[Size, float] = {}
    for entry in train.images:
        size = Size(entry.height, entry.width)
        price = _least_price(options, unit, entry)
        cheapest[size] = min(price, cheapest.get(size, price))
    dear = {size: price for size, price in sorted(cheapest.items()) if price > budget}
    if dear:
        size, price = max(dear.items(), key=lambda item: item[1])
        others = f", nor of {len(dear) - 1} other sizes" if len(dear) > 1 else ""
        raise UserError(
            f"--budget={options.budget}: {budget:.0f} {unit} do not pay for one region of images "
            f"of {size.height}x{size.width} pixels, which takes {price:.0f} {unit} "
            f"(--region={options.region}){others}"
        )


def _least_price(options: Options, unit: str, entry: ImageEntry) -> float:
    """Return the least that a region of an image may take, as far as that is known at the start."""
    if unit == "pixels":
        return region_area(options, entry)
    whole = options.region == "image" and options.annotator == "oracle"
    return options.bill(entry.clicks if whole and "vertices" in options.clicks else 0, unit)


def check_acquisition(options: Options, classes: Classes) -> None:
    """Find the measure and the fusion, so that a wrong plug-in is refused now.

    Raises:
        UserError: There is no such function, or it fails on small arrays.
    """
    find_measure(options.information, len(classes))
    find_fusion(options.fusion, vars(options))


def write_encoder(folder: Path, options: Options) -> None:
    """Write the encoder that the campaign does not train from scratch, if there is one.

    Raises:
        UserError: Its weights are missing, damaged or of another encoder.
    """
    if any(task.encoder(options) != "trained" for task in TASKS):
        encoder = random_encoder(options)
        load_weights(encoder, options)
        encoder.save(folder / ENCODER)


def check_models(models: Models) -> None:
    """Build both models once, so that a wrong plug-in or weights file is refused now.

    Raises:
        UserError: A model cannot be built or has no use for the options.
    """
    segmentation, cost = (models.whole(task, models.build(task)) for task in TASKS)
    Scorer(segmentation, cost, models.options.information, models.options.committee)
