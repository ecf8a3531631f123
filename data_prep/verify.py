"""Reading every record of a prepared data set to find the damaged ones."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import tensorflow as tf

from cereals_tf.data_prep.damage import Finding, Stated, examine, read_raw
from cereals_tf.data_prep.dataset import DESCRIPTION, IMAGES, SCHEMA, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.parallel import cores, ordered_map
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.schema import is_schema


def verify(data: PreparedData) -> None:
    """Read and decode every record, on all cores, and compare with what describes them.

    Raises:
        UserError: Some records are damaged, missing or not what the data set says, or its schema
            is another one; each damaged record is named with its shard and number.
    """
    found: dict[str, list[str | None]] = {split: [] for split in data.splits}
    damaged = _schema_damage(data)
    with (
        Progress(total=sum(map(len, data.images.values())), desc="verify", unit="record") as bar,
        ThreadPoolExecutor(cores()) as pool,
        closing(ordered_map(pool, _examined, _numbered(data), ahead=4 * cores())) as examined,
    ):
        for split, place, finding in examined:
            found[split].append(finding.image_id)
            if finding.reason:
                damaged.append(f"{place}: {finding.reason}")
            bar.update()
    for split, image_ids in found.items():
        expected = [entry.image_id for entry in data.images[split]]
        if len(image_ids) != len(expected):
            counted = f"{len(image_ids)} records of {split}"
            damaged.append(f"{data.folder}: {counted}, {DESCRIPTION} says {len(expected)}")
        elif None not in image_ids and image_ids != expected:
            damaged.append(f"{data.folder}: records of {split} not in the order of {IMAGES}")
    if damaged:
        raise UserError(f"{len(damaged)} damaged: {'; '.join(damaged)}")


def _schema_damage(data: PreparedData) -> list[str]:
    damaged = []
    for part in data.parts.values():
        path = part.folder / SCHEMA
        if not path.is_file():
            damaged.append(f"{path}: missing")
        elif not is_schema(path.read_bytes(), part.classes):
            damaged.append(f"{path}: not the schema of these records")
    return damaged


Numbered = tuple[Stated, str, Path | RemotePath, int, bytes | tf.errors.OpError]


def _numbered(data: PreparedData) -> Iterator[Numbered]:
    """Give every record with what is said of it, its split, shard and number."""
    for split in data.splits:
        stated = Stated.of(data, split)
        for shard in data.shards(split):
            for number, content in enumerate(read_raw(shard)):
                yield stated, split, shard, number, content


def _examined(numbered: Numbered) -> tuple[str, str, Finding]:
    stated, split, shard, number, content = numbered
    return split, f"{shard}: record {number}", examine(content, stated)
