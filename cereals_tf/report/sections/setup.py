"""The data set and the options that matter most."""

from cereals_tf.acquisition.fusion import FUSIONS
from cereals_tf.acquisition.plugins import find_measure
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.plugin import words
from cereals_tf.report.sections.section import Section
from cereals_tf.tables import changed_words


def setup_section(campaign: Campaign) -> Section:
    """Return the section on how the campaign was set up."""
    content = {
        "terms": _of_data(campaign.data, campaign.options)
        + _of_options(campaign.options, len(campaign.data.classes))
        + _changes(campaign),
        "options": campaign.options.to_json(),
    }
    return Section("set-up", "Set-up", "setup.html", content)


def _of_data(data: PreparedData, options: Options) -> list[tuple[str, str]]:
    train, val = data.split("train"), data.split("val")
    sizes = train.image_sizes
    size = f"{next(iter(sizes))} px" if len(sizes) == 1 else f"{len(sizes)} sizes"
    read_as = f", read as {options.image_size}" if options.image_size else ""
    return [
        ("Data set", f"{data.folder.name} ({data.description.source})"),
        ("Images", f"{train.images:,} train, {val.images:,} val"),
        ("Image size", size + read_as),
        ("Classes", str(len(data.classes))),
    ]


def _of_options(options: Options, classes: int) -> list[tuple[str, str]]:
    information, fusion = words(options.information), words(options.fusion)
    if find_measure(options.information, classes).needs_committee:
        information += f" of {options.committee} passes"
    if options.fusion in FUSIONS and "alpha" in FUSIONS[options.fusion].parameters:
        fusion += f", alpha {options.alpha:g}"
    model = options.model or f"FCN8s, {options.backbone}, width {options.width_multiplier:g}"
    return [
        ("Region", "image" if options.region == "image" else f"{options.region} px"),
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


def _changes(campaign: Campaign) -> list[tuple[str, str]]:
    """Return what changed, by the round that had it so first."""
    numbers = range(len(campaign.rounds()) + 2)
    words = {number: changed_words(campaign, number) for number in numbers}
    return [(f"From round {number} on", text) for number, text in words.items() if text]
