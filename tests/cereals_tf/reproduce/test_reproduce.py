"""Real grids of tiny models: complete, in shares, killed, and compared with campaigns by hand."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.reproduce.campaigns import first_round
from cereals_tf.reproduce.estimate import seconds_needed
from cereals_tf.reproduce.grid import Grid, plan
from cereals_tf.reproduce.reproduce import read_grid
from tests.cereals_tf.conftest import OPTIONS

GRID = {
    "informations": "entropy,random",
    "regions": "16",
    "fusions": "product",
    "fusion_region": "16",
    "costs": "est",
    "repeats": 1,
    "rounds": 2,
}
SHARED = {name: value for name, value in OPTIONS.items() if name != "region"}
TABLES = {"table.md", "table.tex", "table.csv", "rounds.csv"}
FILES = TABLES | {"results.json", "curves.png", "grid.json", "index.html"}


@pytest.fixture(scope="module")
def arguments(toy_data, plugin_folder):
    options = {"data": toy_data, **GRID, **SHARED}
    return [*(f"--{name}={value}" for name, value in options.items()), "--no_estimate"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, arguments, plugin_folder):
    """A complete grid. Not to be changed."""
    from cereals_tf import cli

    out = tmp_path_factory.mktemp("whole") / "out"
    assert cli.main(["reproduce", str(out), *arguments]) == 0
    return out


def changed(arguments, **options):
    """Replace what a command line says for some options."""
    kept = [a for a in arguments if a.removeprefix("--").partition("=")[0] not in options]
    return kept + [f"--{name}={value}" for name, value in options.items()]


def results(out):
    return json.loads((out / "results.json").read_text())


def test_grid_has_its_campaigns_and_files(whole):
    names = {path.name for path in (whole / "campaigns").iterdir()}
    assert names == {
        "reference-seed0",
        "entropy-16x16-none-seed0",
        "random-16x16-none-seed0",
        "entropy-16x16-product-est-seed0",
    }
    assert {path.name for path in whole.iterdir()} == FILES | {"campaigns"}
    content = results(whole)
    assert all(campaign["complete"] for campaign in content["campaigns"])
    for campaign in content["campaigns"]:
        rounds = Campaign.open(whole / "campaigns" / campaign["name"]).rounds()
        assert [part["miou"] for part in campaign["rounds"]] == [
            done.metrics.miou for done in rounds
        ]
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_p95_and_c95_against_the_definition(whole):
    content = results(whole)
    references = {
        c["repeat"]: c["rounds"][0]["miou"] for c in content["campaigns"] if not c["information"]
    }
    for campaign in content["campaigns"]:
        target = 0.95 * references[campaign["repeat"]]
        points = [(p["pixels_percent"], p["miou"]) for p in campaign["rounds"]]
        expected = None
        for (x0, y0), (x1, y1) in zip([points[0], *points], points, strict=False):
            if y1 >= target:
                expected = (
                    x1 if y1 == y0 or x1 == x0 else x0 + (target - y0) / (y1 - y0) * (x1 - x0)
                )
                break
        assert campaign["p95"] == (None if expected is None else pytest.approx(expected))


@pytest.mark.long
def test_first_round_that_was_adopted_is_the_one_that_would_have_been_computed(
    whole, tmp_path, toy_data, outcome
):
    copied = Campaign.open(whole / "campaigns" / "random-16x16-none-seed0")
    alone = start_campaign(tmp_path / "alone", toy_data, copied.options)
    run_campaign(alone, 2, 1.0)
    for ours, theirs in zip(copied.rounds(), alone.rounds(), strict=True):
        assert outcome(ours.folder) == outcome(theirs.folder)


def test_first_rounds_are_the_same_if_only_the_choice_differs():
    options = Options(seed=3)
    assert first_round(options.but(region="image", budget="9%")) == first_round(options)
    assert first_round(replace(options, epochs=7)) != first_round(options)
    drawn = options.but(initial="4regions")
    assert first_round(drawn.but(region="image")) != first_round(drawn)


def test_campaigns_with_estimates_have_a_round_0_of_their_own(whole):
    linear, real = (
        Campaign.open(whole / "campaigns" / f"entropy-16x16-{kind}-seed0").round(0)
        for kind in ("none", "product-est")
    )
    found = [done.metrics.cost_mean_squared_error for done in (linear, real)]
    assert found[0] != found[1]
    assert linear.metrics.miou == real.metrics.miou


def test_again_does_nothing(whole, arguments, cereals, snapshot):
    before = snapshot(whole)
    status, _, err = cereals("reproduce", whole, *arguments)
    assert status == 0 and "rounds," not in err
    assert snapshot(whole) == before


def test_estimate_is_what_others_of_the_cell_took(whole, tmp_path, toy_data):
    """Round 0 of the campaign that is missing will be taken from one that starts alike."""
    out = shutil.copytree(whole, tmp_path / "out")
    for folder in whole.glob("campaigns/*-seed0"):
        shutil.copytree(folder, out / "campaigns" / folder.name.replace("seed0", "seed1"))
    grid, base = read_grid(out / "grid.json", Grid(), Options.by_recipe(recipe="paper"))
    planned = [
        replace(one, options=Campaign.open(out / "campaigns" / one.name).options)
        for one in plan(replace(grid, repeats=2), base, 90)
    ]
    data = PreparedData.open(toy_data)
    assert seconds_needed(out, data, planned) == 0
    shutil.rmtree(out / "campaigns" / "entropy-16x16-none-seed1")
    other = Campaign.open(out / "campaigns" / "entropy-16x16-none-seed0")
    expected = other.round(1).metrics.total_seconds
    assert seconds_needed(out, data, planned) == pytest.approx(expected)


@pytest.mark.long
def test_what_was_never_run_is_tried(tmp_path, arguments, cereals):
    few = changed(arguments, informations="random", fusions="", repeats=1, rounds=1)
    few = [a for a in few if not a.startswith(("--cost", "--fusion_region", "--no_estimate"))]
    status, _, said = cereals("reproduce", tmp_path / "out", *few)
    assert status == 0, said
    assert said.startswith("reproduce: at most 0:0") and "index.html: open it" in said


@pytest.mark.long
def test_shares_in_any_order_after_a_kill_give_the_same(whole, tmp_path, arguments, cereals):
    out, complete = tmp_path / "out", shutil.copytree(whole, tmp_path / "whole")
    one = changed(arguments, repeats=1)
    killed_after_a_round([str(out), *one, "--shard=2/2"])
    for shard in ("2/2", "1/2"):
        status, _, _ = cereals("reproduce", out, *one, f"--shard={shard}")
        assert status == 0
    assert cereals("reproduce", complete, *one)[0] == 0
    assert without_times(out / "results.json") == without_times(complete / "results.json")
    assert without_times(out / "table.md") == without_times(complete / "table.md")


def without_times(path):
    times = r'"seconds": [\d.]+|"seconds": \{[^}]*\}|\d+:\d\d:\d\d'
    return re.sub(times, "", path.read_text())


def killed_after_a_round(arguments):
    command = "from cereals_tf.cli import console; console()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "reproduce", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        for line in process.stderr:
            if "reproduce: 1 of" in line:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL


@pytest.mark.long
def test_campaign_of_another_process_is_left_to_it(whole, tmp_path, arguments, cereals):
    out = tmp_path / "out"
    one = changed(arguments, repeats=1)
    assert cereals("reproduce", out, *changed(one, rounds=1))[0] == 0
    busy = Campaign.open(out / "campaigns" / "random-16x16-none-seed0")
    with busy.lock():
        status, _, err = cereals("reproduce", out, *one)
    assert status == 0
    assert "random-16x16-none-seed0: left to another process" in err
    assert "1 of 4 campaigns are unfinished, 1 of them with another process" in err
    assert len(busy.rounds()) == 1


def test_file_gives_the_grid_and_what_is_typed_goes_before(whole, cereals, toy_data, snapshot):
    before = snapshot(whole)
    grid = f"--grid={whole / 'grid.json'}"
    assert cereals("reproduce", whole, f"--data={toy_data}", grid)[0] == 0
    assert snapshot(whole) == before
    assert cereals("reproduce", whole, f"--data={toy_data}", grid, "--rounds=1")[0] == 0
    assert json.loads((whole / "grid.json").read_text())["rounds"] == 1
    assert cereals("reproduce", whole, f"--data={toy_data}", grid, "--rounds=2")[0] == 0
    assert snapshot(whole) == before


def test_other_options_in_the_same_folder_are_refused(whole, cereals, arguments):
    status, _, err = cereals("reproduce", whole, *changed(arguments, epochs=3))
    assert status == 2 and "--epochs=2" in err and "another OUT" in err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("informations", "entropie", "--informations"),
        ("regions", "13", "--regions"),
        ("fusions", "sum", "--fusions"),
        ("rounds", "0", "--rounds"),
        ("region", "16", "did you mean --regions?"),
        ("annotator", "files", "no such option of reproduce"),
        ("shard", "3/2", "--shard"),
        ("grid", "missing.json", "missing.json"),
        ("budget", "1%", "--budget=1%"),
        ("model", "tiny_plugin:missing", "tiny_plugin"),
        ("data", "nowhere", "nowhere"),
    ],
)
def test_refused_without_a_trace(refused, tmp_path, arguments, name, value, message):
    assert message in refused("reproduce", tmp_path / "out", *changed(arguments, **{name: value}))


def test_broken_grid_files(refused, tmp_path, toy_data):
    for content in (
        "[]",
        '{"repeat": 3}',
        '{"repeats": "3"}',
        '{"regions": [1]}',
        '{"options": 3}',
    ):
        (tmp_path / "grid.json").write_text(content)
        line = refused(
            "reproduce", tmp_path / "out", f"--data={toy_data}", f"--grid={tmp_path / 'grid.json'}"
        )
        assert "grid.json" in line
