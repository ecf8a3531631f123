"""`cereals reproduce`: the campaigns of a grid, and the tables and curves of what is there."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.quality import require_labels
from cereals_tf.campaign.options import Amount, Options, RegionSize
from cereals_tf.campaign.pool.share import Share
from cereals_tf.campaign.start import (
    check_acquisition,
    check_models,
    fitted_options,
    with_absolute_paths,
    write_encoder,
)
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.sources.reading import read_object
from cereals_tf.report.page import PAGE
from cereals_tf.report.pictures import stacked_png
from cereals_tf.reproduce.campaigns import CAMPAIGNS, complete_grid
from cereals_tf.reproduce.curves import grid_curves
from cereals_tf.reproduce.estimate import seconds_needed
from cereals_tf.reproduce.grid import Grid, Planned, plan
from cereals_tf.reproduce.outcomes import Outcome, by_cell, read_outcomes
from cereals_tf.reproduce.page import grid_page
from cereals_tf.reproduce.results import cell_rows, round_rows, to_json
from cereals_tf.reproduce.table import tables, to_latex, to_markdown, to_terminal
from cereals_tf.tables import format_duration, print_table, screen_width

GRID = "grid.json"
OPTIONS = "options"


def reproduce(
    out: Path,
    data_folder: Path | RemotePath,
    grid: Grid,
    base: Options,
    share: Share,
    with_estimate: bool = True,
) -> None:
    """Complete a share of a grid's campaigns, and write what the whole grid gave so far.

    Args:
        out: The grid's folder; what it has of these campaigns already is not done again.
        data_folder: The prepared data set.
        grid: Which campaigns there are.
        base: The options that they share.
        share: The share of the campaigns to complete.
        with_estimate: Say before how long it will take.

    Raises:
        UserError: An option is wrong or does not fit the data or what is in the folder.
    """
    data = PreparedData.open(data_folder)
    require_labels(data, grid.split)
    planned = _checked(plan(grid, base, _width(data, base)), data)
    (out / CAMPAIGNS).mkdir(parents=True, exist_ok=True)
    described = {**asdict(grid), OPTIONS: base.changed()}
    write_atomically(out / GRID, (json.dumps(described, indent=1) + "\n").encode())
    mine = share.of(planned)
    if with_estimate and (seconds := seconds_needed(out, data, mine)):
        print(f"reproduce: at most {format_duration(seconds)} to go", file=sys.stderr, flush=True)
    left = complete_grid(out, data, mine)
    outcomes = read_outcomes(out, data, planned, grid.split)
    write_results(out, outcomes, len(planned), described)
    for table in tables(by_cell(outcomes)):
        for part in to_terminal(table, screen_width()):
            print_table(part)
    missing = len(planned) - sum(len(o.rounds) >= o.planned.rounds for o in outcomes)
    if missing:
        text = f"{out}: {missing} of {len(planned)} campaigns are unfinished"
        text += f", {len(left)} of them with another process" if left else ""
        print(text, file=sys.stderr)


def _checked(planned: Sequence[Planned], data: PreparedData) -> list[Planned]:
    """Return campaigns with their options as they will have them.

    Raises:
        UserError: An option does not fit the data, or a model cannot be built, or a plug-in fails.
    """
    regions: dict[tuple[RegionSize, Amount], RegionSize] = {}
    for options in (one.options for one in planned):
        key = (options.region, options.initial)
        if key not in regions:
            regions[key] = fitted_options(options, data).region
    for options in {
        (one.options.information, one.options.fusion): one.options for one in planned
    }.values():
        check_acquisition(options, data.classes)
    for options in {one.options.cost_model: one.options for one in planned}.values():
        with TemporaryDirectory() as folder:
            write_encoder(Path(folder), options)
            check_models(Models.at(Path(folder), options, data.classes))

    def fitted(options: Options) -> Options:
        region = regions[options.region, options.initial]
        return with_absolute_paths(replace(options, region=region))

    return [replace(one, options=fitted(one.options)) for one in planned]


def _width(data: PreparedData, base: Options) -> int:
    """Return the width of the train images, of the smallest where they differ."""
    if base.image_size:
        return base.image_size.width
    return min(entry.width for entry in data.images["train"])


def write_results(
    out: Path, outcomes: Sequence[Outcome], planned: int, described: Mapping[str, Any]
) -> None:
    """Write index.html, table.md, table.tex, table.csv, rounds.csv, results.json and curves.png.

    Args:
        out: The grid's folder.
        outcomes: What its campaigns gave so far.
        planned: How many campaigns it has.
        described: The grid, as grid.json has it.
    """
    cells, split = by_cell(outcomes), described["split"]
    made = tables(cells)
    references = [
        outcome.rounds[0].miou or 0.0 for outcome in outcomes if outcome.planned.cell is None
    ]
    figures = grid_curves(cells, references, split)
    files = {
        PAGE: grid_page(out.resolve().name, outcomes, planned, figures, described).encode(),
        "table.md": to_markdown(made).encode(),
        "table.tex": to_latex(made).encode(),
        "table.csv": _csv(cell_rows(outcomes)).encode(),
        "rounds.csv": _csv(round_rows(outcomes)).encode(),
        "results.json": (json.dumps(to_json(outcomes), indent=1) + "\n").encode(),
    }
    if figures:
        files["curves.png"] = stacked_png(figures.values())
    for name, content in files.items():
        write_atomically(out / name, content)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def read_grid(path: Path, grid: Grid, base: Options) -> tuple[Grid, Options]:
    """Read a grid from a file like the grid.json that `reproduce` writes.

    Args:
        path: The file.
        grid: What was typed; a field that is not as by default has precedence over the file.
        base: Likewise.

    Raises:
        UserError: The file cannot be read, or has something that is no part of a grid.
    """
    content = read_object(path)
    options = content.pop(OPTIONS, {})
    known = {field.name: field for field in fields(Grid)}
    for name, value in content.items():
        if name not in known:
            raise UserError(f"{path}: {name!r} is none of {', '.join(known)}, {OPTIONS}")
        if isinstance(value, list):
            value = tuple(value)
        if type(value) is not type(known[name].default) or (
            isinstance(value, tuple) and not all(isinstance(part, str) for part in value)
        ):
            raise UserError(f"{path}: {name!r} is {value!r}, expected as in {known[name].default}")
        if getattr(grid, name) == known[name].default:
            grid = replace(grid, **{name: value})
    try:
        if not isinstance(options, dict):
            raise UserError(f"{OPTIONS!r} is no object")
        return grid, Options.of(**{**options, **base.changed()})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
