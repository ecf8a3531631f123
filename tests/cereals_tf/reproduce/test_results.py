import csv
import io
import re
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cereals_tf.campaign.options import Options
from cereals_tf.reproduce.comparison import (
    area,
    height_between,
    lead,
    lead_at_equal_clicks,
    leads,
    shared_clicks,
)
from cereals_tf.reproduce.curves import grid_curves
from cereals_tf.reproduce.grid import Grid, plan
from cereals_tf.reproduce.outcomes import (
    Outcome,
    Spread,
    by_cell,
    round_by_round,
    savings_of,
)
from cereals_tf.reproduce.paper import paper_value
from cereals_tf.reproduce.results import cell_rows, round_rows, to_json
from cereals_tf.reproduce.table import tables, to_latex, to_markdown, to_terminal

INFORMATIONS = ("entropy", "random", "random_grid")
GRID = Grid(INFORMATIONS, ("image", "1/4"), ("ratio",), "1/4", ("gt", "est"), 3, 2)
PLANNED = plan(GRID, Options(), 2048)


def rounds(*mious):
    return [
        SimpleNamespace(
            round=r,
            miou=miou,
            pixels_percent=10.0 * (r + 1),
            clicks_percent=7.0 * r + 5,
            total_seconds=100.0 * (r + 1),
            versions={"keras": "3"},
        )
        for r, miou in enumerate(mious)
    ]


def outcome(planned, p95, c95, *mious, reference=0.8):
    return Outcome(planned, rounds(*mious), reference, p95, c95)


def one_of(information, size, fusion="none", cost=""):
    return [
        one
        for one in PLANNED
        if one.cell
        and (one.cell.information, one.cell.region) == (information, size)
        and (str(one.cell.fusion), one.cell.cost) == (fusion, cost)
    ]


@pytest.fixture
def outcomes():
    savings = [(12.0, 20.0), (15.0, None), (None, None)]
    found = [outcome(one, None, None, 0.8) for one in PLANNED if one.cell is None]
    found += [
        outcome(one, *values, 0.5, 0.7 + repeat / 100)
        for repeat, (one, values) in enumerate(zip(one_of("entropy", "1/4"), savings, strict=True))
    ]
    found += [outcome(one, None, None, 0.3, 0.4) for one in one_of("random", "1/4")]
    found += [outcome(one, None, None, 0.3, 0.5) for one in one_of("random_grid", "1/4")[:2]]
    found += [outcome(one_of("entropy", "1/4", "ratio", "gt")[0], 9.0, 8.0, 0.5, 0.78)]
    found += [outcome(one_of("entropy", "image")[0], None, None, 0.5)]  # one round is missing
    return found


def test_spread_is_of_the_values_that_there_are():
    spread = Spread.of([1.0, None, 4.0])
    assert spread == Spread(2.5, statistics.stdev([1.0, 4.0]), 2, 3)
    assert Spread.of([3.0]) == Spread(3.0, None, 1, 1)
    assert Spread.of([None]) == Spread(None, None, 0, 1)


def test_savings_leave_unfinished_campaigns_out(outcomes):
    cells = by_cell(outcomes)
    found = {(c.information, c.region, str(c.fusion)): savings_of(o) for c, o in cells.items()}
    assert found["entropy", "1/4", "none"]["p95"].mean == 13.5
    assert found["entropy", "1/4", "none"]["c95"] == Spread(20.0, None, 1, 3)
    assert found["random", "1/4", "none"]["p95"] == Spread(None, None, 0, 3)
    assert found["entropy", "image", "none"]["p95"].repeats == 0


def test_c90_lies_on_the_line_between_two_rounds():
    """0.9 x 0.8 of the reference is 0.72, half of the way from 0.70 to 0.74."""
    assert at([5, 10, 20], [0.5, 0.7, 0.74]).c90 == pytest.approx(15.0)
    assert at([5, 10], [0.5, 0.7]).c90 is None
    assert at([5, None], [0.5, 0.9]).c90 is None


