"""Label Studio's files: what it is given, and what is read from its export."""

import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.drawn import painted
from cereals_tf.annotation.labelstudio import (
    configuration,
    drawings_in,
    drawings_of,
    read_drawings,
    task_json,
    write_tasks,
)
from cereals_tf.annotation.tasks import ImageTask, RegionTask
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import SourceLog

CLASSES = Classes(("road", '<"a" & b>', "日本"), ((128, 64, 128), (0, 255, 9), (1, 2, 3)), 255)
ENTRY = ImageEntry("a/b", 60, 90, 0)
REGION = Chosen(Region("a/b", Box(8, 16, 16, 32)), 0.25, 3.5, 6.2)
TASK = RegionTask(3, "cafe", ENTRY, 12, REGION, Box(10, 20, 20, 45), "clicks")


@pytest.fixture
def task():
    """A task as it is exported, before anybody drew."""
    return {**task_json(TASK, "https://example.org/a.png", CLASSES), "id": 5, "annotations": []}


def result(kind="polygonlabels", labels=("road",), **value):
    return {
        "type": kind,
        "from_name": "polygon",
        "to_name": "image",
        "original_width": 90,
        "original_height": 60,
        "image_rotation": 0,
        "value": {kind: list(labels), **value},
    }


def annotation(*results, **other):
    return {"id": 1, "result": list(results), "was_cancelled": False, **other}


TRIANGLE = result(points=[[10, 10], [50, 10], [50, 100 / 3]])


def test_configuration_has_every_class_for_polygons_and_brushes():
    view = ElementTree.fromstring(configuration(CLASSES))
    image = view.find("Image")
    assert (image.get("name"), image.get("value")) == ("image", "$image")
    expected = [
        ("road", "#804080"),
        ('<"a" & b>', "#00ff09"),
        ("日本", "#010203"),
        ("__ignore__", "#000000"),
    ]
    for tag in ("PolygonLabels", "BrushLabels"):
        assert view.find(tag).get("toName") == "image"
        found = [(label.get("value"), label.get("background")) for label in view.find(tag)]
        assert found == expected
    assert [label.get("value") for label in view.find("RectangleLabels")] == ["__region__"]


@pytest.mark.parametrize("name", ["__region__", "__ignore__", "two\nlines", " spaces ", "nul\0"])
def test_names_that_no_tool_can_hold_are_refused(name):
    with pytest.raises(UserError, match="class "):
        configuration(Classes(("road", name), ((0, 0, 0), (1, 1, 1)), 255))


def test_task_tells_what_work_can_be_planned_by(task):
    assert task["data"] == {
        "image": "https://example.org/a.png",
        "hint": "Region 12 of round 3, about 7 clicks",
        "image_id": "a/b",
        "size": [60, 90],
        "round": 3,
        "request": "cafe",
        "region": 12,
        "window": [10, 20, 20, 45],
        "score": 0.25,
        "information": 3.5,
        "clicks_estimated": 6.2,
    }
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.25
    (frame,) = prediction["result"]
    assert (frame["type"], frame["readonly"]) == ("rectanglelabels", True)
    assert frame["value"].pop("rectanglelabels") == ["__region__"]
    expected = {"x": 100 * 20 / 90, "y": 100 * 10 / 60, "width": 50, "height": 100 / 3}
    assert frame["value"] == pytest.approx({**expected, "rotation": 0})


def test_predictions_are_polygons_that_come_back_as_they_were():
    points = np.array([[20, 10.1], [64, 10.7], [33.3, 29]], np.float32).astype(np.float64)
    predicted = [Polygon(1, points), Polygon(2, points + 0.25)]
    with_them = replace(TASK, predicted=predicted)
    sent = json.loads(json.dumps(task_json(with_them, "x.png", CLASSES)))
    accepted = annotation(*sent["predictions"][0]["result"])
    drawn = drawings_of({**sent, "annotations": [accepted]}, "task 5")
    assert [shape.class_name for shape in drawn.shapes] == ['<"a" & b>', "日本"]
    np.testing.assert_array_equal(drawn.shapes[0].outlines[0], points)


def test_what_was_asked_comes_back(task):
    drawn = drawings_of(task, "task 5")
    assert (drawn.round, drawn.request, drawn.image_id) == (3, "cafe", "a/b")
    assert (drawn.size, drawn.regions, drawn.shapes) == ((60, 90), (12,), ())
    assert (drawn.finished, drawn.skipped, drawn.seconds) == (False, False, None)


