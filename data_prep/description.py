"""What a prepared data set says of itself in `dataset.json`, checked so that all can rely on it."""

import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.text import is_unicode

FORMAT_VERSION = 1
_LARGEST = 2**63 - 1
_LONGEST = 1000  # characters of a file name
_SIZE = re.compile(r"[1-9][0-9]*x[1-9][0-9]*")


@dataclass(frozen=True)
class Classes:
    """What a label image's ids mean.

    Attributes:
        names: Class names in id order; ids are 0 to len(names) - 1.
        palette: One (red, green, blue) per class, 0 to 255.
        ignore_id: The id of unlabelled and ignored pixels, not a class.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_id: int

    def __len__(self) -> int:
        return len(self.names)

    def ids_in(self, others: "Classes") -> np.ndarray:
        """Return by id that of the class of the same name among others.

        Returns:
            int16 [256], -1 where they have no such class.
        """
        ids = np.full(256, -1, np.int16)
        ids[self.ignore_id] = others.ignore_id
        for number, name in enumerate(self.names):
            if name in others.names:
                ids[number] = others.names.index(name)
        return ids


@dataclass(frozen=True)
class SplitDescription:
    """What a split holds.

    Attributes:
        images: Number of images.
        shards: Names of its files of records, relative to the data set, in order.
        image_sizes: Number of images by size, written HEIGHTxWIDTH.
        pixels: Pixels of all images.
        pixels_ignored: Pixels of the ignore id.
        pixels_per_class: Pixels by class name, in the order of the classes.
        clicks: Vertices of all polygons.
        clicks_ignored: Vertices of polygons of the ignore id.
        clicks_per_class: Vertices by class name, in the order of the classes.
        polygon_iou_per_class: How well polygons, painted back, agree with the labels, 0 to 1; None
            where neither has a pixel.
        labelled: False: people will annotate it.
        labelled_images: How many images of a split that people will annotate have labels.
    """

    images: int
    shards: tuple[str, ...]
    image_sizes: Mapping[str, int]
    pixels: int
    pixels_ignored: int
    pixels_per_class: Mapping[str, int]
    clicks: int
    clicks_ignored: int
    clicks_per_class: Mapping[str, int]
    polygon_iou_per_class: Mapping[str, float | None]
    labelled: bool = True
    labelled_images: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the split's part of `dataset.json`; only a split that lacks labels is marked."""
        content = {**asdict(self), "shards": list(self.shards)}
        if self.labelled:
            del content["labelled"]
        if not self.labelled_images:
            del content["labelled_images"]
        return content


def together(parts: Mapping[str, SplitDescription], classes: Classes) -> SplitDescription:
    """Return what a split holds whose images lie in several places.

    Args:
        parts: What it holds in each place, by the folder that its files are in, '' for none.
        classes: All classes, which parts need not have.

    Returns:
        Sums; a class's agreement of polygons and labels is the lowest of its parts.
    """
    found = list(parts.values())
    sizes: Counter[str] = Counter()
    for part in found:
        sizes.update(part.image_sizes)

    def summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
        return {name: sum(part.get(name, 0) for part in counts) for name in classes.names}

    ious = {
        name: [iou for part in found if (iou := part.polygon_iou_per_class.get(name)) is not None]
        for name in classes.names
    }
    labelled = all(part.labelled for part in found)
    known = sum(part.images if part.labelled else part.labelled_images for part in found)
    return SplitDescription(
        images=sum(part.images for part in found),
        shards=tuple(
            str(PurePosixPath(folder, shard))
            for folder, part in parts.items()
            for shard in part.shards
        ),
        image_sizes=dict(sorted(sizes.items())),
        pixels=sum(part.pixels for part in found),
        pixels_ignored=sum(part.pixels_ignored for part in found),
        pixels_per_class=summed([part.pixels_per_class for part in found]),
        clicks=sum(part.clicks for part in found),
        clicks_ignored=sum(part.clicks_ignored for part in found),
        clicks_per_class=summed([part.clicks_per_class for part in found]),
        polygon_iou_per_class={name: min(ious[name], default=None) for name in ious},
        labelled=labelled,
        labelled_images=0 if labelled else known,
    )


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says.

    Attributes:
        source: The kind of data set that was converted.
        classes: Class names, palette and ignore id.
        splits: What each split holds, train first.
        left_out: How many images and shapes of the source could not be used, by what was wrong.
    """

    source: str
    classes: Classes
    splits: Mapping[str, SplitDescription]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(
        cls,
        path: Path | RemotePath,
        content: Any,
        needed: Sequence[str] = ("train", "val"),
    ) -> "Description":
        """Read and check the content of a `dataset.json` of this format version.

        Args:
            path: The file, for messages.
            content: What its JSON stands for.
            needed: The splits that it must have.

        Raises:
            UserError: A field is missing, of another type, or contradicts another one; it is named.
        """
        root = _Field(path, "", content)
        names = _class_names(root.of("classes"))
        palette = _palette(root.of("palette"), len(names))
        ignore_id = root.of("ignore_id").whole(len(names), 255)
        splits = root.of("splits")
        if not isinstance(splits.value, dict) or not all(map(is_unicode, splits.value)):
            splits.refuse("an object of splits by name")
        return cls(
            root.of("source").text(),
            Classes(names, palette, ignore_id),
            {
                split: _split(splits.of(split), names, split == "train")
                for split in dict.fromkeys((*splits.value, *needed))
            },
            root.of("left_out").counts() if "left_out" in root.value else {},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of `dataset.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "source": self.source,
            "classes": list(self.classes.names),
            "palette": [list(colour) for colour in self.classes.palette],
            "ignore_id": self.classes.ignore_id,
            "splits": {name: split.to_json() for name, split in self.splits.items()},
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
        }


class _Field(NamedTuple):
    """A value of a description and its place in it, for messages."""

    path: Path | RemotePath
    place: str
    value: Any

    def of(self, key: str) -> "_Field":
        """Return a field of this field."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        place = f"{self.place}.{key}" if self.place else key
        if key not in self.value:
            raise UserError(f"{self.path}: not a data set description, it lacks {place!a}")
        return _Field(self.path, place, self.value[key])

    def refuse(self, expected: str) -> NoReturn:
        found = reprlib.repr(self.value)
        place = f"{self.place!a} is " if self.place else "found "
        raise UserError(f"{self.path}: {place}{found}, expected {expected}")

    def whole(self, least: int = 0, most: int = _LARGEST) -> int:
        """Return the value, a whole number."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return self.value

    def text(self) -> str:
        """Return the value, which may be shown."""
        if not isinstance(self.value, str) or not self.value.isprintable():
            self.refuse("text")
        return self.value

    def counts(self) -> dict[str, int]:
        """Return the value, whole numbers by name."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return {key: self.of(key).whole() for key in self.value}


