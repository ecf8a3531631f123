import json

import numpy as np
import pytest
from cityscapesscripts.helpers import labels as official
from cityscapesscripts.helpers.annotation import Annotation as OfficialAnnotation
from cityscapesscripts.preparation.json2labelImg import createLabelImage

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.cityscapes import (
    CLASSES,
    LABELS,
    CityscapesOptions,
    CityscapesSource,
)
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.sources.source import Item

SQUARE = [[2, 2], [20, 2], [20, 14], [2, 14]]
OBJECTS = [
    {"label": "road", "polygon": [[-5, -5], [40, -5], [40, 9.5], [-5, 9.5]]},
    {"label": "cargroup", "polygon": SQUARE},
    {"label": "license plate", "polygon": [[3, 3], [9, 3], [9, 9]]},
    {"label": "polegroup", "polygon": [[15, 0], [17, 0], [17, 12]]},
    {"label": "person", "polygon": [[5.5, 4.25], [11.75, 4.5], [8, 13.9]]},
    {"label": "sky", "polygon": SQUARE, "deleted": 1},
    {"label": "static", "polygon": [[22, 1], [28, 1], [28, 6]], "deleted": 0},
    {"label": "pole", "polygon": [[25, 0], [25, 19]]},
    {"label": "bicyclegroup", "polygon": [[10, 10], [300, 12], [10, 18]]},
]


def _written(folder, objects, height=20, width=30):
    path = folder / "town_000000_000000_gtFine_polygons.json"
    path.write_text(json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects}))
    return path


def _annotation(path, height=20, width=30):
    source = CityscapesSource(path.parent, CityscapesOptions())
    found = source.annotation(Item("town", path.parent / "image.png", path), height, width)
    for problem in found.problems:
        raise UserError(problem.text)
    return found


def test_labels_are_those_of_the_official_tools():
    expected = {
        label.name: (label.id, label.trainId, tuple(label.color)) for label in official.labels
    }
    assert {label.name: tuple(label[1:]) for label in LABELS} == expected
    assert list(CLASSES.names) == [official.trainId2label[i].name for i in range(19)]
    assert list(CLASSES.palette) == [official.trainId2label[i].color for i in range(19)]
    assert CLASSES.ignore_id == 255


def test_every_kind_of_object_is_painted_as_the_official_tools_paint_it(tmp_path):
    path = _written(tmp_path, OBJECTS)
    reference = OfficialAnnotation()
    reference.fromJsonFile(str(path))
    label, polygons, _ = _annotation(path)
    np.testing.assert_array_equal(label, createLabelImage(reference, "trainIds"))
    assert len(np.unique(label)) == 6
    drawn = {0: "road", 1: "car", 3: "polegroup", 4: "person", 6: "static", 7: "pole", 8: "bicycle"}
    expected = [
        (official.name2label[name].trainId, OBJECTS[i]["polygon"]) for i, name in drawn.items()
    ]
    assert [(p.class_id, p.points.tolist()) for p in polygons] == expected


def test_items_are_paired_by_frame_whatever_the_folder(tmp_path):
    frames = {
        "train": ["a/a_000001_000019", "b/b_000000_000000", "a/a_000000_000019"],
        "val": ["c/c_0_0"],
    }
    for split, names in frames.items():
        for name in names:
            for kind, ending in (
                ("leftImg8bit", "_leftImg8bit.png"),
                ("gtFine", "_gtFine_polygons.json"),
            ):
                path = tmp_path / kind / split / f"{name}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        (tmp_path / "gtFine" / split / f"{names[0]}_gtFine_color.png").touch()
    found = CityscapesSource(tmp_path, CityscapesOptions()).items()
    assert {split: [item.image_id for item in items] for split, items in found.items()} == {
        "train": ["a_000000_000019", "a_000001_000019", "b_000000_000000"],
        "val": ["c_0_0"],
    }
    for item in (item for items in found.values() for item in items):
        assert item.image.name == f"{item.image_id}_leftImg8bit.png"
        assert item.annotation.name == f"{item.image_id}_gtFine_polygons.json"
    with pytest.raises(UserError, match="gtCoarse"):
        CityscapesSource(tmp_path, CityscapesOptions(annotations="gtCoarse")).items()
    with pytest.raises(UserError, match="--annotations=gtBest"):
        open_source("cityscapes", tmp_path, {"annotations": "gtBest"})


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


