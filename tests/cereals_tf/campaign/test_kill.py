"""A campaign that is killed at every stage ends as one that nobody disturbed."""

import os
import signal
from typing import NamedTuple

import numpy as np


class Kill(NamedTuple):
    """A place to die, and what is and is not in the campaign's folder then."""

    stage: str
    module: str
    name: str
    call: int
    finishes: bool
    present: tuple[str, ...]
    absent: tuple[str, ...]


SCRATCH = "working/scratch"
KILLS = [
    Kill(
        "scoring, the second image",
        *("cereals_tf.campaign.pool.scoring", "save_scores", 2, False),
        (f"{SCRATCH}/scores",),
        ("working/regions.csv",),
    ),
    Kill(
        "the regions are annotated",
        *("cereals_tf.campaign.round", "write_regions", 1, True),
        ("working/regions.csv",),
        (f"{SCRATCH}/segmentation",),
    ),
    Kill(
        "training, between the weights of the second epoch and the state that counts them",
        *("cereals_tf.trainers.fitting", "write_atomically", 2, False),
        (f"{SCRATCH}/segmentation/state.json", f"{SCRATCH}/segmentation/epoch-0001.npz"),
        ("working/segmentation.keras",),
    ),
    Kill(
        "the model is saved under another name",
        *("keras", "Model.save", 1, True),
        ("working/unfinished-segmentation.keras",),
        ("working/segmentation.keras",),
    ),
    Kill(
        "training of the cost model, after the first epoch",
        *("cereals_tf.trainers.fitting", "write_atomically", 1, True),
        ("working/segmentation.keras", f"{SCRATCH}/cost/state.json"),
        ("working/cost.keras",),
    ),
    Kill(
        "evaluating",
        *("cereals_tf.trainers.evaluation", "CostEvaluator.errors", 2, False),
        ("working/cost.keras",),
        ("working/metrics.json",),
    ),
    Kill(
        "a part of the scratch folder is removed",
        *("os", "rmdir", 1, True),
        ("working/metrics.json", SCRATCH),
        ("rounds/001",),
    ),
    Kill(
        "just before the commit",
        *("cereals_tf.campaign.folder.campaign", "sync_tree", 1, True),
        ("working/metrics.json",),
        (SCRATCH, "rounds/001"),
    ),
    Kill(
        "just after the commit",
        *("cereals_tf.campaign.folder.campaign", "sync", 1, False),
        ("rounds/001/metrics.json",),
        ("working",),
    ),
]


def test_a_round_that_is_killed_at_every_stage(
    first_round, three_rounds, step_and_die, weights_of, cereals, outcome, snapshot
):
    campaign = first_round()
    first = snapshot(campaign.round(0).folder)
    for kill in KILLS:
        status = step_and_die(campaign, kill)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, kill.stage
        for name in kill.present:
            assert (campaign.folder / name).exists(), (kill.stage, name)
        for name in kill.absent:
            assert not (campaign.folder / name).exists(), (kill.stage, name)
        expected = three_rounds.round(1).folder / "regions.csv"
        for found in campaign.folder.glob("working/regions.csv"):
            assert found.read_text() == expected.read_text(), kill.stage
    second = snapshot(campaign.round(1).folder)
    status, _, err = cereals("run", campaign.folder, "--rounds=3")
    assert status == 0 and "3 rounds are complete" in err
    assert snapshot(campaign.round(0).folder) == first
    assert snapshot(campaign.round(1).folder) == second
    assert [done.number for done in campaign.rounds()] == [0, 1, 2]
    for number in (1, 2):
        found, expected = campaign.round(number), three_rounds.round(number)
        assert outcome(found.folder) == outcome(expected.folder)
        assert {path.name for path in found.folder.iterdir()} == {
            path.name for path in expected.folder.iterdir()
        }
        pairs = zip(weights_of(campaign, found), weights_of(three_rounds, expected), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)
    assert not campaign.working.exists()
