"""The models of a committed round, for use."""

from collections.abc import Sequence

import keras

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.features import with_features
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION, TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.trainers.graphs import kept
from cereals_tf.trainers.split import Split


def load_scorer(campaign: Campaign, done: CommittedRound, options: Options | None = None) -> Scorer:
    """Load both models of a committed round to score images with them.

    Args:
        campaign: The campaign.
        done: The round.
        options: Say what is scored. None: those of the round; the one after it has its own.

    Raises:
        UserError: A model is missing or damaged.
    """
    models = Models.of(campaign, done)
    segmentation, cost = (models.whole(task, models.load_round(task, done)) for task in TASKS)
    return _scorer(options or models.options, segmentation, cost)


def quickest_scorer(
    campaign: Campaign, models: Models, trained: Sequence[keras.Model], split: Split
) -> tuple[Scorer, Split]:
    """Return what scores a split quickest: from kept features where both models take these.

    Args:
        campaign: The campaign.
        models: What built or loaded the models.
        trained: Both tasks' models: heads, or whole ones.
        split: The split.

    Returns:
        The scorer, and the split as it sees it.
    """
    if all(map(models.takes_features, TASKS)):
        return _scorer(campaign.options, *trained), with_features(campaign, split, models)
    return _scorer(campaign.options, *map(models.whole, TASKS, trained)), split


def _scorer(options: Options, segmentation: keras.Model, cost: keras.Model) -> Scorer:
    return kept(
        segmentation,
        Scorer,
        cost,
        options.information,
        options.committee,
        options.composition.needs_classes,
        options.predicts_void,
    )


def load_segmentation(campaign: Campaign, done: CommittedRound) -> keras.Model:
    """Load a committed round's segmentation model, from images to logits.

    Raises:
        UserError: The model is missing or damaged.
    """
    models = Models.of(campaign, done)
    return models.whole(SEGMENTATION, models.load_round(SEGMENTATION, done))