def test_round_by_round_means(outcomes):
    cell = one_of("entropy", "1/4")[0].cell
    first, second = round_by_round(by_cell(outcomes)[cell])
    assert first["miou"].mean == 0.5
    assert second["miou"].mean == pytest.approx(0.71)
    assert second["miou"].deviation == pytest.approx(0.01)
    assert (second["pixels_percent"].mean, second["clicks_percent"].mean) == (20.0, 12.0)


def test_lead_is_over_random_regions_of_the_same_size_and_seed(outcomes):
    cells = by_cell(outcomes)
    for baseline, one, expected in (
        ("random", one_of("entropy", "1/4"), [0.3, 0.31, 0.32]),
        ("random_grid", one_of("entropy", "1/4"), [0.2, 0.21]),
        ("random", one_of("entropy", "1/4", "ratio", "gt"), [0.38]),
        ("random", one_of("entropy", "image"), []),
        ("random", one_of("random", "1/4"), []),
        ("random_grid", one_of("random", "1/4"), [-0.1, -0.1]),
        ("random_grid", one_of("random_grid", "1/4"), []),
        ("none", one_of("entropy", "1/4", "ratio", "gt"), [0.08]),
        ("none", one_of("entropy", "1/4"), []),
    ):
        found = leads(one[0].cell, cells)[baseline]
        wanted = Spread.of(expected)
        assert (found.count, found.repeats) == (wanted.count, wanted.repeats)
        assert (found.mean or 0) == pytest.approx(wanted.mean or 0)
        assert (found.deviation or 0) == pytest.approx(wanted.deviation or 0)


def test_lead_leaves_out_what_cannot_be_compared():
    one = one_of("entropy", "1/4")
    ours = [outcome(each, None, None, 0.5, 0.6) for each in one]
    theirs = [
        outcome(one_of("random", "1/4")[2], None, None, 0.5, 0.2),
        outcome(one_of("random", "1/4")[1], None, None, 0.5),
        outcome(one_of("random", "1/4")[0], None, None, 0.5, None),
    ]
    found = lead(ours, theirs)
    assert (found.count, found.repeats) == (1, 1)
    assert found.mean == pytest.approx(0.4)


def at(clicks, mious, repeat=0):
    """An outcome of given points of mIoU over clicks."""
    one = one_of("entropy", "1/4")[repeat]
    found = outcome(one, None, None, *mious)
    for done, share in zip(found.rounds, clicks, strict=True):
        done.clicks_percent = share
    return found


def test_height_between_curves_is_their_area_over_its_width():
    """Against a fine sum; the curves share the clicks from 10 to 40."""
    own = at([5, 10, 20, 45], [0.3, 0.4, 0.6, 0.7]).rounds
    other = at([10, 25, 40], [0.35, 0.5, 0.52]).rounds
    places = np.linspace(10, 40, 100_001)
    expected = np.mean(
        np.interp(places, [5, 10, 20, 45], [0.3, 0.4, 0.6, 0.7])
        - np.interp(places, [10, 25, 40], [0.35, 0.5, 0.52])
    )
    assert height_between(own, other) == pytest.approx(expected, abs=1e-5)
    assert height_between(other, own) == pytest.approx(-expected, abs=1e-5)
    assert height_between(own, at([50, 60], [0.3, 0.4]).rounds) is None
    assert height_between(own, at([10, None], [0.3, 0.4]).rounds) is None
    assert height_between(own, at([10, 30], [None, 0.4]).rounds) is None


def test_lead_at_equal_clicks_has_pairs_by_seed_and_an_interval():
    ours = [at([0, 10], [0.4, 0.5 + step / 100], repeat) for repeat, step in enumerate((0, 2, 4))]
    theirs = [at([0, 10], [0.4, 0.4], repeat) for repeat in (2, 0, 1)]
    found = lead_at_equal_clicks(ours, theirs)
    assert (found.mean, found.deviation) == (pytest.approx(0.06), pytest.approx(0.01))
    assert found.interval == pytest.approx(4.303 * 0.01 / 3**0.5)  # of any table of Student's t
    assert lead_at_equal_clicks(ours, theirs[:1]).interval is None
    assert lead_at_equal_clicks(ours, []).mean is None


