"""Shards, the files of records of a data set: each is written whole, and noted when it is there."""

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from cereals_tf.data_prep.conversion import Conversion, Converted
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import sync
from cereals_tf.data_prep.problems import Problem, SourceLog
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.records import decode_image, first_line, serialize
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.sources.images import UNREADABLE
from cereals_tf.data_prep.sources.source import Item
from cereals_tf.data_prep.statistics import Statistics

_PARTIAL = ".partial-"


class Shard(NamedTuple):
    """One file of records: its split, its name in the data set, and its items."""

    split: str
    name: str
    items: Sequence[Item]


class Serialized(NamedTuple):
    """What became of an item.

    Attributes:
        record: Its serialised record; None if it has none.
        statistics: The record's statistics.
        problems: What is wrong with the item.
    """

    record: bytes | None
    statistics: Statistics | None
    problems: Sequence[Problem]


def image_count(shards: Iterable[Shard]) -> int:
    """Return how many images shards have."""
    return sum(len(shard.items) for shard in shards)


@dataclass(frozen=True)
class Place:
    """Where shards are written, perhaps by several processes, perhaps one shard by two of them.

    A shard is finished when it and its note are there; the note comes last.

    Attributes:
        data: The folder of the shards.
        notes: A local folder, beside `data` if that is local: the shards' statistics, and what is
            being written.
    """

    data: Path | RemotePath
    notes: Path

    def missing(self, shards: Sequence[Shard]) -> list[Shard]:
        """Return those of the shards that are not finished."""
        noted = {path.relative_to(self.notes).as_posix() for path in self.notes.glob("*/*")}
        return [
            shard
            for shard in shards
            if shard.name not in noted or not (self.data / shard.name).is_file()
        ]

    def statistics(self, shard: Shard) -> Statistics | None:
        """Return the statistics of a finished shard, None if it has no record."""
        content = self._note(shard)["statistics"]
        return None if content is None else Statistics.from_json(content)

    def problems(self, shard: Shard) -> list[Problem]:
        """Return what was wrong with the items of a finished shard."""
        return [Problem(*problem) for problem in self._note(shard)["problems"]]

    def _note(self, shard: Shard) -> dict[str, Any]:
        return json.loads((self.notes / shard.name).read_bytes())

    def clear(self) -> None:
        """Remove what is left of shards whose writers were killed."""
        for path in self.notes.glob(f"{_PARTIAL}*"):
            path.unlink()

    def write(self, shard: Shard, results: Iterable[Serialized]) -> None:
        """Write a shard and its note.

        Args:
            shard: The shard.
            results: What became of each item, in order.
        """
        parts = []
        problems: list[Problem] = []
        with (
            self._written(self.data / shard.name) as partial,
            _full_disk_as_in_python(),
            tf.io.TFRecordWriter(str(partial)) as writer,
        ):
            for result in results:
                problems += result.problems
                if result.record is not None:
                    writer.write(result.record)
                    parts.append(result.statistics)
        statistics = Statistics.total(parts).to_json() if parts else None
        with self._written(self.notes / shard.name) as partial:
            partial.write_text(json.dumps({"statistics": statistics, "problems": problems}))

    @contextmanager
    def _written(self, path: Path | RemotePath) -> Iterator[Path]:
        """Give the name of a file to write, which becomes `path` when the block ends."""
        partial = self.notes / f"{_PARTIAL}{secrets.token_hex(8)}"
        try:
            yield partial
            if isinstance(path, RemotePath):
                path.upload(partial)
            else:
                path.parent.mkdir(exist_ok=True)
                sync(partial)
                partial.replace(path)
                sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _full_disk_as_in_python() -> Iterator[None]:
    """Raise the OSError of a full disk where TensorFlow has one of its own for it."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in error.message:
                raise OSError(number, os.strerror(number)) from None
        raise


Write = Callable[[Sequence[Shard], Place, Callable[..., Progress]], None]
"""Writes shards at a place, and shows it on the bar that it makes."""


def serialize_item(convert: Callable[[Item], Conversion], item: Item) -> Serialized:
    """Convert an item and serialize its record, as `serialize_checked` does."""
    converted, problems = convert(item)
    if converted is None:
        return Serialized(None, None, problems)
    log = SourceLog(list(problems))
    record = None
    with log.noted(UNREADABLE):
        record = serialize_checked(converted)
    return Serialized(record, converted.statistics, log.problems)


def serialize_checked(converted: Converted) -> bytes:
    """Return the record of a converted image.

    Raises:
        UserError: TensorFlow, stricter than Pillow, does not decode the image.
    """
    try:
        decode_image(converted.image.image_encoded)
    except tf.errors.OpError as error:
        message = f"{converted.file}: cannot be decoded: {first_line(error)}"
        raise UserError(message) from None
    return serialize(converted.image)
