"""The models of a committed round, for use."""

import keras

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.features import with_features
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION, TASKS
from cereals_tf.trainers.split import Split


def load_scorer(campaign: Campaign, done: CommittedRound) -> Scorer:
    """Load both models of a committed round to score images with them.

    Raises:
        UserError: A model is missing or damaged.
    """
    models = Models.of(campaign, done)
    loaded = (models.whole(task, models.load_round(task, done)) for task in TASKS)
    return _scorer(campaign, *loaded)


def load_pool_scorer(
    campaign: Campaign, done: CommittedRound, train: Split
) -> tuple[Scorer, Split]:
    """Load what scores the pool quickest, from kept features where both models take these.

    Returns:
        The scorer, and the train split as it sees it.

    Raises:
        UserError: A model is missing or damaged.
    """
    models = Models.of(campaign, done)
    if not all(map(models.takes_features, TASKS)):
        return load_scorer(campaign, done), train
    heads = (models.load_round(task, done) for task in TASKS)
    return _scorer(campaign, *heads), with_features(campaign, train, models)


def _scorer(campaign: Campaign, segmentation: keras.Model, cost: keras.Model) -> Scorer:
    options = campaign.options
    return Scorer(
        segmentation,
        cost,
        options.information,
        options.committee,
        options.composition.needs_classes,
    )


def load_segmentation(campaign: Campaign, done: CommittedRound) -> keras.Model:
    """Load a committed round's segmentation model, from images to logits.

    Raises:
        UserError: The model is missing or damaged.
    """
    models = Models.of(campaign, done)
    return models.whole(SEGMENTATION, models.load_round(SEGMENTATION, done))
