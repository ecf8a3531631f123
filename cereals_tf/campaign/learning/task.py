"""The two models of a campaign: what each is built of, trained for and measured by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import keras

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound, model_file
from cereals_tf.campaign.folder.regions import Annotated, cost_per_click, costed
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.build import build_cost_model, build_segmentation_model
from cereals_tf.models.weights import load_backbone_weights
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.evaluation import READ_ANEW, CostEvaluator, SegmentationEvaluator
from cereals_tf.trainers.fitting import Objective, cost_loss, segmentation_loss
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import Target

Measure = Callable[[], float]


@dataclass(frozen=True)
class Task:
    """One of a campaign's two models.

    Attributes:
        name: `segmentation` or `cost`.
        build_random: Builds the model with random weights.
        plugin: Returns the user's own model that the options name, '' for none.
        usable: Returns those regions of which the model's target is known.
        loss: Makes the loss.
        metric: Name of what `measured_on` measures.
        higher_is_better: Whether a larger value of it is an improvement.
        measured_on: Returns what measures a model on val, given all regions and a cache.
    """

    name: Target
    build_random: Callable[[Options, Classes], keras.Model]
    plugin: Callable[[Options], str]
    usable: Callable[[Options, Sequence[Annotated]], list[Annotated]]
    loss: Callable[[], keras.losses.Loss]
    metric: str
    higher_is_better: bool
    measured_on: Callable[[keras.Model, Split, Options, Sequence[Annotated], Cache], Measure]

    @property
    def file(self) -> str:
        """Name of the model's file in a round's folder."""
        return model_file(self.name)

    def build(self, options: Options, classes: Classes) -> keras.Model:
        """Build the model with its first weights: the backbone's as `--weights` says, or random."""
        model = self.build_random(options, classes)
        if not self.plugin(options):
            load_backbone_weights(
                model, options.weights, options.backbone, options.width_multiplier
            )
        return model

    def load(self, campaign: Campaign, done: CommittedRound) -> keras.Model:
        """Load the model of a committed round.

        Raises:
            UserError: The file is missing or damaged, or a plug-in changed since it was written.
        """
        return self.load_file(campaign, done.folder / self.file)

    def load_file(self, campaign: Campaign, path: Path) -> keras.Model:
        """Load a file's weights into the model that the campaign's options describe.

        The architecture comes from the code, never from the file, so no code in the file is run.

        Raises:
            UserError: See `load`.
        """
        model = self.build_random(campaign.options, campaign.data.classes)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path}: cannot be loaded into the campaign's model: {reason}"
            ) from error
        return model

    def objective(
        self,
        model: keras.Model,
        val: Split,
        options: Options,
        regions: Sequence[Annotated],
        cache: Cache,
    ) -> Objective:
        """Return what `fit` is to improve."""
        return Objective(
            name=self.name,
            loss=self.loss(),
            metric_name=self.metric,
            measure=self.measured_on(model, val, options, regions, cache),
            higher_is_better=self.higher_is_better,
        )


def _build_segmentation(options: Options, classes: Classes) -> keras.Model:
    model = options.model or None
    return build_segmentation_model(len(classes), model=model, **_architecture(options))


def _build_cost(options: Options, classes: Classes) -> keras.Model:
    return build_cost_model(model=options.cost_model or None, **_architecture(options))


def _architecture(options: Options) -> dict:
    return {
        "backbone": options.backbone,
        "width_multiplier": options.width_multiplier,
        "normalization": options.normalization,
        "precision": options.precision,
    }


def _stride8_miou(
    model: keras.Model, val: Split, options: Options, regions: Sequence[Annotated], cache: Cache
) -> Measure:
    evaluator = SegmentationEvaluator(model, val, full_resolution=False, cache=cache)
    return lambda: evaluator.iou().mean or 0.0


def _cost_error(
    model: keras.Model,
    val: Split,
    options: Options,
    regions: Sequence[Annotated],
    cache: Cache = READ_ANEW,
) -> Measure:
    per_click = cost_per_click(regions, options.cost_unit)
    return CostEvaluator(model, val, cache, per_click).mean_squared_error


SEGMENTATION = Task(
    name="segmentation",
    build_random=_build_segmentation,
    plugin=lambda options: options.model,
    usable=lambda options, regions: list(regions),
    loss=segmentation_loss,
    metric="mIoU",
    higher_is_better=True,
    measured_on=_stride8_miou,
)
COST = Task(
    name="cost",
    build_random=_build_cost,
    plugin=lambda options: options.cost_model,
    usable=lambda options, regions: costed(regions, options.cost_unit),
    loss=cost_loss,
    metric="MSE",
    higher_is_better=False,
    measured_on=_cost_error,
)
TASKS = (SEGMENTATION, COST)