def test_area_is_a_mean_over_the_clicks_that_all_curves_share():
    """Against a fine sum; a campaign of one round has no curve."""
    cell, other, third = (one_of(name, "1/4")[0].cell for name in INFORMATIONS)
    own = [at([5, 20, 45], [0.3, 0.6, 0.7]), at([5, 40], [0.3, 0.4], 1), at([30], [0.5], 2)]
    cells = {cell: own, other: [at([10, 50], [0.4, 0.5])]}
    assert shared_clicks(cells) == (10, 40)
    found = area(own, (10, 40))
    places = np.linspace(10, 40, 100_001)
    first = np.mean(np.interp(places, [5, 20, 45], [0.3, 0.6, 0.7]))
    second = np.mean(np.interp(places, [5, 40], [0.3, 0.4]))
    assert found.mean == pytest.approx((first + second) / 2, abs=1e-5)
    assert (found.count, found.repeats) == (2, 3)
    assert shared_clicks(cells | {third: [at([45, 60], [0.4, 0.5])]}) is None
    assert shared_clicks(cells | {third: [at([None, None], [0.4, 0.5])]}) is None
    assert area(own, None).mean is None


def test_paper_values_by_hand():
    cells = {cell.name: cell for cell in Grid().cells(2048)}
    assert paper_value(cells["entropy-128x128-none"], "p95") == 10.01
    assert paper_value(cells["vote_entropy-image-none"], "c95") == 39.02
    assert paper_value(cells["random-image-none"], "p95") is None
    assert paper_value(cells["entropy-128x128-product-est"], "c95") == 17.07
    assert paper_value(cells["vote_entropy-128x128-convex0.75-gt"], "c95") == 16.35
    assert paper_value(cells["entropy-128x128-product-est"], "p95") is None
    own = Grid(regions=("96",), fusions=()).cells(256)[0]
    assert paper_value(own, "p95") is None


def test_markdown(outcomes):
    text = to_markdown(tables(by_cell(outcomes)))
    assert "| information | 1/4 (512x512) | image |" in text
    assert "| entropy | 13.5 ± 2.1 (2/3) [16.7] | - [38.7] |" in text
    assert "| entropy | 20.0 (1/3) [33.5] | - [43.2] |" in text
    assert "| random | n/a [33.6] | - |" in text
    assert "| entropy x ratio | 8.0 [23.1] | 9.0 |" in text
    row = "| entropy 512x512 | 3 | 2 | 20.0 | 12.0 ± 0.0 | 0.710 ± 0.010 | n/a |"
    assert f"{row} 0.605 ± 0.005 | 0:05:00 |" in text
    assert "| campaign | lead over random_grid | lead over random | lead over none |" in text
    assert "| +0.310 ± 0.025 |" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_shows_every_number_whole_in_parts_as_wide_as_it_is(outcomes, width):
    for table in tables(by_cell(outcomes)):
        parts = list(to_terminal(table, width))
        shown = io.StringIO()
        for part in parts:
            Console(file=shown, width=width).print(part)
        lines = shown.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        body = [re.split(" *│ *", line)[1:-1] for line in lines if line.startswith("│")]
        assert len(body) == len(parts) * len(table.rows)
        for number, row in enumerate(table.rows):
            found = body[number :: len(table.rows)]
            assert {line[0] for line in found} == {row[0]}
            assert [text for line in found for text in line[1:]] == [*row[1:]]
    assert (len(parts) == 1) == (width == 200)


def test_latex_escapes_what_latex_would_read(outcomes):
    text = to_latex(tables(by_cell(outcomes)))
    assert r"after the last round" in text and r"(\% of the pixels)" in text
    assert r"0.710 $\pm$ 0.010" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 5
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert "%" not in line.replace(r"\%", "")


