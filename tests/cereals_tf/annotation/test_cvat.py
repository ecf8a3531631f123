"""CVAT's files: what it is given, and what is read from its export."""

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.cvat import read_drawings, write_tasks
from cereals_tf.annotation.drawn import painted
from cereals_tf.annotation.tasks import ImageTask, RegionTask
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import SourceLog

ROOT = Path(__file__).parents[3]
DATUMARO = ROOT / ".venv-datumaro" / "bin" / "python"
CLASSES = Classes(("road", '<"a" & b>', "日本"), ((128, 64, 128), (0, 255, 9), (1, 2, 3)), 255)
ENTRY = ImageEntry("日本/a'b", 60, 90, 0)
STEM = "%E6%97%A5%E6%9C%AC%2Fa%27b"
IDS = {"road": 0, '<"a" & b>': 1, "日本": 2}


def region(number, window, entry=ENTRY, predicted=None):
    chosen = Chosen(Region(entry.image_id, Box(8, 16, 16, 32)), 0.25, 3.5, 6.2)
    return RegionTask(3, "cafe", entry, number, chosen, window, "clicks", predicted)


TASK = ImageTask(
    ENTRY, b"png", ".png", [region(12, Box(10, 20, 20, 45)), region(4, Box(0, 0, 8, 8))]
)


@pytest.fixture
def out(tmp_path):
    """The folder of a task of two images."""
    other = ImageEntry("a", 60, 90, 0)
    alone = ImageTask(other, b"jpeg", ".jpg", [region(7, Box(0, 0, 60, 90), other)])
    assert write_tasks(tmp_path, [TASK, alone], CLASSES) == 3
    return tmp_path


@pytest.fixture
def export(out):
    """Writes what CVAT exports after shapes are added to the image of two regions."""

    def write(*shapes, ticks=(), path=out / "export.xml"):
        root = ElementTree.parse(out / "annotations.xml").getroot()
        (image,) = (found for found in root.iter("image") if found.get("name") == f"{STEM}.png")
        image.extend(shapes)
        for frame in image.findall("box[@label='__region__']"):
            number = frame.find("attribute[@name='region']").text
            for name, numbers in dict(ticks).items():
                if int(number) in numbers:
                    frame.find(f"attribute[@name='{name}']").text = "true"
        ElementTree.ElementTree(root).write(path, encoding="utf-8")
        return path

    return write


def shape(kind, label="road", layer=0, **values):
    values = {name: str(value) for name, value in values.items()}
    return ElementTree.Element(kind, label=label, occluded="0", z_order=str(layer), **values)


TRIANGLE = "10.00,10.00;50.00,10.00;50.00,40.00"


def read(path):
    log = SourceLog()
    drawings = read_drawings(path, log)
    assert not log.problems
    return drawings


def test_labels_are_those_of_cvats_raw_constructor(out):
    *classes, frame = json.loads((out / "labels.json").read_text())
    assert [label["name"] for label in classes] == [*IDS, "__ignore__"]
    assert [label["color"] for label in classes[:2]] == ["#804080", "#00ff09"]
    assert (frame["name"], frame["type"]) == ("__region__", "rectangle")
    kinds = {found["name"]: found["input_type"] for found in frame["attributes"]}
    assert [kinds[name] for name in ("done", "skip", "region")] == ["checkbox", "checkbox", "text"]
    assert set(frame["attributes"][0]) == {
        "name",
        "mutable",
        "input_type",
        "default_value",
        "values",
    }


