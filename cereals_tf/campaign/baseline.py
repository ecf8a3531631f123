"""What random regions of a campaign's own pool would have given, for the same budgets."""

from shutil import copytree, rmtree

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import sync, sync_tree

FOLDER = "random"
ADOPTED = ".adopted"
CHOICE = {"information": "random_grid", "fusion": "none", "cost": "est"}
"""What the baseline has in place of the campaign's options."""


def baseline_of(campaign: Campaign) -> Campaign:
    """Complete as many rounds of random regions as a campaign has, from its round 0 on.

    They are a campaign in its folder, which goes on where it was.

    Args:
        campaign: The campaign, with one committed round or more.

    Returns:
        The campaign of random regions.

    Raises:
        UserError: People annotate, or the campaign changed on its way.
    """
    rounds = campaign.rounds()
    _refuse_without_truth(campaign, len(rounds))
    options = campaign.first_options.but(**CHOICE)
    folder = campaign.folder / FOLDER
    if not folder.exists():
        start_campaign(folder, campaign.data_folder, options)
    baseline = Campaign.open(folder)
    if baseline.options != options:
        raise UserError(f"{folder}: is of other options than {campaign.folder}; remove it")
    if rounds and not baseline.rounds():
        with baseline.lock():
            adopt_first_round(baseline, campaign)
    run_campaign(baseline, len(rounds), target=1.0)
    return baseline


def _refuse_without_truth(campaign: Campaign, rounds: int) -> None:
    if campaign.options.annotator != "oracle":
        raise UserError(
            f"{campaign.folder}: people annotate, so nobody knows the labels of random regions; "
            "--baseline wants --annotator=oracle"
        )
    changed = [change.round for change in campaign.changes if 0 < change.round < rounds]
    if changed:
        raise UserError(
            f"{campaign.folder}: changed in round {changed[0]}, which no baseline can follow"
        )


def adopt_first_round(campaign: Campaign, other: Campaign) -> None:
    """Copy round 0 of a campaign that draws and trains the same there.

    Args:
        campaign: One that has no round and none in progress; its lock is held.
        other: The one whose round 0 is complete.
    """
    copy = campaign.folder / ADOPTED
    rmtree(copy, ignore_errors=True)
    copytree(other.round(0).folder, copy)
    sync_tree(copy)
    copy.rename(campaign.folder / "rounds" / "000")
    sync(campaign.folder / "rounds")
