"""Pipelines of Apache Beam whose elements are the numbers of tasks and whose results are files.

What a user can mend is told in one line, as without Beam; the rest of what Beam and its workers say
goes to a log.
"""

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import DirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from cereals_tf.data_prep.errors import StoppedError, UserError
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.quiet import stderr_to
from cereals_tf.data_prep.remote import StoreError

Task = TypeVar("Task")


class TaskPipeline:
    """Does tasks in a pipeline.

    Attributes:
        options: Beam's options, as on a command line.
    """

    def __init__(self, options: str) -> None:
        """Make a pipeline with these options.

        Raises:
            UserError: Beam does not know an option, or does not like its value.
        """
        self.options = options
        try:
            flags = shlex.split(options)
            PipelineOptions([]).get_all_options(add_extra_args_fn=partial(self._check, flags))
            self._pipeline = beam.Pipeline(options=PipelineOptions(flags))
        except UserError:
            raise
        except Exception as error:  # Beam's runners raise what they like
            self._refuse(str(error))
        if isinstance(self._pipeline.runner, DirectRunner):
            # DirectRunner would try to download another runner, and hand the pipeline to it.
            self._pipeline.runner = FnApiRunner()

    def _check(self, flags: Sequence[str], parser: Any) -> None:
        """Have Beam's own parser refuse what Beam would silently drop."""
        parser.error = self._refuse
        parser.parse_args(flags)

    def _refuse(self, message: str) -> NoReturn:
        raise UserError(f"--beam_options={self.options!r}: {' '.join(message.split())}")

    def run(
        self,
        tasks: int,
        work: beam.PTransform,
        log: Path,
        bar: Callable[..., Progress],
        watch: Callable[[Callable[[int], object]], AbstractContextManager[None]],
    ) -> None:
        """Do the tasks; this can be called once.

        Args:
            tasks: How many there are.
            work: Takes their numbers, from 0.
            log: Where to write what Beam, and its workers on this machine, say.
            bar: Makes the progress bar.
            watch: Calls a function, the bar's, with what is newly done, while a block runs.

        Raises:
            StoppedError: The pipeline failed.
        """
        _ = self._pipeline | beam.Create(range(tasks)) | beam.Reshuffle() | work
        try:
            with (
                log.open("w") as said,
                stderr_to(said) as screen,
                bar(file=screen) as shown,
                watch(shown.update),
            ):
                self._pipeline.run().wait_until_finish()
        except Exception as error:  # Beam's runners raise what they like
            if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):
                raise KeyboardInterrupt from None
            raise self.stopped(_last_line(error), log) from None

    def stopped(self, reason: str, log: Path) -> StoppedError:
        """Return the error of a pipeline that failed for this reason."""
        return StoppedError(
            f"--beam_options={self.options!r}: the pipeline failed: {reason}; more is in {log}; "
            "the same command goes on from here"
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _last_line(error: Exception) -> str:
    """Return what an error of a pipeline says, without the traceback in its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@dataclass(frozen=True)
class Failures:
    """Why tasks failed, by number: a file for each, in a folder that all workers see."""

    folder: Path

    @contextmanager
    def noted(self, number: int) -> Iterator[None]:
        """Note what a user can mend, if the block raises it.

        If it came through, runners would try again, and then wrap it. What may pass, as an error of
        the disk or the network, comes through.
        """
        try:
            yield
        except StoreError:
            raise
        except UserError as error:
            (self.folder / f"{number}.error").write_text(str(error), encoding="utf-8")

    def any_before(self, number: int) -> bool:
        """Return whether a task before this one failed: that is what will be reported."""
        return any(failed < number for failed in self._numbers())

    def raise_first(self) -> None:
        """Raise the `UserError` of the first task, in order, that has one."""
        for number in self._numbers()[:1]:
            raise UserError((self.folder / f"{number}.error").read_text(encoding="utf-8"))

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.error"))


@contextmanager
def watched(
    tasks: Sequence[Task],
    missing: Callable[[Sequence[Task]], Sequence[Task]],
    size: Callable[[Sequence[Task]], int],
    progress: Callable[[int], object],
) -> Iterator[None]:
    """Report what others finish while the block runs.

    Args:
        tasks: What is to be done.
        missing: Returns those that are not done yet.
        size: Says what tasks count.
        progress: Called, in another thread, with what those count that are newly done.
    """
    ended = threading.Event()

    def watch() -> None:
        left, last = tasks, False
        while left and not last:
            last = ended.wait(1.0)
            still = missing(left)
            progress(size(left) - size(still))
            left = still

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
