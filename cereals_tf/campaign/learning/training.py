"""Training a round's models on all regions that are annotated."""

import gc
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.learning.events import training_events
from cereals_tf.campaign.learning.features import as_taken
from cereals_tf.campaign.learning.lending import can_be_lent
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION, Task
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.progress import note
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.fitting import FitOptions, fit
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.receptive_field import crop_rule
from cereals_tf.trainers.samples import STEP_PIXELS, plan_samples
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.workers import ALONE, Workers

TUNED_RATE = 0.1
"""Of the learning rate, where the layers of a pretrained encoder learn too."""


@dataclass(frozen=True)
class Training:
    """Trains the models of one round.

    Attributes:
        campaign: The campaign.
        models: The round's models.
        number: The round.
        before: The round before, None in the first one.
        regions: All that is annotated, the round's own regions included.
        labelled: The train split with what is annotated.
        val: The val split.
        strategy: Trains the models, see `trainers.strategy`.
        scratch: Folder for checkpoints and caches.
        recorded: Whether TensorBoard's files are told of the epochs.
        workers: Train them together; the chief alone writes.
    """

    campaign: Campaign
    models: Models
    number: int
    before: CommittedRound | None
    regions: Sequence[Annotated]
    labelled: Split
    val: Split
    strategy: tf.distribute.Strategy
    scratch: Path
    recorded: bool = True
    workers: Workers = ALONE

    def train(self, task: Task, out: Path) -> None:
        """Train a task's model from its first weights, or from where it was interrupted.

        Args:
            task: The task.
            out: The file for the trained model.
        """
        if task.encoder(self.models.options) == "tuned":
            trained = self._tune(task)
        else:
            trained = self._fit(task, self.models, task.name)
        if self.workers.lead:
            _save(self.models.random(task) if trained.compiled else trained, trained, out)
        shutil.rmtree(self._cache_folder, ignore_errors=True)
        del trained  # it refers to itself
        gc.collect()

    def head(self, task: Task) -> keras.Model:
        """Train a task's head on the frozen encoder."""
        frozen = replace(self.models, options=self.models.options.but(encoder="frozen"))
        head = self._fit(task, frozen, f"{task.name}_head")
        shutil.rmtree(self._cache_folder, ignore_errors=True)
        return head

    def _tune(self, task: Task) -> keras.Model:
        """Train a head on the frozen encoder, and then all layers from its weights."""
        head = self.head(task)
        with self.strategy.scope():
            whole = self.models.build(task)
        whole.get_layer(task.name).set_weights(head.get_weights())
        return self._fit(task, self.models, task.name, whole)

    def _fit(
        self, task: Task, models: Models, name: str, model: keras.Model | None = None
    ) -> keras.Model:
        """Train what `models` has for a task, from its first weights if `model` is None.

        Args:
            task: The task.
            models: Say what is trained.
            name: Of the training, which is that of its folder too.
            model: What to train.
        """
        seed = derive_seed(models.options.seed, self.number, f"train {name}")
        with self.strategy.scope():
            models.seed(seed)
            first = model or self._first(task, models)
        if self.strategy.num_replicas_in_sync > 1 or not can_be_lent(first):
            self._fit_to(task, models, name, seed, first)
            return first
        with models.lent_alike(task) as working:
            working.set_weights(first.get_weights())
            self._fit_to(task, models, name, seed, working)
            first.set_weights(working.get_weights())
        return first

    def _fit_to(
        self, task: Task, models: Models, name: str, seed: int, trained: keras.Model
    ) -> None:
        """Train a model; arguments as in `_fit`, and the seed."""
        options = models.options
        with self.strategy.scope():
            model, (labelled, val) = as_taken(
                self.campaign, models, task, trained, self.labelled, self.val
            )
        with self.workers.chief_first():  # what it keeps of the images is there for the others
            data = self._data(task, options, model, labelled)
            goal = task.objective(
                model, val, options, self.regions, self._cache(options), self.workers
            )
        rate = options.learning_rate
        if task.encoder(options) == "tuned":
            rate *= TUNED_RATE
        alike = task is SEGMENTATION and options.loss_mean == "all"
        positions = data.positions_per_step if alike else None
        how = FitOptions(options.epochs, options.patience, rate, options.schedule)
        events = (
            training_events(self.campaign, self.number, name, goal.metric_name, how.rate)
            if self.recorded and self.workers.lead
            else nullcontext()
        )
        with events as on_epoch:
            fit(
                model,
                goal,
                data.epochs,
                data.steps,
                how,
                seed,
                self.scratch / name,
                on_epoch=on_epoch,
                workers=self.workers,
                positions=positions,
            )

    def _first(self, task: Task, models: Models) -> keras.Model:
        """Return a task's model with the weights that its training begins with."""
        if not (models.options.warm_start and self.before):
            return models.build(task)
        before = models.as_in(self.campaign, self.before)
        if task is SEGMENTATION and before.classes != models.classes:
            note(f"round {self.number} starts from scratch: the round before has fewer classes")
            return models.build(task)
        trained = before.load_round(task, self.before)
        if task.encoder(before.options) == task.encoder(models.options):
            return trained
        head = models.build(task)  # the round before tuned its encoder with it
        head.set_weights(trained.get_layer(task.name).get_weights())
        return head

    def _cache(self, options: Options) -> Cache:
        way = "auto" if "/" in options.cache else options.cache
        return Cache(way, self._cache_folder)

    @property
    def _cache_folder(self) -> Path:
        own = f"-{self.workers.index}" if self.workers.index else ""
        return self.scratch / f"cache{own}"

    def _data(
        self, task: Task, options: Options, model: keras.Model, labelled: Split
    ) -> TrainingData:
        usable = task.usable(options, self.regions)
        boxes = boxes_by_image(region.region for region in usable)
        sizes = {entry.image_id: (entry.height, entry.width) for entry in labelled.images}
        crop_of = crop_rule(model)
        samples = {
            image_id: plan_samples(
                boxes[image_id], *sizes[image_id], options.train_on, crop_of, STEP_PIXELS
            )
            for image_id in sorted(boxes)
        }
        return TrainingData(
            labelled,
            task.name,
            boxes,
            samples,
            options.batch_size,
            self._cache(options),
            options.min_steps,
            options.augment and labelled.features is None,
        )


def _save(saved: keras.Model, trained: keras.Model, path: Path) -> None:
    """Save a trained model's weights in a model without an optimizer, whose state is not kept."""
    saved.set_weights(trained.get_weights())
    unfinished = path.with_name(f"unfinished-{path.name}")
    saved.save(unfinished)
    unfinished.replace(path)