def test_csv_has_a_row_a_round_and_json_the_same(outcomes):
    rows = round_rows(outcomes)
    assert len(rows) == sum(len(o.rounds) for o in outcomes)
    text = io.StringIO()
    csv.DictWriter(text, list(rows[0])).writerows(rows)
    content = to_json(outcomes)
    assert len(content["campaigns"]) == len(outcomes)
    (cell,) = (c for c in content["cells"] if c["region"] == "1/4" and c["fusion"] == "ratio")
    assert cell["p95"]["mean"] == 9.0 and len(cell["rounds"]) == 2
    assert cell["paper"] == {"p95": None, "c95": 23.08}
    assert content["area_from_to"] == (5.0, 12.0)
    assert cell["seconds"] == {**vars(Spread.of([300.0])), "interval": None}


def test_csv_has_a_row_a_cell_with_the_figures_of_the_tables(outcomes):
    rows = {(row["information"], row["region"], row["fusion"]): row for row in cell_rows(outcomes)}
    assert len({tuple(row) for row in rows.values()}) == 1
    row = rows["entropy", "1/4", "none"]
    assert (row["p95"], row["p95_count"], row["p95_paper"]) == (13.5, 2, 16.74)
    assert row["p95_deviation"] == pytest.approx(statistics.stdev([12.0, 15.0]))
    assert (row["c95"], row["c95_deviation"], row["repeats"], row["rounds"]) == (20.0, None, 3, 2)
    assert row["lead_over_random"] == pytest.approx(0.31)
    assert row["miou"] == pytest.approx(0.71)
    assert rows["random", "1/4", "none"]["p95"] is None


def test_curves_draw_every_cell_and_survive_missing_clicks(outcomes):
    outcomes[-2] = Outcome(
        outcomes[-2].planned,
        [SimpleNamespace(**vars(part) | {"clicks_percent": None}) for part in outcomes[-2].rounds],
        0.8,
        9.0,
        None,
    )
    figures = grid_curves(by_cell(outcomes), [0.8, 0.8], "test")
    assert set(figures) == {
        "regions 1/4",
        "regions image",
        "entropy with true costs, regions 1/4",
    }
    pixels, clicks = figures["entropy with true costs, regions 1/4"].axes
    assert pixels.get_ylabel() == "mIoU on test"
    labels = [line.get_label() for line in clicks.get_lines()]
    assert labels[:4] == ["none", "random_grid", "random", "ratio"]


def test_bands_are_drawn_whole():
    seeds = one_of("entropy", "1/4")
    found = [
        outcome(one, None, None, 0.5, end) for one, end in zip(seeds, (0.3, 0.5, 0.7), strict=True)
    ]
    (figure,) = grid_curves(by_cell(found), []).values()
    for chart in figure.axes:
        (band,) = chart.collections
        (low, high), drawn = chart.get_ylim(), band.get_datalim(chart.transData)
        assert low < drawn.y0 < 0.31 and 0.69 < drawn.y1 < high


def test_lines_of_a_chart_can_be_told_apart():
    """However many fusions there are: some a figure, beside those that all are compared with."""
    fusions = tuple(f"convex0.{digit}" for digit in range(1, 10))
    planned = plan(Grid(fusions=fusions, rounds=2), Options(), 2048)
    found = [outcome(one, None, None, 0.5, 0.7) for one in planned if one.cell]
    figures = grid_curves(by_cell(found), [0.8])
    names = {}
    for title, figure in figures.items():
        for axes in figure.axes:
            lines = [line for line in axes.get_lines() if line.get_marker() != "None"]
            assert len(lines) <= 8
            assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines)
            names.setdefault(title, {line.get_label() for line in lines})
    parts = [f"entropy with true costs, regions 1/16 ({part} of 2)" for part in (1, 2)]
    assert names[parts[0]] & names[parts[1]] == {"none", "random_grid", "random"}
    assert {*fusions} <= names[parts[0]] | names[parts[1]]
