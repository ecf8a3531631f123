"""What goes out to annotators, whatever their tool."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.drawn import REGION, Shape, painted
from cereals_tf.campaign.folder.waiting import Waiting
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.sources.labelme import IGNORE
from cereals_tf.data_prep.text import counted, shown

IGNORE_COLOUR = (0, 0, 0)
_FRAME_COLOURS = ((255, 0, 255), (0, 255, 255), (255, 255, 0), (0, 255, 0), (255, 128, 0))
_MAX_NAME = 200


@dataclass(frozen=True)
class RegionTask:
    """One region that annotators are asked for.

    Attributes:
        round: The round that asks.
        request: The request that asks, see `request_id`.
        entry: The image, at its original size.
        number: The region's number in the request.
        chosen: Where it is, in the campaign's pixels, and why.
        window: The region, in pixels of the original image.
        unit: What costs are estimated in, `clicks` or `seconds`.
        predicted: What the model sees there, in painter's order and pixels of the original image;
            None if nobody asked for it.
    """

    round: int
    request: str
    entry: ImageEntry
    number: int
    chosen: Chosen
    window: Box
    unit: str
    predicted: Sequence[Polygon] | None = None


@dataclass(frozen=True)
class ImageTask:
    """An image, and what annotators are asked for in it.

    Attributes:
        entry: The image, at its original size.
        image_encoded: The bytes of its file, which tools show upright.
        suffix: `.png` or `.jpg`.
        regions: In the order in which they were chosen.
    """

    entry: ImageEntry
    image_encoded: bytes
    suffix: str
    regions: Sequence[RegionTask]

    @property
    def file_name(self) -> str:
        """The name of the image's file."""
        return file_stem(self.entry.image_id) + self.suffix


class TaskLabel(NamedTuple):
    """A label that annotators may choose, and its (red, green, blue), 0 to 255."""

    name: str
    colour: tuple[int, int, int]


def labels_of(classes: Classes) -> list[TaskLabel]:
    """Return what annotators may choose: the classes, and what stands for ignored pixels.

    Raises:
        UserError: A class has a name that cannot be a line of a list, or one that stands for
            something else here.
    """
    for name in classes.names:
        if name in (IGNORE, REGION):
            raise UserError(f"class {shown(name)}: this name has a meaning of its own in tasks")
        if name != name.strip() or not name.isprintable():
            raise UserError(
                f"class {shown(name)}: expected a name of printable characters in one line, "
                "without spaces around it"
            )
    labels = map(TaskLabel, classes.names, classes.palette)
    return [*labels, TaskLabel(IGNORE, IGNORE_COLOUR)]


def frame_of(classes: Classes) -> TaskLabel:
    """Return the label of the frames around regions, in a colour that differs from all classes."""

    def distance(colour: tuple[int, int, int]) -> float:
        return min(math.dist(colour, other) for other in classes.palette)

    return TaskLabel(REGION, max(_FRAME_COLOURS, key=distance))


def request_id(request: Sequence[Chosen]) -> str:
    """Return a digest of what is asked for, by which annotations of another request are told."""
    digest = hashlib.sha256()
    for number, (region, *_) in enumerate(request):
        digest.update(f"{(number, *region.box)} {region.image_id!a}\n".encode())
    return digest.hexdigest()[:16]


def request_ids(waiting: Waiting) -> list[str]:
    """Return the digest of what is waited for, and those of what it was before it grew."""
    regions = waiting.request
    begun = max(1, len(regions) - len(waiting.redraws))
    return [request_id(regions[:size]) for size in range(len(regions), begun - 1, -1)]


def to_second(request: str) -> str:
    """Return the digest of a request as it stands in the tasks of second annotators."""
    return f"{request}-second"


def labels_digest(labels: np.ndarray) -> str:
    """Return a digest of a region's labels, int32 [h, w]."""
    return hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:16]


def predicted_digests(task: ImageTask, classes: Classes) -> dict[int, str]:
    """Return, by region, the digest of its labels as the predictions of all regions paint them."""
    predicted = [region for region in task.regions if region.predicted is not None]
    shapes = [
        Shape("", classes.names[polygon.class_id], [polygon.points])
        for region in predicted
        for polygon in region.predicted or ()
    ]
    labels = painted(shapes, label_ids(classes), task.entry.height, task.entry.width)
    return {region.number: labels_digest(labels[region.window.slices]) for region in predicted}


def label_ids(classes: Classes) -> dict[str, int]:
    """Return the train id of every label that annotators may choose."""
    ids: Mapping[str, int] = {name: number for number, name in enumerate(classes.names)}
    return {**ids, IGNORE: classes.ignore_id}


def file_stem(image_id: str) -> str:
    """Return a file name without suffix for an image id; no two ids share one.

    Letters, digits and `_.-~` stay, other bytes become `%XX`; the middle of a long name becomes
    `#` and a digest.
    """
    name = quote(image_id, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(image_id.encode()).hexdigest()[:32]
    return f"{name[: _MAX_NAME - 33]}#{digest}"


def priority(task: RegionTask) -> dict[str, Any]:
    """Return what work can be planned by: score, information and estimated cost."""
    _, score, information, cost = task.chosen
    return {"score": score, "information": information, f"{task.unit}_estimated": cost}


def hint(task: RegionTask) -> str:
    """Return what an annotator reads above a region."""
    cost = task.chosen.cost
    words = f"Region {task.number} of round {task.round}"
    if cost is None:
        return words
    return f"{words}, about {counted(max(0, math.ceil(cost)), task.unit[:-1])}"
