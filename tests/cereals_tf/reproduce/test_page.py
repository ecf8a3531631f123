"""The page of a grid: what it says in words, and how it looks in Chromium."""

import re
from types import SimpleNamespace

import pytest

from cereals_tf.campaign.options import Options
from cereals_tf.reproduce.conclusion import conclusion, sign
from cereals_tf.reproduce.curves import grid_curves
from cereals_tf.reproduce.grid import Grid, plan
from cereals_tf.reproduce.outcomes import Outcome, Spread, by_cell
from cereals_tf.reproduce.page import grid_page
from tests.cereals_tf.report.test_browser import BROWSER, SCHEMES, probe

GRID = Grid(("entropy", "random_grid"), ("1/8",), ("ratio", "product"), "1/8", ("est",), 3, 2)
LEADS = {"none": -0.02, "ratio": 0.05, "product": 0.0}
NOISE = (-0.001, 0.0, 0.001)
"""A lead's deviation from the mean, seed by seed."""


def curve(last, seconds=60.0):
    """Two rounds that end at some mIoU, with as many clicks in every campaign."""
    return [
        SimpleNamespace(
            round=number,
            miou=miou,
            pixels_percent=10.0 * (number + 1),
            clicks_percent=5.0 + 10 * number,
            total_seconds=seconds,
            versions={"keras": "3.15"},
        )
        for number, miou in enumerate((0.4, last))
    ]


@pytest.fixture(scope="module")
def outcomes():
    """Curves that begin together, so that the mean height is half of the lead at the end."""
    found = []
    for one in plan(GRID, Options(), 512):
        if one.cell is None:
            rounds = curve(0.7)[1:]
        elif one.cell.information == "random_grid":
            rounds = curve(0.5)
        else:
            lead = LEADS[one.cell.fusion.kind] + NOISE[one.repeat]
            rounds = curve(0.5 + 2 * lead)
        c95 = 12.0 if one.cell and one.cell.fusion.kind == "ratio" else None
        found.append(Outcome(one, rounds, 0.7, c95, c95))
    return found


@pytest.fixture(scope="module")
def page(outcomes):
    described = {**vars(GRID), "options": {"epochs": 3}}
    figures = grid_curves(by_cell(outcomes), [0.7])
    return grid_page("<b>grid & more", outcomes, 18, figures, described)


def test_words_on_leads_savings_and_what_is_missing(outcomes):
    """Interval: Student's t of 2 degrees of freedom, 4.303, times 0.001 over the root of 3."""
    found = conclusion(by_cell(outcomes), 3)
    words = {term: " ".join(sentences) for term, sentences in found.items()}
    assert "above zero: entropy 64x64 ratio, estimated (+0.050 ± 0.002)." in words["Regions"]
    assert "below zero: entropy 64x64 (-0.020 ± 0.002)." in words["Regions"]
    assert "The intervals of 1 of 3 cells hold zero." in words["Regions"]
    assert words["Fusion"].endswith(
        "entropy 64x64 ratio, estimated (+0.070 ± 0.000); "
        "entropy 64x64 product, estimated (+0.020 ± 0.000)."
    )
    assert words["Saved"] == (
        "Of the cells that come to 95 % of the reference's mIoU with all seeds, entropy 64x64 "
        "ratio, estimated takes the fewest clicks, 12.0 % of all; entropy 64x64 never; random "
        "grid 64x64 never."
    )
    assert words["To watch"] == (
        "3 campaigns are not complete: numbers will change. "
        "3 seeds tell little: intervals are wide."
    )


def test_one_seed_tells_no_interval(outcomes):
    cells = by_cell(outcome for outcome in outcomes if outcome.planned.repeat == 1)
    found = conclusion(cells, 0)
    assert found["Regions"][1:] == [
        "Highest: entropy 64x64 ratio, estimated (+0.050); one seed tells no interval."
    ]
    assert found["To watch"] == ["One seed tells little."]


def test_words_without_curves_to_compare(outcomes):
    cells = by_cell(outcomes)
    alone = {cell: found for cell, found in cells.items() if cell.information == "random_grid"}
    assert set(conclusion(alone, 0)) == {"Saved", "To watch"}


def test_sign_is_zero_where_the_interval_holds_it():
    assert sign(Spread(0.02, 0.01, 3, 3)) == 0  # ± 0.0248
    assert sign(Spread(0.03, 0.01, 3, 3)) == 1
    assert sign(Spread(-0.03, 0.01, 3, 3)) == -1
    assert sign(Spread(0.03, None, 1, 1)) == 0


def test_page_draws_leads_beside_zero(page):
    assert "<b>grid" not in page and "&lt;b&gt;grid &amp; more" in page
    assert "15 of 18" in page
    signs = re.findall(r'\+?(-?\d\.\d+) ± [\d.]+<svg [^>]*class="(\w+)"', page)
    assert [
        ("above" if float(lead) > 0.01 else "below" if float(lead) < -0.01 else "held")
        for lead, _ in signs
    ] == [name for _, name in signs]
    zeros = {found for found in re.findall(r'class="zero" d="M([\d.]+) ', page)}
    assert len(zeros) == 1


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_fits_and_can_be_read(page, tmp_path, width, scheme):
    assert scheme in SCHEMES
    found = probe(page, tmp_path, width, scheme)
    assert not found["faults"]
    assert found["page"] <= found["window"] == width
    assert not found["broken"]
    assert not found["faint"]
    assert all(across > 250 for _, _, across, _ in found["charts"])
