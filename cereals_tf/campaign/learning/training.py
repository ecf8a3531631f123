"""Training a round's models on all regions that are annotated."""

import gc
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.learning.events import training_events
from cereals_tf.campaign.learning.task import Task
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.fitting import FitOptions, fit
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.receptive_field import crop_rule
from cereals_tf.trainers.samples import STEP_PIXELS, plan_samples
from cereals_tf.trainers.split import Split


@dataclass(frozen=True)
class Training:
    """Trains the models of one round.

    Attributes:
        campaign: The campaign.
        number: The round.
        before: The round before, None in the first one.
        regions: All that is annotated, the round's own regions included.
        labelled: The train split with what is annotated.
        val: The val split.
        strategy: Trains the models, see `trainers.strategy`.
        scratch: Folder for checkpoints and caches.
    """

    campaign: Campaign
    number: int
    before: CommittedRound | None
    regions: Sequence[Annotated]
    labelled: Split
    val: Split
    strategy: tf.distribute.Strategy
    scratch: Path

    def train(self, task: Task, out: Path) -> None:
        """Train a task's model from its first weights, or from where it was interrupted.

        Args:
            task: The task.
            out: The file for the trained model.
        """
        options, classes = self.campaign.options, self.campaign.data.classes
        seed = derive_seed(options.seed, self.number, f"train {task.name}")
        keras.utils.set_random_seed(seed)
        with self.strategy.scope():
            if options.warm_start and self.before:
                model = task.load(self.campaign, self.before)
            else:
                model = task.build(options, classes)
        data = self._data(task, model)
        goal = task.objective(model, self.val, options, self.regions, self._cache)
        how = FitOptions(options.epochs, options.patience, options.learning_rate)
        folder = self.scratch / task.name
        with training_events(self.campaign, self.number, task.name, task.metric) as on_epoch:
            fit(model, goal, data.epoch, data.steps, how, seed, folder, on_epoch)
        _save_without_optimizer(model, task.build_random(options, classes), out)
        shutil.rmtree(self._cache_folder, ignore_errors=True)
        del model, data, goal  # they refer to each other, and to the samples in memory
        gc.collect()

    @property
    def _cache(self) -> Cache:
        return Cache(self.campaign.options.cache, self._cache_folder)

    @property
    def _cache_folder(self) -> Path:
        return self.scratch / "cache"

    def _data(self, task: Task, model: keras.Model) -> TrainingData:
        options = self.campaign.options
        usable = task.usable(options, self.regions)
        boxes = boxes_by_image(region.region for region in usable)
        sizes = {entry.image_id: (entry.height, entry.width) for entry in self.labelled.images}
        crop_of = crop_rule(model)
        samples = {
            image_id: plan_samples(
                boxes[image_id], *sizes[image_id], options.train_on, crop_of, STEP_PIXELS
            )
            for image_id in sorted(boxes)
        }
        return TrainingData(
            self.labelled,
            task.name,
            boxes,
            samples,
            options.batch_size,
            self._cache,
            options.min_steps,
        )


def _save_without_optimizer(model: keras.Model, fresh: keras.Model, path: Path) -> None:
    """Save a trained model's weights in a fresh model, as the optimizer's state is not kept."""
    fresh.set_weights(model.get_weights())
    unfinished = path.with_name(f"unfinished-{path.name}")
    fresh.save(unfinished)
    unfinished.replace(path)
