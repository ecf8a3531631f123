"""CVAT for images: against pycocotools, and against datumaro in an environment of its own."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.sources.registry import open_source

HERE = Path(__file__).parent
DATUMARO = HERE.parents[2] / ".venv-datumaro" / "bin" / "python"
HEIGHT, WIDTH = 40, 56


def _records(data, split):
    records = tf.data.TFRecordDataset([str(path) for path in data.shards(split)])
    return {bytes.decode(found["image/id"].numpy()): found for found in map(parse, records)}


def _label(record):
    return decode_label(record["label/encoded"]).numpy()


def _source(folder, *shapes, labels=("road", "car"), name="i0.png", of_image=""):
    """Two images, the first with shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"<label><name>{label}</name></label>" for label in labels)
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    images = f'<image id="0" name="{name}" {size} {of_image}>{"".join(shapes)}</image>'
    images += f'<image id="1" name="i1.png" {size} {of_image}/>'
    meta = f"<meta><task><labels>{listed}</labels></task></meta>"
    text = f"<annotations><version>1.1</version>{meta}{images}</annotations>"
    (folder / "annotations.xml").write_text(text)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for file in (name, "i1.png"):
        path = folder / "images" / file.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def _shape(kind, label="road", layer=0, **values):
    text = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f'<{kind} label="{label}" occluded="0" source="manual" z_order="{layer}" {text}/>'


def _filled(points):
    parts = coco_mask.frPyObjects([np.ravel(points).tolist()], HEIGHT, WIDTH)
    return coco_mask.decode(coco_mask.merge(parts)) > 0


HALF = {"val_percent": 50.0}


def _converted(source, convert, **options):
    """The record of the image with shapes, and the class names."""
    data = convert(source, source.parent / "data", "cvat", **HALF, **options)
    return _records(data, "train")["i0"], list(data.classes.names)


def test_shapes_are_painted_by_layer_as_pycocotools_paints_them(tmp_path, convert):
    low = [[2.25, 3.5], [40, 5], [37.75, 30]]
    high = [[20, 2], [50.5, 20], [10, 38]]
    source = _source(
        tmp_path / "source",
        _shape("polygon", "car", 5, points=";".join(f"{x},{y}" for x, y in high)),
        _shape("polygon", "road", 1, points=";".join(f"{x},{y}" for x, y in low)),
        _shape("box", "road", 9, xtl=44, ytl=30, xbr=52, ybr=38),
    )
    record, names = _converted(source, convert)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[_filled(low)] = names.index("road")
    expected[_filled(high)] = names.index("car")
    expected[30:38, 44:52] = names.index("road")
    np.testing.assert_array_equal(_label(record), expected)
    assert names == ["background", "road", "car"]
    polygons = polygons_of(record)
    assert [names[polygon.class_id] for polygon in polygons] == ["road", "car", "road"]
    np.testing.assert_allclose(polygons[0].points, low)
    assert len(polygons[2].points) == 4


def test_boxes_turn_clockwise_and_ellipses_are_round(tmp_path, convert):
    source = _source(
        tmp_path / "source",
        _shape("box", "road", xtl=10, ytl=10, xbr=30, ybr=14, rotation=90),
        _shape("ellipse", "car", cx=44, cy=20, rx=8, ry=5),
    )
    record, names = _converted(source, convert)
    label = _label(record)
    rows, columns = np.nonzero(label == names.index("road"))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 21, 18, 21)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((x - 44) / 8) ** 2 + ((y - 20) / 5) ** 2 <= 1
    assert ((label == names.index("car")) != inside).sum() <= 8


def test_a_quarter_turn_is_clockwise(tmp_path, convert):
    """As in CVAT, whose y axis points down: the right end of the box goes down."""
    source = _source(
        tmp_path / "source", _shape("box", xtl=20, ytl=18, xbr=40, ybr=22, rotation=45)
    )
    record, _ = _converted(source, convert)
    label = _label(record)
    assert label[25, 35] == 1 and label[15, 35] == 0


def test_masks_are_runs_of_their_box(tmp_path, convert):
    pixels = np.random.default_rng(2).random((7, 9)) < 0.5
    values = pixels.ravel()
    changes = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff([0, *changes, values.size]).tolist()
    text = ", ".join(map(str, [0, *runs] if values[0] else runs))
    box = {"left": 11, "top": 20, "width": 9, "height": 7}
    record, names = _converted(
        _source(tmp_path / "source", _shape("mask", "car", rle=text, **box)), convert
    )
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:27, 11:20] = pixels
    np.testing.assert_array_equal(_label(record) == names.index("car"), expected)


