"""A campaign that has begun is changed: later rounds have it so, earlier ones stay as they were."""

import json
import shutil

import pytest

from cereals_tf import api
from cereals_tf.campaign.folder.campaign import ROUND_FILES, Campaign, regions_of
from cereals_tf.campaign.folder.regions import trained_on, write_regions
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.campaign.options import OPTIONS, Options
from cereals_tf.campaign.pool.choose import budget_of
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.spent import spent
from cereals_tf.data_prep.errors import UserError


def content_of(campaign):
    return json.loads((campaign.folder / "campaign.json").read_text())


@pytest.fixture
def moved(tmp_path, three_rounds):
    """A copy of a finished campaign, beside a copy of its data set, which nobody has moved yet."""
    project = tmp_path / "project"
    shutil.copytree(three_rounds.folder, project / "campaign")
    shutil.copytree(three_rounds.data_folder, project / "data")
    path = project / "campaign" / "campaign.json"
    content = json.loads(path.read_text())
    del content["data_from_root"]
    path.write_text(json.dumps(content | {"data": "../data"}))
    return Campaign.open(project / "campaign")


def test_a_changed_option_is_as_one_that_was_chosen(first_round, cereals, following, outcome):
    campaign = first_round()
    before = content_of(campaign)
    status, out, err = cereals("set", campaign.folder, "--budget=40%", "--epochs=1")
    assert (status, out) == (0, "")
    assert "from round 1 on: --budget=40% (was 20%), --epochs=1 (was 2)" in err
    assert following(err) == ["step", str(campaign.folder)]
    changes = [{"round": 1, "options": {"budget": "40%", "epochs": 1}}]
    assert content_of(campaign) == before | {"changes": changes}
    campaign = Campaign.open(campaign.folder)
    assert campaign.options == campaign.options_at(1) != campaign.options_of(campaign.round(0))
    expected = first_round(campaign.folder.with_name("chosen"), budget="40%", epochs=1)
    done, chosen = step_campaign(campaign), step_campaign(expected)
    assert outcome(done.folder) == outcome(chosen.folder)
    assert Options.of(**done.metrics.options) == campaign.options_of(done)
    status, out, _ = cereals("status", campaign.folder)
    assert "from round 1 on: --budget=40% (was 20%), --epochs=1 (was 2)" in out
    rounds = json.loads(cereals("status", campaign.folder, "--json")[1])["rounds"]
    assert [row["changed"] for row in rounds] == [{}, changes[0]["options"]]


def test_a_change_between_the_rounds_of_a_run_counts(first_round, three_rounds):
    """`run` opens the campaign once; what is changed between two of its rounds is seen."""
    campaign = first_round()
    api.Campaign.open(campaign.folder).set(epochs=1)
    with pytest.raises(UserError, match="was changed while it was being scored"):
        Round(campaign).refuse_scoring()
    done = step_campaign(campaign)
    assert done.metrics.options["epochs"] == done.metrics.training["cost"].epochs == 1


def test_a_round_that_is_in_progress_goes_on_as_it_began(first_round, cereals):
    campaign = first_round()
    campaign.working.mkdir()
    (campaign.working / "regions.csv").touch()
    err = cereals("set", campaign.folder, "--epochs=7")[2]
    assert "from round 2 on: --epochs=7 (was 2)" in err and "round 1 goes on as it began" in err
    campaign = Campaign.open(campaign.folder)
    assert (campaign.options.epochs, campaign.options_at(2).epochs) == (2, 7)


def test_what_was_scored_with_other_options_is_scored_again(first_round):
    campaign = first_round()
    (campaign.working / "scratch" / "scores").mkdir(parents=True)
    opened = api.Campaign.open(campaign.folder)
    assert opened.set(epochs=2) == 1 and opened.opened == campaign
    assert (campaign.working / "scratch").exists()
    assert opened.set(region="24") == 1 and opened.options.region == (24, 24)
    assert not (campaign.working / "scratch").exists()


FIXED = {found.name: found for found in OPTIONS if found.fixed}


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({}, {"seed": 1}, f"--seed=1: fixed when a campaign starts, as {FIXED['seed'].fixed}"),
        ({}, {"clicks": "vertices"}, "--clicks=vertices: fixed"),
        ({}, {"image_size": "64"}, "--image_size=64: fixed .* this one has ''"),
        ({}, {"recipe": "fast"}, "--recipe=fast: .* this campaign's encoder is trained"),
        ({}, {"encoder": "frozen"}, "--encoder=frozen: .* this campaign's encoder is trained"),
        ({}, {"alpha": 0.5}, "--alpha: has an effect only with --fusion=convex"),
        ({}, {"budget": "2"}, "--budget=2: expected"),
        ({}, {"bugdet": "2%"}, "unknown option 'bugdet'"),
    ],
)
def test_options_that_cannot_change(options, given, message):
    with pytest.raises(UserError, match=message):
        Options.of(**options).altered(**given)


