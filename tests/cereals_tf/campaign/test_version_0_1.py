"""Campaigns and a data set that version 0.1 wrote, which go on as they went on with it."""

import json
import shutil
from pathlib import Path

import pytest

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.review import review
from cereals_tf.campaign.run import step_campaign
from cereals_tf.data_prep.toy import write_toy

WRITTEN = Path(__file__).parent.parent / "version_0_1"


@pytest.fixture
def written(tmp_path):
    """Copies one of the campaigns, beside its data set."""

    def copy(name) -> Campaign:
        for folder in ("data", name):
            shutil.copytree(WRITTEN / folder, tmp_path / folder)
        (tmp_path / name / "rounds").mkdir(exist_ok=True)
        description = tmp_path / name / "campaign.json"
        content = json.loads(description.read_text())
        description.write_text(json.dumps(content | {"data": str(tmp_path / "data")}))
        return Campaign.open(tmp_path / name)

    return copy


@pytest.fixture
def as_0_1_had_it(outcome):
    """Checks a round; another processor rounds otherwise, so the last digits need not agree."""

    def check(done: CommittedRound, name: str) -> None:
        _check(*outcome(done.folder), name)

    return check


def _check(regions: str, metrics: dict, name: str) -> None:
    expected = json.loads((WRITTEN / "expected" / f"{name}-metrics.json").read_text())
    rows, expected_rows = (
        [line.split(",") for line in text.splitlines()]
        for text in (regions, (WRITTEN / "expected" / f"{name}-regions.csv").read_text())
    )
    assert [row[:5] + row[8:13] for row in rows] == [row[:5] + row[8:] for row in expected_rows]
    for row, expected_row in zip(rows[1:], expected_rows[1:], strict=True):
        assert [float(cell or 0) for cell in row[5:8]] == pytest.approx(
            [float(cell or 0) for cell in expected_row[5:8]], rel=1e-3
        )
    for key in ("miou", "cost_mean_squared_error"):
        assert metrics[key] == pytest.approx(expected[key], rel=1e-3)
    free = sum(row[9:11] == ["0", "0"] for row in rows)  # a click each, as a class must be said
    assert metrics["clicks"] == expected["clicks"] + free
    for key in ("regions", "pixels", "pixels_percent"):
        assert metrics[key] == expected[key]
    for model, training in expected["training"].items():
        assert metrics["training"][model]["losses"] == pytest.approx(training["losses"], rel=1e-3)


@pytest.fixture
def done_well(cereals):
    """Runs a command line that must be done; returns what it said."""

    def run(*arguments) -> str:
        status, out, err = cereals(*arguments)
        assert status == 0, err
        return out + err

    return run


@pytest.fixture
def changed(written, done_well, tmp_path):
    """Opens one of the campaigns after every command that changes it without new labels."""

    def change(name: str, *classes: str) -> Campaign:
        campaign = written(name)
        first, second, *_ = (entry.image_id for entry in campaign.data.images["train"])
        write_toy(tmp_path / "new", train_images=1, val_images=1, height=64, width=96, seed=3)
        data = (tmp_path / "data").rename(tmp_path / "moved")
        for command, *line in (
            ("move", f"--data={data}"),
            ("set", "--epochs=1", "--region=24", "--budget=3%"),
            ("add", tmp_path / "new", "--dataset=cityscapes", "--prefix=new/"),
            ("exclude", first, second, "new/*"),
            ("exclude", "--undo", second, "new/*"),
            *(("add", f"--add_class={added}") for added in classes),
            ("status",),
        ):
            done_well(command, campaign.folder, *line)
        now = Campaign.open(campaign.folder)
        then, later = 0, now.to_choose
        assert now.options_at(then) == campaign.options
        assert (now.options_at(later).epochs, str(now.options_at(later).region)) == (1, "24")
        assert now.excluded_at(later) == {first: False}
        known, grown = (now.data_at(number).images["train"] for number in (then, later))
        assert len(grown) == len(known) + 2
        assert now.classes_at(later).names == (*now.classes_at(then).names, *classes)
        return now

    return change


def test_the_next_round_is_the_one_that_0_1_gave(written, as_0_1_had_it):
    campaign = written("oracle")
    done = step_campaign(campaign)
    assert done is not None and done.number == 1
    as_0_1_had_it(done, "oracle")
    assert {each.region for each in review(campaign, 5)} <= {each.region for each in done.regions}


def test_it_is_changed_by_every_command(changed, done_well, snapshot):
    campaign = changed("oracle", "tram")
    said = done_well("status", campaign.folder)
    assert "the class 'tram' more, without 1 image\n" in said
    stored = snapshot(WRITTEN / "oracle" / "rounds")
    assert snapshot(campaign.folder / "rounds") == stored


def test_one_of_people_is_changed_by_every_command_and_goes_on(
    changed, done_well, as_0_1_had_it, snapshot, tmp_path
):
    folder, tasks = changed("people").folder, tmp_path / "tasks"
    done_well("step", folder)
    first = Campaign.open(folder).round(0)
    as_0_1_had_it(first, "people")
    before = snapshot(first.folder)
    assert "region" in done_well("review", folder, "--folds=0")
    done_well("reopen", folder, "--regions=0:0")
    done_well("tasks", folder, tasks, "--overlap=50%")
    for path in [*tasks.glob("*.json"), *tmp_path.glob("tasks-second/*.json")]:
        content = json.loads(path.read_text())
        whole = {"label": "road", "points": [[-1, -1], [97, -1], [97, 65], [-1, 65]]}
        content["shapes"].append(whole | {"shape_type": "polygon"})
        path.write_text(json.dumps(content))
    done_well("collect", folder, tasks)
    assert "drawn by a second annotator" in done_well("collect", folder, tmp_path / "tasks-second")
    done_well("collect", folder, "--skip=0", "--force")
    skipped = Campaign.open(folder).request()[0].region.image_id
    said = done_well("exclude", folder, skipped, "--undo")
    assert "waits for 1 of" in said
    done_well("collect", folder, "--skip=0")
    done_well("step", folder)
    campaign = Campaign.open(folder)
    assert snapshot(first.folder) == before and len(campaign.rounds()) == 2
    assert campaign.round(1).metrics.options["epochs"] == 1
    assert "waits" in done_well("status", folder)