def _class_names(field: _Field) -> tuple[str, ...]:
    names = field.value
    valid = isinstance(names, list) and all(
        isinstance(name, str) and name and is_unicode(name) for name in names
    )
    if not valid or len(set(names)) != len(names) or not 2 <= len(names) <= 255:
        field.refuse("2 to 255 different names")
    return tuple(names)


def _palette(field: _Field, classes: int) -> tuple[tuple[int, int, int], ...]:
    valid = isinstance(field.value, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in colour)
        for colour in field.value
    )
    if not valid or len(field.value) != classes:
        field.refuse(f"{classes} [red, green, blue] of 0 to 255")
    return tuple(tuple(colour) for colour in field.value)


def _split(split: _Field, names: Sequence[str], may_lack_labels: bool) -> SplitDescription:
    images = split.of("images").whole(least=1)
    shards = _shards(split.of("shards"))
    sizes = split.of("image_sizes")
    if sum(sizes.counts().values()) != images or not all(map(_SIZE.fullmatch, sizes.counts())):
        sizes.refuse(f"{images} images by HEIGHTxWIDTH")
    described = SplitDescription(
        images,
        shards,
        sizes.counts(),
        *_totals(split, "pixels", names),
        *_totals(split, "clicks", names),
        _overlaps(split.of("polygon_iou_per_class"), names),
        "labelled" not in split.value or split.of("labelled").value,
        split.of("labelled_images").whole() if "labelled_images" in split.value else 0,
    )
    _check_labelled(split, described, may_lack_labels)
    return described


def _totals(split: _Field, kind: str, names: Sequence[str]) -> tuple[int, int, dict[str, int]]:
    """Return how many there are, how many of them are ignored, and how many are of each class."""
    total = split.of(kind).whole(least=int(kind == "pixels"))
    ignored = split.of(f"{kind}_ignored").whole()
    per_class = split.of(f"{kind}_per_class")
    counts = per_class.counts()
    if tuple(counts) != names or sum(counts.values()) + ignored != total:
        per_class.refuse(f"a number for each class, {total - ignored} together")
    return total, ignored, counts


def _overlaps(field: _Field, names: Sequence[str]) -> dict[str, float | None]:
    for name in names:
        value = field.of(name).value
        if value is not None and (type(value) not in (int, float) or not 0 <= value <= 1):
            field.of(name).refuse("null or 0 to 1")
    return {name: field.of(name).value for name in names}


def _check_labelled(split: _Field, described: SplitDescription, may_lack_labels: bool) -> None:
    if described.labelled_images and not 0 < described.labelled_images < described.images:
        split.of("labelled_images").refuse(f"fewer than {described.images}")
    if described.labelled is True:
        if described.labelled_images:
            split.of("labelled_images").refuse("none where all images have labels")
        return
    labelled = split.of("labelled")
    if described.labelled is not False:
        labelled.refuse("true or false")
    if not may_lack_labels:
        labelled.refuse("true, as only train may lack labels")
    if not described.labelled_images and (
        described.pixels_ignored != described.pixels or described.clicks
    ):
        labelled.refuse("true, as there are labelled pixels or clicks")


def _shards(field: _Field) -> tuple[str, ...]:
    shards = field.value
    if not isinstance(shards, list) or not shards:
        field.refuse("a list of file names")
    for shard in shards:
        valid = isinstance(shard, str) and shard.isprintable() and 0 < len(shard) <= _LONGEST
        if not valid or shard.startswith("/") or ".." in PurePosixPath(shard).parts:
            field.refuse("names of files inside the data set")
    if len(set(shards)) != len(shards):
        field.refuse("each file once")
    return tuple(shards)