def test_options_that_can_change():
    fast = Options.chosen(epochs=9)
    best = fast.altered(recipe="best", schedule="constant")
    assert (best.encoder, best.augment, best.epochs, best.schedule) == (
        "tuned",
        True,
        9,
        "constant",
    )
    assert fast.altered(seed=0, fusion="convex", alpha=0.5).alpha == 0.5
    paper = Options.chosen(recipe="paper")
    assert paper.altered(batch_size=8).normalizes == paper.normalizes == "group"


def test_what_set_refuses(begin, tmp_path, refused):
    campaign = begin(tmp_path / "campaign")
    with campaign.lock():
        pass
    assert "no option is given" in refused("set", campaign.folder)
    assert "--region=64: larger than the image" in refused("set", campaign.folder, "--region=64")
    assert "--seed=3: fixed" in refused("set", campaign.folder, "--seed=3")
    assert "--information=no:such" in refused("set", campaign.folder, "--information=no:such")
    with campaign.lock():
        assert "is working on" in refused("set", campaign.folder, "--epochs=3")
        assert "is working on" in refused("move", campaign.folder, f"--data={campaign.data_folder}")


def test_a_project_is_moved_with_its_data_set(moved, cereals, tmp_path):
    (tmp_path / "project").rename(tmp_path / "elsewhere")
    campaign = Campaign.open(tmp_path / "elsewhere" / "campaign")
    assert campaign.data.folder == (tmp_path / "elsewhere" / "data").resolve()
    assert cereals("evaluate", campaign.folder)[0] == 0


def test_a_data_set_is_moved_alone(moved, cereals, refused, toy_data, tmp_path, following):
    data = moved.data_folder.rename(tmp_path / "data 2")
    said = refused("evaluate", moved.folder)
    assert str(moved.data_folder) in said and f"cereals move {moved.folder} --data=DATA" in said
    assert cereals("status", moved.folder)[0] == 0
    assert "not a prepared data set" in refused("move", moved.folder, f"--data={tmp_path}")
    status, out, err = cereals("move", moved.folder, f"--data={data}")
    assert (status, out) == (0, "") and str(data) in err
    assert following(err) == ["step", str(moved.folder)]
    assert content_of(moved)["data"] == "../../data 2"
    assert Campaign.open(moved.folder).data.folder == data.resolve()
    (data / "images.csv").write_text((data / "images.csv").read_text() + "\n")
    said = refused("move", moved.folder, f"--data={data}")
    assert f"expected {moved.fingerprint[:12]}" in said
    said = refused("evaluate", moved.folder)
    assert "the data set changed since" in said and "cereals move" in said


def test_a_campaign_is_moved_alone(begin, tmp_path):
    """The data set is found from the root then."""
    campaign = begin(tmp_path / "a" / "campaign")
    moved = Campaign.open(shutil.move(campaign.folder, tmp_path / "campaign"))
    assert moved.data.folder == campaign.data.folder


def test_a_round_is_exported_without_its_data_set(moved, cereals, tmp_path):
    shutil.rmtree(moved.data_folder)
    assert cereals("export", moved.folder, tmp_path / "model")[0] == 0
    about = json.loads((tmp_path / "model/assets.extra/cereals.json").read_text())
    assert about["classes"] == list(moved.classes.names)


def test_a_change_that_is_killed_is_done_or_not(moved, killed_at_every_write, snapshot, tmp_path):
    elsewhere = shutil.copytree(moved.data_folder, tmp_path / "elsewhere")
    first, second, *_ = (entry.image_id for entry in moved.data.images["train"])
    folder, rounds = moved.folder, snapshot(moved.folder / "rounds")
    for line in (
        ("set", folder, "--epochs=7"),
        ("exclude", folder, first, second),
        ("exclude", folder, first, "--training"),
        ("exclude", folder, "--undo", first),
        ("move", folder, f"--data={elsewhere}"),
    ):
        before = content_of(moved)
        found = [content_of(moved) for _ in killed_at_every_write(folder, *line)]
        after = content_of(moved)
        assert found[0] == before != after, line
        assert all(content in (before, after) for content in found), line
    now = Campaign.open(folder)
    assert (now.options.epochs, now.excluded, now.data_folder) == (7, {second: False}, elsewhere)
    assert snapshot(folder / "rounds") == rounds


@pytest.fixture
def finished(tmp_path, three_rounds):
    """A copy of a finished campaign."""
    path = shutil.copytree(three_rounds.folder, tmp_path / "campaign") / "campaign.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"data": str(three_rounds.data_folder)})
    )
    return Campaign.open(path.parent)


