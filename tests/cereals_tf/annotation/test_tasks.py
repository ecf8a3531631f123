"""What goes out: names, digests, and tasks of a real waiting campaign."""

import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.handout import outgoing_tasks, outline_region
from cereals_tf.annotation.tasks import file_stem, frame_of, request_id
from cereals_tf.campaign.folder.request import write_request
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import paint
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.sources.cityscapes import CLASSES


@pytest.mark.parametrize(
    ("image_id", "stem"),
    [
        ("street_01", "street_01"),
        ("a/b", "a%2Fb"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a%2Fb", "a%252Fb"),
        ("quote'\" <b>", "quote%27%22%20%3Cb%3E"),
        ("日", "%E6%97%A5"),
    ],
)
def test_file_names(image_id, stem):
    assert file_stem(image_id) == stem


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text("./%#ab", min_size=1))
def test_no_two_ids_share_a_name(one, other):
    names = [file_stem(one), file_stem(other), file_stem(one * 90), file_stem(one * 90 + other)]
    assert len(set(names)) == len({one, other, one * 90, one * 90 + other})
    for name in names:
        assert len(name) <= 200 and "/" not in name and name not in (".", "..") and name[0] != "."


def test_name_of_a_long_id_is_no_other_ids_name():
    assert file_stem(file_stem("x" * 300)) != file_stem("x" * 300)


def test_frames_differ_from_every_class():
    magenta, cyan = (250, 5, 250), (0, 255, 255)
    for palette in (CLASSES.palette, (magenta, cyan), ((255, 255, 0), (0, 0, 0))):
        classes = Classes(tuple(map(str, palette)), palette, 255)
        colour = frame_of(classes).colour
        assert min(np.abs(np.subtract(colour, palette)).sum(axis=1)) > 200


def test_request_id_depends_on_every_place():
    box = Box(8, 16, 24, 32)
    first, second = (Chosen(Region(image_id, box), 0.5, 1.0, 2.0) for image_id in "ab")
    sides = ({"y": 0}, {"x": 0}, {"height": 8}, {"width": 8})
    moved = [Chosen(Region("a", box._replace(**side)), 0.5, 1.0, 2.0) for side in sides]
    requests = [
        [first],
        [second],
        [first, second],
        [second, first],
        *([region] for region in moved),
    ]
    assert len({request_id(request) for request in requests}) == len(requests)
    assert request_id([first._replace(score=9.0)]) == request_id([first])


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.integers(1, 4))
def test_prediction_covers_its_whole_window_and_nothing_else(seed, height, width, classes):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, [12, 12], np.uint8)
    label = np.kron(coarse, np.ones([4, 4], np.uint8))
    window = Box(5, 7, height, width)
    polygons = outline_region(label, window)
    painted = paint(polygons, 48, 48, background=255)
    inside = np.zeros([48, 48], bool)
    inside[5 : 5 + height, 7 : 7 + width] = True
    np.testing.assert_array_equal(painted != 255, inside)
    most = np.bincount(label[inside]).max() / inside.sum()
    assert (painted[inside] == label[inside]).mean() >= min(most, 0.6)


def test_tasks_of_a_campaign(waiting):
    campaign = waiting()
    first, second = campaign.data.images["train"][:2]
    tasks = list(outgoing_tasks(campaign))
    assert [task.entry for task in tasks] == [first, second]
    assert [[part.number for part in task.regions] for task in tasks] == [[1, 2], [0]]
    assert [task.file_name for task in tasks] == [f"{task.entry.image_id}.png" for task in tasks]
    for task in tasks:
        assert Image.open(io.BytesIO(task.image_encoded)).size == (96, 64)
        assert all(part.predicted is None and part.round == 0 for part in task.regions)


def test_what_is_in_is_not_asked_again(waiting, cereals, refused, tmp_path):
    campaign = waiting()
    assert cereals("collect", campaign.folder, "--skip=1,2")[0] == 0
    (task,) = outgoing_tasks(campaign)
    assert [part.number for part in task.regions] == [0]
    assert cereals("collect", campaign.folder, "--skip=0")[0] == 0
    said = refused("tasks", campaign.folder, tmp_path / "out")
    assert "its 3 regions are annotated or skipped" in said


def test_folder_is_resumed_but_never_another_requests(
    waiting, cereals, refused, snapshot, tmp_path
):
    campaign, out = waiting(), tmp_path / "out"
    assert cereals("tasks", campaign.folder, out)[0] == 0
    before = snapshot(out)
    max(out.glob("*.png")).unlink()
    max(out.glob("*.json")).unlink()
    assert cereals("tasks", campaign.folder, out)[0] == 0
    assert snapshot(out) == before
    assert "holds other tasks" in refused("tasks", campaign.folder, out, "--format=labelstudio")
    request = campaign.working / "request.csv"
    request.write_text(request.read_text().replace(",8,16,16,16,", ",8,24,16,16,"))
    assert "holds other tasks" in refused("tasks", campaign.folder, out)


def test_foreign_folder_is_refused(waiting, refused, tmp_path):
    campaign = waiting()
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("")
    assert "exists and is not empty" in refused("tasks", campaign.folder, out)


def test_round_without_a_model_before_it_cannot_be_preannotated(waiting, refused, tmp_path):
    said = refused("tasks", waiting().folder, tmp_path / "out", "--preannotate")
    assert "--preannotate: round 0 has no model" in said


