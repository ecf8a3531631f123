"""The bill that was promised beside the true one."""

from types import SimpleNamespace

import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.bill import bill_of, bills_so_far, correction
from cereals_tf.campaign.folder.regions import Annotated, cost_per_position
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.grid import Box


def region(cost, vertices, seconds=None, **more):
    chosen = Chosen(Region("a", Box(0, 0, 16, 16)), 1.0, 1.0, cost)
    return Annotated(chosen, 256, RegionClicks(vertices, 1, 0), seconds, **more)


def test_a_bill_is_at_least_a_click_a_region_and_of_what_is_known():
    options = Options()
    regions = [region(0.25, 0), region(5.0, 6), region(None, 50), region(9.0, 3, assisted=True)]
    assert bill_of(regions, options) == (1.0 + 5.0, 1 + 7, pytest.approx(1.0))
    assert bill_of(regions[2:3], options) is None
    seconds = Options.of(annotator="files", cost_unit="seconds", budget="9seconds")
    regions = [region(4.0, 0, seconds=2.0), region(5.0, 0), region(8.0, 0, seconds=12.0)]
    assert bill_of(regions, seconds)[:2] == (12.0, 14.0)
    assert cost_per_position(regions, "seconds") == 14.0 * 64 / 512
    assert cost_per_position([region(1.0, 6), region(1.0, 2)], "clicks") == 8 * 64 / 512


def test_half_of_what_the_rounds_missed_is_made_up_for_in_the_next():
    def done(estimated, true, factor=1.0):
        return SimpleNamespace(
            bill_estimated=estimated,
            bill_true=true,
            bill_factor=factor,
            cost_rank_correlation=None,
        )

    def factor(*rounds):
        return correction(bills_so_far(rounds))

    drawn = done(None, None)
    assert factor() == factor(drawn) == 1.0
    assert factor(drawn, done(50.0, 200)) == 2.0
    assert factor(drawn, done(50.0, 200), done(100.0, 200, 2.0)) == 2.0
    assert factor(drawn, done(50.0, 200), drawn) == 2.0
    assert factor(drawn, done(50.0, 200), done(50.0, 200)) == 2.0
    assert factor(drawn, done(50.0, 200), done(100.0, 400, 2.0)) == pytest.approx(6**0.5)
    assert factor(drawn, done(3000.0, 3000), done(3000.0, 750)) == pytest.approx(0.625**0.5)
