"""The campaign folder: regions.csv, the commit, the lock, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import (
    ROUND_FILES,
    Campaign,
)
from cereals_tf.campaign.folder.regions import Annotated, read_regions, write_regions
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box

numbers = st.integers(0, 10**6)
scores = st.none() | st.floats(allow_nan=False)
boxes = st.builds(Box, numbers, numbers, numbers, numbers)
ids = st.text(st.characters(exclude_categories=["Cs"]))
regions = st.builds(
    Annotated,
    chosen=st.builds(Chosen, st.builds(Region, ids, boxes), scores, scores, scores),
    pixels=numbers,
    clicks=st.builds(RegionClicks, numbers, numbers, numbers),
    clicks_billed=st.none() | numbers,
)
HOSTILE = ["a,b", 'a"b', '"', "a\nb", "a\r\nb", "a\rb", " a ", "münster_ö/雪", "=1+1", "0012"]
HEADER = (
    "image_id,y,x,height,width,score,information,cost_estimated,"
    "pixels,clicks_vertices,clicks_intersections,clicks_corners,seconds,clicks_billed"
)
HOLD_LOCK = """
import sys
from cereals_tf.campaign.folder.campaign import Campaign
with Campaign.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def region(image_id="a", **changes):
    fields = {"y": 8, "x": 16, "height": 32, "width": 24, "score": 0.1, "information": 2.5}
    fields |= {"cost_estimated": None, "pixels": 700, "clicks_vertices": 3}
    fields |= {"clicks_intersections": 5, "clicks_corners": 7}
    fields |= changes
    box = Box(*(fields[name] for name in ("y", "x", "height", "width")))
    chosen = (fields[name] for name in ("score", "information", "cost_estimated"))
    clicks = (fields[f"clicks_{part}"] for part in ("vertices", "intersections", "corners"))
    return Annotated(
        Chosen(Region(image_id, box), *chosen),
        fields["pixels"],
        RegionClicks(*clicks),
        fields.get("seconds"),
        fields.get("clicks_billed"),
    )


@pytest.fixture
def campaign(tmp_path, toy_data):
    """A campaign that nothing was done with yet, and whose models cannot be built."""
    options = Options(model="nowhere:build", cost_model="nowhere:build")
    return Campaign.create(tmp_path / "campaign", PreparedData.open(toy_data), options)


def fill_working(campaign, *names):
    campaign.working.mkdir(exist_ok=True)
    for name in names:
        (campaign.working / name).write_text(f"{name} of round {len(campaign.rounds())}")


@given(st.lists(regions, max_size=4))
def test_regions_csv_and_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("regions") / "regions.csv"
    write_regions(path, rows)
    assert read_regions(path) == rows


@pytest.mark.parametrize("image_id", HOSTILE)
def test_regions_csv_of_a_hostile_id(tmp_path, image_id):
    rows = [region(image_id), region("plain", score=None, information=None)]
    write_regions(tmp_path / "regions.csv", rows)
    assert read_regions(tmp_path / "regions.csv") == rows


def test_regions_csv_is_what_the_design_says(tmp_path):
    write_regions(tmp_path / "regions.csv", [region("a,b")])
    text = (tmp_path / "regions.csv").read_text()
    assert text.splitlines() == [HEADER, '"a,b",8,16,32,24,0.1,2.5,,700,3,5,7,,']


def test_regions_csv_of_earlier_versions_is_read(tmp_path):
    path = tmp_path / "regions.csv"
    rows = [HEADER.removesuffix(",clicks_billed"), "a,8,16,32,24,0.1,2.5,,700,3,5,7,"]
    for _ in range(2):  # with seconds, and without
        path.write_text("\n".join(rows) + "\n")
        assert read_regions(path) == [region("a")]
        rows = [row.rpartition(",")[0] for row in rows]
    write_regions(path, [region("a", seconds=61.5, clicks_billed=9)])
    assert path.read_text().splitlines()[1] == "a,8,16,32,24,0.1,2.5,,700,3,5,7,61.5,9"
    assert read_regions(path) == [region("a", seconds=61.5, clicks_billed=9)]


def test_what_version_0_1_did_not_bill_took_the_clicks_that_count():
    options = Options.of(clicks="vertices+corners+region")
    assert region(clicks_billed=30).bill(options) == 30
    assert region().bill(options) == 10
    assert region(clicks_vertices=0, clicks_corners=0).bill(options) == 0


@pytest.mark.parametrize(
    "text",
    [
        "image_id,y\na,0\n",
        f"{HEADER}\na,8\n",
        f"{HEADER}\na,eight,16,32,24,0.1,2.5,,700,3,5,7,,\n",
        f"{HEADER}\na,8,16,32,24,much,2.5,,700,3,5,7,,\n",
        f"{HEADER}\na,8,16,32,24,0.1,2.5,,700,3,5,7\n",
        f"{HEADER}\na,8,16,32,24,0.1,2.5,,700,3,5,7,long,\n",
        f"{HEADER}\na,8,16,32,24,0.1,2.5,,700,3,5,7,,free\n",
    ],
)
def test_damaged_regions_csv_is_refused(tmp_path, text):
    path = tmp_path / "regions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"regions\.csv: cannot be read"):
        read_regions(path)


