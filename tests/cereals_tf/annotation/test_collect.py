"""From a waiting campaign to its collected labels, through each tool's own files."""

import csv
import json
import math
import os
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cereals_tf.campaign.agreement import agreement
from cereals_tf.data_prep.polygons import paint

pytestmark = pytest.mark.usefixtures("plugin_folder")


@pytest.fixture
def handed_out(cereals, tmp_path):
    """Writes the tasks of a campaign; returns their folder."""

    def write(campaign, tool, *options):
        out = tmp_path / f"tasks-{tool.name}"
        assert cereals("tasks", campaign.folder, out, f"--format={tool.name}", *options)[0] == 0
        return out

    return write


@pytest.fixture
def collected(cereals):
    """Collects, and returns what the user reads."""

    def run(campaign, tool, source, *options):
        status, out, err = cereals(
            "collect", campaign.folder, source, f"--format={tool.name}", *options
        )
        assert (status, out) == (0, ""), err
        return err

    return run


def everything(truth):
    """Draws all objects of the truth on ignored ground, so that no pixel stays empty."""

    def objects_of(image_id):
        height, width = truth[image_id].label.shape
        ground = np.array([[-1, -1], [width, -1], [width, height], [-1, height]], np.float64)
        return [("__ignore__", ground), *truth[image_id].objects]

    return objects_of


def expected_label(annotation, truth):
    y, x, height, width = annotation.window
    return truth[annotation.image_id].label[y : y + height, x : x + width]


