"""Conversion of a source to a prepared data set: shards, schema.pbtxt, dataset.json, images.csv."""

import csv
import errno
import hashlib
import io
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import PIL

from cereals_tf.data_prep.beam_extra import beam_imported
from cereals_tf.data_prep.conversion import in_processes, in_threads
from cereals_tf.data_prep.dataset import DESCRIPTION, IMAGES, SCHEMA, ImageEntry
from cereals_tf.data_prep.description import FORMAT_VERSION, Classes, Description
from cereals_tf.data_prep.errors import StoppedError, UserError
from cereals_tf.data_prep.files import (
    refuse_unwritable,
    resumable_folder,
    resumable_objects,
)
from cereals_tf.data_prep.parallel import cores, ordered_map
from cereals_tf.data_prep.problems import Problem, ProblemsError, listed, report, summary
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.schema import schema_text
from cereals_tf.data_prep.shards import (
    Place,
    Serialized,
    Shard,
    Write,
    image_count,
    serialize_item,
)
from cereals_tf.data_prep.sources.reading import unpacked
from cereals_tf.data_prep.sources.registry import NO_OPTIONS, kind_named, open_source
from cereals_tf.data_prep.sources.source import Item, Source
from cereals_tf.data_prep.statistics import Statistics
from cereals_tf.data_prep.text import counted

if TYPE_CHECKING:
    from cereals_tf.data_prep.beam import BeamWriter

IMAGES_PER_SHARD = 100
LEFT_OUT = "left_out.csv"
# With fewer bytes of image files, what processes gain over threads does not pay their start.
BYTES_WORTH_PROCESSES = 64_000_000
# Two threads hardly wait for each other: decoding and encoding leave the interpreter free.
BYTES_WORTH_TWO_PROCESSES = 1_000_000_000
_PARTS = re.compile(rf"Split-[^/]+/data_tfrecord-\d+-of-\d+|{SCHEMA}|{IMAGES}|{LEFT_OUT}")


def prepare(
    folder: Path,
    out: Path | RemotePath,
    kind: str,
    options: Mapping[str, Any] = NO_OPTIONS,
    workers: int = 1,
    beam_options: str | None = None,
    note: Callable[[str], object] = lambda text: None,
    invalid: str = "refuse",
    problems: Path | None = None,
) -> None:
    """Convert a source of a kind in `KINDS` into the prepared data set `out`.

    Everything is checked while it is converted; `out` appears only when all of it is there. After
    an interruption, the same call goes on after the shards that were complete. The records depend
    neither on the number of workers nor on who runs them.

    Args:
        folder: The source, or a zip file of it.
        out: The prepared data set.
        kind: What the source is.
        options: How it is read: those of the kind's options that do not have their defaults.
        workers: How many images are converted at a time, 0: one per core. Data sets of
            `BYTES_WORTH_PROCESSES` or more have so many worker processes, unless it is 1 (of
            `BYTES_WORTH_TWO_PROCESSES`, if it is 2). A script that asks for them does its work
            behind `if __name__ == "__main__"`.
        beam_options: Convert in a pipeline of Apache Beam, with these options of Beam's as on a
            command line; `workers` has no say then. None: convert without Beam.
        note: Told, in sentences, what the user should know: of how the source is read before the
            work begins, and of problems after it.
        invalid: What becomes of images and shapes with problems: `refuse`, or `skip`, which leaves
            them out, counts them in `dataset.json` and lists them in `left_out.csv`.
        problems: A file to list all problems in.

    Raises:
        ProblemsError: Parts of the source cannot be used, and `invalid` refuses that.
        UserError: The source cannot be used at all (the file is named), `out` exists, another
            process is making it, or Beam is missing, refuses its options or fails.
    """
    if workers < 0:
        raise UserError(f"--workers={workers}: expected 0 or more")
    if invalid not in ("refuse", "skip"):
        raise UserError(f"--invalid={invalid}: unknown, expected refuse or skip")
    writer = None if beam_options is None else _beam_writer(beam_options)
    if writer and folder.is_file():
        raise UserError(f"{folder}: expected a folder, which all workers see")
    if problems:
        refuse_unwritable(problems)
    with unpacked(folder) as inner:
        said = Said(folder, inner, note, invalid == "skip", problems)
        with said.errors_named():
            _convert(inner, out, kind, options, workers or cores(), writer, said)


