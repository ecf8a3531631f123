"""Group `export`: how long exported files take for an image, beside the SavedModel.

The models of `--recipe=fast` and of the paper's network, with random weights, in float32; each file
is run by its own runtime, on decoded images one at a time, as `export` itself runs it to compare.
LiteRT's files are for the one size, and int8 is calibrated on drawn scenes.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.export.formats import FORMATS, Segment
from cereals_tf.export.source import Source
from tests.bench.measure import Row, interleaved, per_image


class Size(NamedTuple):
    """How much is measured: the image, val images to calibrate with, images a turn, turns."""

    height: int
    width: int
    scenes: int
    images: int
    repeats: int


FULL = Size(512, 1024, 16, 3, 5)
QUICK = Size(64, 96, 2, 1, 1)
RECIPES = {"fast": {}, "paper": {"width_multiplier": 0.25}}
THIN = {"paper": {"width_multiplier": 0.03125}}
SEED = 0


def rows(quick: bool) -> Iterator[Row]:
    """Measure the seconds of an image by each format that is installed."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_toy(folder / "drawn", 2, size.scenes, size.height, size.width)
        prepare(folder / "drawn", folder / "data", "cityscapes")
        for recipe, chosen in (THIN if quick else RECIPES).items():
            options = Options.chosen(recipe=recipe, region="16", initial="1images", **chosen)
            campaign = start_campaign(folder / recipe, folder / "data", options)
            yield from _formats(campaign, folder, size)


def _formats(campaign: Campaign, folder: Path, size: Size) -> Iterator[Row]:
    """Compare the formats on one image."""
    models = Models.of(campaign)
    models.seed(SEED)
    wholes = [models.whole(task, models.random(task)) for task in TASKS]
    scorer = Scorer(*wholes, "entropy", 0, void=campaign.options.predicts_void)
    segments = dict(_written(campaign, scorer, folder, size))
    image = np.random.default_rng(SEED).integers(0, 256, (size.height, size.width, 3), np.uint8)

    def run(segment: Segment) -> None:
        for _ in range(size.images):
            segment(image)

    functions = {name: partial(run, segment) for name, segment in segments.items()}
    seconds = interleaved(functions, size.repeats)
    for name in functions:
        if name != "savedmodel":
            what = f"{campaign.options.recipe}, {size.height}x{size.width}, {name}"
            floor = seconds["savedmodel"]
            yield per_image("export", what, seconds[name], size.images, "SavedModel", floor)


def _written(
    campaign: Campaign, scorer: Scorer, folder: Path, size: Size
) -> Iterator[tuple[str, Segment]]:
    """Write each format whose packages are there, and give what runs it."""
    done: Any = SimpleNamespace(number=0, folder=campaign.working, own_options={})
    for name, chosen in FORMATS.items():
        try:
            chosen.refuse_missing()
        except UserError as error:
            print(error)
            continue
        own = None if chosen.any_size else (size.height, size.width)
        for quantize in ("none", *chosen.quantizes):
            label = name if quantize == "none" else f"{name}, {quantize}"
            out = folder / f"{campaign.options.recipe}-{label}"
            out.mkdir()
            yield label, chosen.write(Source(campaign, done, scorer, name, own, quantize), out)