def test_polygon_in_pixels(task):
    task["annotations"] = [annotation(TRIANGLE, lead_time=12.5)]
    drawn = drawings_of(task, "task 5")
    assert (drawn.finished, drawn.seconds) == (True, 12.5)
    (shape,) = drawn.shapes
    np.testing.assert_array_equal(shape.outlines, [[[9, 6], [45, 6], [45, 20]]])


def test_newest_annotation_counts(task):
    task["annotations"] = [
        annotation(TRIANGLE, updated_at="2026-03-02T10:00:00Z", lead_time=2),
        annotation(updated_at="2026-03-02T09:00:00Z", lead_time=1),
        {**annotation(updated_at="2026-03-03T09:00:00Z"), "was_cancelled": True},
    ]
    drawn = drawings_of(task, "task 5")
    assert (len(drawn.shapes), drawn.seconds, drawn.skipped) == (1, 2, False)


def test_task_that_everybody_skipped(task):
    task["annotations"] = [{**annotation(TRIANGLE), "was_cancelled": True}]
    drawn = drawings_of(task, "task 5")
    assert (drawn.skipped, drawn.shapes) == (True, ())


def rle_of(mask):
    """Encode a mask in literal words, as rle-pack may."""
    words = np.repeat(mask.astype(np.uint8).ravel() * 255, 4)
    bits = f"{len(words):032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    for word in words:
        bits += "000000" + f"{word:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_brush_is_kept_to_the_pixel_and_outlined(task):
    mask = np.zeros((60, 90), bool)
    mask[12:25, 20:41] = mask[22:31, 30:44] = True
    stroke = result("brushlabels", ["日本"], format="rle", rle=rle_of(mask))
    task["annotations"] = [annotation(TRIANGLE, stroke)]
    drawn = drawings_of(task, "task 5")
    labels = painted(drawn.shapes, {"road": 0, "日本": 2}, 60, 90)
    np.testing.assert_array_equal(labels == 2, mask)
    assert labels[7, 40] == 0 and labels[50, 80] == -1
    (outline,) = drawn.shapes[1].outlines
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([20, 12], [43, 30])


def test_empty_brush_draws_nothing(task):
    stroke = result("brushlabels", format="rle", rle=rle_of(np.zeros((60, 90), bool)))
    task["annotations"] = [annotation(stroke)]
    drawn = drawings_of(task, "task 5")
    assert (painted(drawn.shapes, {"road": 0}, 60, 90) == -1).all()


def test_files_hold_all_tasks_in_the_order_of_choice(tmp_path):
    box, other = Box(0, 0, 8, 8), ImageEntry("c", 60, 90, 0)
    early = RegionTask(3, "cafe", other, 1, Chosen(Region("c", box)), box, "clicks")
    tasks = [
        ImageTask(ENTRY, b"png", ".png", [TASK]),
        ImageTask(other, b"jpeg", ".jpg", [early]),
    ]
    assert write_tasks(tmp_path, tasks, CLASSES) == 2
    listed = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["region"] for task in listed] == [1, 12]
    assert "score" not in listed[0]["predictions"][0]
    assert listed[0]["data"]["hint"] == "Region 1 of round 3"
    assert listed[1]["data"]["image"] == "/data/local-files/?d=images/a%252Fb.png"
    assert (tmp_path / "images" / "a%2Fb.png").read_bytes() == b"png"
    assert (tmp_path / "images" / "c.jpg").read_bytes() == b"jpeg"
    assert (tmp_path / "config.xml").read_text() == configuration(CLASSES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": None}, "no list of annotations"),
        ({"annotations": [3]}, "annotation 0 is no object"),
        ({"annotations": [{"id": 1}]}, "no list 'result'"),
        ({"annotations": [annotation(3)]}, "result 0 is 3"),
        ({"annotations": [annotation(result("ellipselabels", x=1))]}, "of type 'ellipselabels'"),
        ({"annotations": [annotation(result(points=[]))]}, "no polygon points"),
        ({"annotations": [annotation(result(points=[[1, 2], [3, 4]]))]}, "of 2 points"),
        ({"annotations": [annotation(result(points=[[1, math.nan], [3, 4], [5, 6]]))]}, "nan"),
        ({"annotations": [annotation(result(points=[[1e6, 0], [3, 4], [5, 6]] * 2))]}, None),
        ({"annotations": [annotation(result(points=[[2e6, 0], [3, 4], [5, 6]]))]}, "2000000"),
        ({"annotations": [annotation(result(points=[["1", 0], [3, 4], [5, 6]]))]}, "'1'"),
        ({"annotations": [annotation({**TRIANGLE, "original_width": 91})]}, "expected 60x90"),
        ({"annotations": [annotation({**TRIANGLE, "image_rotation": 90})]}, "turned by 90"),
        ({"annotations": [annotation(result(labels=["a", "b"], points=[]))]}, "one class name"),
        ({"annotations": [annotation(result(labels=[7], points=[]))]}, "one class name"),
        ({"annotations": [annotation(lead_time=math.nan)]}, "lead_time nan"),
        ({"annotations": [annotation(lead_time=-1)]}, "lead_time -1"),
        ({"annotations": [annotation(lead_time="9")]}, "lead_time '9'"),
        ({"annotations": [annotation(result("brushlabels", format="png"))]}, "format 'png'"),
        ({"annotations": [annotation(result("brushlabels", format="rle", rle=[256]))]}, "no bytes"),
        ({"annotations": [annotation(result("brushlabels", format="rle", rle=[1]))]}, "decoded"),
        ({"data": {"image": "x"}}, "lacks image_id"),
        ({"data": None}, "lacks image_id"),
    ],
)
def test_damaged_tasks_are_named(task, changed, message):
    log = SourceLog()
    drawings = drawings_in("export.json", [{**task, **changed}], log)
    texts = [
        text for _, text in [*log.problems, *(p for found in drawings for p in found.problems)]
    ]
    if message is None:
        assert not texts and len(drawings[0].shapes) == 1
        return
    (text,) = texts
    assert text.startswith("export.json: task 5") and re.search(message, text)


