"""The splits of a campaign's data set, seen as the campaign sees them."""

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.trainers.split import Split


def open_split(campaign: Campaign, name: str) -> Split:
    """Return `train` or `val` at the campaign's image size, with the labels of its records."""
    options = campaign.options
    return Split(
        campaign.data,
        name,
        campaign.image_size,
        crossings=options.predicts_crossings,
        void=options.predicts_void,
    )