def test_what_is_outside_and_tags_draw_nothing(tmp_path, convert):
    box = {"xtl": 1, "ytl": 1, "xbr": 9, "ybr": 9}
    source = _source(
        tmp_path / "source",
        _shape("box", outside=1, **box),
        '<tag label="road"/>',
        _shape("box", **box),
    )
    record, _ = _converted(source, convert)
    assert _label(record).sum() == 64


def test_subsets_are_splits(tmp_path, convert):
    one = _source(tmp_path / "one", of_image='subset="Train"')
    source = _source(tmp_path / "source", of_image='subset="Validation"', name="cam\\i0.png")
    (one / "annotations.xml").rename(source / "train.xml")
    for path in (one / "images").iterdir():
        (source / "images" / "Train").mkdir(exist_ok=True)
        path.rename(source / "images" / "Train" / path.name)
    data = convert(source, tmp_path / "data", "cvat")
    assert [entry.image_id for entry in data.images["train"]] == ["i0", "i1"]
    assert [entry.image_id for entry in data.images["val"]] == ["cam/i0", "i1"]


def test_classes_have_the_labels_colours_and_shapes_without_area_are_none(tmp_path):
    source = _source(tmp_path / "source")
    path = source / "annotations.xml"
    label = "<label><name>{}</name><color>{}</color><type>{}</type></label>"
    labels = label.format("sky", "#0102ff", "any") + label.format("nose", "#ffffff", "points")
    path.write_text(path.read_text().replace("<label><name>road</name></label>", labels))
    path.write_text(path.read_text().replace("<label><name>car</name></label>", ""))
    classes = open_source("cvat", source).classes
    assert classes.names == ("background", "sky")
    assert classes.palette == ((0, 0, 0), (1, 2, 255))


def test_images_without_shapes_are_said_or_left_to_people(tmp_path, convert):
    source = _source(tmp_path / "source", _shape("box", xtl=1, ytl=1, xbr=9, ybr=9))
    opened = open_source("cvat", source, HALF)
    opened.items()
    (remark,) = opened.log.remarks
    assert remark == "1 image has no shape, all of them is of the class background"
    data = convert(source, tmp_path / "data", "cvat", unlabelled_train=True)
    assert [entry.image_id for entry in data.images["train"]] == ["i1"]
    assert not data.labelled("train")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (_shape("points", points="1,2"), "is of the type points, expected one with an area"),
        (_shape("polygon", points="1,2;3,4"), "expected [x, y, x, y, ...] of three points"),
        (_shape("polygon", points="1,2;3,4;nan,2"), "has the coordinate nan"),
        (_shape("polygon", "truck", points="1,2;3,4;5,2"), "has the unknown class name"),
        (_shape("mask", rle="3, x", left=1, top=1, width=2, height=2), "has runs of 0 pixels"),
        (_shape("mask", rle="4", left=55, top=1, width=2, height=2), "is 2x2 pixels at"),
        (_shape("box", xtl=1, ytl=1, xbr=9), "has ybr None, expected a number"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, shape, message):
    source = open_source("cvat", _source(tmp_path / "source", shape), HALF)
    (item,) = source.items()["train"]
    found = source.annotation(item, HEIGHT, WIDTH)
    assert message in found.problems[0].text
    assert "annotations.xml: image" in found.problems[0].text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations", "broken XML"),
        ("<html/>", "found <html>"),
        ("<annotations><track id='0'/></annotations>", "tracks of a video"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "document type"),
        ("<annotations/>", "no images|the labels"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    source = _source(tmp_path / "source")
    (source / "annotations.xml").write_text(content)
    with pytest.raises(UserError, match=message):
        open_source("cvat", source)


@pytest.mark.datumaro
@pytest.mark.skipif(not DATUMARO.exists(), reason="no environment of datumaro: make test-datumaro")
def test_labels_are_those_of_what_datumaro_wrote(tmp_path, convert):
    source = tmp_path / "source"
    script = HERE / "datumaro_cvat.py"
    subprocess.run([DATUMARO, script, "write", source], check=True, capture_output=True)
    data = convert(source, tmp_path / "data", "cvat", **HALF)
    records = _records(data, "train") | _records(data, "val")
    truth = np.load(source / "truth.npz")
    assert sorted(records) == sorted(truth.files)
    for image_id, record in records.items():
        expected = truth[image_id]
        names = ("road", "car", "sky")
        ids = [data.classes.names.index(name) for name in names]
        np.testing.assert_array_equal(_label(record), np.array([*ids, 0])[expected])
