"""The grid's tables, as text: Markdown, LaTeX, and for the terminal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table as RichTable

from cereals_tf.report.tables import clock
from cereals_tf.reproduce.comparison import (
    OTHERS,
    Cells,
    area,
    leads,
    leads_at_equal_clicks,
    shared_clicks,
)
from cereals_tf.reproduce.grid import NONE, Cell
from cereals_tf.reproduce.outcomes import Outcome, Spread, round_by_round, savings_of
from cereals_tf.reproduce.paper import paper_value

NOTES = (
    "Percent of the train split's pixels (p95) and clicks (c95) that were annotated when the mIoU "
    "first reached 95 % of that of the same model trained on the whole train split; c90: 90 %.",
    "Mean ± standard deviation over the repeats; k/n: only k of n repeats reached it, the mean is "
    "theirs; n/a: none did; -: not run yet.",
    "Area: the mean mIoU over clicks, where the curves of all campaigns are. Time: computing of "
    "one campaign, the mean over the repeats, hours:minutes:seconds.",
    "Lead: mIoU less that of regions of the same size drawn at random, seed by seed: of the tiles "
    "of a grid, which covers all pixels alike (random_grid), or of all windows (random); or less "
    "that of the same measure without fusion (none). Mean ± half of its 95 % confidence interval "
    "over the seeds (Student's t).",
    "At equal clicks: the mean height of mIoU over clicks above theirs, where both curves are.",
    "In brackets: Table 1 of the CEREALS supplement (Cityscapes, FCN8s, five repeats).",
)

_LATEX = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(cells: Cells) -> list[Table]:
    """Return the tables of a grid: information alone, fusions, and the last rounds."""
    plain = {cell: found for cell, found in cells.items() if cell.fusion.kind == NONE}
    fused = {cell: found for cell, found in cells.items() if cell.fusion.kind != NONE}
    made = [_information_table(plain, name) for name in ("p95", "c95")] if plain else []
    if fused:
        made.append(_fusion_table(fused))
    return [*made, _last_rounds(cells), *_leads_table(cells)] if cells else []


def _information_table(cells: Cells, name: str) -> Table:
    regions = list(dict.fromkeys((cell.region, cell.size) for cell in cells))
    header = ["information", *(_region(*region) for region in regions)]
    rows = []
    for information in dict.fromkeys(cell.information for cell in cells):
        row = {
            (cell.region, cell.size): _saving(cell, found, name)
            for cell, found in cells.items()
            if cell.information == information
        }
        rows.append([information, *(row.get(region, "-") for region in regions)])
    what = "pixels" if name == "p95" else "clicks"
    return Table(f"{name}, information alone (% of the {what})", header, rows)


def _fusion_table(cells: Cells) -> Table:
    columns = [(name, cost) for name in ("c95", "p95") for cost in _costs(cells)]
    by_row: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        key = (cell.information, str(cell.fusion))
        by_row.setdefault(key, {})[cell.cost] = cell
    rows = []
    for (information, fusion), costs in by_row.items():
        texts = [
            _saving(costs[cost], cells[costs[cost]], name) if cost in costs else "-"
            for name, cost in columns
        ]
        rows.append([f"{information} x {fusion}", *texts])
    first = next(iter(cells))
    header = ["information x fusion", *(f"{name} {cost}" for name, cost in columns)]
    return Table(f"fusions, regions {_region(first.region, first.size)} (%)", header, rows)


def _costs(cells: Cells) -> list[str]:
    return list(dict.fromkeys(cell.cost for cell in cells))


def _last_rounds(cells: Cells) -> Table:
    header = ["campaign", "seeds", "rounds", "pixels %", "clicks %", "mIoU", "c90", "area", "time"]
    between = shared_clicks(cells)
    rows = []
    for cell, found in cells.items():
        rounds = round_by_round(found)
        last = rounds[-1]
        rows.append(
            [
                cell.title,
                str(len(found)),
                str(len(rounds)),
                f"{last['pixels_percent'].mean:.1f}",
                _number(last["clicks_percent"], 1),
                _number(last["miou"], 3),
                _number(savings_of(found)["c90"], 1),
                _number(area(found, between), 3),
                clock(sum(outcome.seconds for outcome in found) / len(found)),
            ]
        )
    return Table("after the last round that all repeats have", header, rows)


def _leads_table(cells: Cells) -> list[Table]:
    """Return the table of what can be compared, if anything can."""
    found = {cell: (leads(cell, cells), leads_at_equal_clicks(cell, cells)) for cell in cells}
    there = [name for name in OTHERS if any(last[name].count for last, _ in found.values())]
    header = ["campaign"]
    header += [f"{what} over {name}" for what in ("lead", "at equal clicks") for name in there]
    rows = [
        [cell.title, *(interval_text(part[name]) for part in of_cell for name in there)]
        for cell, of_cell in found.items()
    ]
    return [Table("leads, seed by seed", header, rows)] if there else []


def _region(region: str, size: str) -> str:
    return region if region == size else f"{region} ({size})"


def _saving(cell: Cell, found: Sequence[Outcome], name: str) -> str:
    paper = paper_value(cell, name)
    beside = "" if paper is None else f" [{paper:.1f}]"
    return _number(savings_of(found)[name], 1) + beside


def _number(spread: Spread, digits: int) -> str:
    if not spread.repeats:
        return "-"
    if spread.mean is None:
        return "n/a"
    text = f"{spread.mean:.{digits}f}"
    if spread.deviation is not None:
        text += f" ± {spread.deviation:.{digits}f}"
    return text if spread.count == spread.repeats else f"{text} ({spread.count}/{spread.repeats})"


def interval_text(spread: Spread) -> str:
    """Return a lead and half of its interval, as `+0.033 ± 0.010`; `-` where there is none."""
    if spread.mean is None:
        return "-"
    width = "" if spread.interval is None else f" ± {spread.interval:.3f}"
    return f"{spread.mean:+.3f}{width}"


def to_markdown(made: Sequence[Table]) -> str:
    """Return tables as a Markdown document."""
    parts = ["# Table 1\n\n" + "\n".join(f"- {note}" for note in NOTES) + "\n"]
    for table in made:
        lines = [table.header, ["---", *("---:" for _ in table.header[1:])], *table.rows]
        body = "\n".join(f"| {' | '.join(_escaped(line, _markdown))} |" for line in lines)
        parts.append(f"## {table.title}\n\n{body}\n")
    return "\n".join(parts)


def to_latex(made: Sequence[Table]) -> str:
    """Return tables as LaTeX `table` environments, for the package booktabs."""
    return "\n".join(_latex_table(table) for table in made)


def _latex_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(cells, _latex)) + r" \\"

    return "\n".join(
        (
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(table.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            line(table.header),
            r"\midrule",
            *(line(row) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


def to_terminal(table: Table, width: int) -> Iterator[RichTable]:
    """Return a table for a terminal of so many columns, in parts that fit where it does not."""
    for number, places in enumerate(_parts(table, width)):
        shown = RichTable(title=None if number else table.title, title_justify="left")
        for place in places:
            shown.add_column(table.header[place], justify="right" if place else "left")
        for row in table.rows:
            shown.add_row(*(row[place] for place in places))
        yield shown


def _parts(table: Table, width: int) -> list[list[int]]:
    """Return the columns of each part, the first column in all of them."""
    columns = zip(table.header, *table.rows, strict=True)
    needed = [max(map(cell_len, column)) + 3 for column in columns]
    parts = [[0]]
    for place in range(1, len(needed)):
        used = 1 + sum(needed[other] for other in parts[-1])
        if used + needed[place] > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(place)
    return parts


def _escaped(texts: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    return [escape(text) for text in texts]


def _markdown(text: str) -> str:
    return text.replace("|", r"\|")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
