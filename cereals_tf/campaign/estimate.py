"""What a campaign's rounds will take on this machine: a short trial on its data, and sums.

The trial is on val, which is labelled in any case. Trainings are counted to their last epoch; they
may stop before. Whole images are counted where crops may be trained on.
"""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.people import labelled_images
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.forecast import FOLDS, folds_tried, foretells
from cereals_tf.campaign.learning.features import as_taken, with_features
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.scorer import quickest_scorer
from cereals_tf.campaign.learning.task import TASKS, Task
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.choose import budget_of, choose_initial
from cereals_tf.campaign.pool.pool import Pool, region_area, region_of
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box, cells
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.fitting import compile_model, stepping
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import Sample
from cereals_tf.trainers.split import Split

TRIAL_SEED = 1
TRIAL_STEPS = 10
FORWARD = 1 / 3
"""Of the time of a training step, what goes into its forward pass."""
LARGE = 512
"""Images of a longer side are worth a word, pixels."""
LARGE_TRAIN = 10**8
"""Train splits of more are tried as soon as they are prepared, pixels: 50 images of 1024x2048."""
LONG = 600
"""So are rounds that take longer, seconds."""


@dataclass(frozen=True)
class Estimate:
    """What a campaign will take, at most.

    Attributes:
        first: Seconds of round 0.
        later: Seconds of round 1.
        disk: Bytes of the features that are kept, 0 where none are.
        memory: Bytes of this process at its largest so far.
        hints: Options that would shorten it, in words.
    """

    first: float
    later: float
    disk: int
    memory: int
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What the parts of a round took on a few images.

    Attributes:
        encode: Seconds for the features of all images, 0 where none are kept.
        build: Seconds in which models and scorer are built and their graphs traced.
        step: Seconds of a training step of both models.
        score: Seconds in which an image of the pool is scored.
        disk: Bytes of the features.
        train: The train split.
        val_images: How many images val has.
    """

    encode: float
    build: float
    step: float
    score: float
    disk: int
    train: Split
    val_images: int

    def training(self, options: Options, labelled: int) -> float:
        """Return the seconds of both trainings on so many images."""
        steps = max(options.min_steps, -(-labelled // options.batch_size))
        forward = FORWARD * self.step / min(options.batch_size, self.val_images)
        return options.epochs * (steps * self.step + self.val_images * forward)

    def rounds(self, options: Options, initial: int, count: int) -> list[float]:
        """Return the seconds of the first rounds of a campaign, without those for features.

        Args:
            options: The campaign's, which may choose otherwise than the one that was tried.
            initial: Images that round 0 has regions of.
            count: How many rounds.
        """
        images, new = len(self.train.images), _regions_of_a_round(options, self.train)
        labelled = (min(images, initial + number * new) for number in range(count))
        first, *later = (self.build + self.training(options, of_round) for of_round in labelled)
        later = [images * self.score + seconds for seconds in later]
        if later and foretells(options, initial):
            seen = initial - initial // FOLDS
            later[0] += folds_tried(initial) * self.training(options, seen)
        return [first, *later]


def is_large(data: PreparedData) -> bool:
    """Return whether what a campaign takes on the data is worth to know before one is started."""
    train = data.images["train"]
    return sum(entry.height * entry.width for entry in train) > LARGE_TRAIN


def estimate_defaults(data: PreparedData) -> Estimate:
    """Return what a campaign with the default options will take; errors as in `estimate`."""
    annotator = "oracle" if data.labelled("train") else "files"
    with TemporaryDirectory() as folder:
        options = Options.chosen(annotator=annotator)
        return estimate(start_campaign(Path(folder, "campaign"), data.folder, options))


def estimate(campaign: Campaign) -> Estimate:
    """Try each part of a round on a few images, and add up what there will be of it.

    Raises:
        UserError: The data set or a model is damaged.
    """
    trial = try_out(campaign)
    known = [*labelled_images(trial.train), *(campaign.request() or ())]
    initial = initial_images(campaign.options, trial.train, known)
    first, later = trial.rounds(campaign.options, initial, 2)
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hints = _hints(campaign.options, trial.train, later)
    return Estimate(trial.encode + first, later, trial.disk, memory, hints)


def try_out(campaign: Campaign) -> Trial:
    """Try each part of a round on a few images; errors as in `estimate`."""
    models = Models.of(campaign)
    train, val = (open_split(campaign, name) for name in ("train", "val"))
    encode, disk = 0.0, 0
    if models.keeps_features:
        few = mapped(val.records().take(2), val.image).batch(1)
        images = len(train.images) + len(val.images)
        encode = images * _seconds(tf.function(models.encoder, reduce_retracing=True), few)
        disk = sum(_bytes(with_features(campaign, split, models)) for split in (train, val))
    started = time.monotonic()
    step = sum(_step(campaign, models, task, val) for task in TASKS)
    score = _score(campaign, models, val)
    build = time.monotonic() - started - 2 * TRIAL_STEPS * step
    return Trial(encode, build, step, score, disk, train, len(val.images))


def initial_images(options: Options, train: Split, known: Sequence[Chosen] = ()) -> int:
    """Return how many images round 0 has regions of, which may be known."""
    first = known or choose_initial(Pool(options, train, {}))
    return len({chosen.region.image_id for chosen in first})


def _step(campaign: Campaign, models: Models, task: Task, val: Split) -> float:
    """Return the seconds of a training step."""
    options = models.options
    models.seed(TRIAL_SEED)
    model, (val,) = as_taken(campaign, models, task, models.build(task), val)
    whole = {entry.image_id: Box(0, 0, entry.height, entry.width) for entry in val.images}
    few = dict(islice(whole.items(), options.batch_size))
    data = TrainingData(
        val,
        task.name,
        {image_id: [box] for image_id, box in few.items()},
        {image_id: [Sample(box, box)] for image_id, box in few.items()},
        options.batch_size,
        Cache("none"),
        TRIAL_STEPS,
    )
    compile_model(model, task.loss(options), options.learning_rate)
    step = stepping(model, data.epochs([0, 1]))
    for _ in range(data.steps):
        step()
    started = time.monotonic()
    for _ in range(data.steps):
        step()
    return (time.monotonic() - started) / data.steps


def _score(campaign: Campaign, models: Models, val: Split) -> float:
    """Return the seconds in which an image of the pool is scored."""
    scorer, val = quickest_scorer(campaign, models, [models.build(task) for task in TASKS], val)
    entry = val.images[0]
    region = region_of(campaign.options, entry)
    unlabelled = np.ones((1, cells(entry.height), cells(entry.width)), bool)
    batches = val.examples(None, [entry.image_id]).repeat(3).batch(1)
    return _seconds(lambda batch: scorer.windows(*batch, unlabelled, region), batches)


def _bytes(split: Split) -> int:
    return split.features.bytes_on_disk if split.features else 0


def _seconds(work: Callable[[Any], object], batches: tf.data.Dataset) -> float:
    """Return the seconds of some work on a batch, of all but the first."""
    first, *others = batches
    work(first)
    started = time.monotonic()
    for batch in others:
        work(batch)
    return (time.monotonic() - started) / max(1, len(others))


def _regions_of_a_round(options: Options, train: Split) -> int:
    """Return how many regions a round annotates, for a budget in pixels; else one an image."""
    budget, unit = budget_of(options, train.images)
    if unit != "pixels":
        return len(train.images)
    return int(budget / max(region_area(options, entry) for entry in train.images))


def _hints(options: Options, train: Split, seconds: float) -> tuple[str, ...]:
    if seconds < LONG:
        return ()
    longest = max(max(entry.height, entry.width) for entry in train.images)
    found = {
        "--recipe=fast": options.recipe != "fast" and not options.model,
        "--image_size=HEIGHTxWIDTH": longest > LARGE and options.image_size is None,
        "--train_on=auto": options.encoder == "trained" and options.train_on == "mask",
    }
    return (*(hint for hint, helps in found.items() if helps), "cereals score --shard=I/N")
