"""The model card: what was learnt from what, how well, and for what; read by people and hubs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.data_prep.text import counted
from cereals_tf.export.formats import Format

CARD = "README.md"
"""The card's file in an exported folder."""

LIBRARIES = {"savedmodel": "tf-keras", "onnx": "onnx", "openvino": "openvino", "litert": "tf-lite"}
"""What hubs call each format's library."""


def model_card(
    campaign: Campaign,
    done: CommittedRound,
    chosen: Format,
    agreement: float,
    images: int,
    quantize: str,
) -> str:
    """Return the card of a round's models, as Markdown behind front matter in YAML.

    The front matter is that of Hugging Face's model cards: `library_name`, `pipeline_tag`,
    `license`, `datasets`, and results in `model-index`. The licence, which the user alone knows, is
    `unknown` there.

    Args:
        campaign: The campaign.
        done: The round.
        chosen: The format.
        agreement: At what share of pixels the file sees the Keras model's classes.
        images: Of so many images.
        quantize: How the file is quantised.
    """
    quantised = "" if quantize == "none" else f", quantised to {quantize}"
    name = f"{campaign.folder.resolve().name}, round {done.number}"
    parts = (
        _front_matter(name, campaign, done.metrics, chosen),
        f"# {name}",
        f"Semantic segmentation of images into {len(campaign.classes)} classes, trained on "
        "the regions that CEREALS' active learning chose. The files are for "
        f"`{chosen.name}`{quantised}; they see the classes that the Keras model sees at "
        f"{agreement:.3%} of the pixels of {counted(images, 'image')} that both were tried on. "
        "`cereals.json` has class ids, palette and options for programs.",
        "## Intended use",
        "Images like those of the data set below: the same kind of camera, scenes and classes. The "
        "model knows no other classes, and says one of them for every pixel. Results on other "
        "images, and for decisions about people, have not been measured.",
        "## Data and licence",
        _data(campaign, done),
        "## Results",
        _results(done.metrics),
        "## Training",
        _rounds(campaign, done),
        "Options that are not the defaults: " + _options(campaign.options_of(done).changed()),
        "Versions: " + _options(done.metrics.versions),
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(name: str, campaign: Campaign, metrics: Metrics, chosen: Format) -> str:
    data = campaign.data_folder.name
    results = [
        {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": data, "type": data, "split": split},
            "metrics": [{"type": "mean_iou", "value": miou}],
        }
        for split, miou in (("val", metrics.miou), ("test", metrics.test_miou))
        if miou is not None
    ]
    fields = {
        "library_name": LIBRARIES[chosen.name],
        "pipeline_tag": "image-segmentation",
        "license": "unknown",
        "tags": ["cereals", "active-learning", "semantic-segmentation"],
        "datasets": [data],
        "metrics": ["mean_iou"],
        "model-index": [{"name": name, "results": results}],
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in fields.items())
    return "\n".join(("---", *lines, "---"))


def _data(campaign: Campaign, done: CommittedRound) -> str:
    weights = campaign.options_of(done).source_of_weights
    parts = [f"`{campaign.data_folder.name}`"]
    if campaign.data_is_there:
        description = campaign.data.description
        parts[0] += f", prepared from `{description.source}`:"
        rows = ((split, each.images, each.clicks) for split, each in description.splits.items())
        parts.append(_table(("split", "images", "vertices"), rows))
    parts.append(
        "Licence of the data: not recorded. Licence of the model: not recorded; it follows from "
        f"that of the data and of the weights that training began with (`{weights}`)."
    )
    return "\n\n".join(parts)


def _results(metrics: Metrics) -> str:
    test = metrics.test_iou_per_class or {}
    rows = [("mean", metrics.miou, metrics.test_miou)]
    rows += [(name, value, test.get(name)) for name, value in metrics.iou_per_class.items()]
    table = _table(("class", "IoU on val", "IoU on test"), rows)
    cost = _table(
        ("of the cost model", ""),
        (
            ("estimated / true bill of what was chosen", metrics.bill_ratio),
            ("rank correlation among it", metrics.cost_rank_correlation),
            ("rank correlation over the pool", metrics.cost_rank_correlation_pool),
        ),
    )
    return f"val chose the epoch of training, test did not.\n\n{table}\n\n{cost}"


def _rounds(campaign: Campaign, done: CommittedRound) -> str:
    columns = ("round", "regions", "pixels, %", "clicks", "clicks, %", "mIoU on val", "seconds")
    rows = (
        (
            one.round,
            one.regions,
            one.pixels_percent,
            one.clicks,
            one.clicks_percent,
            one.miou,
            round(one.total_seconds),
        )
        for one in (each.metrics for each in campaign.rounds() if each.number <= done.number)
    )
    return _table(columns, rows)


def _options(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in values.items()) or "none"


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")
