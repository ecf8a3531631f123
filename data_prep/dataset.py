"""A prepared data set on disk: `dataset.json`, `images.csv`, and the shards of each split."""

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.errors import UserError

FORMAT_VERSION = 1
DESCRIPTION = "dataset.json"
IMAGES = "images.csv"
SCHEMA = "schema.pbtxt"


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


@dataclass(frozen=True)
class ImageEntry:
    """One row of `images.csv`: an image's identity, its size in pixels, and its vertices."""

    image_id: str
    height: int
    width: int
    clicks: int


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set, described by its `dataset.json`.

    Attributes:
        folder: The data set's folder.
        description: The content of `dataset.json`.
    """

    folder: Path
    description: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "PreparedData":
        """Open a prepared data set.

        Raises:
            UserError: The folder is no prepared data set, is of another format version, or lacks
                a shard.
        """
        folder = Path(folder)
        path = folder / DESCRIPTION
        if not path.is_file():
            raise UserError(f"{folder}: not a prepared data set, it has no {DESCRIPTION}")
        try:
            description = json.loads(path.read_bytes())
            version = description["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(f"{path}: format version {version}, expected {FORMAT_VERSION}")
            data = cls(folder, description)
            shards = [shard for split in data.splits for shard in data.shards(split)]
            len(data.classes)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: not a data set description: {error!r}") from None
        for shard in shards:
            if not shard.is_file():
                raise UserError(f"{shard}: missing, {DESCRIPTION} lists it")
        return data

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, `train` first."""
        return tuple(self.description["splits"])

    @cached_property
    def classes(self) -> Classes:
        """Class names, palette and ignore id."""
        found = self.description
        palette = tuple(tuple(colour) for colour in found["palette"])
        return Classes(tuple(found["classes"]), palette, found["ignore_id"])

    def shards(self, split: str) -> list[Path]:
        """Return the TFRecord files of a split, in order.

        Raises:
            UserError: There is no such split.
        """
        if split not in self.description["splits"]:
            raise UserError(f"{self.folder}: no split {split!r}, it has {', '.join(self.splits)}")
        return [self.folder / name for name in self.description["splits"][split]["shards"]]

    @cached_property
    def images(self) -> dict[str, list[ImageEntry]]:
        """The images of each split, in the order of their records."""
        entries: dict[str, list[ImageEntry]] = {split: [] for split in self.splits}
        path = self.folder / IMAGES
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    entry = ImageEntry(
                        row["image_id"], int(row["height"]), int(row["width"]), int(row["clicks"])
                    )
                    entries[row["split"]].append(entry)
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read: {error!r}") from None
        for split, found in entries.items():
            listed = self.description["splits"][split]["images"]
            if len(found) != listed:
                raise UserError(
                    f"{path}: has {len(found)} images of {split}, {DESCRIPTION} says {listed}"
                )
        return entries

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
