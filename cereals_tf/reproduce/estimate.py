"""How long the campaigns of a grid will take: by what others of their cells took, or by a trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cereals_tf.campaign.estimate import Trial, initial_images, try_out
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.reproduce.campaigns import first_round, folder_of, rounds_there
from cereals_tf.reproduce.grid import Cell, Planned


def seconds_needed(out: Path, data: PreparedData, planned: Sequence[Planned]) -> float:
    """Return what the rounds of some campaigns that are not there yet will take, at most.

    A cell that has a complete campaign takes what that took; of the others, one of each measure
    and cost model is tried on a few images.

    Args:
        out: The grid's folder.
        data: The data set.
        planned: The campaigns, in the order in which they are completed.

    Raises:
        UserError: The data set or a model is damaged.
    """
    there = {one: rounds_there(out, one) for one in planned}
    known = {one.cell: _took(out, one) for one in planned if there[one] >= one.rounds}
    missing = [one for one in planned if there[one] < one.rounds]
    trials = _trials(data, [one.options for one in missing if one.cell not in known])
    begun = {first_round(one.options) for one in planned if there[one]}
    total = max((trial.encode for trial in trials.values()), default=0.0)
    for one in missing:
        shared = not there[one] and first_round(one.options) in begun
        begun.add(first_round(one.options))
        total += sum(_rounds(one, known, trials)[max(there[one], int(shared)) :])
    return total


def _took(out: Path, one: Planned) -> list[float]:
    rounds = Campaign.open(folder_of(out, one)).rounds()
    return [done.metrics.total_seconds for done in rounds]


def _trials(data: PreparedData, options: Sequence[Options]) -> dict[tuple[str, str], Trial]:
    """Try a campaign of each kind."""
    trials = {}
    for kind, each in {_kind(each): each for each in options}.items():
        with TemporaryDirectory() as folder:
            trials[kind] = try_out(start_campaign(Path(folder, "campaign"), data.folder, each))
    return trials


def _kind(options: Options) -> tuple[str, str]:
    return options.information, options.cost_model


def _rounds(
    one: Planned,
    known: Mapping[Cell | None, list[float]],
    trials: Mapping[tuple[str, str], Trial],
) -> list[float]:
    """Return the seconds of each round of a campaign."""
    if one.cell in known:
        return known[one.cell]
    trial = trials[_kind(one.options)]
    return trial.rounds(one.options, initial_images(one.options, trial.train), one.rounds)
