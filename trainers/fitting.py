"""Fitting a Keras model until a metric stops improving, resumable after every epoch.

The supplement's rule: Adam, learning rate 1e-4, beta_1 0.99, beta_2 0.999; stop when the metric has
not improved for 10 epochs; keep the best weights. After each epoch the state is on disk, and an
epoch's random numbers depend on the seed and its number alone, so that a run that was killed ends
with the same weights as one that was not.
"""

import json
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.progress import Progress, note
from cereals_tf.trainers.adam import FusedAdam
from cereals_tf.trainers.graphs import kept, signature_of
from cereals_tf.trainers.normalization import fused_normalization
from cereals_tf.trainers.randomness import derive_seed, reseed
from cereals_tf.trainers.strategy import split_among, summed
from cereals_tf.trainers.together import JointTraining
from cereals_tf.trainers.workers import ALONE, Workers

BAR_FORMAT = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}] {bar}"
"""Steps and times, what the last epoch gave, and a bar where the terminal leaves room for it."""
BETA_1 = 0.99
BETA_2 = 0.999
STRETCH = 100
"""Epochs that come from one dataset; few have more."""
FIRST_EPOCHS = 3
"""A best epoch among these is worth a word, where the learning rate is not lowered later on."""


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast to train.

    Attributes:
        epochs: Most epochs.
        patience: Epochs without improvement after which training stops.
        learning_rate: Adam's, in the first epoch.
        schedule: What becomes of it from epoch to epoch, one of `choices.SCHEDULES`.
    """

    epochs: int
    patience: int
    learning_rate: float
    schedule: str = "constant"

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0.

        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
        equation 5, without restarts: half a cosine from the first epoch's rate towards 0.
        """
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class Objective:
    """What a model is trained for.

    Attributes:
        name: Shown to the user, and the checkpoint's folder name.
        loss: Keras loss; the weights of a batch are its sample weights.
        metric_name: Name of the value that `measure` returns.
        measure: Measures the model on the val split as it stands.
        higher_is_better: Whether a larger value of the metric is an improvement.
    """

    name: str
    loss: keras.losses.Loss
    metric_name: str
    measure: Callable[[], float]
    higher_is_better: bool


@dataclass
class FitState:
    """Where a training stands; written after each epoch.

    Attributes:
        losses: Mean training loss of each finished epoch.
        metrics: The val metric after each finished epoch.
    """

    losses: list[float] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.metrics)

    def best_epoch(self, higher_is_better: bool) -> int:
        """Return the first epoch (from 0) with the best metric; NaN is worse than any number."""
        sign = 1 if higher_is_better else -1
        return max(
            range(self.epoch),
            key=lambda i: -math.inf if math.isnan(self.metrics[i]) else sign * self.metrics[i],
        )

    def finished(self, options: FitOptions, higher_is_better: bool) -> bool:
        """Whether training is over: no epochs left, or no improvement for `patience` epochs."""
        if not self.metrics:
            return options.epochs == 0
        waited = self.epoch - 1 - self.best_epoch(higher_is_better)
        return self.epoch >= options.epochs or waited >= options.patience

    def remark(self, options: FitOptions, higher_is_better: bool) -> str | None:
        """Return what a user should know of a training that is over, if there is anything."""
        if not self.metrics:
            return None
        best = self.best_epoch(higher_is_better) + 1
        if best == options.epochs:
            return f"the best epoch is the last of --epochs={options.epochs}; more may be better"
        if best <= FIRST_EPOCHS and options.schedule == "constant":
            return (
                f"the best of {self.epoch} epochs is number {best}; a lower --learning_rate may "
                "be better"
            )
        return None


def segmentation_loss() -> keras.losses.Loss:
    """Cross-entropy of logits, averaged over the weighted positions of a batch."""
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )


def cost_loss() -> keras.losses.Loss:
    """Squared error of predicted clicks, averaged over the weighted positions of a batch."""
    return keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")


def count_loss() -> keras.losses.Loss:
    """Poisson's negative log-likelihood of counts, averaged over the weighted positions.

    Its least expects as many clicks in all as there are, which squared error does not where the
    costs are as skewed as they are.
    """
    return keras.losses.Poisson(reduction="mean_with_sample_weight")


