"""Where a campaign keeps the features of its frozen encoder."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import keras

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import Task
from cereals_tf.trainers.features import Features
from cereals_tf.trainers.split import Split

FOLDER = "features"


def with_features(campaign: Campaign, split: Split, models: Models) -> Split:
    """Return a split whose images the features of the frozen encoder stand for.

    Nothing is computed before it is needed.

    Raises:
        UserError: The encoder's file is missing or damaged.
    """
    stride8, stride16, stride32 = (int(output.shape[-1]) for output in models.encoder.outputs)
    channels = stride8, stride16, stride32
    folder, *added = (
        _place(campaign) / _key(campaign, models, part.fingerprint)
        for part in split.data.parts.values()
    )
    features = Features(folder, split, lambda: models.encoder, channels, added)
    return replace(split, features=features)


def as_taken(
    campaign: Campaign, models: Models, task: Task, model: keras.Model, *splits: Split
) -> tuple[keras.Model, list[Split]]:
    """Return a task's model and splits as they fit each other.

    Args:
        campaign: The campaign.
        models: What built or loaded the model.
        task: The task.
        model: What is trained for it: a head, or a whole model.
        splits: Splits of images.

    Returns:
        The head and splits of kept features; or the model that takes images, and the splits.
    """
    if models.takes_features(task):
        return model, [with_features(campaign, split, models) for split in splits]
    return models.whole(task, model), list(splits)


def _place(campaign: Campaign) -> Path:
    """Return the folder for the features of all encoders."""
    cache, data = campaign.options.cache, campaign.data_folder
    if "/" in cache:
        return Path(cache)
    if cache == "auto" and isinstance(data, Path) and os.access(data, os.W_OK):
        return data / FOLDER
    return campaign.folder / FOLDER


def _key(campaign: Campaign, models: Models, fingerprint: str) -> str:
    """Return a name that features share only if they are the same."""
    options = campaign.options
    about = [fingerprint, options.precision, campaign.image_size, models.kept.digest]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    return f"{options.backbone}-{key}"
