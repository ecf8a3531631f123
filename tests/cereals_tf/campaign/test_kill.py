"""A campaign that is killed at every stage ends as one that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from cereals_tf.campaign.architecture import build_cost, build_segmentation, load_model

DRIVER = '''
"""Runs `cereals step` once per line of stdin, in a process that kills itself at a given call."""

import importlib
import json
import os
import signal
import sys

from cereals_tf import cli
from cereals_tf.quiet import load_tensorflow

load_tensorflow()
import cereals_tf.campaign.run


def kill_at(module, name, call, finishes):
    """Replace module.name by a function whose n-th call kills, before or after it did its work."""
    *path, name = name.split(".")
    owner = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        calls.append(args)
        if len(calls) < call:
            return original(*args, **kwargs)
        if finishes:
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


for line in sys.stdin:
    child = os.fork()
    if not child:
        signal.alarm(300)
        kill_at(**json.loads(line))
        os._exit(cli.main(["step", sys.argv[1]]))
    print(os.waitpid(child, 0)[1], flush=True)
'''
"""TensorFlow is imported once, which is slow, and used only after the fork."""


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
        *("cereals_tf.campaign.scores", "save_scores", 2, False),
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
        *("trainers.fitting", "write_atomically", 2, False),
        (f"{SCRATCH}/segmentation/state.json", f"{SCRATCH}/segmentation/epoch-0001.weights.h5"),
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
        *("trainers.fitting", "write_atomically", 1, True),
        ("working/segmentation.keras", f"{SCRATCH}/cost/state.json"),
        ("working/cost.keras",),
    ),
    Kill(
        "evaluating",
        *("cereals_tf.campaign.round", "CostEvaluator.mean_squared_error", 2, False),
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
        *("cereals_tf.campaign.state", "sync_tree", 1, True),
        ("working/metrics.json",),
        (SCRATCH, "rounds/001"),
    ),
    Kill(
        "just after the commit",
        *("cereals_tf.campaign.state", "sync", 1, False),
        ("rounds/001/metrics.json",),
        ("working",),
    ),
]


@pytest.fixture
def step_and_die(plugin_folder):
    """Runs `cereals step` on a campaign in processes that are killed; returns how each ended."""
    drivers = []

    def run(campaign, kill):
        if not drivers:
            drivers.append(
                subprocess.Popen(
                    [sys.executable, "-c", DRIVER, campaign.folder],
                    cwd=plugin_folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        where = {name: getattr(kill, name) for name in ("module", "name", "call", "finishes")}
        drivers[0].stdin.write(json.dumps(where) + "\n")
        drivers[0].stdin.flush()
        return int(drivers[0].stdout.readline())

    yield run
    for driver in drivers:
        driver.communicate()


def weights_of(campaign, done):
    models = (build_segmentation(campaign.options, len(campaign.data.classes)), "segmentation")
    costs = (build_cost(campaign.options), "cost")
    return [
        weights
        for built, name in (models, costs)
        for weights in load_model(done.folder / f"{name}.keras", built).get_weights()
    ]


def test_a_round_that_is_killed_at_every_stage(
    first_round, three_rounds, step_and_die, cereals, outcome, snapshot
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