POINTS = {
    "NaN": float("nan"),
    "infinite": float("-inf"),
    "huge": 1e7,
    "beyond floats": 10**400,
    "text": "3",
    "nothing": None,
    "true": True,
    "list": [1],
    "nested": _nested(500),
}


@pytest.mark.parametrize("value", list(POINTS.values()), ids=list(POINTS))
@pytest.mark.parametrize("place", [0, 1])
def test_bad_coordinates_are_refused_with_their_object(tmp_path, value, place):
    point = [1, 1]
    point[place] = value
    objects = [OBJECTS[0], {"label": "car", "polygon": [*SQUARE, point]}]
    with pytest.raises(UserError, match=r"polygons\.json: object 1 has the point") as caught:
        _annotation(_written(tmp_path, objects))
    assert len(str(caught.value)) < 300


OBJECT_LISTS = {
    "no list": {"label": "car"},
    "nothing": None,
    "text": "car",
    "an object that is none": [3],
    "no label": [{"polygon": SQUARE}],
    "label a number": [{"label": 3, "polygon": SQUARE}],
    "label nested": [{"label": _nested(500), "polygon": SQUARE}],
    "label of two lines": [{"label": "road\nroad", "polygon": SQUARE}],
    "unknown class": [{"label": "spaceship", "polygon": SQUARE}],
    "unknown group": [{"label": "group", "polygon": SQUARE}],
    "no polygon": [{"label": "car"}],
    "no points": [{"label": "car", "polygon": []}],
    "polygon a number": [{"label": "car", "polygon": 7}],
    "points of three": [{"label": "car", "polygon": [[1, 2, 3]]}],
    "points of one": [{"label": "car", "polygon": [[1]]}],
    "points by name": [{"label": "car", "polygon": [{"x": 1, "y": 2}]}],
}


@pytest.mark.parametrize("objects", list(OBJECT_LISTS.values()), ids=list(OBJECT_LISTS))
def test_bad_objects_are_refused_and_the_file_named(tmp_path, objects):
    with pytest.raises(UserError, match=r"gtFine_polygons\.json") as caught:
        _annotation(_written(tmp_path, objects))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xff", b'{"imgHeight": 1' + b"0" * 5000, b"[" * 10**5, b"{}"],
)
def test_bad_files_are_refused_and_named(tmp_path, content):
    path = tmp_path / "town_000000_000000_gtFine_polygons.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"gtFine_polygons\.json"):
        _annotation(path)


@pytest.mark.parametrize("depth", [900, 950, 975, 985, 990, 995, 1000])
def test_nesting_near_the_limit_of_the_parser_is_refused(tmp_path, depth):
    path = tmp_path / "town_000000_000000_gtFine_polygons.json"
    value = "[" * depth + "]" * depth
    for content in (
        '{"imgHeight": NEST, "imgWidth": 3}',
        '{"imgHeight": 20, "imgWidth": 30, "objects": [{"label": NEST}]}',
        '{"imgHeight": 20, "imgWidth": 30, "objects": [{"label": "car", "polygon": [NEST]}]}',
    ):
        path.write_text(content.replace("NEST", value))
        with pytest.raises(UserError, match=r"gtFine_polygons\.json"):
            _annotation(path)


def test_size_that_is_not_the_image_s_and_folders_are_refused(tmp_path):
    path = _written(tmp_path, OBJECTS, height=30, width=20)
    with pytest.raises(UserError, match=r"\[30, 20\].* image\.png is \[20, 30\]"):
        _annotation(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"gtFine_polygons\.json"):
        _annotation(path)