@dataclass(frozen=True)
class Said:
    """What the user is told of a source, by the name that it has for the user.

    Attributes:
        source: The source, perhaps a zip file.
        folder: Where it lies, perhaps unpacked.
        tell: Is told.
        skip: Whether what has problems is left out.
        file: Where all problems are listed.
    """

    source: Path
    folder: Path
    tell: Callable[[str], object]
    skip: bool
    file: Path | None

    def note(self, text: str) -> None:
        """Say something."""
        self.tell(self._named(text))

    def problems(self, found: Sequence[Problem]) -> list[Problem]:
        """Say what is wrong, and return it as it is said.

        Raises:
            ProblemsError: There is something, and it is not to be left out.
        """
        named = [Problem(kind, self._named(text)) for kind, text in found]
        report(named, self.tell, self.skip, self.file)
        if named:
            self.tell(f"{self.source}: left out: {summary(named)}; {LEFT_OUT} lists them")
        return named

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Let what ends the block say the source's name."""
        try:
            yield
        except ProblemsError:
            raise
        except UserError as error:
            if self.source == self.folder:
                raise
            raise UserError(self._named(str(error))) from None

    def _named(self, text: str) -> str:
        return text.replace(str(self.folder), str(self.source))


def _convert(
    folder: Path,
    out: Path | RemotePath,
    kind: str,
    options: Mapping[str, Any],
    workers: int,
    writer: "BeamWriter | None",
    said: Said,
) -> None:
    """Convert the source in a folder; what is wrong with it is said before `out` appears."""
    source = open_source(kind, folder, options)
    shards = listed_shards(source, said)
    for remark in _remarks(folder, source, shards):
        said.note(remark)
    if writer is None:
        write = partial(write_here, source, workers)
    else:
        write = partial(writer.write, partial(open_source, kind, folder.absolute(), options))
    checked = asdict(kind_named(kind).checked(options))
    convert(source, shards, out, (kind, checked), write, said)


def convert(
    source: Source,
    shards: Sequence[Shard],
    out: Path | RemotePath,
    about: tuple[str, Mapping[str, Any]],
    write: Write,
    said: Said,
    accept: Callable[[Sequence[ImageEntry]], object] = lambda images: None,
) -> None:
    """Write the shards of a source, and what describes them.

    Args:
        source: The source.
        shards: Its shards.
        out: New folder for them.
        about: What kind of source it is, and how it is read.
        write: Writes shards.
        said: Told what is wrong before `out` appears.
        accept: Told the images, likewise; may refuse them.
    """
    kind, options = about
    try:
        with _resumable(out, _fingerprint(kind, options, source.classes, shards)) as folders:
            place = Place(*folders)
            (place.data / SCHEMA).write_bytes(schema_text(source.classes).encode())
            _write_missing(write, shards, place)
            found = [*source.log.problems, *(p for shard in shards for p in place.problems(shard))]
            _describe(place, kind, source.classes, shards, said.problems(found), accept)
    except StoppedError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{out}: {error.strerror}, expected room for the data set") from None


def listed_shards(source: Source, said: Said) -> list[Shard]:
    """Return the shards of a source; if none can be made, what was wrong is said first."""
    try:
        return list(_shards(source.items()))
    except UserError:
        said.problems(source.log.problems)
        raise


def _remarks(folder: Path, source: Source, shards: Sequence[Shard]) -> list[str]:
    remarks = list(source.log.remarks)
    if not _labelled(shards, "train"):
        remarks.append(f"{folder}: {_without_labels(source, shards)}")
    return remarks


def _resumable(
    out: Path | RemotePath, fingerprint: str
) -> AbstractContextManager[tuple[Path | RemotePath, Path]]:
    if isinstance(out, RemotePath):
        return resumable_objects(out, fingerprint, _PARTS, DESCRIPTION)
    return resumable_folder(out, fingerprint)


def _beam_writer(options: str) -> "BeamWriter":
    with beam_imported():
        from cereals_tf.data_prep.beam import BeamWriter

        return BeamWriter(options)