def test_excluded_images_are_neither_proposed_nor_counted(finished, cereals, following):
    entries = {entry.image_id: entry for entry in open_split(finished, "train").images}
    gone, no_more_trained, *others = entries
    status, out, err = cereals("exclude", finished.folder, gone)
    assert (status, out) == (0, "")
    assert f"excluded from round 3 on: {gone}; 1 image is excluded" in err
    assert following(err) == ["step", str(finished.folder)]
    assert cereals("exclude", finished.folder, gone, no_more_trained, "--training")[0] == 0
    assert "excluded already" in cereals("exclude", finished.folder, gone, "--training")[2]
    assert cereals("exclude", finished.folder, gone)[0] == 0
    campaign = Campaign.open(finished.folder)
    assert campaign.excluded == {gone: False, no_more_trained: True}
    assert campaign.excluded_at(2) == {}
    pool = Round(campaign).pool
    assert [image.number for image in pool.numbered] == [2, 3]
    assert pool.candidates.keys() <= set(others)
    left = [entries[image_id] for image_id in others]
    assert budget_of(Options.of(budget="10%"), pool.images)[0] == pytest.approx(
        sum(entry.height * entry.width for entry in left) / 10
    )
    before = regions_of(campaign.rounds())
    assert {region.region.image_id for region in before} >= {gone, no_more_trained}
    assert {region.region.image_id for region in trained_on(before, campaign.excluded)} == {
        region.region.image_id for region in before
    } - {no_more_trained}
    found = spent(campaign, before, list(entries.values()))
    within = sum(region.pixels for region in before if region.region.image_id in others)
    assert found.regions == len(before)
    assert found.pixels_percent == pytest.approx(
        100 * within / sum(entry.height * entry.width for entry in left)
    )
    done = step_campaign(campaign)
    assert done.regions and {region.region.image_id for region in done.regions} <= set(others)
    assert cereals("exclude", campaign.folder, "--undo", "*")[0] == 0
    campaign = Campaign.open(campaign.folder)
    assert campaign.excluded == {} and campaign.excluded_at(3)
    assert Round(campaign).pool.images == list(entries.values())


def test_what_exclude_refuses(finished, refused):
    image_ids = [entry.image_id for entry in finished.data.images["train"]]
    with finished.lock():
        pass
    said = refused("exclude", finished.folder, image_ids[0][:-1])
    assert "no such image, did you mean" in said and image_ids[0][:-1] in said
    assert "all 4 images of train would be" in refused("exclude", finished.folder, "*")
    assert "no such image" in refused("exclude", finished.folder, "--undo", image_ids[0])
    said = refused("exclude", finished.folder, "x", "--undo", "--training")
    assert "--training: has no effect with --undo" in said
    annotated = {region.region.image_id for region in regions_of(finished.rounds())}
    if len(annotated) < len(image_ids):
        said = refused("exclude", finished.folder, *annotated, "--training")
        assert "nothing would be left to train on" in said
    with finished.lock():
        for line in ((image_ids[0],), (image_ids[0], "--training"), ("--undo", "*")):
            assert "is working on" in refused("exclude", finished.folder, *line)


@pytest.fixture
def asking(begin, tmp_path):
    """A campaign that waits for five regions."""
    options = {"annotator": "files", "initial": "5regions", "initial_by": "dense"}
    campaign = begin(tmp_path / "campaign", **options)
    assert step_campaign(campaign) is None
    return campaign


def test_skips_of_a_round_that_waits_are_undone(
    asking, cereals, following, killed_at_every_write, draw
):
    folder, request = asking.folder, asking.request()
    image_id = request[0].region.image_id
    err = cereals("exclude", folder, image_id)[2]
    inside = [n for n, asked in enumerate(request) if asked.region.image_id == image_id]
    skip = ",".join(map(str, inside))
    assert following(err) == ["collect", str(folder), f"--skip={skip}"]
    assert cereals("collect", folder, "--skip=0,1,2,3,4")[0] == 0

    def standing():
        now = Campaign.open(folder)
        return waiting(now).skipped, now.excluded_at(1)

    before, after = ({0, 1, 2, 3, 4}, {image_id: False}), (set(), {})
    undo = ("exclude", folder, "--undo", "*")
    found = [standing() for _ in killed_at_every_write(folder, *undo)]
    assert found[0] == before and all(each in (before, after) for each in found)
    assert standing() == after and waiting(asking.reopened()).missing == [0, 1, 2, 3, 4]
    assert cereals("collect", folder, "--skip=1,3")[0] == 0
    assert cereals("set", folder, "--epochs=3")[0] == 0
    assert standing() == ({1, 3}, {})
    draw(asking.reopened(), [1])
    assert standing() == ({3}, {})
    assert "gives up what is drawn" in cereals("collect", folder, "--skip=1")[2]
    assert cereals("collect", folder, "--skip=1", "--force")[0] == 0
    assert standing() == ({1, 3}, {})


def test_skips_of_rounds_that_are_done_are_undone(asking):
    request = [asked.region for asked in asking.request()]
    first = request[0].image_id
    second = next(region.image_id for region in request if region.image_id != first)
    for number, region in enumerate(request):
        asking.annotations.skip(number, region)
    write_regions(asking.working / "regions.csv", [])
    opened = api.Campaign.open(asking.folder)
    assert opened.include(second) == [second]  # while the round is being trained
    for name in ROUND_FILES[1:]:
        (asking.working / name).touch()
    asking.commit()
    assert opened.opened.skipped() == [one for one in request if one.image_id != second]
    assert opened.include(first) == [first]
    left = [one for one in request if one.image_id not in (first, second)]
    assert opened.opened.skipped() == left
    assert Round(opened.opened).pool.taken.keys() == {region.image_id for region in left}
