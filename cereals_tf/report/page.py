"""The page of a report: one HTML file with its pictures inside."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import new_folder
from cereals_tf.report.pictures import Pictures
from cereals_tf.report.sections.choice import choice_section
from cereals_tf.report.sections.conclusion import conclusion_section
from cereals_tf.report.sections.cost import cost_section
from cereals_tf.report.sections.models import calibration_section, training_section
from cereals_tf.report.sections.rounds import classes_section, headline, rounds_section
from cereals_tf.report.sections.section import Section
from cereals_tf.report.sections.setup import setup_section
from cereals_tf.report.sections.spending import spending_section
from cereals_tf.report.views import acquisition_step

PAGE = "index.html"
SHOWN_IMAGES = 3


def write_report(
    campaign: Campaign,
    out: Path | None,
    beside: Sequence[Campaign] = (),
    rounds: Sequence[int] = (),
    baseline: Campaign | None = None,
) -> Path:
    """Write the report on a campaign: `index.html`, complete in itself, and its pictures as files.

    Args:
        campaign: The campaign, with one committed round or more.
        out: New folder for the report. None: `report/` in the campaign, replaced as a whole.
        beside: Other campaigns, whose curves are drawn beside this one's.
        rounds: The rounds whose acquisition is shown in pictures, from 1 to the round to come.
            Default: the first and the last that were chosen by score.
        baseline: A campaign of random regions beside it, see `baseline_of`.

    Returns:
        The page.

    Raises:
        UserError: No round is complete, one of `rounds` is not there, `out` is taken or cannot be
            written, or the data set changed or is damaged.
    """
    beside = [*beside, *([baseline] if baseline else [])]
    for shown in (campaign, *beside):
        shown.round(None)
    last = campaign.round(None).number
    numbers = _checked(rounds, last + 1) if rounds else sorted({1, max(1, last)})
    campaign = campaign.as_of(campaign.round(None))
    folder = out or campaign.folder / "report"
    with new_folder(out) if out else _replaced_folder(folder) as partial:
        content = {
            "name": campaign.folder.resolve().name,
            "headline": headline(campaign.rounds()),
            "sections": list(_sections(campaign, beside, numbers, Pictures(partial), baseline)),
            "versions": campaign.round(None).metrics.versions,
        }
        (partial / PAGE).write_text(render(content), encoding="utf-8")
    return folder / PAGE


def _checked(rounds: Sequence[int], to_come: int) -> list[int]:
    """Return the rounds in order, each once, if all can be shown."""
    for number in rounds:
        if not 1 <= number <= to_come:
            raise UserError(
                f"--rounds={number}: expected 1 to {to_come}, the rounds that are chosen by score "
                f"(round {to_come} is the one to come)"
            )
    return sorted(set(rounds))


def _sections(
    campaign: Campaign,
    beside: Sequence[Campaign],
    numbers: Sequence[int],
    pictures: Pictures,
    baseline: Campaign | None,
) -> Iterator[Section]:
    """Give the sections in the page's order."""
    rounds = campaign.rounds()
    yield conclusion_section(campaign, rounds, baseline)
    yield setup_section(campaign)
    yield rounds_section(campaign, beside, pictures)
    yield classes_section(campaign.data, rounds)
    for number in numbers:
        step = acquisition_step(campaign, number, SHOWN_IMAGES)
        yield choice_section(step, number == numbers[0], pictures)
    yield spending_section(campaign, rounds, pictures)
    if cost := cost_section(campaign.options, rounds, pictures):
        yield cost
    yield calibration_section(campaign, pictures)
    yield training_section(campaign, pictures)


def render(content: Mapping[str, Any], template: str = "page.html") -> str:
    """Return a page as HTML; every text in `content` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)


@contextmanager
def _replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` when the block ends.

    Raises:
        UserError: `folder` is there but is no folder, or its parent is read-only.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder}: exists and is not a folder")
    fresh, old = (folder.with_name(f".{folder.name}.{k}-{os.getpid()}") for k in ("new", "old"))
    with new_folder(fresh) as partial:
        yield partial
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
