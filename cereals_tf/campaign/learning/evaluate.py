"""Measuring a committed round's segmentation model again."""

import math
from typing import Any

from cereals_tf.campaign.folder.campaign import SEGMENTATION, Campaign, CommittedRound
from cereals_tf.campaign.learning.models import build_segmentation, load_model
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.trainers.evaluation import Iou, SegmentationEvaluator
from cereals_tf.trainers.split import Split


def evaluate_round(campaign: Campaign, done: CommittedRound) -> dict[str, Any]:
    """Return round, mIoU and IoU per class (None where a class never occurs) on val.

    Raises:
        UserError: The data set changed or is damaged.
    """
    reader = Split(campaign.data, "val", campaign.image_size)
    built = build_segmentation(campaign.options, len(campaign.data.classes))
    model = load_model(done.folder / SEGMENTATION, built)
    with damage_named(campaign.data, "val"):
        measured = SegmentationEvaluator(model, reader, full_resolution=True).iou("evaluate")
    return {"round": done.number, **iou_summary(measured, campaign.data.classes.names)}


def iou_summary(measured: Iou, names: tuple[str, ...]) -> dict[str, Any]:
    """Return mIoU and IoU per class by name, for JSON."""
    return {
        "miou": measured.mean,
        "iou_per_class": {
            name: None if math.isnan(value) else float(value)
            for name, value in zip(names, measured.per_class, strict=True)
        },
    }