def test_missing_or_binary_regions_csv_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_regions(tmp_path / "regions.csv")
    (tmp_path / "regions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_regions(tmp_path / "regions.csv")


def test_a_regions_box_and_clicks():
    assert region().region == ("a", (8, 16, 32, 24))
    assert region().clicks.of(("vertices", "intersections")) == 8
    assert region().clicks.of(("corners",)) == 7


def test_create_and_open(tmp_path, campaign, toy_data):
    opened = Campaign.open(tmp_path / "campaign")
    assert opened == campaign
    assert opened.options.model == "nowhere:build"
    assert opened.data.folder == toy_data.resolve()
    assert (opened.rounds(), opened.working.exists()) == ([], False)
    content = json.loads((campaign.folder / "campaign.json").read_text())
    assert list(content) == [
        "format_version",
        "data",
        "data_from_root",
        "fingerprint",
        "classes",
        "seed",
        "options",
    ]
    assert (campaign.folder / content["data"]).resolve() == toy_data.resolve()


def test_create_where_something_is(tmp_path, toy_data, snapshot):
    data = PreparedData.open(toy_data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    for name in ("folder", "file"):
        with pytest.raises(UserError, match=name):
            Campaign.create(tmp_path / name, data, Options())
    assert snapshot(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert Campaign.create(tmp_path / "empty", data, Options()).rounds() == []


@pytest.mark.parametrize("missing", ROUND_FILES)
def test_no_commit_of_an_unfinished_round(campaign, snapshot, missing):
    fill_working(campaign, *(name for name in ROUND_FILES if name != missing))
    before = snapshot(campaign.folder)
    with pytest.raises(ValueError, match=missing):
        campaign.commit()
    assert snapshot(campaign.folder) == before


def test_commits_count_up(campaign):
    for number in range(3):
        fill_working(campaign, *ROUND_FILES)
        done = campaign.commit()
        assert (done.number, done.folder.name) == (number, f"00{number}")
        assert not campaign.working.exists()
        assert (done.folder / "metrics.json").read_text() == f"metrics.json of round {number}"
    assert [done.number for done in campaign.rounds()] == [0, 1, 2]


def test_rounds_beyond_999_are_in_order(campaign):
    for number in reversed(range(1002)):
        (campaign.folder / "rounds" / f"{number:03d}").mkdir()
    assert [done.number for done in campaign.rounds()] == list(range(1002))


def test_a_gap_in_the_rounds_is_refused(campaign, refused):
    for number in (0, 2):
        (campaign.folder / "rounds" / f"{number:03d}").mkdir()
    message = "rounds/002: found without round 001"
    with pytest.raises(UserError, match=message):
        campaign.rounds()
    assert message in refused("status", campaign.folder)


def test_other_folders_are_no_rounds(campaign):
    fill_working(campaign, *ROUND_FILES)
    first = campaign.commit()
    shutil.copytree(first.folder, first.folder.with_name("000 (copy)"))
    shutil.copytree(first.folder, first.folder.with_name("000.bak"))
    assert campaign.rounds() == [first]


def test_a_round_by_number(campaign):
    with pytest.raises(UserError, match="no round is complete"):
        campaign.round(None)
    for _ in range(2):
        fill_working(campaign, *ROUND_FILES)
        campaign.commit()
    assert (campaign.round(None).number, campaign.round(0).number) == (1, 0)
    for number in (2, -1, -2):
        with pytest.raises(UserError, match=f"--round={number}: complete are rounds 0 to 1"):
            campaign.round(number)


def test_a_second_process_is_refused_until_the_first_is_killed(campaign, refused, cereals):
    command = [sys.executable, "-c", HOLD_LOCK, campaign.folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            message = refused("step", campaign.folder)
            assert f"process {holder.pid} " in message and str(campaign.folder) in message
            refused("run", campaign.folder, "--rounds=1")
            assert cereals("status", campaign.folder)[0] == 0
        finally:
            holder.send_signal(signal.SIGKILL)
    assert holder.returncode == -signal.SIGKILL
    with campaign.lock():
        assert (campaign.folder / ".lock").read_text() == str(os.getpid())


def test_the_lock_excludes_this_process_too_and_is_let_go(campaign):
    with campaign.lock(), pytest.raises(UserError, match="is working on"), campaign.lock():
        pass
    with pytest.raises(KeyboardInterrupt), campaign.lock():
        raise KeyboardInterrupt
    with campaign.lock():
        pass
