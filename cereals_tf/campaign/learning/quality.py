"""Measuring a round's models on val."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.metrics import Training
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.campaign.learning.task import Task
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.reading import read_object
from cereals_tf.trainers.evaluation import Iou, SegmentationEvaluator, iou
from cereals_tf.trainers.fitting import FitState
from cereals_tf.trainers.split import Split


class Quality(NamedTuple):
    """What a segmentation model achieves.

    Attributes:
        miou: Mean IoU, 0 to 1; None where it is not defined.
        iou_per_class: IoU by class name; None where a class never occurs.
    """

    miou: float | None
    iou_per_class: Mapping[str, float | None]


class Evaluation(NamedTuple):
    """What a round's segmentation model achieves on a split.

    Attributes:
        split: `val` or `test`.
        miou: Mean IoU, 0 to 1, over labels at their own size; None where it is not defined.
        iou_per_class: IoU by class name, likewise; None where a class never occurs.
        miou_resized: Mean IoU over labels that are resized as the images are, as rounds report it;
            None where images are not resized.
    """

    split: str
    miou: float | None
    iou_per_class: Mapping[str, float | None]
    miou_resized: float | None


def evaluate_round(campaign: Campaign, done: CommittedRound, name: str = "val") -> Evaluation:
    """Measure a committed round's segmentation model again.

    Args:
        campaign: The campaign.
        done: The round.
        name: The split, `val` or `test`.

    Raises:
        UserError: There is no such split with labels, the data set changed or is damaged, or the
            model is.
    """
    campaign = campaign.as_of(done)
    require_labels(campaign.data, name)
    split = open_split(campaign, name)
    model = load_segmentation(campaign, done)
    with damage_named(campaign.data, name):
        resized, *own = segmentation_qualities(model, split, own_size=True)
    return Evaluation(name, *own[0], resized.miou) if own else Evaluation(name, *resized, None)


def require_labels(data: PreparedData, name: str) -> None:
    """Raise UserError where a data set has no such split with labels."""
    if name not in data.images or not data.labelled(name):
        raise UserError(f"--split={name}: {data.folder} has no labelled {name} split")


def segmentation_qualities(
    model: keras.Model, split: Split, own_size: bool = False
) -> list[Quality]:
    """Measure a segmentation model at full resolution, with a progress bar.

    Args:
        model: The model.
        split: The split.
        own_size: Where images are resized, measure at the labels' own size too.

    Returns:
        At the size to which images are resized, and at the labels' own.
    """
    evaluator = SegmentationEvaluator(model, split, full_resolution=True, own_size=own_size)
    return [_quality(iou(confusion), split) for confusion in evaluator.confusions("evaluate")]


def _quality(measured: Iou, split: Split) -> Quality:
    names = split.data.classes.names
    return Quality(measured.mean, dict(zip(names, _or_none(measured.per_class), strict=True)))


def _or_none(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def training_summary(scratch: Path, task: Task) -> Training:
    """Return how a task's training went, from what it left."""
    state = FitState(**read_object(scratch / task.name / "state.json"))
    best_epoch = state.best_epoch(task.higher_is_better) + 1
    return Training(state.epoch, best_epoch, state.losses, state.metrics)
