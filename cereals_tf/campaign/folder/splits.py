"""The splits of a campaign's data set, seen as the campaign sees them."""

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.trainers.split import Split


def open_split(campaign: Campaign, name: str, number: int | None = None) -> Split:
    """Return `train` or `val` at the campaign's image size, with the labels of its records.

    Args:
        campaign: The campaign.
        name: The split's.
        number: The round that sees it. None: the one in progress, or the next one.
    """
    options = campaign.options
    return Split(
        campaign.data if number is None else campaign.data_at(number),
        name,
        campaign.image_size,
        crossings=options.predicts_crossings,
        void=options.predicts_void,
    )
