"""Rounds by annotators who draw the ground truth: the same as the oracle's."""

from dataclasses import replace

import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import read_regions
from cereals_tf.campaign.run import run_campaign, step_campaign
from tests.cereals_tf.conftest import UNKNOWN


@pytest.fixture(scope="session")
def by_oracle(tmp_path_factory, begin):
    """Two rounds of whole images and regions, at the images' own size and at another."""
    folder = tmp_path_factory.mktemp("oracle")
    campaigns = {}
    for size in ("", "60x90"):
        campaigns[size] = begin(folder / f"at-{size}", image_size=size)
        run_campaign(campaigns[size], 2, 1.0)
    return campaigns


def without_seconds(path):
    return [replace(region, seconds=None) for region in read_regions(path)]


@pytest.mark.parametrize("size", ["", pytest.param("60x90", marks=pytest.mark.long)])
def test_rounds_equal_the_oracles(
    size, by_oracle, begin, tool, cereals, following, truth_of, outcome, tmp_path
):
    campaign = begin(tmp_path / "campaign", image_size=size, annotator="files")
    truth = truth_of(campaign)
    for number in range(2):
        status, _, said = cereals("step", campaign.folder)
        assert status == 0
        assert [done.number for done in campaign.rounds()] == list(range(number))
        out = tmp_path / f"campaign-tasks-{number:03}"
        assert following(said) == ["tasks", str(campaign.folder), str(out)]
        status, _, said = cereals(*following(said), f"--format={tool.name}")
        assert status == 0
        collecting = following(said)
        source = tool.draw(out, lambda image_id: truth[image_id].objects)
        export = {"labelstudio": "export.json", "cvat": "export.zip"}.get(tool.name)
        if export:
            assert collecting[2] == str(out / export)
            collecting[2] = source
        assert following(cereals("status", campaign.folder)[2])[0] == "collect"
        status, _, said = cereals(*collecting, "--partial")
        assert status == 0 and following(said) == ["step", str(campaign.folder)]
        step_campaign(Campaign.open(campaign.folder))
        expected = by_oracle[size].rounds()[number].folder
        done = campaign.rounds()[number]
        assert without_seconds(done.folder / "regions.csv") == without_seconds(
            expected / "regions.csv"
        )
        assert outcome(done.folder)[1] == outcome(expected)[1] | UNKNOWN
        timed = [region.seconds is not None for region in done.regions]
        assert all(timed) if tool.name == "labelstudio" else not any(timed)
