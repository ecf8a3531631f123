"""How long the stages of a round take, over interruptions."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.sources.reading import read_object


class Stopwatch:
    """Adds up the seconds of stages in a JSON file."""

    def __init__(self, path: Path) -> None:
        """Go on from what the file has, if it is there."""
        self._path = path

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each stage so far, by its name."""
        return read_object(self._path) if self._path.exists() else {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to what the stage took before it was interrupted."""
        started = time.monotonic()
        yield
        seconds = self.seconds
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - started, 3)
        write_atomically(self._path, json.dumps(seconds).encode())
