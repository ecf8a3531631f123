"""What the benches that go from seed to seed are started by: DATA OUT [--seeds=N]."""

import argparse
from collections.abc import Callable
from pathlib import Path

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.quiet import load_tensorflow


def start(module: str, about: str | None, show: Callable[[Path, Path, int], None]) -> None:
    """Read a command line and show a table; what is wrong ends in one line and exit status 2.

    Args:
        module: Name of the bench, as `dusk`.
        about: What its help says.
        show: Prints the table, given data, folder for the campaigns and how many seeds.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{module}", description=about)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    typed = parser.parse_args()
    load_tensorflow()
    try:
        show(typed.data, typed.out, typed.seeds)
    except UserError as error:
        parser.error(str(error))
