"""A prepared data set on disk: `dataset.json`, `images.csv`, and the shards of each split."""

import csv
import hashlib
import io
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, takewhile
from pathlib import Path

from cereals_tf.data_prep.description import (
    FORMAT_VERSION,
    Classes,
    Description,
    SplitDescription,
    together,
)
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.remote import RemotePath, folder_at

DESCRIPTION = "dataset.json"
IMAGES = "images.csv"
SCHEMA = "schema.pbtxt"
MAX_PIXELS = 178_000_000  # of one image; Pillow opens hardly more


@dataclass(frozen=True)
class ImageEntry:
    """One row of `images.csv`.

    Attributes:
        image_id: The image's identity.
        height: Its height in pixels.
        width: Its width in pixels.
        clicks: The vertices of its polygons.
        labelled: Whether it has labels; if not, people will annotate it.
    """

    image_id: str
    height: int
    width: int
    clicks: int
    labelled: bool = True


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set, described by its `dataset.json`.

    Attributes:
        folder: The data set's folder, perhaps in an object store.
        description: What `dataset.json` says.
    """

    folder: Path | RemotePath
    description: Description

    @classmethod
    def open(
        cls, folder: str | Path | RemotePath, added: Sequence[str] | None = None
    ) -> "PreparedData":
        """Open a prepared data set.

        Args:
            folder: Its folder.
            added: Which additions belong to it, in order, see `additions`. None: all.

        Raises:
            UserError: The folder is no prepared data set, is of another format version, its
                description is damaged or names a file outside, or a file is missing.
        """
        folder = folder_at(folder)
        base = cls.open_part(folder, ("train", "val"))
        names = additions(folder) if added is None else added
        return extended(base, {name: cls.open_part(folder / name) for name in names})

    @classmethod
    def open_part(cls, folder: Path | RemotePath, needed: Sequence[str] = ()) -> "PreparedData":
        """Open a prepared data set without what was added, or an addition; errors as in `open`.

        Args:
            folder: Its folder.
            needed: The splits that it must have.
        """
        path = folder / DESCRIPTION
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise UserError(f"{path}: expected a file, or a link to one")
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            message = f"{folder}: not a prepared data set, it has no {DESCRIPTION}"
            raise UserError(message) from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: not a data set description: {error}") from None
        version = content.get("format_version") if isinstance(content, dict) else None
        if type(version) is not int or version != FORMAT_VERSION:
            found = reprlib.repr(version)
            raise UserError(f"{path}: format version {found}, expected {FORMAT_VERSION}")
        data = PreparedData(folder, Description.from_json(path, content, needed))
        shards = [shard for split in data.splits for shard in data.shards(split)]
        for file in (*shards, folder / IMAGES):
            if not file.is_file():
                raise UserError(f"{file}: missing, {DESCRIPTION} lists it")
        return data

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, `train` first."""
        return tuple(self.description.splits)

    @property
    def classes(self) -> Classes:
        """Class names, palette and ignore id."""
        return self.description.classes

    def shards(self, split: str) -> list[Path | RemotePath]:
        """Return the TFRecord files of a split, in order.

        Raises:
            UserError: There is no such split.
        """
        return [self.folder / name for name in self.split(split).shards]

    def labelled(self, split: str) -> bool:
        """Whether a split has labels; where it has none, people will annotate it.

        Raises:
            UserError: There is no such split.
        """
        return self.split(split).labelled

    @property
    def polygon_iou_per_class(self) -> Mapping[str, float | None]:
        """How well polygons, painted back, agree with masks in the first split that has labels."""
        split = next(split for split in self.splits if self.labelled(split))
        return self.split(split).polygon_iou_per_class

    def split(self, name: str) -> SplitDescription:
        """Return what a split holds.

        Raises:
            UserError: There is no such split.
        """
        if name not in self.description.splits:
            raise UserError(f"{self.folder}: no split {name!r}, it has {', '.join(self.splits)}")
        return self.description.splits[name]

    @cached_property
    def images(self) -> dict[str, list[ImageEntry]]:
        """The images of each split, in the order of their records."""
        entries: dict[str, list[ImageEntry]] = {split: [] for split in self.splits}
        path = self.folder / IMAGES
        try:
            for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")):
                of_split = entries[row["split"]]
                height, width, clicks = (int(row[name]) for name in ("height", "width", "clicks"))
                labelled = row.get("labelled") or str(int(self.labelled(row["split"])))
                of_split.append(ImageEntry(row["image_id"], height, width, clicks, labelled == "1"))
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read: {error!r}") from None
        for split, found in entries.items():
            listed = self.split(split).images
            if len(found) != listed:
                raise UserError(
                    f"{path}: has {len(found)} images of {split}, {DESCRIPTION} says {listed}"
                )
            self._check_images(path, split, found)
        return entries

    def _check_images(self, path: Path | RemotePath, split: str, found: list[ImageEntry]) -> None:
        """Check the entries of a split by themselves and against `dataset.json`."""
        seen = set()
        for entry in found:
            where = f"{path}: {split}: image {entry.image_id!a}"
            pixels = entry.height * entry.width
            if entry.image_id in seen:
                raise UserError(f"{where} is listed twice")
            if min(entry.height, entry.width) < 1 or pixels > MAX_PIXELS or entry.clicks < 0:
                raise UserError(
                    f"{where} has {entry.height}x{entry.width} pixels and {entry.clicks} clicks, "
                    f"expected 1 to {MAX_PIXELS} and 0 or more"
                )
            seen.add(entry.image_id)
        described = self.split(split)
        sizes = Counter(f"{entry.height}x{entry.width}" for entry in found)
        clicks = sum(entry.clicks for entry in found)
        labelled = sum(entry.labelled for entry in found)
        stated = described.images if described.labelled else described.labelled_images
        if (sizes, clicks, labelled) != (described.image_sizes, described.clicks, stated):
            raise UserError(
                f"{path}: {split}: sizes {reprlib.repr(dict(sizes))}, {clicks} clicks and "
                f"{labelled} images with labels, {DESCRIPTION} says otherwise"
            )

    @property
    def parts(self) -> Mapping[str, "PreparedData"]:
        """What it is made of, by the folder in its folder: itself, '', and what was added."""
        return {"": self}

    @property
    def fingerprint(self) -> str:
        """Hex digest of `dataset.json`, `images.csv` and the names and sizes of all shards."""
        digest = hashlib.sha256()
        for name in (DESCRIPTION, IMAGES):
            digest.update((self.folder / name).read_bytes())
        for split in self.splits:
            for shard in self.shards(split):
                digest.update(f"{shard.name} {shard.stat().st_size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ExtendedData(PreparedData):
    """A prepared data set to which something was added: images, or classes.

    Attributes:
        made_of: The data set as it was prepared, '', and the additions in order, by their folders.
    """

    made_of: Mapping[str, PreparedData]

    @property
    def parts(self) -> Mapping[str, PreparedData]:
        """See `made_of`."""
        return self.made_of

    @cached_property
    def images(self) -> dict[str, list[ImageEntry]]:
        """The images of each split, in the order of the parts and of their records.

        Raises:
            UserError: Two parts have an image of the same id in a split.
        """
        found: dict[str, list[ImageEntry]] = {split: [] for split in self.splits}
        for part in self.parts.values():
            for split, entries in part.images.items():
                found[split] += entries
        for split, entries in found.items():
            twice = Counter(entry.image_id for entry in entries).most_common(1)[0]
            if twice[1] > 1:
                raise UserError(f"{self.folder}: {split}: image {twice[0]!a} was added twice")
        return found

    @property
    def fingerprint(self) -> str:
        """Hex digest of those of all parts; that of the first where nothing else is there."""
        return chained(part.fingerprint for part in self.parts.values())


def chained(fingerprints: Iterable[str]) -> str:
    """Return the fingerprint of a data set with additions, given that of each part in order."""
    first, *others = fingerprints
    return hashlib.sha256("\n".join([first, *others]).encode()).hexdigest() if others else first


def additions(folder: Path | RemotePath) -> list[str]:
    """Return the names of the folders with what was added to a data set, in order."""
    names = (addition_name(number) for number in count(1))
    return list(takewhile(lambda name: (folder / name / DESCRIPTION).is_file(), names))


def addition_name(number: int) -> str:
    """Return the name of the folder of an addition, which are counted from 1."""
    return f"added-{number:03d}"


def extended(
    base: PreparedData, added: Mapping[str, PreparedData], classes: Classes | None = None
) -> PreparedData:
    """Return a data set with what was added to it.

    Args:
        base: The data set as it was prepared.
        added: The additions by name, in order.
        classes: All classes. None: those that any of the parts has.

    Raises:
        UserError: An addition has other classes.
    """
    parts = {"": base, **added}
    known = [part.classes for part in parts.values()] + ([classes] if classes else [])
    longest = max(known, key=len)
    for part in parts.values():
        names = part.classes.names
        if longest.names[: len(names)] != names or part.classes.ignore_id != longest.ignore_id:
            raise UserError(
                f"{part.folder}: has the classes {', '.join(names)}, expected the first ones of "
                f"{', '.join(longest.names)}"
            )
    if not added and longest == base.classes:
        return base
    splits = dict.fromkeys(split for part in parts.values() for split in part.splits)
    description = replace(
        base.description,
        classes=longest,
        splits={
            split: together(
                {name: part.split(split) for name, part in parts.items() if split in part.splits},
                longest,
            )
            for split in splits
        },
    )
    return ExtendedData(base.folder, description, parts)
