"""LabelMe's files: what it is given, and what is read from the files that it saved."""

import base64
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.drawn import painted
from cereals_tf.annotation.labelme import file_json, read_drawings, write_tasks
from cereals_tf.annotation.tasks import ImageTask, RegionTask
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import SourceLog

CLASSES = Classes(("road", '<"a" & b>', "日本"), ((128, 64, 128), (0, 255, 9), (1, 2, 3)), 255)
ENTRY = ImageEntry("../a'b", 60, 90, 0)
STEM = "%2E.%2Fa%27b"
REGIONS = [
    RegionTask(
        3,
        "cafe",
        ENTRY,
        12,
        Chosen(Region(ENTRY.image_id, Box(8, 16, 16, 32)), 0.25, 3.5, 6.2),
        Box(10, 20, 20, 45),
        "clicks",
    ),
    RegionTask(
        3,
        "cafe",
        ENTRY,
        4,
        Chosen(Region(ENTRY.image_id, Box(0, 0, 8, 8))),
        Box(0, 0, 8, 8),
        "clicks",
    ),
]
TASK = ImageTask(ENTRY, b"png", ".png", REGIONS)
IDS = {"road": 0, '<"a" & b>': 1, "日本": 2}


@pytest.fixture
def path(tmp_path):
    assert write_tasks(tmp_path, [TASK], CLASSES) == 2
    return tmp_path / f"{STEM}.json"


@pytest.fixture
def edit(path):
    def change(**fields):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, **fields}))

    return change


def shape(label="road", kind="polygon", points=((1, 2), (9, 2), (9, 11)), **other):
    return {
        "label": label,
        "points": [list(point) for point in points],
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
        **other,
    }


def read(source):
    """Read drawings that have no problem."""
    log = SourceLog()
    drawings = read_drawings(source, log)
    assert not log.problems and not any(drawn.problems for drawn in drawings)
    return drawings


def problems(source):
    """Return the texts of all problems."""
    log = SourceLog()
    drawings = read_drawings(source, log)
    return [text for _, text in [*log.problems, *(p for found in drawings for p in found.problems)]]


def test_files_beside_the_image(path):
    folder = path.parent
    assert sorted(found.name for found in folder.iterdir()) == [
        f"{STEM}.json",
        f"{STEM}.png",
        "labelmerc.yaml",
        "labels.txt",
    ]
    assert (folder / f"{STEM}.png").read_bytes() == b"png"
    assert (folder / "labels.txt").read_text() == 'road\n<"a" & b>\n日本\n__ignore__\n'
    settings = json.loads((folder / "labelmerc.yaml").read_text())
    assert settings["labels"] == [*CLASSES.names, "__ignore__"]
    assert settings["label_colors"]["road"] == [128, 64, 128]
    assert settings["label_colors"]["__region__"] == [255, 255, 0]
    assert settings["shape_color"] == "manual"


def test_content_is_labelmes(path):
    content = json.loads(path.read_text())
    del content["cereals"]
    assert content.pop("version")
    assert content == {
        "flags": {"done": False},
        "shapes": [
            shape(
                "__region__",
                "rectangle",
                [[20, 10], [65, 30]],
                group_id=12,
                description="Region 12 of round 3, about 7 clicks, score 0.25",
            ),
            shape(
                "__region__",
                "rectangle",
                [[0, 0], [8, 8]],
                group_id=4,
                description="Region 4 of round 3",
            ),
        ],
        "imagePath": f"{STEM}.png",
        "imageData": None,
        "imageHeight": 60,
        "imageWidth": 90,
    }


def test_drawn_files_are_never_overwritten(path):
    path.write_text("drawn")
    (path.parent / f"{STEM}.png").unlink()
    write_tasks(path.parent, [TASK], CLASSES)
    assert path.read_text() == "drawn"
    assert (path.parent / f"{STEM}.png").read_bytes() == b"png"


def test_what_was_asked_comes_back(path):
    (drawn,) = read(path.parent)
    assert (drawn.round, drawn.request, drawn.image_id) == (3, "cafe", "../a'b")
    assert (drawn.size, drawn.regions, list(drawn.shapes)) == ((60, 90), (12, 4), [])
    assert (drawn.finished, drawn.skipped, drawn.seconds) == (False, False, None)


def test_files_may_lie_elsewhere_than_their_images(path, edit):
    edit(imagePath=f"..\\pictures\\{STEM}.png")
    assert len(read(path)) == 1


def test_flag_tells_that_an_image_is_done(path, edit):
    edit(flags={"done": True})
    (drawn,) = read(path)
    assert drawn.finished


