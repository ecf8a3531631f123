"""Random regions of a campaign's own pool."""

import pytest

from cereals_tf.campaign.baseline import baseline_of
from cereals_tf.campaign.change import set_options
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.errors import UserError
from tests.cereals_tf.conftest import OPTIONS


@pytest.mark.long
def test_baseline_is_the_campaign_that_chooses_at_random(
    first_round, tmp_path, toy_data, outcome, cereals, snapshot
):
    """A report runs it, and the next one goes on from what is there."""
    two_rounds = first_round(tmp_path / "campaign")
    run_campaign(two_rounds, 2, 1.0)
    status, _, said = cereals("report", two_rounds.folder, "--baseline", "--rounds=1")
    assert status == 0, said
    page = (two_rounds.folder / "report" / "index.html").read_text()
    assert "Random regions for the same budgets come to mIoU" in page
    options = Options.of(**OPTIONS | {"information": "random_grid", "fusion": "none"})
    alone = start_campaign(tmp_path / "alone", toy_data, options)
    run_campaign(alone, 2, 1.0)
    baseline = Campaign.open(two_rounds.folder / "random")
    for ours, theirs in zip(baseline.rounds(), alone.rounds(), strict=True):
        assert outcome(ours.folder) == outcome(theirs.folder)
    before = snapshot(baseline.folder)
    assert len(baseline_of(two_rounds).rounds()) == 2
    assert snapshot(baseline.folder) == before


def test_people_and_changes_are_refused(first_round, tmp_path, begin):
    asked = begin(tmp_path / "asked", annotator="files")
    with pytest.raises(UserError, match="people annotate"):
        baseline_of(asked)
    changed = set_options(first_round(), {"budget": "10%"})
    run_campaign(changed, 2, 1.0)
    with pytest.raises(UserError, match="changed in round 1"):
        baseline_of(Campaign.open(changed.folder))
    assert not (changed.folder / "random").exists()