def compile_model(model: keras.Model, loss: keras.losses.Loss, learning_rate: float) -> None:
    """Give a model its loss and the supplement's optimizer, whose state can then be loaded.

    A model that has them keeps them, and with them its traced step; the optimizer starts anew.

    Args:
        model: The model. If it was built in the scope of a strategy with several devices, each
            adds its part of a batch to the loss, see `cereals_tf.trainers.strategy.split_among`.
        loss: A mean over weighted positions.
        learning_rate: Adam's.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        loss = summed(loss)
    if _is_compiled_for(model, loss):
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        model.optimizer.learning_rate = learning_rate
        return
    with strategy.scope():
        optimizer = FusedAdam(learning_rate, beta_1=BETA_1, beta_2=BETA_2)
        model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
        model.optimizer.build(model.trainable_variables)


def _is_compiled_for(model: keras.Model, loss: keras.losses.Loss) -> bool:
    """Whether a model was compiled here before, for an equal loss."""
    if not (model.compiled and isinstance(model.optimizer, FusedAdam)):
        return False
    return type(model.loss) is type(loss) and model.loss.get_config() == loss.get_config()


def fit(
    model: keras.Model,
    objective: Objective,
    epochs: Callable[[Sequence[int]], tf.data.Dataset],
    steps: int,
    options: FitOptions,
    seed: int,
    folder: Path,
    on_epoch: Callable[[FitState], None] | None = None,
    workers: Workers = ALONE,
    positions: float | None = None,
) -> FitState:
    """Train `model` and leave it with its best weights.

    Args:
        model: The model, with its initial weights. Compiled here. Built in the scope of a
            `tf.distribute` strategy, it is trained on all devices of it, which split each batch.
        objective: Loss, metric and direction.
        epochs: Maps seeds to as many epochs of (images, targets, weights), one after the other.
        steps: Steps in an epoch.
        options: Epochs, patience, learning rate.
        seed: Every epoch's order and dropout are drawn from it.
        folder: Holds the checkpoints; training continues from what is there.
        on_epoch: Called with all epochs so far, at the start and after each epoch that is on disk.
        workers: Train it together, each a copy of its own; the chief alone writes into `folder`,
            which all of them see.
        positions: What the weighted loss of each step is divided by, the weighted positions that a
            mean step has: all of them count alike then. None: by its own, so that those of a step
            that has few of them count more.

    Returns:
        The losses and metrics of all epochs.

    Raises:
        UserError: The loss is no longer finite, or what is in `folder` is damaged, or another
            folder than the chief's.
    """
    tf.random.set_seed(seed)
    loss = objective.loss if positions is None else summed(objective.loss)
    compile_model(model, loss, options.learning_rate)
    checkpoints = _Checkpoints(folder)
    state = checkpoints.resume(model)
    _refuse_other_folder(folder, state, workers)
    on_epoch = on_epoch or (lambda state: None)
    on_epoch(state)
    total = options.epochs * steps
    with (
        fused_normalization(model),
        Progress(
            desc=objective.name, total=total, initial=state.epoch * steps, bar_format=BAR_FORMAT
        ) as bar,
    ):

        def training(seeds: Sequence[int]) -> Callable[[], float]:
            batches = epochs(seeds)
            return _epoch_training(model, loss, workers, batches, steps, positions, bar.update)

        left = range(state.epoch, options.epochs)
        seeds = (derive_seed(seed, epoch, objective.name) for epoch in left)
        for epoch_seed, train in _each_epoch(training, seeds):
            if state.finished(options, objective.higher_is_better):
                break
            reseed(model, epoch_seed)
            model.optimizer.learning_rate = options.rate(state.epoch)
            mean = train()
            if not math.isfinite(mean):
                raise UserError(
                    f"--learning_rate={options.learning_rate:g}: training of the {objective.name} "
                    f"model diverged in epoch {state.epoch + 1} (loss {mean}): lower it"
                )
            state.losses.append(mean)
            state.metrics.append(objective.measure())
            if workers.lead:
                checkpoints.save(model, state, state.best_epoch(objective.higher_is_better))
            on_epoch(state)
            bar.set_postfix_str(standing(objective, state))
    workers.wait()
    if state.metrics:
        checkpoints.restore(model, state.best_epoch(objective.higher_is_better))
    if remark := state.remark(options, objective.higher_is_better):
        note(f"{objective.name}: {remark}")
    return state


def _each_epoch(
    training: Callable[[Sequence[int]], Callable[[], float]], seeds: Iterator[int]
) -> Iterator[tuple[int, Callable[[], float]]]:
    """Yield each epoch's seed, and what trains on it: one dataset serves a stretch of epochs."""
    while stretch := list(islice(seeds, STRETCH)):
        train = training(stretch)
        yield from ((seed, train) for seed in stretch)


