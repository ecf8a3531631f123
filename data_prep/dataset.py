"""A prepared data set on disk: `dataset.json`, `images.csv`, and the shards of each split."""

import csv
import hashlib
import io
import json
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cereals_tf.data_prep.description import FORMAT_VERSION, Classes, Description, SplitDescription
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
    def open(cls, folder: str | Path | RemotePath) -> "PreparedData":
        """Open a prepared data set.

        Raises:
            UserError: The folder is no prepared data set, is of another format version, its
                description is damaged or names a file outside, or a file is missing.
        """
        folder = folder_at(folder)
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
        data = cls(folder, Description.from_json(path, content))
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
    def fingerprint(self) -> str:
        """Hex digest of `dataset.json`, `images.csv` and the names and sizes of all shards."""
        digest = hashlib.sha256()
        for name in (DESCRIPTION, IMAGES):
            digest.update((self.folder / name).read_bytes())
        for split in self.splits:
            for shard in self.shards(split):
                digest.update(f"{shard.name} {shard.stat().st_size}\n".encode())
        return digest.hexdigest()
