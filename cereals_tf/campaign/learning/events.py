"""What `tensorboard --logdir CAMPAIGN` shows, written while the campaign runs.

    CAMPAIGN/tensorboard/
      round-000/     losses, val metrics and learning rates of the round's trainings, by epoch
      rounds/        mIoU, annotated pixels and clicks, predictions for some val images, by round

Each training and each round has a file of its own there, which is written anew where it is repeated
after an interruption. The rounds' own folders hold nothing of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.events import EventFile, epoch_writer
from cereals_tf.trainers.fitting import FitState
from cereals_tf.trainers.split import Record, Split

SHOWN_IMAGES = 4
MOST_PIXELS = 512
"""Height and width, at most, to which shown images are scaled down."""
GAP = 4
SCALARS = (
    "miou",
    "test_miou",
    "pixels_percent",
    "clicks",
    "clicks_percent",
    "cost_mean_squared_error",
    "bill_estimated",
    "bill_true",
    "cost_rank_correlation",
    "cost_rank_correlation_pool",
)


@contextmanager
def training_events(
    campaign: Campaign, number: int, name: str, metric_name: str, rate: Callable[[int], float]
) -> Iterator[Callable[[FitState], None]]:
    """Give what writes the epochs of a training, to be called after each of them.

    Args:
        campaign: The campaign.
        number: The round.
        name: Of the training.
        metric_name: Name of its val metric.
        rate: Returns the learning rate of an epoch, counted from 0.
    """
    folder = _folder(campaign) / f"round-{number:03d}"
    with EventFile(folder, name) as file:
        yield epoch_writer(file, name, metric_name, rate)


def write_round_events(
    campaign: Campaign, metrics: Metrics, model: keras.Model, val: Split
) -> None:
    """Write what a round achieved, before it is committed.

    Args:
        campaign: The campaign.
        metrics: What the round gave.
        model: The round's segmentation model.
        val: The val split as the model takes it.
    """
    number = metrics.round
    with EventFile(_folder(campaign) / "rounds", f"{number:03d}") as file:
        for name in SCALARS:
            value = getattr(metrics, name)
            if value is not None:
                file.scalar(f"rounds/{name}", value, number)
        for image_id, pixels in _examples(model, val):
            file.image(f"val/{image_id}", pixels, number)


def _folder(campaign: Campaign) -> Path:
    return campaign.folder / "tensorboard"


def _examples(model: keras.Model, val: Split) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (id, picture) of some val images: image, ground truth and prediction side by side."""
    ids = [entry.image_id for entry in val.images]
    places = np.unique(np.linspace(0, len(ids) - 1, min(SHOWN_IMAGES, len(ids))).astype(int))
    shown = [ids[place] for place in places]

    def target(record: Record) -> tuple[tf.Tensor, ...]:
        return val.image(record), val.label(record), record[records.IMAGE_ID]

    for seen, image, label, image_id in val.examples(target, shown):
        alone = tf.nest.map_structure(lambda part: part[None], seen)
        logits = upsample_logits(model(alone, training=False), *label.shape)
        predicted = tf.argmax(logits[0], axis=-1).numpy()
        picture = side_by_side(image.numpy(), label.numpy(), predicted, val.data.classes)
        yield image_id.numpy().decode(), picture


def side_by_side(
    image: np.ndarray, label: np.ndarray, predicted: np.ndarray, classes: Classes
) -> np.ndarray:
    """Return an image, its ground truth and a prediction side by side, not larger than is shown.

    Args:
        image: uint8 [H, W, 3].
        label: uint8 [H, W], train ids.
        predicted: int [H, W], class ids.
        classes: Their colours; ignored pixels are black.

    Returns:
        uint8 [h, 3 w + gaps, 3].
    """
    height, width = label.shape
    scale = min(1.0, MOST_PIXELS / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(classes)] = classes.palette
    shown = tf.image.resize(image, size, method="area")
    parts = [tf.cast(tf.round(shown), tf.uint8).numpy()]
    for class_ids in (label, predicted):
        parts.append(tf.image.resize(colours[class_ids], size, method="nearest").numpy())
    gap = np.full((size[0], GAP, 3), 255, np.uint8)
    return np.concatenate([parts[0], gap, parts[1], gap, parts[2]], axis=1)
