"""Writing shards in a pipeline of Apache Beam, on this machine or on a cluster.

One element of the pipeline is the number of a shard. What the worker needs for it, and what becomes
of it, are files beside the data set in the making: so the pipeline stays small whatever the number
of images, and an interrupted one goes on where it was.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.utils.shared import Shared

from cereals_tf.data_prep.beam_pipeline import Failures, TaskPipeline, watched
from cereals_tf.data_prep.conversion import convert_item, libraries_prepared, prepare_libraries
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.shards import Place, Shard, image_count, serialize_item
from cereals_tf.data_prep.sources.source import Item, Source

LOG = "beam.log"
_TASKS = "tasks"


class BeamWriter:
    """Writes shards in a pipeline."""

    def __init__(self, options: str) -> None:
        """Make a pipeline with these options of Beam's, as on a command line.

        Raises:
            UserError: Beam does not know an option, or does not like its value.
        """
        self._pipeline = TaskPipeline(options)

    def write(
        self,
        open_source: Callable[[], Source],
        shards: Sequence[Shard],
        place: Place,
        bar: Callable[..., Progress],
    ) -> None:
        """Write shards; this can be called once.

        Args:
            open_source: Opens the source in a worker, whose current folder may be another one.
            shards: The shards.
            place: Where they are written, seen by all workers.
            bar: Makes the progress bar.

        Raises:
            UserError: The source cannot be opened by a worker.
            StoppedError: The pipeline failed for another reason.
        """
        place = Place(place.data.absolute(), place.notes.absolute())
        log = place.notes / LOG
        tasks = _Tasks.new(place.notes / _TASKS, shards)
        work = "write" >> beam.Map(partial(_write_shard, tasks, place, open_source, Shared()))
        watch = partial(watched, shards, place.missing, image_count)
        with libraries_prepared():
            self._pipeline.run(len(shards), work, log, bar, watch)
        tasks.failures.raise_first()
        missing = place.missing(shards)
        if missing:
            reason = (
                f"{place.data / missing[0].name} is not there, expected SOURCE and OUT on a file "
                "system that all workers share"
            )
            raise self._pipeline.stopped(reason, log)


@dataclass(frozen=True)
class _Tasks:
    """Shards to write, by number: a file for each."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, shards: Sequence[Shard]) -> "_Tasks":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, shard in enumerate(shards):
            items = [
                (item.image_id, *(path and str(path.absolute()) for path in item[1:]))
                for item in shard.items
            ]
            content = json.dumps([shard.split, shard.name, items])
            (folder / f"{number}.json").write_text(content, encoding="utf-8")
        return cls(folder)

    @property
    def failures(self) -> Failures:
        return Failures(self.folder)

    def shard(self, number: int) -> Shard:
        split, name, items = json.loads((self.folder / f"{number}.json").read_bytes())
        return Shard(
            split, name, [Item(key, Path(image), by and Path(by)) for key, image, by in items]
        )


def _write_shard(
    tasks: _Tasks, place: Place, open_source: Callable[[], Source], shared: Shared, number: int
) -> None:
    """Write a shard, unless one before it has failed."""
    if tasks.failures.any_before(number):
        return
    prepare_libraries()
    shard = tasks.shard(number)
    with tasks.failures.noted(number):
        convert = partial(convert_item, shared.acquire(open_source))
        place.write(shard, (serialize_item(convert, item) for item in shard.items))
