"""Conversion of a source to a prepared data set: shards, schema.pbtxt, dataset.json, images.csv."""

import csv
import hashlib
import json
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import PIL
import tensorflow as tf
from tqdm import tqdm

from data_prep.conversion import Converted, in_processes, in_threads
from data_prep.dataset import DESCRIPTION, FORMAT_VERSION, IMAGES, SCHEMA, Classes
from data_prep.errors import UserError
from data_prep.files import resumable_folder, sync, write_atomically
from data_prep.parallel import cores, ordered_map
from data_prep.records import decode_image, first_line, serialize
from data_prep.schema import schema_text
from data_prep.sources import SourceOptions, open_source
from data_prep.sources.source import Item, Source
from data_prep.statistics import Statistics

IMAGES_PER_SHARD = 100
# With fewer bytes of image files, what processes gain over threads does not pay their start.
BYTES_WORTH_PROCESSES = 64_000_000


class Shard(NamedTuple):
    """One file of records: its split, its name in the data set, and its items."""

    split: str
    name: str
    items: Sequence[Item]


def prepare(folder: Path, out: Path, kind: str, options: SourceOptions, workers: int = 1) -> None:
    """Convert a source of a kind in `SOURCES` into the prepared data set `out`.

    Everything is checked while it is converted; `out` appears only when all of it is there. After
    an interruption, the same call goes on after the shards that were complete. The records do not
    depend on the number of workers.

    Args:
        folder: The source.
        out: The prepared data set.
        kind: What the source is.
        options: How it is read.
        workers: How many images are converted at a time, 0: one per core. Data sets of
            `BYTES_WORTH_PROCESSES` or more have so many worker processes, unless it is 1. A script
            that asks for them does its work behind `if __name__ == "__main__"`.

    Raises:
        UserError: The source is damaged or inconsistent (the file is named), `out` exists, or
            another process is making it.
    """
    if workers < 0:
        raise UserError(f"--workers={workers}: expected 0 or more")
    source = open_source(kind, folder, options)
    shards = list(_shards(source.items()))
    fingerprint = _fingerprint(kind, options, source.classes, shards)
    try:
        with resumable_folder(out, fingerprint) as (data, notes):
            parts = _write_shards(source, shards, data, notes, workers or cores())
            _describe(data, kind, source.classes, list(zip(shards, parts, strict=True)))
    except BrokenProcessPool:
        raise UserError(
            f"--workers={workers}: a worker process was killed, perhaps for want of memory; the "
            "same command goes on from here, expected to need less with fewer workers"
        ) from None


def _shards(splits: dict[str, list[Item]]) -> Iterator[Shard]:
    for split, items in splits.items():
        count = -(-len(items) // IMAGES_PER_SHARD)
        for i in range(count):
            part = items[i * IMAGES_PER_SHARD : (i + 1) * IMAGES_PER_SHARD]
            yield Shard(split, f"Split-{split}/data_tfrecord-{i:05d}-of-{count:05d}", part)


def _fingerprint(
    kind: str, options: SourceOptions, classes: Classes, shards: Sequence[Shard]
) -> str:
    """Return a hex digest of all that the records depend on; of files, their sizes and times.

    Raises:
        UserError: A file is gone.
    """
    items = [item for shard in shards for item in shard.items]
    states = {}
    for path in sorted({path for item in items for path in (item.image, item.annotation)}):
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        states[str(path)] = [status.st_size, status.st_mtime_ns]
    content = [
        [FORMAT_VERSION, PIL.__version__, cv2.__version__],
        [kind, asdict(options), asdict(classes)],
        [[shard.name, [[str(part) for part in item] for item in shard.items]] for shard in shards],
        states,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _write_shards(
    source: Source, shards: Sequence[Shard], data: Path, notes: Path, workers: int
) -> list[Statistics]:
    """Write the shards that are not there yet, and return the statistics of all."""
    finished = {
        shard.name: _read_note(notes / shard.name)
        for shard in shards
        if (notes / shard.name).exists() and (data / shard.name).exists()
    }
    left = [shard for shard in shards if shard.name not in finished]
    items = [item for shard in left for item in shard.items]
    images = sum(len(shard.items) for shard in shards)
    with (
        tqdm(total=images, initial=images - len(items), desc="prepare", unit="image") as bar,
        _serialized(source, items, workers) as serialized,
    ):
        for shard in left:
            for folder in (data, notes):
                (folder / shard.name).parent.mkdir(exist_ok=True)
            parts = islice(serialized, len(shard.items))
            statistics = _write_shard(data / shard.name, parts, bar)
            write_atomically(notes / shard.name, json.dumps(statistics.to_json()).encode())
            finished[shard.name] = statistics
    return [finished[shard.name] for shard in shards]


def _read_note(path: Path) -> Statistics:
    return Statistics.from_json(json.loads(path.read_bytes()))


def _write_shard(
    path: Path, serialized: Iterable[tuple[bytes, Statistics]], bar: tqdm
) -> Statistics:
    """Write one shard, atomically, and return the statistics of its records."""
    unfinished = path.with_name(f".{path.name}.partial")
    parts = []
    with tf.io.TFRecordWriter(str(unfinished)) as writer:
        for content, statistics in serialized:
            writer.write(content)
            parts.append(statistics)
            bar.update()
    sync(unfinished)
    unfinished.replace(path)
    sync(path.parent)
    return Statistics.total(parts)


@contextmanager
def _serialized(
    source: Source, items: Sequence[Item], workers: int
) -> Iterator[Iterator[tuple[bytes, Statistics]]]:
    """Give the records of items, in order, converted on so many cores."""
    size = sum(item.image.stat().st_size for item in items)
    if workers > 1 and size >= BYTES_WORTH_PROCESSES:
        converter = in_processes(source, workers)
        threads = 2 * workers  # some wait for a process while others serialize
    else:
        converter = in_threads(source)
        threads = workers
    with (
        converter as convert,
        ThreadPoolExecutor(threads, initializer=_leave_interrupts_to_main) as pool,
        closing(ordered_map(pool, partial(_serialize, convert), items, 4 * workers)) as results,
    ):
        yield results


def _leave_interrupts_to_main() -> None:
    """Keep Ctrl-C from this thread, and from the processes that it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _serialize(convert: Callable[[Item], Converted], item: Item) -> tuple[bytes, Statistics]:
    converted = convert(item)
    return serialize_checked(converted), converted.statistics


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


def _describe(
    data: Path, kind: str, classes: Classes, parts: Sequence[tuple[Shard, Statistics]]
) -> None:
    """Write what goes beside the shards, from the shards' statistics."""
    splits = {}
    rows = []
    for split in dict.fromkeys(shard.split for shard, _ in parts):
        of_split = [(shard.name, part) for shard, part in parts if shard.split == split]
        total = Statistics.total(part for _, part in of_split)
        splits[split] = total.describe(classes, [name for name, _ in of_split])
        rows += [(split, *row) for row in total.rows]
    description = {
        "format_version": FORMAT_VERSION,
        "source": kind,
        "classes": list(classes.names),
        "palette": [list(colour) for colour in classes.palette],
        "ignore_id": classes.ignore_id,
        "splits": splits,
    }
    (data / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    (data / SCHEMA).write_text(schema_text(classes))
    with (data / IMAGES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image_id", "height", "width", "clicks"])
        writer.writerows(rows)