def test_frames_say_what_is_asked_for(out):
    root = ElementTree.parse(out / "annotations.xml").getroot()
    first, second = root.findall("image")
    assert (first.get("name"), second.get("name")) == (f"{STEM}.png", "a.jpg")
    assert (second.get("id"), second.get("height"), second.get("width")) == ("1", "60", "90")
    frame = first.find("box")
    sides = [float(frame.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
    assert sides == [20, 10, 65, 30]
    texts = {found.get("name"): found.text for found in frame.findall("attribute")}
    assert texts["hint"] == "Region 12 of round 3, about 7 clicks"
    assert (texts["region"], texts["done"], texts["skip"]) == ("12", "false", "false")
    assert sorted(path.name for path in (out / "images").iterdir()) == [f"{STEM}.png", "a.jpg"]


def test_what_was_asked_comes_back(export):
    drawn, other = read(export())
    assert (drawn.round, drawn.request, drawn.image_id) == (3, "cafe", "日本/a'b")
    assert (drawn.size, drawn.regions, list(drawn.shapes)) == ((60, 90), (12, 4), [])
    assert (drawn.finished, drawn.skipped, drawn.seconds) == (False, False, None)
    assert other.image_id == "a"


def test_every_kind_of_shape_is_painted_by_its_layer(export):
    runs = "3, 3, 4, 2, 8"
    path = export(
        shape("mask", "日本", 2, rle=runs, left=70, top=50, width=5, height=4),
        shape("polygon", '<"a" & b>', 1, points=TRIANGLE),
        shape("box", "road", xtl=0, ytl=0, xbr=80, ybr=59),
        shape("ellipse", "日本", 3, cx=20, cy=50, rx=6, ry=4),
    )
    drawn, _ = read(path)
    assert not drawn.problems
    labels = painted(drawn.shapes, IDS, 60, 90)
    assert labels[59, 0] == 0 and labels[12, 45] == 1 and labels[30, 85] == -1
    window = np.zeros(20, bool)
    window[[3, 4, 5, 10, 11]] = True
    np.testing.assert_array_equal(labels[50:54, 70:75] == 2, window.reshape(4, 5))
    assert labels[50, 20] == 2 and labels[45, 20] == 0


def test_ticks_tell_what_is_done_and_declined(export):
    done, skipped, _ = read(export(ticks=[("done", [12]), ("skip", [4])]))
    assert (done.regions, done.finished, done.skipped) == ((12,), True, False)
    assert (skipped.regions, skipped.finished, skipped.skipped) == ((4,), False, True)


def test_predictions_are_polygons_that_come_back_as_they_were(tmp_path):
    points = np.array([[20, 10], [64, 10], [33, 29]], np.float64)
    predicted = region(12, Box(10, 20, 20, 45), predicted=[Polygon(2, points), Polygon(1, points)])
    write_tasks(tmp_path, [replace(TASK, regions=[predicted])], CLASSES)
    (drawn,) = read(tmp_path / "annotations.xml")
    assert [shape.class_name for shape in drawn.shapes] == ["日本", '<"a" & b>']
    np.testing.assert_array_equal(drawn.shapes[0].outlines[0], points)
    assert list(drawn.handed_out) == [12]


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_exports_as_cvat_gives_them(export, tmp_path, form):
    folder = tmp_path / "export"
    folder.mkdir()
    path = export(shape("line", points=TRIANGLE), path=folder / "annotations.xml")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
            archive.write(path, "annotations.xml")
        folder = tmp_path / "export.zip"
    drawn, _ = read(folder)
    assert drawn.problems[0].text.startswith(f"{folder / 'annotations.xml'}: image '{STEM}.png': ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("polyline", points=TRIANGLE), "is of the type polyline, expected one with an area"),
        (shape("polygon", points="1,2;3"), "has the points '1,2;3'"),
        (shape("polygon", points="1,2;3,4"), "has 2 points"),
        (shape("polygon", points="1,2;nan,4;5,6"), "has 3 points"),
        (shape("polygon", points="1,2;2e6,4;5,6"), "has 3 points"),
        (shape("polygon", "road", "a", points=TRIANGLE), "has z_order 'a'"),
        (shape("box", xtl=1, ytl=1, xbr="", ybr=1), "has xbr ''"),
        (shape("mask", rle="3, 3", left=0, top=0, width=5, height=4), "runs of 6 pixels"),
        (shape("mask", rle="20", left=88, top=0, width=5, height=4), "is 4x5 pixels at"),
    ],
)
def test_wrong_shapes_are_named(export, wrong, message):
    drawn, other = read(export(shape("polygon", points=TRIANGLE), wrong))
    (problem,) = drawn.problems
    assert message in problem.text and f"image '{STEM}.png': shape 3" in problem.text
    assert len(drawn.shapes) == 1 and not other.problems


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("region", "twelve", "is the box of a region, of {'"),
        ("round", None, "is the box of a region, of {'"),
        ("image", "another", "is the box of region 12, which is in the image 'another'"),
    ],
)
def test_frames_that_were_changed_are_named(out, name, text, message):
    root = ElementTree.parse(out / "annotations.xml").getroot()
    root.find(f"image/box/attribute[@name='{name}']").text = text
    ElementTree.ElementTree(root).write(out / "export.xml")
    log = SourceLog()
    drawings = read_drawings(out / "export.xml", log)
    assert [found.regions for found in drawings] == [(4,), (7,)]
    assert message in log.problems[0].text


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no XML file"):
        read_drawings(tmp_path, SourceLog())
    (tmp_path / "a.xml").write_text("<annotations><image id='0' name='a.png'/></annotations>")
    with pytest.raises(UserError, match="has no box of the label __region__"):
        read_drawings(tmp_path, SourceLog())
    (tmp_path / "a.xml").write_text("<html/>")
    with pytest.raises(UserError, match=r"a\.xml: found <html>"):
        read_drawings(tmp_path, SourceLog())


@pytest.mark.parametrize("source", ["manual", "auto", "semi-auto", "file", "consensus"])
def test_shapes_that_a_model_drew_are_marked(export, source):
    drawn, _ = read(export(shape("polygon", points=TRIANGLE, source=source)))
    assert drawn.shapes[0].by_model == (source in ("auto", "semi-auto"))


@pytest.mark.datumaro
@pytest.mark.skipif(not DATUMARO.exists(), reason="no environment of datumaro: make test-datumaro")
def test_datumaro_reads_what_is_asked_for(tmp_path):
    points = np.array([[20, 10], [64, 10], [33, 29]], np.float64)
    predicted = region(12, Box(10, 20, 20, 45), predicted=[Polygon(2, points)])
    write_tasks(tmp_path, [replace(TASK, regions=[predicted])], CLASSES)
    script = ROOT / "tests" / "data_prep" / "sources" / "datumaro_cvat.py"
    command = [DATUMARO, script, "read", tmp_path / "annotations.xml"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    read_back = json.loads(done.stdout)
    assert read_back["labels"] == [*IDS, "__ignore__", "__region__"]
    frame, polygon = read_back["shapes"]
    assert (frame["image"], frame["size"], frame["type"]) == (STEM, [60, 90], "bbox")
    assert frame["points"] == [20, 10, 65, 30]
    asked = frame["attributes"]
    assert (asked["region"], asked["request"], asked["done"]) == ("12", "cafe", "False")
    assert unquote(asked["image"]) == ENTRY.image_id
    assert (polygon["label"], polygon["layer"]) == ("日本", 1)
    assert polygon["points"] == points.ravel().tolist()
