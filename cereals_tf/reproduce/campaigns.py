"""Working through a grid: each campaign of it is stepped until it has all its rounds."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cereals_tf.campaign.baseline import adopt_first_round
from cereals_tf.campaign.folder.campaign import BusyError, Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.reproduce.grid import Planned
from cereals_tf.tables import format_duration

CAMPAIGNS = "campaigns"
CHOICE = (
    "region",
    "information",
    "committee",
    "fusion",
    "alpha",
    "cost",
    "selection",
    "max_per_image",
    "max_overlap",
    "budget",
)
"""Options that say what is chosen from round 1 on; round 0 does not depend on them."""


def folder_of(out: Path, planned: Planned) -> Path:
    """Return a campaign's folder."""
    return out / CAMPAIGNS / planned.name


def complete_grid(out: Path, data: PreparedData, planned: Sequence[Planned]) -> list[Planned]:
    """Complete the rounds of campaigns, in this order, those of them that are not there yet.

    Args:
        out: The grid's folder.
        data: The prepared data set.
        planned: The campaigns.

    Returns:
        The campaigns that another process is working on, which were left to it.

    Raises:
        UserError: A campaign's folder holds another campaign, or a step fails.
    """
    progress = _Progress(out, planned)
    return [one for one in planned if not _complete(out, data, one, progress)]


class _Progress:
    """Says after each round how much of a grid is done, and how long the rest may take."""

    def __init__(self, out: Path, planned: Sequence[Planned]) -> None:
        self._there = {one: rounds_there(out, one) for one in planned}
        self._seconds: list[float] = []

    def say(self, one: Planned, miou: float | None, seconds: float | None) -> None:
        """Say that a round is there, which took so long; None: it was there for the taking."""
        self._there[one] += 1
        if seconds is not None:
            self._seconds.append(seconds)
        done, total = sum(self._there.values()), sum(each.rounds for each in self._there)
        text = f"{done} of {total} rounds, {100 * done / total:.0f} %"
        if done < total and self._seconds:
            mean = sum(self._seconds) / len(self._seconds)
            text += f", about {format_duration(self._to_compute() * mean)} left"
        found = "n/a" if miou is None else f"{miou:.3f}"
        print(f"reproduce: {text}; {one.name}: mIoU {found}", file=sys.stderr, flush=True)

    def leave(self, one: Planned) -> None:
        """Take a campaign that another process has out of what is to be done."""
        del self._there[one]
        print(f"reproduce: {one.name}: left to another process", file=sys.stderr, flush=True)

    def _to_compute(self) -> int:
        """Return how many rounds are left without those that will be there for the taking."""
        known = {first_round(one.options) for one, there in self._there.items() if there}
        new = [first_round(one.options) for one, there in self._there.items() if not there]
        later = sum(one.rounds - max(there, 1) for one, there in self._there.items())
        return later + len(set(new) - known)


def rounds_there(out: Path, one: Planned) -> int:
    """Return how many of a campaign's rounds are complete."""
    folder = folder_of(out, one)
    return min(len(Campaign.open(folder).rounds()), one.rounds) if folder.exists() else 0


def _complete(out: Path, data: PreparedData, one: Planned, progress: _Progress) -> bool:
    """Complete one campaign; False: another process has it."""
    campaign = _open(out, data, one)
    try:
        while (number := len(campaign.rounds())) < one.rounds:
            adopted = number == 0 and _adopt_first_round(out, campaign)
            started = time.monotonic()
            done = campaign.round(0) if adopted else step_campaign(campaign)
            if done is None:  # the pool is empty
                break
            seconds = None if adopted else time.monotonic() - started
            progress.say(one, done.metrics.miou, seconds)
    except BusyError:
        progress.leave(one)
        return False
    return True


def _open(out: Path, data: PreparedData, one: Planned) -> Campaign:
    """Open a campaign of the grid, or start it.

    Raises:
        UserError: There is one of other options or of other data.
    """
    folder = folder_of(out, one)
    if not folder.exists():
        return start_campaign(folder, data.folder, one.options)
    campaign = Campaign.open(folder)
    refuse_other(campaign, data, one)
    return campaign


def refuse_other(campaign: Campaign, data: PreparedData, one: Planned) -> None:
    """Raise UserError unless a campaign is the planned one."""
    if campaign.data_fingerprint != data.fingerprint:
        raise UserError(f"{campaign.folder}: is of other data than {data.folder}")
    now = one.options.to_json()
    for name, found in campaign.options.to_json().items():
        if found != now[name]:
            raise UserError(
                f"{campaign.folder}: was made with --{name}={found}, now it is {now[name]}; "
                "give the same options, or another OUT"
            )


def _adopt_first_round(out: Path, campaign: Campaign) -> bool:
    """Copy round 0 from a campaign that draws and trains the same, if there is one."""
    for other in _siblings(out, campaign):
        with campaign.lock():
            if campaign.rounds() or campaign.working.exists():
                return False
            adopt_first_round(campaign, other)
        return True
    return False


def _siblings(out: Path, campaign: Campaign) -> Iterator[Campaign]:
    for folder in sorted((out / CAMPAIGNS).iterdir()):
        if folder == campaign.folder or not (folder / "rounds" / "000").is_dir():
            continue
        other = Campaign.open(folder)
        same_data = other.data_fingerprint == campaign.data_fingerprint
        if same_data and first_round(other.options) == first_round(campaign.options):
            yield other


def first_round(options: Options) -> tuple:
    """Return what the round 0 of a campaign depends on, besides its data."""
    ignored = set(CHOICE)
    if options.initial.unit == "regions":
        ignored.discard("region")
    return tuple(value for name, value in options.to_json().items() if name not in ignored)
