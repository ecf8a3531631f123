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
from cereals_tf.data_prep.sources.reading import read_json
from cereals_tf.trainers.evaluation import SegmentationEvaluator
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


def evaluate_round(campaign: Campaign, done: CommittedRound) -> Quality:
    """Measure a committed round's segmentation model on val again.

    Raises:
        UserError: The data set changed or is damaged, or the model is.
    """
    val = open_split(campaign, "val")
    model = load_segmentation(campaign, done)
    with damage_named(campaign.data, "val"):
        return segmentation_quality(model, val)


def segmentation_quality(model: keras.Model, split: Split) -> Quality:
    """Measure a segmentation model at full resolution, with a progress bar."""
    measured = SegmentationEvaluator(model, split, full_resolution=True).iou("evaluate")
    names = split.data.classes.names
    return Quality(measured.mean, dict(zip(names, _or_none(measured.per_class), strict=True)))


def _or_none(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def training_summary(scratch: Path, task: Task) -> Training:
    """Return how a task's training went, from what it left."""
    state = FitState(**read_json(scratch / task.name / "state.json"))
    best_epoch = state.best_epoch(task.higher_is_better) + 1
    return Training(state.epoch, best_epoch, state.losses, state.metrics)