def test_labels_equal_the_oracles(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    truth = truth_of(campaign)
    source = tool.draw(handed_out(campaign, tool), everything(truth))
    said = collected(campaign, tool, source)
    assert "3 of 3 regions are annotated (3 new, 0 changed)\nnext: cereals step" in said
    annotations = campaign.annotations.annotated()
    assert sorted(annotations) == [0, 1, 2]
    assert annotations[1].window == (25, 0, 35, 43)  # of 64x96, around (24, 0, 32, 40) of 60x90
    for annotation in annotations.values():
        np.testing.assert_array_equal(annotation.label, expected_label(annotation, truth))
        assert len(np.unique(annotation.label)) > 1


def test_polygons_are_whole_and_those_that_touch_the_region(
    waiting, tool, handed_out, collected, truth_of
):
    campaign = waiting()
    truth = truth_of(campaign)
    source = tool.draw(handed_out(campaign, tool), everything(truth))
    collected(campaign, tool, source)
    classes = campaign.data.classes
    ids = {"__ignore__": classes.ignore_id, **{name: i for i, name in enumerate(classes.names)}}
    for annotation in campaign.annotations.annotated().values():
        y, x, height, width = annotation.window
        drawn = [(ids[name], points) for name, points in everything(truth)(annotation.image_id)]
        kept = [(part.class_id, part.points.tolist()) for part in annotation.polygons]
        assert [key for key in kept if key not in [(a, b.tolist()) for a, b in drawn]] == []
        left_out = [(name, points) for name, points in drawn if (name, points.tolist()) not in kept]
        for _, points in left_out:
            high, low = points.max(axis=0), points.min(axis=0)
            assert (high < [x, y]).any() or (low > [x + width, y + height]).any()
        whole = paint(annotation.polygons, *truth[annotation.image_id].label.shape, 255)
        np.testing.assert_array_equal(
            whole[y : y + height, x : x + width], expected_label(annotation, truth)
        )


def test_vertices_of_a_model_are_no_clicks(waiting, labelme, handed_out, collected, truth_of):
    campaign = waiting()
    out = handed_out(campaign, labelme)
    labelme.draw(out, everything(truth_of(campaign)))
    first = campaign.request()[1].region.image_id
    path = out / f"{first}.json"
    content = json.loads(path.read_text())
    ground = next(shape for shape in content["shapes"] if shape["label"] == "__ignore__")
    ground["score"] = 0.9
    path.write_text(json.dumps(content))
    collected(campaign, labelme, out)
    found = campaign.annotations.annotated()
    assert [annotation.assisted for annotation in found.values()] == [False, True, True]
    ignored = campaign.data.classes.ignore_id
    kept = [[part.class_id for part in found[number].polygons] for number in (0, 1)]
    assert kept[0][0] == ignored and ignored not in kept[1]


def test_holes_are_drawn_and_odd_polygons_warned_of(
    waiting, labelme, handed_out, cereals, collected, truth_of, tmp_path
):
    campaign = waiting()
    truth = truth_of(campaign)
    source = labelme.draw(handed_out(campaign, labelme), half_drawn(truth))
    holes = f"--holes={tmp_path / 'holes'}"
    assert cereals("collect", campaign.folder, source, holes)[0] == 2
    images = sorted((tmp_path / "holes").iterdir())
    assert [path.name[:12] for path in images] == ["region-0000-", "region-0001-"]
    pixels = np.array(Image.open(images[1]))
    assert pixels.shape == (35, 43, 3)
    assert (pixels[:, :30] == [255, 0, 255]).all() and (pixels[:, 30:] != [255, 0, 255]).any()
    crossed = [("road", np.array([[0.0, 0], [90, 60], [90, 0], [0, 60]]))]
    source = labelme.draw(source, lambda image_id: crossed)
    said = collected(campaign, labelme, source, "--partial")
    assert "warning: region 1: " in said and "crosses itself" in said


def test_seconds_come_from_label_studio(waiting, labelstudio, handed_out, collected, truth_of):
    campaign = waiting()
    source = labelstudio.draw(handed_out(campaign, labelstudio), everything(truth_of(campaign)))
    collected(campaign, labelstudio, source)
    seconds = {n: found.seconds for n, found in campaign.annotations.annotated().items()}
    assert seconds == {0: 10.5, 1: 11.5, 2: 12.5}


def test_the_folder_of_tasks_stands_for_the_export_in_it(
    waiting, labelstudio, handed_out, collected, refused, truth_of
):
    campaign = waiting()
    out = handed_out(campaign, labelstudio)
    said = refused("collect", campaign.folder, out / "export.json", "--format=labelstudio")
    assert "export.json: no such file or folder, expected what annotators made" in said
    labelstudio.draw(out, everything(truth_of(campaign))).rename(out / "export.json")
    assert "3 of 3 regions are annotated" in collected(campaign, labelstudio, out)


def test_region_without_a_shape_is_missing(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    first = campaign.request()[1].region.image_id
    truth = truth_of(campaign)

    def only_first(image_id):
        return everything(truth)(image_id) if image_id == first else []

    source = tool.draw(handed_out(campaign, tool), only_first, done=True)
    said = collected(campaign, tool, source)
    assert "2 of 3 regions are annotated (2 new, 0 changed); regions missing: 0" in said
    assert sorted(campaign.annotations.annotated()) == [1, 2]


def test_work_comes_in_parts_and_is_replaced(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    truth = truth_of(campaign)
    out = handed_out(campaign, tool)
    first = campaign.request()[1].region.image_id
    untouched = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    source = tool.draw(out, lambda image: everything(truth)(image) if image == first else [])
    collected(campaign, tool, source)
    for path, content in untouched.items():
        path.write_bytes(content)

    def all_ignored(image_id):
        return everything(truth)(image_id)[:1]

    source = tool.draw(out, all_ignored)
    assert "3 of 3 regions are annotated (1 new, 2 changed)" in collected(campaign, tool, source)
    assert all((found.label == 255).all() for found in campaign.annotations.annotated().values())
    assert "(0 new, 0 changed)" in collected(campaign, tool, source)


def half_drawn(truth):
    """Leaves the left half of every image empty."""

    def objects_of(image_id):
        height, width = truth[image_id].label.shape
        return [("road", np.array([[30.0, -1], [width, -1], [width, height], [30, height]]))]

    return objects_of


def test_partly_empty_region_is_refused(waiting, tool, handed_out, refused, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), half_drawn(truth_of(campaign)))
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "region 1 has no shape on 70 % of its pixels" in said
    assert "region 0 has no shape on 72 % of its pixels" in said
    assert "region 2" not in said


def test_partly_empty_region_is_kept_as_ignored(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), half_drawn(truth_of(campaign)))
    collected(campaign, tool, source, "--partial")
    annotations = campaign.annotations.annotated()
    label = annotations[1].label
    assert (label[:, :30] == 255).all() and (label[:, 30:] == 0).all()
    assert (annotations[2].label == 0).all()


def test_skipped_regions(waiting, tool, handed_out, collected, truth_of, following):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    said = collected(campaign, tool, source, "--skip=0,2", "--force")
    assert "--skip gives up what is drawn in regions 0, 2\n" in said
    assert "1 of 3 regions are annotated (1 new, 0 changed); regions skipped: 0, 2\n" in said
    assert following(said) == ["step", str(campaign.folder)]
    assert campaign.annotations.skipped() == {0, 2}
    assert list(campaign.annotations.annotated()) == [1]


def test_skipped_region_may_be_half_drawn(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), half_drawn(truth_of(campaign)))
    said = collected(campaign, tool, source, "--skip=0,1", "--force")
    assert "1 of 3 regions are annotated" in said and "skipped: 0, 1\nnext" in said


