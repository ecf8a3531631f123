"""From a waiting campaign to the tasks of its round: images, regions, and predictions."""

import io
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from cereals_tf.annotation.formats import MARK, Format
from cereals_tf.annotation.prediction import Predictor
from cereals_tf.annotation.tasks import ImageTask, RegionTask, labels_of, request_id, to_second
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.folder.waiting import Waiting, refuse_not_waiting
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import refuse_occupied, writable_parent, write_atomically
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon, outline_mask
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.text import counted, shown
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.split import Split

TOLERANCE = 2.0
"""How far a predicted polygon may be from the prediction, pixels of the original image."""
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


def hand_out(
    campaign: Campaign,
    out: Path,
    chosen: Format,
    preannotate: bool = False,
    only: Collection[int] = (),
    second: bool = False,
) -> int:
    """Write the tasks of a waiting campaign into a folder, which may hold some of them already.

    Args:
        campaign: The campaign.
        out: The folder.
        chosen: The annotation tool.
        preannotate: See `outgoing_tasks`.
        only: See `outgoing_tasks`.
        second: See `outgoing_tasks`.

    Returns:
        How many regions the tasks are for.

    Raises:
        UserError: See `outgoing_tasks` and `labels_of`, or the folder holds something else.
    """
    tasks = outgoing_tasks(campaign, preannotate, only, second)
    labels_of(campaign.data.classes)
    _open_folder(campaign, out, chosen.name, second)
    return chosen.write_tasks(out, tasks, campaign.data.classes)


def overlap_of(waiting: Waiting, share: float, seed: int) -> list[int]:
    """Draw the regions that a second annotator gets too.

    Args:
        waiting: What is asked for.
        share: Of the request, 0 to 1; a region at least, unless it is 0.
        seed: The campaign's.
    """
    count = math.ceil(share * len(waiting.request))
    draw = np.random.default_rng(derive_seed(seed, waiting.round, "overlap"))
    return sorted(int(number) for number in draw.permutation(len(waiting.request))[:count])


def outgoing_tasks(
    campaign: Campaign,
    preannotate: bool = False,
    only: Collection[int] = (),
    second: bool = False,
) -> Iterator[ImageTask]:
    """Give the tasks of a waiting campaign, those of annotated and skipped regions left out.

    Args:
        campaign: The campaign.
        preannotate: Add what the model of the round before sees in the regions.
        only: Numbers of the regions. Empty: all.
        second: Whether they go to somebody who draws them besides, to compare.

    Raises:
        UserError: The campaign does not wait, what is wanted is in, the round has no model before
            it, or the data set changed or is damaged.
    """
    waiting = _waiting_by_image(campaign, only, second)
    if preannotate and not campaign.rounds():
        raise UserError("--preannotate: round 0 has no model before it, expected a later round")
    return _tasks_of(campaign, waiting, Predictor(campaign) if preannotate else None)


def _tasks_of(
    campaign: Campaign, waiting: dict[str, list[RegionTask]], predict: Predictor | None
) -> Iterator[ImageTask]:
    originals = Split(campaign.data, "train")
    entries = {entry.image_id: entry for entry in originals.images}
    found = Progress(originals.records(list(waiting)), "tasks", len(waiting), unit="image")
    with damage_named(campaign.data, "train"):
        for record in found:
            entry = entries[record[records.IMAGE_ID].numpy().decode()]
            regions = waiting[entry.image_id]
            if predict:
                label = predict(record, entry)
                regions = [
                    replace(region, predicted=outline_region(label, region.window))
                    for region in regions
                ]
            yield ImageTask(entry, *_upright(record), regions)


def _waiting_by_image(
    campaign: Campaign, only: Collection[int], second: bool
) -> dict[str, list[RegionTask]]:
    """Return what is still asked for, by image."""
    waiting = refuse_not_waiting(campaign)
    if not waiting.missing:
        raise UserError(
            f"{campaign.folder}: its "
            f"{counted(len(waiting.request), 'region is', 'regions are')} annotated or skipped, "
            f"run: cereals step {quote(str(campaign.folder))}"
        )
    if wrong := [str(number) for number in only if number not in waiting.missing]:
        missing = ", ".join(map(str, waiting.missing))
        raise UserError(f"--regions={','.join(wrong)}: not waited for, expected some of {missing}")
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
    asked = request_id(waiting.request)
    asked = to_second(asked) if second else asked
    by_image: dict[str, list[RegionTask]] = {}
    for number in only or waiting.missing:
        chosen = waiting.request[number]
        if chosen.cost is not None:
            unit = campaign.options.cost_unit
            chosen = chosen._replace(cost=campaign.options.bill(chosen.cost, unit))
        entry = entries[chosen.region.image_id]
        task = RegionTask(
            round=waiting.round,
            request=asked,
            entry=entry,
            number=number,
            chosen=chosen,
            window=own_window(chosen.region.box, entry, campaign.image_size),
            unit=campaign.options.cost_unit,
        )
        by_image.setdefault(entry.image_id, []).append(task)
    return by_image


def _upright(record: dict[str, tf.Tensor]) -> tuple[bytes, str]:
    """Return an image file and its suffix; the pixels anew if tools would show them turned."""
    encoded = bytes(record[records.IMAGE_ENCODED].numpy())
    with Image.open(io.BytesIO(encoded)) as image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            pixels = records.decode_image(record[records.IMAGE_ENCODED])
            return bytes(tf.io.encode_png(pixels).numpy()), ".png"
    return encoded, _SUFFIXES[bytes(record[records.IMAGE_FORMAT].numpy()).decode()]


def outline_region(label: np.ndarray, window: Box) -> list[Polygon]:
    """Outline the classes in a window so that no pixel of it stays empty.

    The first polygon is the window itself in its most frequent class; the others lie on it.

    Args:
        label: uint8 [H, W], class ids of the whole image.
        window: A part of it.

    Returns:
        Polygons in painter's order, in pixels of the image.
    """
    part = label[window.slices]
    most = int(np.bincount(part.ravel()).argmax())
    y, x, height, width = window
    right, bottom = x + width - 1, y + height - 1
    corners = np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float64)
    outlines = outline_mask(part, ignore_id=256, tolerance=TOLERANCE)
    while outlines and outlines[0].class_id == most:
        outlines = outlines[1:]
    moved = [
        Polygon(outline.class_id, outline.points + corners[0])
        for outline in outlines
        if len(outline.points) > 2  # tools cannot hold lines as polygons
    ]
    return [Polygon(most, corners), *moved]


def _open_folder(campaign: Campaign, out: Path, kind: str, second: bool) -> None:
    """Make a folder for tasks of a campaign's request, unless one is there already.

    Raises:
        UserError: There is something else at `out`, or it is of another request or format.
    """
    path, number = out / MARK, len(campaign.rounds())
    asked = request_id(campaign.request() or [])
    mark = f"{kind}, round {number}, request {to_second(asked) if second else asked}"
    if path.is_file():
        found = path.read_text(errors="replace")
        if found != mark:
            raise UserError(
                f"{out}: holds other tasks ({shown(found)}), expected a new folder for {mark}"
            )
        return
    refuse_occupied(out)
    writable_parent(out)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, mark.encode())