@pytest.fixture
def waiting_round_1(first_round):
    """Round 1 waits for two regions in one image."""
    campaign = first_round(annotator="files")
    image_id = campaign.data.images["train"][3].image_id
    regions = [
        Chosen(Region(image_id, Box(0, 0, 24, 40)), 1.0, 1.0, 1.0),
        Chosen(Region(image_id, Box(24, 40, 32, 48)), 0.5, 1.0, 1.0),
    ]
    with campaign.lock():
        campaign.working.mkdir()
    write_request(campaign.working / "request.csv", regions)
    return campaign


def test_preannotated_regions_count_once_touched_or_done(
    waiting_round_1, cereals, labelme, tmp_path
):
    campaign, out = waiting_round_1, tmp_path / "out"
    assert cereals("tasks", campaign.folder, out, "--preannotate")[0] == 0
    (path,) = out.glob("*.json")
    content = json.loads(path.read_text())
    assert [shape["label"] for shape in content["shapes"][:2]] == ["__region__"] * 2
    assert len(content["shapes"]) > 3
    assert "missing: 0, 1" in cereals("collect", campaign.folder, out)[2]

    small = np.array([[2.0, 2], [9, 2], [9, 9]])
    names = set(campaign.data.classes.names) - {shape["label"] for shape in content["shapes"]}
    labelme.draw(out, lambda image_id: [(min(names), small)])
    assert (
        "1 of 2 regions are annotated (1 new, 0 changed); regions missing: 1"
        in cereals("collect", campaign.folder, out)[2]
    )
    labelme.draw(out, lambda image_id: [], done=True)
    assert (
        "2 of 2 regions are annotated (1 new, 0 changed)"
        in cereals("collect", campaign.folder, out)[2]
    )
    for annotation in campaign.annotations.annotated().values():
        assert (annotation.label != 255).all()


def test_accepted_predictions_are_the_models(waiting_round_1, cereals, labelstudio, tmp_path):
    campaign, out = waiting_round_1, tmp_path / "out"
    assert cereals("tasks", campaign.folder, out, "--preannotate", "--format=labelstudio")[0] == 0
    tasks = json.loads((out / "tasks.json").read_text())
    for task in tasks:
        results = task["predictions"][0]["result"]
        task["annotations"] = [{"id": 1, "result": results, "lead_time": 3.0}]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    assert cereals("collect", campaign.folder, export, "--format=labelstudio")[0] == 0
    collected = campaign.annotations.annotated()
    shutil.rmtree(campaign.annotations.folder)
    (image,) = outgoing_tasks(campaign, preannotate=True)
    for number, region in enumerate(image.regions):
        found = collected[number]
        y, x, height, width = region.window
        whole = paint(region.predicted, 64, 96, 255)
        np.testing.assert_array_equal(found.label, whole[y : y + height, x : x + width])
        assert found.seconds == 3.0


def test_images_that_tools_would_turn_go_out_as_they_are_stored(begin, tmp_path):
    source = tmp_path / "source"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (source / split / kind).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 255, [24, 40, 3], np.uint8)
        image, exif = Image.fromarray(pixels), Image.Exif()
        exif[0x0112] = 6
        image.save(source / split / "images" / "turned.png", exif=exif)
        labels = np.zeros([24, 40], np.uint8)
        labels[12:] = 1
        Image.fromarray(labels).save(source / split / "labels" / "turned.png")
    (source / "classes.json").write_text(json.dumps({"names": ["up", "down"]}))
    prepare(source, tmp_path / "data", "masks", {"exif": "ignore"})
    campaign = begin(
        tmp_path / "campaign", tmp_path / "data", annotator="files", image_size="", region="8"
    )
    campaign.working.mkdir()
    write_request(
        campaign.working / "request.csv",
        [Chosen(Region("turned", Box(0, 0, 8, 8)))],
    )
    (task,) = outgoing_tasks(campaign)
    shown = Image.open(io.BytesIO(task.image_encoded))
    assert 0x0112 not in shown.getexif()
    np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_what_comes_next_is_where_the_missing_regions_went(
    waiting, labelme, cereals, following, tmp_path, monkeypatch
):
    campaign = waiting()
    monkeypatch.chdir(tmp_path)
    shares = {"for anna": "0,2", "for ben": "1"}
    for out, numbers in shares.items():
        assert cereals("tasks", "campaign", out, f"--regions={numbers}")[0] == 0
    with (campaign.folder / "handed_out.jsonl").open("a") as file:
        file.write('\n{"round": 0, "regio')

    def comes_next(command="status"):
        return following(cereals(command, "campaign")[2])

    assert comes_next() == ["collect", "campaign", "for ben", "--format=labelme"]
    assert comes_next("step") == comes_next()
    assert cereals("collect", "campaign", "--skip=1")[0] == 0
    assert comes_next() == ["collect", "campaign", "for anna", "--format=labelme"]
    shutil.rmtree("for anna")
    assert comes_next() == ["tasks", "campaign", "campaign-tasks-000"]
    monkeypatch.chdir(campaign.folder)
    assert cereals("tasks", campaign.folder, tmp_path / "all", "--format=cvat")[0] == 0
    assert following(cereals("status", campaign.folder)[2])[2] == f"{tmp_path}/all/export.zip"