@pytest.mark.parametrize(
    "changed",
    [
        {"size": [0, 90]},
        {"size": [10**9, 10**9]},
        {"size": "60x90"},
        {"region": "12"},
        {"region": True},
        {"round": None},
        {"request": 3},
        {"image_id": "\ud800"},
    ],
)
def test_damaged_data_are_named(task, changed):
    task["data"] |= changed
    with pytest.raises(UserError, match=r"^task 5: its data is damaged"):
        drawings_of(task, "task 5")


def test_other_exports_are_named(tmp_path):
    path = tmp_path / "export.json"
    path.touch()
    with pytest.raises(UserError, match="an empty file"):
        read_drawings(path, SourceLog())
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(UserError, match="expected a list of tasks"):
        read_drawings(path, SourceLog())
    path.write_text(json.dumps([{"image": "a.png", "polygon": []}]))
    log = SourceLog()
    assert read_drawings(path, log) == []
    assert "export.json: entry 0: has no list of annotations" in log.problems[0].text
    assert "not JSON-MIN" in log.problems[0].text


def test_messages_have_label_studios_own_names(task):
    log = SourceLog()
    task["annotations"] = [annotation({**result("ellipselabels"), "id": "aB3"})]
    (drawn,) = drawings_in("export.json", [task], log)
    assert drawn.problems[0].text.startswith("export.json: task 5: result 'aB3' is of type")


def test_results_that_are_no_regions_are_passed_over(task):
    others = [
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        {"type": "choices", "value": {"choices": ["blurred"]}, "from_name": "quality"},
        {"type": "textarea", "value": {"text": ["a note"]}, "from_name": "note"},
    ]
    task["annotations"] = [annotation(others[0], TRIANGLE, *others[1:])]
    drawn = drawings_of(task, "task 5")
    assert (len(drawn.shapes), drawn.problems) == (1, [])


def test_the_starred_annotation_counts(task):
    task["annotations"] = [
        annotation(TRIANGLE, updated_at="2026-03-02T10:00:00Z", ground_truth=True),
        annotation(updated_at="2026-03-03T10:00:00Z", ground_truth=False),
    ]
    assert len(drawings_of(task, "task 5").shapes) == 1
    task["annotations"][0]["was_cancelled"] = True
    assert len(drawings_of(task, "task 5").shapes) == 0


@pytest.mark.parametrize("origin", [None, "manual", "prediction", "prediction-changed"])
def test_shapes_that_a_model_drew_are_marked(task, origin):
    task["annotations"] = [annotation({**TRIANGLE, **({"origin": origin} if origin else {})})]
    (shape,) = drawings_of(task, "task 5").shapes
    assert shape.by_model == str(origin).startswith("prediction")
