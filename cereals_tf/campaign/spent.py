"""What a campaign has spent: the account of its regions."""

from collections.abc import Sequence
from typing import NamedTuple

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.data_prep.dataset import ImageEntry


class Spent(NamedTuple):
    """What is annotated, as counts and in percent of the train split.

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
    """Return what these regions of a campaign's train images took."""
    pixels = sum(region.pixels for region in regions)
    clicks = sum(region.bill(campaign.options) for region in regions)
    all_pixels = sum(entry.height * entry.width for entry in images)
    all_clicks = sum(entry.clicks for entry in images)
    known = campaign.data.labelled("train")
    return Spent(
        sum(region.redraws is None for region in regions),
        pixels,
        100 * pixels / all_pixels,
        clicks,
        100 * clicks / max(1, all_clicks) if known else None,
    )
