"""Campaigns and a data set that version 0.1 wrote, which go on as they went on with it."""

import json
import shutil
from pathlib import Path

import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.reopen import reopen
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


@pytest.mark.parametrize(("name", "number"), [("oracle", 1), ("people", 0)])
def test_the_next_round_is_the_one_that_0_1_gave(written, outcome, name, number):
    """Another processor rounds otherwise, so numbers need not agree to the last digit."""
    campaign = written(name)
    done = step_campaign(campaign)
    assert done is not None and done.number == number
    regions, metrics = outcome(done.folder)
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
    if name == "people":
        assert reopen(campaign, [RegionName(0, 0)]).redraws == {0: (0, 0)}
        assert campaign.request()[0].region == done.regions[0].region
    else:
        assert {each.region for each in review(campaign, 5)} <= {
            each.region for each in done.regions
        }


def test_it_is_changed_by_every_command(written, cereals, snapshot, tmp_path):
    campaign = written("oracle")
    folder, rounds = campaign.folder, snapshot(campaign.folder / "rounds")
    first, second, *_ = (entry.image_id for entry in campaign.data.images["train"])
    write_toy(tmp_path / "new", train_images=1, val_images=1, height=64, width=96, seed=3)
    data = (tmp_path / "data").rename(tmp_path / "moved")
    for line in (
        ("move", folder, f"--data={data}"),
        ("set", folder, "--epochs=2", "--region=24"),
        ("exclude", folder, first, second),
        ("exclude", folder, "--undo", second),
        ("add", folder, tmp_path / "new", "--dataset=cityscapes", "--prefix=new/"),
        ("add", folder, "--add_class=tram"),
        ("status", folder),
    ):
        status, _, err = cereals(*line)
        assert status == 0, err
    now = Campaign.open(folder)
    assert (now.options.epochs, now.options.region) == (2, (24, 24))
    assert now.excluded == {first: False}
    assert len(now.data.images["train"]) == len(now.data_at(0).images["train"]) + 2
    assert now.classes.names == (*now.classes_at(0).names, "tram")
    assert now.options_at(0) == campaign.options and snapshot(folder / "rounds") == rounds