def test_every_kind_of_shape_with_an_area(path, edit):
    stencil = np.zeros((4, 6), np.uint8)
    stencil[1:, 2:5] = 255
    png = io.BytesIO()
    Image.fromarray(stencil).save(png, "png")
    edit(
        shapes=[
            shape(points=[[1, 2], [30, 2], [30, 40], [1, 40]]),
            shape('<"a" & b>', "rectangle", [[20, 30], [10.2, 5]]),
            shape("日本", "circle", [[60, 30], [60, 37]]),
            shape(
                "road",
                "mask",
                [[70, 50], [75, 53]],
                mask=base64.b64encode(png.getvalue()).decode(),
            ),
        ]
    )
    (drawn,) = read(path)
    labels = painted(drawn.shapes, IDS, 60, 90)
    assert (labels[2, 1], labels[40, 30], labels[41, 30]) == (0, 0, -1)
    assert (labels[5:31, 11:21] == 1).all() and labels[31, 15] == 0
    assert labels[37, 60] == 2 and labels[36, 66] == -1
    assert abs((labels == 2).sum() - math.pi * 7.5**2) < 15
    np.testing.assert_array_equal(labels[50:54, 70:76], np.where(stencil > 0, 0, -1))
    corners = [[10.2, 5], [20, 5], [20, 30], [10.2, 30]]
    np.testing.assert_array_equal(drawn.shapes[1].outlines, [corners])
    assert all(len(found.outlines) == 1 for found in drawn.shapes)


def test_later_shapes_lie_on_earlier_ones(path, edit):
    square = [[0, 0], [20, 0], [20, 20], [0, 20]]
    edit(shapes=[shape("road", points=square), shape(" 日本 ", points=square)])
    (drawn,) = read(path)
    assert (painted(drawn.shapes, IDS, 60, 90)[:21, :21] == 2).all()


def test_predictions_are_drawn_and_told_from_work():
    predicted = [Polygon(2, np.array([[20.0, 10], [64, 10], [64, 29], [20, 29]]))]
    first = replace(REGIONS[0], predicted=predicted)
    content = file_json(ImageTask(ENTRY, b"", ".png", [first, REGIONS[1]]), CLASSES)
    points = predicted[0].points.tolist()
    assert content["shapes"][2] == shape("日本", points=points, description="predicted")
    assert list(content["cereals"]["predicted"]) == ["12"]


@pytest.mark.parametrize(
    ("other", "by_model"),
    [
        ({}, False),
        ({"description": "a note"}, False),
        ({"description": "3"}, False),
        ({"score": None}, False),
        ({"description": "predicted"}, True),
        ({"description": '{"score": 0.75, "text": "car"}'}, True),
        ({"score": 0.5}, True),
    ],
)
def test_shapes_that_a_model_drew_are_marked(path, edit, other, by_model):
    edit(shapes=[shape(**other)])
    (drawn,) = read(path)
    assert drawn.shapes[0].by_model is by_model


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shapes": {}}, "'shapes' is dict"),
        ({"shapes": [3]}, "shape 0 is int"),
        ({"shapes": [shape(label=7)]}, "shape 0 has label 7"),
        ({"shapes": [shape(kind="line", points=[[1, 2], [3, 4]])]}, "shape_type 'line'"),
        ({"shapes": [shape(points=[[1, math.nan], [3, 4], [5, 6]])]}, "nan"),
        ({"shapes": [shape(points=[[1, 2e6], [3, 4], [5, 6]])]}, "2000000"),
        ({"shapes": [shape(points=[[1, 2]])]}, "of 1 points"),
        ({"shapes": [shape("__region__", "rectangle", group_id=5)]}, "group_id 5, expected .* 12"),
        ({"shapes": [shape("__region__", "rectangle", group_id=[])]}, r"group_id \[\]"),
        ({"imagePath": "../../etc/passwd"}, "'imagePath' is '../../etc/passwd', expected"),
        ({"imagePath": None}, "'imagePath' is None"),
        ({"imageHeight": None}, "damaged"),
        ({"imageHeight": 10**9, "imageWidth": 10**9}, "damaged"),
        ({"cereals": None}, "has no 'cereals'"),
        ({"cereals": {"format_version": 2}}, "of version 2, expected 1"),
        ({"cereals": {"format_version": 1}}, "damaged"),
    ],
)
def test_damaged_files_are_named(path, edit, fields, message):
    edit(**fields)
    (text,) = problems(path.parent)
    assert text.startswith(str(path)) and re.search(message, text)


def test_all_problems_of_all_files_are_told(path, edit):
    edit(shapes=[shape(label=7), shape(), shape(kind="line"), shape(points=[[1, 2]])])
    (path.parent / "other.json").write_text("{")
    assert [re.search("shape .|broken", text)[0] for text in problems(path.parent)] == [
        "broken",
        "shape 0",
        "shape 2",
        "shape 3",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"regions": None},
        {"regions": [3]},
        {"regions": [{"region": "12"}]},
        {"predicted": []},
        {"predicted": {"a": "b"}},
        {"predicted": {"3": 4}},
        {"round": "3"},
        {"image_id": 5},
        {"request": None},
    ],
)
def test_damage_of_what_was_asked_is_named(path, edit, changed):
    asked = json.loads(path.read_text())["cereals"]
    edit(cereals={**asked, **changed})
    (text,) = problems(path)
    assert text.startswith(str(path))


def test_folder_without_files_is_refused(tmp_path):
    with pytest.raises(UserError, match="no JSON files of LabelMe"):
        read(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "nothing")
