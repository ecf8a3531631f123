"""`python -m tests.bench`: measure, print tables, and write bench.json."""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.quiet import load_tensorflow
from tests.bench.measure import ROOT, Row, UnavailableError, machine

GROUPS = {
    "data": "tests.bench.data",
    "model": "tests.bench.model",
    "selection": "tests.bench.selection",
    "scoring": "tests.bench.scoring",
    "features": "tests.bench.features",
    "encoders": "tests.bench.encoders",
    "training": "tests.bench.training",
    "export": "tests.bench.export",
}
"""Modules with `rows(quick: bool) -> Iterator[Row]`, by the name of their group."""
WIDTH_OF_LOGS = 140


def main() -> None:
    """Run the groups that were asked for."""
    options = _options()
    os.environ["TQDM_DISABLE"] = "1"
    load_tensorflow()
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_LOGS)
    content: dict[str, Any] = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": machine(),
        "groups": {},
    }
    _show_machine(console, content["machine"])
    for group in options.only:
        content["groups"][group] = _run(group, options.quick)
        write_atomically(options.out, json.dumps(_plain(content), indent=1).encode() + b"\n")
        _show(console, group, content["groups"][group])
    _say(f"wrote {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_names,
        default=list(GROUPS),
        help=f"groups to measure, separated by commas: {', '.join(GROUPS)} (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny inputs: does everything run?")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench.json", help="default: %(default)s"
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(f"no group {name!r}, expected of {', '.join(GROUPS)}")
    return names


def _run(group: str, quick: bool) -> dict[str, Any]:
    """Return a group's rows and seconds, or why it was skipped."""
    begin = time.perf_counter()
    rows: list[Row] = []
    try:
        for row in importlib.import_module(GROUPS[group]).rows(quick):
            rows.append(row)
            _say(f"{group}: {row.what}: {row.value:.4g} {row.unit} {_ratio(row)}")
    except (ModuleNotFoundError, UnavailableError) as reason:
        _say(f"{group}: skipped: {reason}")
        return {"rows": rows, "skipped": str(reason)}
    return {"rows": rows, "seconds": round(time.perf_counter() - begin, 1)}


def _show(console: Console, group: str, result: dict[str, Any]) -> None:
    rows: Sequence[Row] = result["rows"]
    if not rows:
        return
    table = Table(title=group, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("measured", "value", "compared with", "ratio", "target", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    for row in rows:
        colour = {None: "", True: "green", False: "red"}[row.met]
        verdict = {None: "", True: " met", False: " MISSED"}[row.met]
        cells = (row.what, f"{row.value:.4g} {row.unit}", row.floor, _ratio(row))
        table.add_row(*cells, f"{row.target}{verdict}", row.note, style=colour)
    console.print(table)


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"x {row.ratio:.3g}"


def _show_machine(console: Console, about: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, "
        f"load {about['load'][0]} at the start\n{versions}",
        highlight=False,
    )


def _plain(value: Any) -> Any:
    """Turn rows into objects with their fields' names, as `json` would make lists of them."""
    if isinstance(value, Row):
        return {**value._asdict(), "met": value.met}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
