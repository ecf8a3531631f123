"""Scoring in a pipeline of Apache Beam gives what scoring in one process gives."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("apache_beam")

from cereals_tf.campaign import beam_scoring, round
from cereals_tf.campaign.beam_scoring import BeamScoring, ShareHandler
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import COST, SEGMENTATION
from cereals_tf.campaign.pool.share import Share
from cereals_tf.campaign.run import score_campaign, step_campaign
from cereals_tf.data_prep.beam_pipeline import Failures
from cereals_tf.data_prep.errors import UserError

IN_MEMORY = ""
TWO_PROCESSES = (
    "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
)
TWO_THREADS = TWO_PROCESSES.replace("processing", "threading")
NO_CLUSTER = "--runner=FlinkRunner --flink_job_server_jar=/nowhere/server.jar"
DRAWN = {"information": "vote_entropy", "committee": 3, "epochs": 1, "budget": "60clicks"}


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    """One image a share: the campaigns here have three images in their pool."""
    monkeypatch.setattr(beam_scoring, "IMAGES_PER_SHARE", 1)


def scores_of(campaign):
    folder = campaign.working / "scratch" / "scores"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def times_of(campaign):
    folder = campaign.working / "scratch" / "scores"
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# The same bytes.


@pytest.mark.parametrize("options", [IN_MEMORY, TWO_THREADS])
def test_a_pipeline_gives_the_same_scores(tmp_path, first_round, monkeypatch, options):
    """It loads the models once, and keeps what is there already."""
    alone, beamed = (first_round(tmp_path / name, **DRAWN) for name in ("alone", "beamed"))
    score_campaign(alone)
    score_campaign(beamed, Share(2, 3))
    kept = times_of(beamed)
    loaded = []

    def quickest_scorer(*arguments):
        loaded.append(arguments)
        return load(*arguments)

    load = round.quickest_scorer
    monkeypatch.setattr(round, "quickest_scorer", quickest_scorer)
    assert score_campaign(beamed, beam_options=options) == 3
    assert len(loaded) == 1
    assert len(scores_of(beamed)) == 3
    assert scores_of(beamed) == scores_of(alone)
    assert len(kept) == 1 and kept.items() <= times_of(beamed).items()
    assert os.listdir(beamed.working / "scratch") == ["scores"]


TWICE = f"""
import sys
from cereals_tf.cli import main
from cereals_tf.data_prep.quiet import load_tensorflow
load_tensorflow()
from cereals_tf.campaign import beam_scoring
beam_scoring.IMAGES_PER_SHARE = 1
alone, beamed = sys.argv[1:]
main(["score", alone])
print("in Beam:", file=sys.stderr)
sys.exit(main(["score", beamed, "--runner=beam", "--beam_options={TWO_PROCESSES}"]))
"""


@pytest.mark.long
def test_worker_processes_give_the_same_scores_and_no_noise(
    tmp_path, first_round, plugin_folder, outcome
):
    """A relative path too, which means something else where a worker may run."""
    alone, beamed = (first_round(tmp_path / name, **DRAWN) for name in ("alone", "beamed"))
    folders = [os.path.relpath(campaign.folder, plugin_folder) for campaign in (alone, beamed)]
    threads = dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
    )
    command = [sys.executable, "-c", TWICE, *folders]
    done = subprocess.run(
        command,
        cwd=plugin_folder,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(scores_of(beamed)) == 3
    assert scores_of(beamed) == scores_of(alone)
    lines = re.split(r"[\r\n]+", done.stderr.partition("in Beam:\n")[2].strip())
    *bars, said, following = lines
    assert all(line.startswith("score: ") for line in bars), done.stderr
    assert " 3/3 " in bars[-1]
    assert said.startswith(f"{folders[1]}: 3 images are scored")
    assert following == f"next: cereals step {folders[1]}"
    assert os.listdir(beamed.working / "scratch") == ["scores"]

    written = times_of(beamed)
    score_campaign(beamed)
    assert times_of(beamed) == written
    rounds = [step_campaign(campaign) for campaign in (alone, beamed)]
    assert len({outcome(done.folder)[0] for done in rounds}) == 1


# Failures.


def _break_loading(campaign):
    (campaign.round(0).folder / SEGMENTATION.file).write_bytes(b"no model")


def _break_cost(campaign):
    path = campaign.round(0).folder / COST.file
    model = Models.of(campaign).load_round(COST, campaign.round(0))
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_loading, "segmentation.keras: cannot be loaded"),
        (_break_cost, "the models of round 0 give NaN or infinity for this image"),
    ],
)
def test_what_a_user_can_mend_is_told_as_without_beam(first_round, damage, message):
    campaign = first_round()
    damage(campaign)
    messages = []
    for options in (None, IN_MEMORY):
        with pytest.raises(UserError) as caught:
            score_campaign(campaign, beam_options=options)
        messages.append(str(caught.value))
    assert message in messages[0]
    assert messages[0] == messages[1]


def test_a_pipeline_that_fails_is_reported_and_the_scores_stay(first_round):
    campaign = first_round(**DRAWN)
    score_campaign(campaign, Share(1, 3))
    before = scores_of(campaign)
    with pytest.raises(UserError, match=r"the pipeline failed: .*/nowhere/server\.jar") as caught:
        score_campaign(campaign, beam_options=NO_CLUSTER)
    assert "\n" not in str(caught.value)
    (log,) = campaign.working.glob("scratch/*/beam.log")
    assert str(log) in str(caught.value)
    assert len(before) == 1 and scores_of(campaign) == before


def test_workers_that_do_not_see_the_campaign_are_reported(first_round, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from apache_beam.runners.runner import PipelineResult, PipelineRunner\n"
        "class Elsewhere(PipelineRunner):\n"
        "    def run_pipeline(self, pipeline, options):\n"
        "        return Done('DONE')\n"
        "class Done(PipelineResult):\n"
        "    def wait_until_finish(self, duration=None):\n"
        "        return 'DONE'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "elsewhere", raising=False)
    with pytest.raises(UserError, match=r"scores/\d+\.npy is not there, expected CAMPAIGN on a fi"):
        score_campaign(first_round(), beam_options="--runner=elsewhere.Elsewhere")


def test_a_worker_left_behind_by_its_pipeline_touches_no_later_round(first_round, tmp_path):
    campaign = first_round(**DRAWN)
    (tmp_path / "notes").mkdir()
    failures = Failures(tmp_path / "notes")
    handler = ShareHandler(campaign.folder, 3, failures)
    loaded = handler.load_model()
    assert handler.run_inference([0], loaded) == [(0, 1, None)]
    with campaign.lock():
        assert handler.run_inference([2], loaded) == []
    with pytest.raises(UserError, match=f"process {os.getpid()} is working on this campaign"):
        failures.raise_first()
    step_campaign(campaign)
    assert handler.run_inference([1], loaded) == []
    with pytest.raises(UserError, match="the regions of round 1 are chosen already"):
        failures.raise_first()
    assert not campaign.working.exists()


def test_an_empty_pool_needs_no_pipeline(tmp_path):
    empty = SimpleNamespace(pool=SimpleNamespace(candidates={}), scores=tmp_path / "new" / "scores")
    assert BeamScoring(NO_CLUSTER).score(empty) == 0
    assert os.listdir(tmp_path) == []


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner=spark"], "--runner=spark: expected one of local, beam"),
        (["--beam_options=--streaming"], "--beam_options: has an effect only with --runner=beam"),
        (["--runner=beam", "--shard=1/2"], "--shard: has an effect only with --runner=local"),
        (["--runner=beam", "--beam_options=--wokers=2"], "unrecognized arguments: --wokers=2"),
    ],
)
def test_options_that_do_not_go_together_are_refused(first_round, refused, options, message):
    assert message in refused("score", first_round().folder, *options)


def test_without_beam_its_extra_is_named(first_round, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    line = refused("score", first_round().folder, "--runner=beam")
    assert "pip install 'cereals-tf[beam]'" in line


def test_a_busy_campaign_is_refused(first_round, refused):
    campaign = first_round()
    with campaign.lock():
        line = refused("score", campaign.folder, "--runner=beam")
    assert f"process {os.getpid()} is working" in line
