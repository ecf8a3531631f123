"""Changing a campaign that has begun; its rounds that are done stay as they are.

What is changed counts from the first round on whose regions are not chosen yet. It is one write of
campaign.json, under the campaign's lock.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cereals_tf.acquisition.regions import Region
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound, regions_of
from cereals_tf.campaign.folder.history import Change
from cereals_tf.campaign.folder.regions import costed, trained_on
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.folder.waiting import Waiting, waiting
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.start import (
    check_acquisition,
    check_models,
    fitted_to_pool,
    with_absolute_paths,
)
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.text import shown


@contextmanager
def held(campaign: Campaign) -> Iterator[Campaign]:
    """Hold a campaign's lock, and give it as it is then.

    Raises:
        BusyError: Another process is working on it.
    """
    with campaign.lock():
        yield campaign.reopened()


def set_options(campaign: Campaign, given: Mapping[str, Any]) -> Campaign:
    """Give a campaign other options, from the first round on whose regions are not chosen.

    Args:
        campaign: The campaign.
        given: The options, in their written forms.

    Returns:
        The changed campaign; it is as it was if it had these options.

    Raises:
        UserError: An option is unknown, fixed, without effect or does not fit the data, or the
            campaign is busy.
    """
    if not given:
        raise UserError("set: no option is given, expected one or more, as --budget=3%")
    with held(campaign) as now:
        number = now.to_choose
        before = now.options_at(number)
        train, classes = open_split(now, "train", number), now.classes_at(number)
        after = with_absolute_paths(fitted_to_pool(before.altered(**given), train))
        check_acquisition(after, classes)
        check_models(Models.at(now.folder, after, classes))
        changed = after.differences(before)
        return now.change(Change(number, changed)) if changed else now


def move_data(campaign: Campaign, data_folder: Path | RemotePath) -> Campaign:
    """Tell a campaign where its data set lies now, and return it.

    Raises:
        UserError: That is another data set or none, or the campaign is busy.
    """
    with held(campaign) as now:
        return now.move(PreparedData.open(data_folder))


def exclude_images(
    campaign: Campaign, images: Sequence[str], training: bool = False
) -> tuple[Campaign, list[str]]:
    """Let images never be proposed again; what is annotated of them still counts as annotated.

    Args:
        campaign: The campaign.
        images: Their ids, or patterns of ids as a shell has them.
        training: Train on nothing of them either.

    Returns:
        The changed campaign, and the images that were not excluded so before.

    Raises:
        UserError: There is no such image, no image or nothing to train on would be left, or the
            campaign is busy.
    """
    with held(campaign) as now:
        number, before = now.to_choose, now.excluded_at(now.to_choose)
        train = [entry.image_id for entry in now.data_at(number).images["train"]]
        named = _named(now, images, train)
        new = [image_id for image_id in named if before.get(image_id) is not training]
        after = before | dict.fromkeys(new, training)
        if len(after) == len(train):
            raise UserError(f"{now.folder}: all {len(train)} images of train would be excluded")
        annotated = costed(regions_of(now.rounds()), now.options.cost_unit)
        if annotated and not trained_on(annotated, after):
            raise UserError(
                f"--training: nothing would be left to train on, {now.folder} has annotated "
                "regions in these images alone"
            )
        if not new:
            return now, []
        change = Change(number, excluded=tuple(new), untrained=tuple(new) if training else ())
        return now.change(change), new


def include_images(campaign: Campaign, images: Sequence[str]) -> tuple[Campaign, list[str]]:
    """Undo the exclusion of images, and the skipping of regions in them.

    Args:
        campaign: The campaign.
        images: Their ids, or patterns of ids as a shell has them.

    Returns:
        The changed campaign, and the images.

    Raises:
        UserError: None of them is excluded or has a region that is skipped, or the campaign is
            busy.
    """
    with held(campaign) as now:
        number, asked = now.to_choose, waiting(now)
        skipped = [*now.skipped(), *_skipped_in_progress(now, asked)]
        known = [*now.excluded_at(number), *(region.image_id for region in skipped)]
        named = _named(now, images, [*dict.fromkeys(known)])
        before = asked.round if asked else number
        return now.change(Change(number, included=tuple(named), unskipped=before)), named


def _skipped_in_progress(campaign: Campaign, asked: Waiting | None) -> list[Region]:
    if asked:
        return [asked.request[number].region for number in sorted(asked.skipped)]
    begun = campaign.to_choose > len(campaign.rounds())
    return CommittedRound(campaign.working).skipped if begun else []


def _named(campaign: Campaign, images: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the images that ids and patterns name, each once.

    Raises:
        UserError: One names none.
    """
    found: dict[str, None] = {}
    for name in images:
        fitting = [name] if name in known else [one for one in known if fnmatchcase(one, name)]
        if not fitting:
            near = get_close_matches(name, known, n=1)
            hint = f", did you mean {shown(near[0])}?" if near else ""
            raise UserError(f"{shown(name)}: {campaign.folder} has no such image{hint}")
        found |= dict.fromkeys(fitting)
    return list(found)
