import base64
import io
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.sources.registry import open_source

HEIGHT, WIDTH = 30, 40


def _shape(label, points, shape_type="polygon", mask=None):
    """A shape as LabelMe 5 writes it."""
    encoded = None
    if mask is not None:
        buffer = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8)).save(buffer, "png")
        encoded = base64.b64encode(buffer.getvalue()).decode()
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": shape_type,
        "flags": {},
        "mask": encoded,
    }


def _write(folder, stem, shapes, image=None, **more):
    """Writes an image of noise and its file as LabelMe 5 writes it."""
    (folder / stem).parent.mkdir(parents=True, exist_ok=True)
    path = (folder / stem).with_name(f"{(folder / stem).name}.png")
    if image is None:
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image or path.name,
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **more,
    }
    (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


BLOT = np.random.default_rng(1).random((9, 12)) < 0.7
ROAD = _shape("road", [[-3.0, 12.5], [39.25, 10.0], [39.5, 29.0], [0.5, 29.5]])
CAR = _shape("car", [[30.25, 25.5], [17.5, 12.0]], "rectangle")
SUN = _shape("sun", [[33.5, 6.25], [36.0, 9.0]], "circle")
TREE = _shape("tree", [[4, 8], [15, 16]], "mask", BLOT)
VOID = _shape("__ignore__", [[20, 14], [26, 14], [26, 20], [20, 20]], "oriented_rectangle")
SHAPES = [ROAD, CAR, SUN, TREE, VOID]
NAMES = ("car", "road", "sun", "tree")


def _official_mask(shape):
    """`labelme.utils.shape_to_mask`, and `shapes_to_label` for a mask."""
    points, kind = shape["points"], shape["shape_type"]
    if kind == "mask":
        mask = np.zeros((HEIGHT, WIDTH), bool)
        (x1, y1), (x2, y2) = points
        mask[y1 : y2 + 1, x1 : x2 + 1] = BLOT
        return mask
    canvas = Image.new("L", (WIDTH, HEIGHT))
    drawer = ImageDraw.Draw(canvas)
    if kind == "circle":
        (cx, cy), (px, py) = points
        d = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
        drawer.ellipse(((cx - d, cy - d), (cx + d, cy + d)), outline=1, fill=1)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        box = ((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1)))
        drawer.rectangle(box, outline=1, fill=1)
    else:
        drawer.polygon([tuple(point) for point in points], outline=1, fill=1)
    return np.array(canvas) > 0


def _official_label(shapes, names, unlabelled):
    label = np.full((HEIGHT, WIDTH), unlabelled, np.uint8)
    for shape in shapes:
        name = shape["label"]
        label[_official_mask(shape)] = 255 if name == "__ignore__" else names.index(name)
    return label


@pytest.fixture
def source(tmp_path):
    folder = _write(tmp_path / "source", "train/a", SHAPES)
    _write(folder, "train/deep/er/b", SHAPES[::-1], imageHeight=None, imageWidth=None)
    return _write(folder, "val/c.d", [CAR], imageData="bm90IHJlYWQ=")


def test_records_hold_the_shapes_as_labelme_paints_them(tmp_path, source, convert):
    image = source / "train/a.png"
    Image.open(image).save(source / "train/a.jpg", quality=75)
    image.unlink()
    _write(source, "train/a", SHAPES, image=r"..\train\.\a.jpg")
    data = convert(source, tmp_path / "out", "labelme", tolerance=0.0)
    assert data.classes.names == NAMES
    assert data.classes.ignore_id == 255
    records = {}
    for split in ("train", "val"):
        shards = [str(path) for path in data.shards(split)]
        for content in tf.data.TFRecordDataset(shards):
            record = parse(content)
            records[record["image/id"].numpy().decode()] = record
    assert list(records) == ["a", "deep/er/b", "c.d"]
    expected = {"a": SHAPES, "deep/er/b": SHAPES[::-1], "c.d": [CAR]}
    files = {"a": "train/a.jpg", "deep/er/b": "train/deep/er/b.png", "c.d": "val/c.d.png"}
    for name, record in records.items():
        assert record["image/encoded"].numpy() == (source / files[name]).read_bytes()
        label = decode_label(record["label/encoded"])
        np.testing.assert_array_equal(label, _official_label(expected[name], NAMES, 255))
    assert set(np.unique(decode_label(records["a"]["label/encoded"]))) == {0, 1, 2, 3, 255}

    polygons = polygons_of(records["a"])
    assert sorted({p.class_id for p in polygons}) == [0, 1, 2, 3, 255]
    assert polygons[0].points.tolist() == ROAD["points"]
    assert polygons[-1].points.tolist() == VOID["points"]
    corners = [[17.5, 12.0], [30.25, 12.0], [30.25, 25.5], [17.5, 25.5]]
    assert polygons[1].points.tolist() == corners
    rated = data.split("train").polygon_iou_per_class
    assert rated["sun"] == 1.0
    assert min(rated["car"], rated["road"]) > 0.9
    assert 0.5 < rated["tree"] < 1.0  # its mask has holes


def test_unlabelled_pixels_are_background_where_that_is_a_class(tmp_path):
    back = _shape("_background_", [[1, 1], [5, 1], [5, 5]])
    folder = _write(tmp_path, "a", [CAR, back])
    _write(folder, "b", [CAR])
    opened = open_source("labelme", folder, {"val_percent": 50.0})
    assert opened.classes.names == ("_background_", "car")
    assert opened.background == 0
    (item,) = opened.items()["val"]
    assert item.image_id == "b"
    found = opened.annotation(item, HEIGHT, WIDTH).label
    np.testing.assert_array_equal(found, _official_label([CAR], opened.classes.names, 0))