def test_skip_is_taken_back_by_an_annotation(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    collected(campaign, tool, source, "--skip=0", "--force")
    assert "3 of 3 regions are annotated (1 new" in collected(campaign, tool, source)
    assert not campaign.annotations.skipped()


def test_region_that_the_annotator_skipped(waiting, labelstudio, handed_out, collected, truth_of):
    campaign = waiting()
    source = labelstudio.draw(handed_out(campaign, labelstudio), everything(truth_of(campaign)))
    tasks = json.loads(source.read_text())
    tasks[1]["annotations"][0]["was_cancelled"] = True
    source.write_text(json.dumps(tasks))
    assert "skipped: 1\nnext: cereals step" in collected(campaign, labelstudio, source)
    tasks[0]["annotations"][0]["was_cancelled"] = True
    source.write_text(json.dumps(tasks))
    said = collected(campaign, labelstudio, source)
    assert "2 of 3 regions are annotated (0 new, 0 changed); regions skipped: 1" in said


def test_drawn_work_is_given_up_only_if_that_is_meant(
    waiting, labelme, handed_out, collected, cereals, refused, truth_of, monkeypatch
):
    campaign = waiting()
    source = labelme.draw(handed_out(campaign, labelme), everything(truth_of(campaign)))
    gives_up = "--skip gives up what is drawn in region 1"
    assert gives_up in refused("collect", campaign.folder, source, "--skip=1")
    collected(campaign, labelme, source)
    assert f"{gives_up}; --force if that is meant" in refused(
        "collect", campaign.folder, "--skip=1"
    )
    user, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        for answer, status in ((b"\n", 2), (b"no\n", 2), (b"y\n", 0)):
            assert not campaign.annotations.skipped()
            os.write(user, answer)
            found, _, said = cereals("collect", campaign.folder, "--skip=1")
            assert found == status and f"{gives_up}; go on? [y/N] " in said
    os.close(user)
    assert campaign.annotations.skipped() == {1}


def test_another_annotator_replaces_nothing_unasked(
    waiting, tool, handed_out, collected, refused, truth_of
):
    campaign = waiting()
    out = handed_out(campaign, tool)
    untouched = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    source = tool.draw(out, everything(truth_of(campaign)))
    collected(campaign, tool, source, "--annotator=anna")
    for path, content in untouched.items():
        path.write_bytes(content)
    source = tool.draw(out, lambda image: everything(truth_of(campaign))(image)[:1])
    line = ["collect", campaign.folder, source, f"--format={tool.name}"]
    said = refused(*line, "--annotator=bob")
    assert "what 'bob' drew would replace what 'anna' drew, in regions 0, 1, 2; --force" in said
    assert f"what {source.name!r} drew would replace" in refused(*line)
    assert "3 changed" in collected(campaign, tool, source, "--annotator=bob", "--force")
    names = [found.annotator for found in campaign.annotations.annotated().values()]
    assert names == ["bob"] * 3


def test_a_second_annotator_is_compared(waiting, tool, cereals, collected, truth_of, tmp_path):
    campaign = waiting()
    truth = truth_of(campaign)
    out, second = tmp_path / "tasks", tmp_path / "tasks-second"
    line = ["tasks", campaign.folder, out, f"--format={tool.name}", "--overlap=40%"]
    status, _, said = cereals(*line)
    assert status == 0 and f"{second}: 2 of them for a second annotator; then: cereals" in said

    def without_roads(image_id):
        drawn = everything(truth)(image_id)
        return [("sidewalk" if name == "road" else name, points) for name, points in drawn]

    source = tool.draw(second, without_roads)
    said = collected(campaign, tool, source, "--annotator=bob")
    assert "0 of 3 regions are annotated (0 new, 0 changed); 2 drawn by a second annotator" in said
    assert agreement(campaign) is None and not campaign.annotations.annotated()
    collected(campaign, tool, tool.draw(out, everything(truth)), "--annotator=anna")
    numbers = sorted(campaign.second_annotations.annotated())
    found = agreement(campaign)
    assert [name.number for name in found.regions] == numbers and len(numbers) == 2
    for annotation in campaign.annotations.annotated().values():
        np.testing.assert_array_equal(annotation.label, expected_label(annotation, truth))
    pairs = [
        pair
        for number in numbers
        for pair in zip(
            campaign.annotations.read(number).label.ravel().tolist(),
            campaign.second_annotations.read(number).label.ravel().tolist(),
            strict=True,
        )
        if 255 not in pair
    ]
    for place, value in enumerate(found.all.per_class):
        either = [pair for pair in pairs if place in pair]
        both = [pair for pair in either if pair == (place, place)]
        assert math.isnan(value) if not either else value == pytest.approx(len(both) / len(either))
    assert found.all.per_class[0] == 0  # roads, to one of them
    assert sorted(found.by_annotator) == ["anna", "bob"]


def test_skip_without_a_source(waiting, cereals, refused):
    campaign = waiting()
    assert cereals("collect", campaign.folder, "--skip=1")[0] == 0
    assert campaign.annotations.skipped() == {1}
    assert "SOURCE is missing" in refused("collect", campaign.folder)
    assert "--skip=3: the request has regions 0 to 2" in refused(
        "collect", campaign.folder, "--skip=0,3"
    )
    assert "--skip=a" in refused("collect", campaign.folder, "--skip=a")


def test_unknown_class_is_refused(waiting, tool, handed_out, refused, truth_of):
    campaign = waiting()
    truth = truth_of(campaign)
    wrong = [('a<b>&"c', np.array([[0.0, 0], [9, 0], [9, 9]]))]
    source = tool.draw(handed_out(campaign, tool), lambda image: everything(truth)(image) + wrong)
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "has the unknown class name 'a<b>&\"c', expected one of the round's classes" in said
    assert source.name in said


def test_another_round_is_refused(waiting, tool, handed_out, refused, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    for path in source.glob("*.json") if source.is_dir() else [source]:
        text = path.read_text().replace('"round": 0', '"round": 4')
        path.write_text(text.replace('name="round">0<', 'name="round">4<'))
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "is of round 4, the campaign waits for round 0" in said


def test_all_problems_are_counted_and_the_first_are_shown(
    waiting, tool, handed_out, refused, truth_of
):
    campaign = waiting()
    request = campaign.working / "request.csv"
    lines = request.read_text().splitlines()
    place = lines[-1].partition(",")[2]
    more = [f"{number},{place}" for number in range(3, 33)]
    request.write_text("\n".join([*lines, *more, ""]))
    out = handed_out(campaign, tool)
    source = tool.draw(out, half_drawn_vertically(truth_of(campaign)))
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    *listed, last, line = said.splitlines()
    assert len(listed) == 20 and all("has no shape" in problem for problem in listed)
    assert last == "  and 12 more"
    assert "32 problems in all: 32 regions that are not complete" in line


def test_what_is_right_is_taken_and_the_rest_listed(
    waiting, tool, handed_out, collected, truth_of, tmp_path
):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), half_drawn(truth_of(campaign)))
    file = tmp_path / "problems.csv"
    said = collected(campaign, tool, source, "--invalid=skip", f"--problems={file}")
    assert sorted(campaign.annotations.annotated()) == [2]
    assert "1 of 3 regions are annotated (1 new, 0 changed)" in said
    assert "regions missing: 0, 1 (not complete)\nnext: cereals collect" in said
    kinds = [row["kind"] for row in csv.DictReader(file.open())]
    assert kinds == ["regions that are not complete"] * 2
    assert said.count("has no shape on") == 2