def _shards(splits: dict[str, list[Item]]) -> Iterator[Shard]:
    for split, items in splits.items():
        count = -(-len(items) // IMAGES_PER_SHARD)
        for i in range(count):
            part = items[i * IMAGES_PER_SHARD : (i + 1) * IMAGES_PER_SHARD]
            yield Shard(split, f"Split-{split}/data_tfrecord-{i:05d}-of-{count:05d}", part)


def _labelled(shards: Iterable[Shard], split: str) -> bool:
    """Whether all images of a split have labels."""
    items = (item for shard in shards if shard.split == split for item in shard.items)
    return all(item.annotation for item in items)


def _annotated(shards: Iterable[Shard], split: str) -> set[str]:
    """Return the ids of the images of a split that have labels."""
    return {
        item.image_id
        for shard in shards
        if shard.split == split
        for item in shard.items
        if item.annotation
    }


def _without_labels(source: Source, shards: Sequence[Shard]) -> str:
    items = [item for shard in shards if shard.split == "train" for item in shard.items]
    labelled = sum(item.annotation is not None for item in items)
    images = counted(len(items), "image")
    has = f"{labelled} of {images} have labels, round 0" if labelled else "has no labels"
    return (
        f"train{':' * bool(labelled)} {has}: people will annotate "
        f"{'the others' if labelled else f'its {images}'} (start --annotator=files) "
        f"with the classes from {source.classes_from}: {', '.join(source.classes.names)}"
    )


def _fingerprint(
    kind: str, options: Mapping[str, Any], classes: Classes, shards: Sequence[Shard]
) -> str:
    """Return a hex digest of all that the records depend on; of files, their sizes and times.

    Raises:
        UserError: A file is gone.
    """
    items = [item for shard in shards for item in shard.items]
    states = {}
    for path in sorted({path for item in items for path in item[1:] if path}):
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        states[str(path)] = [status.st_size, status.st_mtime_ns]
    content = [
        [FORMAT_VERSION, PIL.__version__, cv2.__version__],
        [kind, options, asdict(classes)],
        [[shard.name, [[str(part) for part in item] for item in shard.items]] for shard in shards],
        states,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _write_missing(write: Write, shards: Sequence[Shard], place: Place) -> None:
    """Have the shards written that are not there yet."""
    place.clear()
    missing = place.missing(shards)
    total = image_count(shards)
    done = total - image_count(missing)
    write(
        missing, place, partial(Progress, total=total, initial=done, desc="prepare", unit="image")
    )


def write_here(
    source: Source,
    workers: int,
    shards: Sequence[Shard],
    place: Place,
    bar: Callable[..., Progress],
) -> None:
    """Write shards with this process and, if it is worth it, so many others."""
    items = [item for shard in shards for item in shard.items]
    try:
        with bar() as shown, _serialized(source, items, workers) as serialized:
            counted = _counted(serialized, shown.update)
            for shard in shards:
                place.write(shard, islice(counted, len(shard.items)))
    except BrokenProcessPool:
        raise StoppedError(
            f"--workers={workers}: a worker process was killed, perhaps for want of memory; the "
            "same command goes on from here, expected to need less with fewer workers"
        ) from None


def _counted(
    records: Iterable[Serialized], progress: Callable[[int], object]
) -> Iterator[Serialized]:
    for record in records:
        progress(1)
        yield record


@contextmanager
def _serialized(
    source: Source, items: Sequence[Item], workers: int
) -> Iterator[Iterator[Serialized]]:
    """Give the records of items, in order, converted on so many cores."""
    size = sum(item.image.stat().st_size for item in items)
    worth = BYTES_WORTH_TWO_PROCESSES if workers == 2 else BYTES_WORTH_PROCESSES
    if workers > 1 and size >= worth:
        converter = in_processes(source, workers)
        threads = 2 * workers  # some wait for a process while others serialize
    else:
        converter = in_threads(source)
        threads = workers
    with (
        converter as convert,
        ThreadPoolExecutor(threads, initializer=_leave_interrupts_to_main) as pool,
        closing(ordered_map(pool, partial(serialize_item, convert), items, 4 * workers)) as results,
    ):
        yield results


def _leave_interrupts_to_main() -> None:
    """Keep Ctrl-C from this thread, and from the processes that it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _describe(
    place: Place,
    kind: str,
    classes: Classes,
    shards: Sequence[Shard],
    problems: Sequence[Problem],
    accept: Callable[[Sequence[ImageEntry]], object],
) -> None:
    """Write what the shards' statistics say of them, `dataset.json` last."""
    data = place.data
    splits = {}
    rows = []
    for split in dict.fromkeys(shard.split for shard in shards):
        counted = {shard.name: place.statistics(shard) for shard in shards if shard.split == split}
        parts = {name: statistics for name, statistics in counted.items() if statistics}
        if not parts:
            raise UserError(f"no image is left for {split}: {problems[0].text}")
        for name in counted.keys() - parts.keys():
            (data / name).unlink()
        total = Statistics.total(parts.values())
        annotated = _annotated(shards, split)
        labels = [row[0] in annotated for row in total.rows]
        splits[split] = total.describe(classes, list(parts), labels)
        mixed = any(labels) and not all(labels)
        rows += [
            (split, *row, *([int(has)] if mixed else []))
            for row, has in zip(total.rows, labels, strict=True)
        ]
    accept([ImageEntry(*row[1:5]) for row in rows])
    left_out = dict(Counter(problem.kind for problem in problems))
    description = Description(kind, classes, splits, left_out).to_json()
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    width = max(map(len, rows))
    writer.writerow(["split", "image_id", "height", "width", "clicks", "labelled"][:width])
    writer.writerows(rows)
    if problems:
        (data / LEFT_OUT).write_bytes(listed(problems))
    (data / IMAGES).write_bytes(table.getvalue().encode())
    (data / DESCRIPTION).write_bytes((json.dumps(description, indent=1) + "\n").encode())