def _epoch_training(
    model: keras.Model,
    loss: keras.losses.Loss,
    workers: Workers,
    batches: tf.data.Dataset,
    steps: int,
    positions: float | None,
    on_step: Callable[[], object],
) -> Callable[[], float]:
    """Return what trains a compiled model on the next epoch of batches and gives the mean loss."""
    if workers.count > 1:
        joint = JointTraining(model, loss, workers, batches, positions)
        return partial(joint.epoch, steps, on_step)
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1 or positions is not None:
        batches = split_among(batches, replicas, positions)
    step = stepping(model, batches)

    def train() -> float:
        model.reset_metrics()
        mean = math.nan
        for _ in range(steps):
            mean = step()
            on_step()
        return float(mean)

    return train


def stepping(model: keras.Model, batches: tf.data.Dataset) -> Callable[[], Any]:
    """Return what trains a compiled model on the next batch and gives the mean loss so far."""
    step = kept(model, _step_for, model.optimizer, signature_of(batches))
    given = iter(model.distribute_strategy.experimental_distribute_dataset(batches))
    return lambda: step(given)["loss"]


def _step_for(model: keras.Model, *traced_for: Hashable) -> Callable[..., Any]:
    """Return a step to be traced for one optimizer and one kind of batches.

    Keras's own would be traced for all kinds that it has seen, and the last bits of what it
    computes may depend on that.
    """
    model.make_train_function(force=True)
    return model.train_function


def _refuse_other_folder(folder: Path, state: FitState, workers: Workers) -> None:
    expected = workers.told(state.epoch)
    if state.epoch != expected:
        raise UserError(
            f"{folder}: worker {workers.index} sees {state.epoch} epochs there, the chief "
            f"{expected}; expected a folder that all workers share"
        )


def standing(objective: Objective, state: FitState) -> str:
    """Return what the last epoch gave, the metric first: narrow terminals cut off the end."""
    best = state.metrics[state.best_epoch(objective.higher_is_better)]
    return (
        f"{objective.metric_name} {state.metrics[-1]:.4g}, best {best:.4g}, epoch {state.epoch}, "
        f"loss {state.losses[-1]:.3g}"
    )


class _Checkpoints:
    """The last and the best epoch's weights, and the state that says which these are.

    The weights of an epoch are written first; then the state, by which they count; then what the
    state no longer names is deleted. A kill in between loses nothing that counted. Plain arrays
    take a quarter of the time of Keras's weights files, which small epochs would wait for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self, model: keras.Model) -> FitState:
        path = self._folder / "state.json"
        if not path.exists():
            return FitState()
        with self._damage_named():
            state = FitState(**json.loads(path.read_text()))
        self.restore(model, state.epoch - 1)
        return state

    def restore(self, model: keras.Model, epoch: int) -> None:
        path = self._path(epoch)
        with self._damage_named(), np.load(path, allow_pickle=False) as arrays:
            for place, variable in enumerate(_variables(model)):
                variable.assign(arrays[f"arr_{place}"])

    def save(self, model: keras.Model, state: FitState, best_epoch: int) -> None:
        last = self._path(state.epoch - 1)
        np.savez(last, *map(keras.ops.convert_to_numpy, _variables(model)))
        write_atomically(self._folder / "state.json", json.dumps(asdict(state)).encode())
        for path in self._folder.glob("epoch-*.npz"):
            if path not in (last, self._path(best_epoch)):
                path.unlink()

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise UserError(
                f"{self._folder}: an interrupted training cannot go on from what is there "
                f"({error}); remove the folder, and it starts over with the same result"
            ) from None

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}.npz"


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return all that training changes: weights, normalisation's means, the optimizer's state."""
    return [*model.variables, *model.optimizer.variables]
