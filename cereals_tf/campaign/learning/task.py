"""The two tasks of a campaign: what each model predicts, is trained for and is measured by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from cereals_tf.campaign.folder.campaign import model_file
from cereals_tf.campaign.folder.regions import Annotated, cost_per_click, costed
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.evaluation import CostEvaluator, SegmentationEvaluator
from cereals_tf.trainers.fitting import Objective, cost_loss, count_loss, segmentation_loss
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import Target
from cereals_tf.trainers.workers import ALONE, Workers

Measure = Callable[[], float]


@dataclass(frozen=True)
class Task:
    """One of a campaign's two tasks.

    Attributes:
        name: `segmentation` or `cost`.
        channels: Returns the outputs per position, of the options and the number of classes.
        plugin: Returns the user's own model that the options name, '' for none.
        tunes: Whether `--encoder=tuned` is for this task.
        usable: Returns those regions of which the model's target is known.
        loss: Makes the loss.
        metric: Returns the name of what `measured_on` measures.
        higher_is_better: Whether a larger value of it is an improvement.
        measured_on: Returns what measures a model on val, given all regions, a cache, and the
            workers that measure it together.
    """

    name: Target
    channels: Callable[[Options, Classes], int]
    plugin: Callable[[Options], str]
    tunes: bool
    usable: Callable[[Options, Sequence[Annotated]], list[Annotated]]
    loss: Callable[[Options], keras.losses.Loss]
    metric: Callable[[Options], str]
    higher_is_better: bool
    measured_on: Callable[
        [keras.Model, Split, Options, Sequence[Annotated], Cache, Workers], Measure
    ]

    @property
    def file(self) -> str:
        """Name of the model's file in a round's folder."""
        return model_file(self.name)

    def encoder(self, options: Options) -> str:
        """Return what becomes of the encoder's weights: `trained`, `frozen` or `tuned`."""
        if self.plugin(options):
            return "trained"
        return options.encoder if self.tunes or options.encoder == "trained" else "frozen"

    def objective(
        self,
        model: keras.Model,
        val: Split,
        options: Options,
        regions: Sequence[Annotated],
        cache: Cache,
        workers: Workers = ALONE,
    ) -> Objective:
        """Return what `fit` is to improve."""
        return Objective(
            name=self.name,
            loss=self.loss(options),
            metric_name=self.metric(options),
            measure=self.measured_on(model, val, options, regions, cache, workers),
            higher_is_better=self.higher_is_better,
        )


def _stride8_miou(
    model: keras.Model,
    val: Split,
    options: Options,
    regions: Sequence[Annotated],
    cache: Cache,
    workers: Workers,
) -> Measure:
    evaluator = SegmentationEvaluator(
        model, val, full_resolution=False, cache=cache, workers=workers
    )
    return lambda: evaluator.iou().mean or 0.0


def _cost_error(
    model: keras.Model,
    val: Split,
    options: Options,
    regions: Sequence[Annotated],
    cache: Cache,
    workers: Workers,
) -> Measure:
    per_click = cost_per_click(regions, options.cost_unit)
    evaluator = CostEvaluator(model, val, cache, per_click, workers)
    if options.predicts_crossings:
        return lambda: evaluator.errors().poisson
    return evaluator.mean_squared_error


SEGMENTATION = Task(
    name="segmentation",
    channels=lambda options, classes: len(classes),
    plugin=lambda options: options.model,
    tunes=True,
    usable=lambda options, regions: list(regions),
    loss=lambda options: segmentation_loss(),
    metric=lambda options: "mIoU",
    higher_is_better=True,
    measured_on=_stride8_miou,
)
COST = Task(
    name="cost",
    channels=lambda options, classes: (
        (3 if options.predicts_crossings else 1) + options.predicts_void
    ),
    plugin=lambda options: options.cost_model,
    tunes=False,
    usable=lambda options, regions: costed(regions, options.cost_unit),
    loss=lambda options: count_loss() if options.predicts_crossings else cost_loss(),
    metric=lambda options: "Poisson" if options.predicts_crossings else "MSE",
    higher_is_better=False,
    measured_on=_cost_error,
)
TASKS = (SEGMENTATION, COST)