def test_a_drawing_with_a_wrong_shape_is_left_out(waiting, tool, handed_out, collected, truth_of):
    campaign = waiting()
    first = campaign.request()[1].region.image_id
    truth = truth_of(campaign)
    wrong = [("dog", np.array([[0.0, 0], [9, 0], [9, 9]]))]

    def objects_of(image_id):
        return everything(truth)(image_id) + (wrong if image_id == first else [])

    source = tool.draw(handed_out(campaign, tool), objects_of)
    said = collected(campaign, tool, source, "--invalid=skip")
    assert list(campaign.annotations.annotated()) == [0]
    assert "has the unknown class name 'dog'" in said
    assert "regions missing: 1, 2 (what came back has problems)" in said


@pytest.mark.parametrize(("share", "kept"), [("69%", [2]), ("71%", [1, 2]), ("73%", [0, 1, 2])])
def test_small_parts_without_a_shape_are_ignored(
    waiting, tool, handed_out, collected, truth_of, share, kept
):
    """Region 0 lacks 72.2 %, region 1 69.8 %."""
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), half_drawn(truth_of(campaign)))
    said = collected(campaign, tool, source, f"--partial={share}", "--invalid=skip")
    assert sorted(campaign.annotations.annotated()) == kept
    most = {"69%": "", "71%": "at most 70 % of one (region 1)", "73%": "72 % of one (region 0)"}
    assert most[share] in said


