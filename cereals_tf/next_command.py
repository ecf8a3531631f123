"""The command that comes next, as it can be copied and run."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path

from cereals_tf.annotation.formats import FORMATS, format_of
from cereals_tf.annotation.handed_out import last_hand_out
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.waiting import Waiting, waiting
from cereals_tf.data_prep.dataset import PreparedData

ROUNDS = 5
"""How many rounds are proposed for a start."""


def command_line(*words: object, **options: object) -> str:
    """Return a command line of ours, quoted for a shell."""
    named = [f"--{name}={value}" for name, value in options.items()]
    return shlex.join(["cereals", *map(str, words), *named])


def after_toy(scenes: Path) -> str:
    """Return what comes after drawing scenes."""
    return command_line("prepare", scenes, _free(scenes, "data"), dataset="cityscapes")


def after_prepare(data: PreparedData) -> str:
    """Return what comes after preparing a data set."""
    place = data.folder.parent if isinstance(data.folder, Path) else Path()
    name = data.folder.name.removesuffix("-data") or "data"
    people = {} if data.labelled("train") else {"annotator": "files"}
    return command_line("start", _free(place / name, "campaign"), data=data.folder, **people)


def after_start(campaign: Campaign) -> str:
    """Return what comes after starting a campaign."""
    if campaign.options.annotator == "files":
        return command_line("step", campaign.folder)
    return command_line("run", campaign.folder, rounds=ROUNDS)


def after_step(campaign: Campaign) -> str:
    """Return what a campaign needs next to complete a round."""
    asked = waiting(campaign)
    if asked is None or not asked.missing:
        return command_line("step", campaign.folder)
    if made := last_hand_out(campaign, asked.round, asked.missing):
        words, options = made.result
        return command_line("collect", campaign.folder, *words, **options)
    again = {*asked.missing} <= asked.redraws.keys() and len(asked.redraws) < len(asked.request)
    suffix = f"tasks-{asked.round:03}{'-again' if again else ''}"
    handed_out = [tasks for tasks in _existing(campaign.folder, suffix) if format_of(tasks)]
    if not handed_out:
        return _tasks(asked, asked.missing if again else ())
    known = format_of(handed_out[-1])
    assert known
    result = FORMATS[known].result(handed_out[-1])
    return command_line("collect", campaign.folder, result, format=known)


def after_reopen(asked: Waiting) -> str:
    """Return what brings reopened regions to annotators, beside those that may be with them."""
    alone = len(asked.redraws) == len(asked.request)
    return _tasks(asked, () if alone else [n for n in asked.missing if n in asked.redraws])


def _tasks(asked: Waiting, again: Sequence[int]) -> str:
    """Return what hands out all that is missing, or the given regions that are drawn again."""
    suffix, numbers = f"tasks-{asked.round:03}", ",".join(map(str, again))
    if not again:
        return command_line("tasks", asked.folder, _free(asked.folder, suffix))
    tasks = _free(asked.folder, f"{suffix}-again")
    return command_line("tasks", asked.folder, tasks, regions=numbers)


def after_review(campaign: Campaign, doubted: Sequence[RegionName]) -> str | None:
    """Return what has regions drawn again, if any are doubted; None where people have no say."""
    if campaign.options.annotator == "oracle":
        return None
    if not doubted:
        return after_step(campaign)
    return command_line("reopen", campaign.folder, regions=",".join(map(str, doubted)))


def after_run(campaign: Campaign) -> str:
    """Return what comes after rounds are complete, or what one that waits needs."""
    if waiting(campaign):
        return after_step(campaign)
    return command_line("report", campaign.folder)


def after_report(campaign: Campaign, number: int | None = None) -> str:
    """Return what comes after a report: a round's models, the last one's by default, for use."""
    last = campaign.rounds()[-1].number
    number = last if number is None else number
    named = {} if number == last else {"round": number}
    out = _free(campaign.folder, f"model-{number:03}")
    return command_line("export", campaign.folder, out, **named)


def _beside(folder: Path, suffix: str) -> Path:
    """Return a folder beside another one, named after it."""
    named = folder if folder.name else folder.resolve()
    return named.with_name(f"{named.name}-{suffix}")


def _free(folder: Path, suffix: str) -> Path:
    """Return such a folder that does not exist."""
    return next(path for path in _numbered(folder, suffix) if not path.exists())


def _existing(folder: Path, suffix: str) -> list[Path]:
    """Return such folders that exist, in the order in which `_free` gave them."""
    return list(takewhile(Path.exists, _numbered(folder, suffix)))


def _numbered(folder: Path, suffix: str) -> Iterator[Path]:
    names = (suffix if number == 1 else f"{suffix}-{number}" for number in count(1))
    return (_beside(folder, name) for name in names)