def test_classes_file_has_the_last_word(tmp_path, source, strict):
    classes = {"names": ["tree", "_background_", "road", "car"], "ignore_id": 9}
    (source / "classes.json").write_text(json.dumps(classes))
    opened = open_source("labelme", source)
    assert opened.classes.names == tuple(classes["names"])
    (item,) = opened.items()["val"]
    assert set(np.unique(opened.annotation(item, HEIGHT, WIDTH).label)) == {1, 3}
    with pytest.raises(UserError, match=r"a\.json: shape 2 has the unknown class name 'sun'"):
        strict(opened).annotation(opened.items()["train"][0], HEIGHT, WIDTH)
    _write(source, "val/c.d", [VOID])
    label = opened.annotation(item, HEIGHT, WIDTH).label
    assert set(np.unique(label)) == {1, 9}
    (source / "classes.json").write_text(json.dumps({"names": ["car", "__ignore__"]}))
    with pytest.raises(UserError, match=r"classes\.json: __ignore__ stands for 'ignore_id'"):
        open_source("labelme", source)


def test_splits_are_named_or_divided(tmp_path, source):
    shutil.rmtree(source / "val")
    with pytest.raises(UserError, match="val: no such folder"):
        open_source("labelme", source)
    (source / "train").rename(source / "pictures")
    splits = open_source("labelme", source, {"val_percent": 50.0}).items()
    assert [item.image_id for item in splits["train"]] == ["pictures/a"]
    assert [item.image_id for item in splits["val"]] == ["pictures/deep/er/b"]
    shutil.rmtree(source / "pictures")
    with pytest.raises(UserError, match="no JSON files of LabelMe"):
        open_source("labelme", source)


def _shapes(*shapes):
    return lambda source: _write(source, "val/c.d", list(shapes))


def _content(**more):
    return lambda source: _write(source, "val/c.d", [CAR], **more)


def _with(shape, **more):
    return _shapes(CAR, {**shape, **more})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda source: (source / "val/c.d.json").write_text("{"), "broken JSON"),
        (lambda source: (source / "val/c.d.json").write_text("[]"), "expected an object"),
        (lambda source: (source / "val/c.d.png").unlink(), r"'imagePath' .*c\.d\.png.* no file"),
        (_content(imagePath="../../../secret.png"), "'imagePath' .*not inside"),
        (_content(imagePath="..\\..\\..\\secret.png"), "'imagePath' .*not inside"),
        (_content(imagePath="/etc/passwd"), "'imagePath' .*not inside"),
        (_content(imagePath=None), "'imagePath' .*expected a file name"),
        (_content(imagePath="../train/deep/er/b.png"), r"c\.d\.png: image without an annotation"),
        (lambda source: _write(source, "val/c.d.2", [], image="c.d.png"), r"c\.d\.2\.json.* does"),
        (_content(imageHeight=WIDTH), r"\[imageHeight, imageWidth\] \[40, 40\].* \[30, 40\]"),
        (lambda source: _write(source, "val/c.d", None), "'shapes' is NoneType"),
        (_shapes(CAR, 7), "shape 1 is int"),
        (_with(CAR, label=None), "shape 1 has label None"),
        (_with(CAR, label="\ud800"), "shape 1 has label"),
        (_with(ROAD, points=[[1, 1], [5, 5]]), "shape 1 is a polygon of 2 points"),
        (_with(ROAD, points=[[1, 1], [5, 5], [1, float("inf")]]), "shape 1 has the point"),
        (_with(ROAD, points=None), "shape 1 has no polygon points"),
        (_with(CAR, points=[[1, 1]]), "shape 1 is a rectangle of 1 points, expected 2"),
        (_with(SUN, points=[[1, 1], [1e6, 1e6]]), "shape 1 is a circle of radius"),
        (_with(ROAD, shape_type="linestrip"), "shape 1 has shape_type 'linestrip'.* area"),
        (_with(CAR, shape_type="point"), "shape 1 has shape_type 'point'"),
        (_with(ROAD, shape_type=3), "shape 1 has shape_type 3"),
        (_with(TREE, mask=None), "shape 1 has the mask None"),
        (_with(TREE, mask="%%%"), "shape 1 has the mask '%%%'"),
        (_with(TREE, mask="AAAA"), "shape 1: its mask: not a PNG"),
        (_with(TREE, mask=TREE["mask"][:40]), "shape 1: its mask"),
        (_with(TREE, points=[[4, 8], [16, 16]]), "shape 1 has a mask of 9x12 .* expected 9x13"),
        (_with(TREE, points=[[40, 8], [51, 16]]), r"shape 1 has a mask from \[40, 8\]"),
        (_with(TREE, points=[[-1, 8], [10, 16]]), r"shape 1 has a mask from \[-1, 8\]"),
    ],
)
def test_damage_is_refused_and_named(source, strict, damage, message):
    damage(source)
    with pytest.raises(UserError, match=message) as caught:
        opened = strict(open_source("labelme", source))
        (item,) = opened.items()["val"]
        opened.annotation(item, HEIGHT, WIDTH)
    assert "c.d" in str(caught.value)


@pytest.mark.parametrize("labels", [["car"], [f"class {i}" for i in range(256)]])
def test_too_few_and_too_many_labels_are_refused(tmp_path, labels):
    _write(tmp_path, "a", [{**CAR, "label": label} for label in labels])
    with pytest.raises(UserError, match=f"has {len(labels)} labels .*expected 2 to 255"):
        open_source("labelme", tmp_path)