@pytest.mark.parametrize("share", ["2", "-1%", "101%", "nan%", "a"])
def test_a_share_that_is_none_is_refused(waiting, refused, share):
    said = refused("collect", waiting().folder, "--skip=0", f"--partial={share}")
    assert f"--partial={share}: expected a share in percent, as 2%" in said


def half_drawn_vertically(truth):
    """Leaves the top of every image empty."""

    def objects_of(image_id):
        height, width = truth[image_id].label.shape
        return [("road", np.array([[-1.0, 10], [width, 10], [width, height], [-1, height]]))]

    return objects_of


def test_another_campaign_is_refused(waiting, tmp_path, tool, handed_out, refused, truth_of):
    campaign, other = waiting(), waiting(tmp_path / "other")
    request = other.working / "request.csv"
    request.write_text(request.read_text().replace(",8,16,16,16,", ",8,24,16,16,"))
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    said = refused("collect", other.folder, source, f"--format={tool.name}")
    assert "is of another campaign's request" in said


def test_image_or_region_that_was_not_asked_for_is_refused(
    waiting, tool, handed_out, refused, truth_of
):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    for path in source.glob("*.json") if source.is_dir() else [source]:
        text = path.read_text()
        path.write_text(
            text.replace('"region": 0', '"region": 7')
            .replace('"group_id": 0', '"group_id": 7')
            .replace('name="region">0<', 'name="region">7<')
        )
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "region 7 of the image" in said and "was not asked for" in said


def test_other_sizes_are_refused(waiting, tool, handed_out, refused, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    for path in source.glob("*.json") if source.is_dir() else [source]:
        text = path.read_text().replace('"imageHeight": 64', '"imageHeight": 65')
        text = text.replace('"size": [64, 96]', '"size": [65, 96]')
        text = text.replace('height="64"', 'height="65"')
        path.write_text(text.replace('"original_height": 64', '"original_height": 65'))
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "says that the image is 65x96 pixels, it is 64x96" in said


def test_one_region_drawn_twice_is_refused(waiting, tool, handed_out, refused, truth_of):
    campaign = waiting()
    source = tool.draw(handed_out(campaign, tool), everything(truth_of(campaign)))
    if source.is_dir():
        path = min(source.glob("*.json"))
        path.with_stem("again").write_bytes(path.read_bytes())
    elif tool.name == "cvat":
        root = ElementTree.parse(source).getroot()
        root.append(root.find("image"))
        ElementTree.ElementTree(root).write(source)
    else:
        tasks = json.loads(source.read_text())
        source.write_text(json.dumps([*tasks, tasks[0]]))
    said = refused("collect", campaign.folder, source, f"--format={tool.name}")
    assert "is drawn in" in said


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "{}", "null", '[{"annotations": []}]', '"\\ud800"', "[" * 9999]
)
def test_broken_files_are_refused(waiting, tool, refused, tmp_path, content):
    campaign = waiting()
    source = tmp_path / "broken.json"
    source.write_text(content)
    assert "broken.json" in refused("collect", campaign.folder, source, f"--format={tool.name}")


def test_campaign_that_does_not_wait_is_refused(begin, tool, refused, tmp_path):
    campaign = begin(tmp_path / "campaign")
    assert "waits for no annotations" in refused(
        "tasks", campaign.folder, tmp_path / "out", f"--format={tool.name}"
    )
    assert "waits for no annotations" in refused(
        "collect", campaign.folder, "--skip=0", f"--format={tool.name}"
    )


def test_unknown_format_is_refused(waiting, refused, tmp_path):
    campaign = waiting()
    for command in ("tasks", "collect"):
        said = refused(command, campaign.folder, tmp_path / "out", "--format=vgg")
        assert "--format=vgg: expected one of labelme, labelstudio, cvat" in said


def test_busy_campaign_is_refused(waiting, refused):
    campaign = waiting()
    with campaign.lock():
        assert "is working on this campaign" in refused("collect", campaign.folder, "--skip=1")
