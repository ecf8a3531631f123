"""Regions of earlier rounds that are to be drawn again: they join what the campaign waits for."""

from collections.abc import Sequence

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import REGIONS, REQUEST, Campaign
from cereals_tf.campaign.folder.request import write_request
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.waiting import Waiting, refuse_not_waiting
from cereals_tf.data_prep.errors import UserError


def reopen(campaign: Campaign, names: Sequence[RegionName]) -> Waiting:
    """Ask people to draw regions of complete rounds again.

    They join the regions of the round that waits; where none waits, they are a round of their own.

    Args:
        campaign: The campaign.
        names: The regions.

    Returns:
        What the campaign waits for now.

    Raises:
        UserError: An oracle annotates, the campaign is busy, its round has all it needs and is
            being trained, or a region was not annotated or is reopened already.
    """
    if campaign.options.annotator != "files":
        raise UserError(
            f"{campaign.folder}: an oracle annotates, which would read the same labels of "
            f"{campaign.data_folder} again, expected a campaign with --annotator=files"
        )
    with campaign.lock():
        if (campaign.working / REGIONS).exists():
            raise UserError(
                f"{campaign.folder}: round {len(campaign.rounds())} is in training, complete it "
                "first: cereals step"
            )
        request = campaign.request() or []
        redraws = campaign.redraws()
        annotated = {name: done for each in campaign.rounds() for name, done in each.named.items()}
        for name in names:
            if name not in annotated:
                raise UserError(
                    f"--regions={name}: was not annotated in a complete round, expected "
                    "ROUND:NUMBER as `cereals review` lists them"
                )
            region = annotated[name].region
            if any(request[number].region == region for number in redraws):
                raise UserError(f"--regions={name}: is reopened already")
            redraws[len(request)] = name
            request.append(Chosen(region))
        campaign.working.mkdir(exist_ok=True)
        write_request(campaign.working / REQUEST, request, redraws)
        return refuse_not_waiting(campaign)


def region_names(text: str) -> list[RegionName]:
    """Return the regions that are typed: `0:3,7,1:2` are regions 3 and 7 of round 0, 2 of round 1.

    Raises:
        UserError: The text is none of this kind.
    """
    names: list[RegionName] = []
    for part in (part.strip() for part in text.split(",")):
        number, colon, place = part.rpartition(":")
        if not colon and names:
            number = str(names[-1].round)
        if not all(word.isascii() and word.isdigit() for word in (number, place)):
            raise UserError(
                f"--regions={text}: expected ROUND:NUMBER joined by commas, as 0:3,1:12"
            )
        names.append(RegionName(int(number), int(place)))
    return names
