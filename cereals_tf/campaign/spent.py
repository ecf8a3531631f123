"""What a campaign has spent: the account of its regions."""

from collections.abc import Sequence
from typing import NamedTuple

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.data_prep.dataset import ImageEntry


class Spent(NamedTuple):
    """What is annotated, as counts and in percent of the train images that are not excluded.

    Attributes:
        regions: How many regions, each counted once.
        pixels: Pixels in them, each counted once.
        pixels_percent: Their share of all pixels.
        clicks: Clicks billed for them.
        clicks_percent: Their share of all clicks; None where nobody knows how many there are.
    """

    regions: int
    pixels: int
    pixels_percent: float
    clicks: int
    clicks_percent: float | None


def spent(campaign: Campaign, regions: Sequence[Annotated], images: Sequence[ImageEntry]) -> Spent:
    """Return what these regions of a campaign's train images took.

    Shares are of the images that are not excluded.
    """
    options, excluded = campaign.options, campaign.excluded
    pool = [entry for entry in images if entry.image_id not in excluded]
    within = [region for region in regions if region.region.image_id not in excluded]
    all_pixels = sum(entry.height * entry.width for entry in pool)
    all_clicks = sum(entry.clicks for entry in pool)
    known = campaign.data.labelled("train")
    return Spent(
        sum(region.redraws is None for region in regions),
        sum(region.pixels for region in regions),
        100 * sum(region.pixels for region in within) / max(1, all_pixels),
        sum(region.bill(options) for region in regions),
        100 * sum(region.bill(options) for region in within) / max(1, all_clicks)
        if known
        else None,
    )
