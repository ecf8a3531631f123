"""How a measurement is taken, so that it means something on a busy machine too.

What is compared runs in turn, in one process or in fresh ones, and its ratio is formed in each
turn: whatever slows the machine down for a while slows down both. This module needs the standard
library alone, so that the Python of another environment can run it too, and Linux.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.05


class UnavailableError(Exception):
    """A group cannot be measured here; the message says what is missing."""


class Row(NamedTuple):
    """One measurement.

    Attributes:
        group: What part of the project it is of, such as `data`.
        what: What was measured.
        value: The measured number, in `unit`.
        unit: Unit of `value`, such as `images/s`.
        floor: What it is compared with; empty if it stands alone.
        ratio: How many times the floor it is; None if it stands alone.
        target: What the ratio should be, such as `<= 2.0`; empty if there is none.
        note: What else a reader must know, such as the spread.
    """

    group: str
    what: str
    value: float
    unit: str
    floor: str
    ratio: float | None
    target: str
    note: str

    @property
    def met(self) -> bool | None:
        """Whether the ratio is as it should be; None if there is no target."""
        if not self.target or self.ratio is None:
            return None
        relation, bound = self.target.split()
        if relation not in ("<=", ">="):
            raise ValueError(f"target must begin with <= or >=, received {self.target!r}")
        difference = self.ratio - float(bound)
        return difference <= 0 if relation == "<=" else difference >= 0


class Ratio(NamedTuple):
    """The ratios of several turns: their median and their extremes."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float], floor: Sequence[float]) -> "Ratio":
        """Divide what was measured by its floor, turn by turn."""
        ratios = [float(value / below) for value, below in zip(values, floor, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.least:.2f} .. {self.most:.2f}"


def per_image(
    group: str,
    what: str,
    seconds: Sequence[float],
    count: int,
    floor: str,
    floor_seconds: Sequence[float],
    target: str = "",
    note: str = "",
) -> Row:
    """Compare seconds, turn by turn; the value is milliseconds per image."""
    ratio = Ratio.of(seconds, floor_seconds)
    value = 1e3 * statistics.median(seconds) / count
    spread = f"{ratio}; {note}" if note else str(ratio)
    return Row(group, what, value, "ms/image", floor, ratio.median, target, spread)


def interleaved(functions: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Run all functions in turn, after a warm-up of each, and return the seconds of every run.

    Args:
        functions: What to run, by name.
        repeats: How often each is timed.

    Returns:
        Seconds per name, one number per turn; turn i of one belongs to turn i of the others.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def in_child(
    function_path: str, *args: Any, python: str = sys.executable, **environment: str
) -> dict[str, Any]:
    """Run a function in a fresh process, from the root of the repository.

    Args:
        function_path: `package.module:function`.
        *args: Its arguments, of types that JSON has.
        python: The interpreter, of another environment perhaps.
        **environment: Variables that the process has besides this one's.

    Returns:
        `result`: what the function returned, as JSON has it; `seconds`: its wall time, without
        imports at the head of its module; `peak_mib`: the most memory that the process and its
        children held together, MiB.

    Raises:
        RuntimeError: It failed; the message ends with what it wrote last.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder, "answer"), Path(folder, "log")
        command = [python, "-m", "tests.bench.measure", function_path, json.dumps(args), answer]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                peak = _watched(process)
            except BaseException:
                process.kill()
                process.wait()
                raise
        if process.returncode:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{function_path} ended with {process.returncode}: {tail}")
        done = json.loads(answer.read_bytes())
    return {**done, "peak_mib": max(peak, done["peak_mib"])}


def _watched(process: subprocess.Popen) -> float:
    """Wait for a process to end, and return the most MiB that it and its children had at a time.

    The kernel's own maximum of each process is read, so that no peak between two looks is missed.
    `ru_maxrss` would not do: a process inherits it from the one that started it.
    """
    peak = 0.0
    while True:
        peak = max(peak, sum(_peak_mib(number) for number in _family(process.pid)))
        try:
            process.wait(POLL_SECONDS)
            return peak
        except subprocess.TimeoutExpired:
            pass


def _family(number: int) -> Iterable[int]:
    yield number
    try:
        for path in Path(f"/proc/{number}/task").glob("*/children"):
            for child in path.read_text().split():
                yield from _family(int(child))
    except OSError:
        return  # it has ended


def _peak_mib(number: int | str = "self") -> float:
    try:
        lines = Path(f"/proc/{number}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: machine, load and versions."""
    packages = ("tensorflow", "keras", "numpy", "pillow", "opencv-python-headless")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in packages},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _serve() -> None:
    """Be the process that `in_child` starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("function_path")
    parser.add_argument("args", type=json.loads)
    parser.add_argument("answer", type=Path)
    job = parser.parse_args()
    module, _, name = job.function_path.partition(":")
    function = getattr(importlib.import_module(module), name)
    begin = time.perf_counter()
    result = function(*job.args)
    seconds = time.perf_counter() - begin
    answer = {"result": result, "seconds": seconds, "peak_mib": _peak_mib()}
    job.answer.write_text(json.dumps(answer))


if __name__ == "__main__":
    _serve()
