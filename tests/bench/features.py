"""Group `features`: what `--recipe=fast` gains by keeping features, and what it takes.

Heads with random weights on EfficientNet-Lite0, drawn street scenes as PNG; the features are
computed beforehand. The floor of training is the same steps on arrays in memory.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import keras
import numpy as np

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.features import with_features
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.fitting import compile_model, segmentation_loss
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import Sample
from cereals_tf.trainers.split import Split
from tests.bench.measure import Row, interleaved, per_image
from tests.bench.scoring import Size, memory_row, score_afresh

SEED = 1


FULL = Size(128, 256, 512, 200, 2000, 20, 3)
QUICK = Size(3, 64, 96, 6, 12, 3, 1)


def rows(quick: bool) -> Iterator[Row]:
    """Measure scoring from features, training of a head, bytes on disk, memory."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_toy(folder / "drawn", size.scenes, 1, size.height, size.width)
        prepare(folder / "drawn", folder / "data", "cityscapes")
        yield from _scoring(folder, size)
        yield _training(folder, size)
        yield _disk(folder, size)
        yield _memory(folder, size)


def _campaign(folder: Path, data: Path, **chosen: object) -> Campaign:
    options = Options.chosen(region="16", initial="1images", **chosen)
    return start_campaign(folder, data, options)


def _heads(campaign: Campaign) -> tuple[Models, list[keras.Model]]:
    models = Models.of(campaign)
    models.seed(SEED)
    return models, [models.random(task) for task in TASKS]


def _scoring(folder: Path, size: Size) -> Iterator[Row]:
    """Compare scoring from features with scoring from images."""
    for information, committee in (("entropy", {}), ("vote_entropy", {"committee": size.members})):
        chosen = {"information": information, **committee}
        campaign = _campaign(folder / information, folder / "data", **chosen)
        models, heads = _heads(campaign)
        images = open_split(campaign, "train")
        kept = with_features(campaign, images, models)
        assert kept.features
        kept.features.compute()
        wholes = list(map(models.whole, TASKS, heads))
        functions = {
            name: partial(
                score_afresh,
                Pool(campaign.options, split, {}),
                Scorer(*trained, information, size.members, void=True),
                folder / "scores",
            )
            for name, split, trained in (("features", kept, heads), ("images", images, wholes))
        }
        seconds = interleaved(functions, size.repeats)
        yield per_image(
            "features",
            f"pool of {size.height}x{size.width} by {information}, from features",
            seconds["features"],
            size.scenes,
            "from images",
            seconds["images"],
            "<= 0.1",
        )


def _training(folder: Path, size: Size) -> Row:
    """Compare an epoch of a head with the same steps on arrays in memory."""
    campaign = Campaign.open(folder / "entropy")
    models, (head, _) = _heads(campaign)
    compile_model(head, segmentation_loss(), 1e-2)
    split = with_features(campaign, open_split(campaign, "train"), models)
    data = _training_data(split, campaign.options.batch_size)
    batches = list(data.epochs([SEED]))
    seen = [np.concatenate([batch[0][level] for batch in batches]) for level in range(3)]
    labels, weights = (np.concatenate([batch[part] for batch in batches]) for part in (1, 2))

    def on_arrays() -> None:
        arguments = {"batch_size": campaign.options.batch_size, "verbose": 0}
        head.fit(tuple(seen), labels, sample_weight=weights, **arguments)

    def from_disk() -> None:
        head.fit(data.epochs([SEED]), shuffle=False, verbose=0)

    seconds = interleaved({"ours": from_disk, "arrays": on_arrays}, size.repeats)
    what = f"epoch of a head, {size.height}x{size.width}, features from disk"
    floor = "the same steps, arrays in memory"
    return per_image("features", what, seconds["ours"], len(labels), floor, seconds["arrays"])


def _training_data(split: Split, batch_size: int) -> TrainingData:
    boxes = {entry.image_id: [Box(0, 0, entry.height, entry.width)] for entry in split.images}
    samples = {image_id: [Sample(box, box)] for image_id, (box,) in boxes.items()}
    return TrainingData(split, "segmentation", boxes, samples, batch_size, Cache("memory"))


def _disk(folder: Path, size: Size) -> Row:
    """Compare the bytes of features with those of the images' own files."""
    campaign = Campaign.open(folder / "entropy")
    split = with_features(campaign, open_split(campaign, "train"), Models.of(campaign))
    pixels = size.scenes * size.height * size.width
    assert split.features
    ours = split.features.bytes_on_disk / pixels
    files = (folder / "drawn" / "leftImg8bit" / "train").rglob("*.png")
    images = sum(path.stat().st_size for path in files) / pixels
    return Row(
        "features", "features on disk", ours, "bytes/pixel", "PNG files", ours / images, "", ""
    )


def _memory(folder: Path, size: Size) -> Row:
    """Compare the peak memory of fresh processes that score few and many images from features."""

    def prepared(count: int, data: Path) -> tuple[str, str]:
        campaign = folder / f"{count}-campaign"
        _campaign(campaign, data)
        return str(campaign), str(folder / "scores")

    what = "features and scores of {} images of {}x{}"
    return memory_row("features", what, folder, size, "tests.bench.features:score_small", prepared)


def score_small(folder: str, out: str) -> int:
    """Compute the features of a campaign's pool, score it, and return how many images it has."""
    campaign = Campaign.open(Path(folder))
    models, heads = _heads(campaign)
    split = with_features(campaign, open_split(campaign, "train"), models)
    scorer = Scorer(*heads, "entropy", 0, void=True)
    return score_afresh(Pool(campaign.options, split, {}), scorer, Path(out))
