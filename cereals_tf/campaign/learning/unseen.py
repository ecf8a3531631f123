"""What models that have not seen an annotated region's labels predict there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.learning.features import as_taken
from cereals_tf.campaign.learning.folds import Folds
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION
from cereals_tf.data_prep import records
from cereals_tf.trainers.split import Record, Split
from cereals_tf.trainers.targets import downscale_label


@dataclass(frozen=True)
class Unseen:
    """An image, and what a model predicts that never saw its labels in some regions.

    Attributes:
        regions: Those regions.
        logits: float32 [h, w, C], at stride 8.
        label: uint8 [h, w], train ids at stride 8, as the regions have them.
    """

    regions: Mapping[RegionName, Annotated]
    logits: np.ndarray
    label: np.ndarray


def by_folds(
    campaign: Campaign,
    regions: Mapping[RegionName, Annotated],
    labelled: Split,
    val: Split,
    folds: int,
    scratch: Path,
) -> Iterator[Unseen]:
    """Predict the images of each fold by a head that is trained on the regions of the others.

    Args:
        campaign: A campaign that keeps an encoder.
        regions: The regions.
        labelled: The train split with their labels.
        val: The val split.
        folds: Parts that the regions' images are dealt into, at least 2.
        scratch: Folder for checkpoints.
    """
    every = list(regions.values())
    dealt = Folds(campaign, "review", folds, every, labelled, val, scratch)
    for left_out, (head,) in dealt.heads({done.region.image_id for done in every}, SEGMENTATION):
        unseen = {name: done for name, done in regions.items() if done.region.image_id in left_out}
        yield from _predicted(campaign, dealt.models, head, unseen, labelled)


def by_rounds(
    campaign: Campaign,
    regions: Mapping[RegionName, Annotated],
    labelled: Split,
) -> Iterator[Unseen]:
    """Predict the regions of each round by the model of the round before, those of round 0 not.

    Args:
        campaign: The campaign.
        regions: The regions, named by the round in which they were annotated first.
        labelled: The train split with their labels.
    """
    for before in campaign.rounds():
        new = {name: done for name, done in regions.items() if name.round == before.number + 1}
        if new:
            models = Models.of(campaign, before)
            model = models.load_round(SEGMENTATION, before)
            yield from _predicted(campaign, models, model, new, labelled)


def _predicted(
    campaign: Campaign,
    models: Models,
    trained: keras.Model,
    regions: Mapping[RegionName, Annotated],
    labelled: Split,
) -> Iterator[Unseen]:
    by_image: dict[str, dict[RegionName, Annotated]] = {}
    for name, done in regions.items():
        by_image.setdefault(done.region.image_id, {})[name] = done
    model, (split,) = as_taken(campaign, models, SEGMENTATION, trained, labelled)

    def target(record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        return record[records.IMAGE_ID], downscale_label(labelled.label(record))

    predict = tf.function(
        lambda seen: model(seen, training=False), reduce_retracing=True, autograph=False
    )
    for seen, image_id, label in split.examples(target, list(by_image)):
        logits = predict(tf.nest.map_structure(lambda part: part[None], seen))
        yield Unseen(by_image[image_id.numpy().decode()], logits[0].numpy(), label.numpy())
