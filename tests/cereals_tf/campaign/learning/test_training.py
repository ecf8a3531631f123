"""How a round trains is the machine's business: what it gives is the same."""

import pytest

from cereals_tf.campaign.run import step_campaign


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_rounds_are_the_same_wherever_samples_are_kept(first_round, three_rounds, outcome, cache):
    campaign = first_round(cache=cache)
    done = step_campaign(campaign)
    assert outcome(done.folder) == outcome(three_rounds.round(1).folder)
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(
        path.name for path in three_rounds.round(1).folder.iterdir()
    )


def test_one_device_shares_with_nobody(first_round, three_rounds, outcome, cereals):
    campaign = first_round()
    status, _, err = cereals("step", campaign.folder, "--strategy=mirrored")
    assert status == 0, err
    assert outcome(campaign.round(1).folder) == outcome(three_rounds.round(1).folder)
    assert campaign.round(1).metrics.devices == 1


def test_unknown_strategies_are_refused_before_anything_is_done(first_round, cereals, snapshot):
    campaign = first_round()
    before = snapshot(campaign.folder)
    for command in (("step",), ("run", "--rounds=2")):
        name, *options = command
        status, _, err = cereals(name, campaign.folder, *options, "--strategy=tpu")
        assert status == 2
        assert "--strategy=tpu: expected one of none, mirrored" in err
        status, _, err = cereals(name, campaign.folder, *options, "--strategy=multiworker")
        assert status == 2
        assert "--strategy=multiworker: the environment variable TF_CONFIG is not set" in err
    assert snapshot(campaign.folder) == before
