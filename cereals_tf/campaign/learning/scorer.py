"""What scores the pool: both models of a committed round."""

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.task import COST, SEGMENTATION


def load_scorer(campaign: Campaign, done: CommittedRound) -> Scorer:
    """Load both models of a committed round to score images with them.

    Raises:
        UserError: A model is missing or damaged.
    """
    return Scorer(
        SEGMENTATION.load(campaign, done),
        COST.load(campaign, done),
        campaign.options.information,
        campaign.options.committee,
        campaign.options.composition.needs_classes,
    )
