"""A child process that runs named stages on request, so that two frameworks can take turns.

Each framework lives in a process of its own, in its own environment perhaps, and computes only
while the other waits for its request. This module needs the standard library alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from tests.bench.measure import ROOT


class Setting(NamedTuple):
    """What both sides run: one image through an FCN8s.

    Attributes:
        folder: Where the sides leave files for each other.
        height: Of the image, pixels.
        width: Of the image, pixels.
        width_multiplier: Factor on every layer's width.
        classes: Number of classes.
        members: Passes of a committee.
        product_size: Rows and columns of the matrices whose product tells the machine's rate.
    """

    folder: str
    height: int
    width: int
    width_multiplier: float
    classes: int
    members: int
    product_size: int


class Peer(Protocol):
    """Runs a stage once and returns its result; builds it first if these arguments are new."""

    def __call__(self, stage: str, *arguments: str) -> Any: ...


@contextmanager
def peer(module: str, setting: Setting, python: str = sys.executable) -> Iterator[Peer]:
    """Start a process that runs stages, and end it with the context.

    Args:
        module: Module that calls `asked` and `serve`, run with `python -m`.
        setting: What its stages run.
        python: The interpreter, of another environment perhaps.

    Yields:
        The function that has a stage run. It raises RuntimeError if the process has ended; the
        message ends with what it wrote last.
    """
    command = [python, "-m", module, json.dumps(setting)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, stderr=log, **pipes) as process,
    ):

        def run(stage: str, *arguments: str) -> Any:
            answer = b""
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps([stage, *arguments]).encode() + b"\n")
                answer = process.stdout.readline()
            if not answer:
                status = process.wait()
                log.seek(0)
                tail = log.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"{module} ended with {status} in {stage!r}: {tail}")
            return json.loads(answer)

        yield run


def asked() -> Setting:
    """Return the setting that this process was started with."""
    return Setting(*json.loads(sys.argv[1]))


def serve(builders: dict[str, Callable[..., Callable[[], Any]]]) -> None:
    """Answer requests until there are no more.

    Whatever else writes to stdout writes to stderr instead.

    Args:
        builders: By a stage's name, functions that build the stage for the arguments of a request;
            each is called once, the stage with every request. What a stage returns must have a
            JSON form.
    """
    stages: dict[tuple[str, ...], Callable[[], Any]] = {}
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = tuple(json.loads(line))
            if request not in stages:
                stages[request] = builders[request[0]](*request[1:])
            print(json.dumps(stages[request]()), file=answers, flush=True)
