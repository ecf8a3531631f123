import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.sources.label_sets import VOC
from cereals_tf.data_prep.sources.registry import open_source

HEIGHT, WIDTH = 24, 33


def _slow_colour(i):
    """`VOClabelcolormap` of the development kit, bit by bit."""
    red = green = blue = 0
    for j in range(8):
        red |= (i & 1) << (7 - j)
        green |= (i >> 1 & 1) << (7 - j)
        blue |= (i >> 2 & 1) << (7 - j)
        i >>= 3
    return red, green, blue


def _write_mask(path, mask):
    image = Image.fromarray(mask)
    image.putpalette([part for i in range(256) for part in _slow_colour(i)])
    image.save(path)


def _write_voc(folder, **splits):
    """Writes noise JPEGs and masks of objects with a void border, and the lists of the splits."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for split, names in splits.items():
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            rng = np.random.default_rng(sum(name.encode()))
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            for x in (2, 13, 24):
                mask[4:20, x : x + 8] = 255
                mask[5:19, x + 1 : x + 7] = rng.integers(1, 21)
            _write_mask(folder / "SegmentationClass" / f"{name}.png", mask)
    return folder


@pytest.fixture
def voc(tmp_path):
    return _write_voc(tmp_path / "voc", train=["2007_b", "2007_a"], val=["2008_c"])


def test_classes_are_those_of_the_development_kit():
    assert [VOC.labels.classes.palette[i] for i in range(21)] == [
        _slow_colour(i) for i in range(21)
    ]
    assert _slow_colour(255) == (224, 224, 192)
    colours = dict(zip(VOC.labels.classes.names, VOC.labels.classes.palette, strict=True))
    assert colours["background"] == (0, 0, 0)
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)
    assert VOC.labels.classes.ignore_id == 255


def test_records_hold_the_palette_indices_and_the_source_s_bytes(tmp_path, convert):
    folder = tmp_path / "source/VOCdevkit/VOC2012"
    _write_voc(folder, train=["2007_b", "2007_a"], val=["2008_c"])
    shutil.copy(folder / "JPEGImages/2007_a.jpg", folder / "JPEGImages/not_listed.jpg")
    data = convert(tmp_path / "source", tmp_path / "out", "voc", tolerance=0.0)
    assert data.classes == VOC.labels.classes
    for split, names in (("train", ["2007_a", "2007_b"]), ("val", ["2008_c"])):
        shards = [str(path) for path in data.shards(split)]
        records = [parse(content) for content in tf.data.TFRecordDataset(shards)]
        assert [record["image/id"].numpy().decode() for record in records] == names
        for record, name in zip(records, names, strict=True):
            image = folder / "JPEGImages" / f"{name}.jpg"
            assert record["image/encoded"].numpy() == image.read_bytes()
            mask = np.asarray(Image.open(folder / "SegmentationClass" / f"{name}.png"))
            assert {0, 255} < set(np.unique(mask))
            np.testing.assert_array_equal(decode_label(record["label/encoded"]), mask)
            outlined = {polygon.class_id for polygon in polygons_of(record)}
            assert outlined == set(np.unique(mask)) - {255}
    rated = data.split("train").polygon_iou_per_class.values()
    assert {value for value in rated if value is not None} == {1.0}


def test_other_classes_come_from_a_classes_file(voc):
    names = [f"class {i}" for i in range(30)]
    (voc / "classes.json").write_text(json.dumps({"names": names, "ignore_id": 200}))
    _write_mask(voc / "SegmentationClass/2007_a.png", np.full((HEIGHT, WIDTH), 29, np.uint8))
    source = open_source("voc", voc)
    assert source.classes.names == tuple(names)
    assert source.classes.ignore_id == 200
    first, second = source.items()["train"]
    assert (source.annotation(first, HEIGHT, WIDTH).label == 29).all()
    with pytest.raises(UserError, match=r"2007_b\.png: label id 255 .* 30 classes"):
        source.annotation(second, HEIGHT, WIDTH)


def _write_list(text):
    return lambda voc: (voc / "ImageSets/Segmentation/val.txt").write_bytes(text)


def _save_mask(array):
    return lambda voc: Image.fromarray(array).save(voc / "SegmentationClass/2008_c.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda voc: shutil.rmtree(voc / "JPEGImages"), "JPEGImages: no such folder"),
        (lambda voc: shutil.rmtree(voc / "ImageSets"), "Segmentation: no such folder"),
        (lambda voc: (voc / "ImageSets/Segmentation/val.txt").unlink(), r"val\.txt: no such"),
        (_write_list(b" \n\n"), r"val\.txt: lists no image"),
        (_write_list(b"2008_c\n\xff\n"), r"val\.txt: .* UTF-8"),
        (_write_list(b"2008_c\n\n 2008_c \n"), r"val\.txt: line 3: '2008_c' .*twice.* line 1"),
        (_write_list(b"2008_c\n2007_a\n"), r"val\.txt: line 2: '2007_a' .*twice.*train\.txt"),
        (_write_list(b"2008_c\nnothing\n"), r"val\.txt: line 2 .*nothing\.jpg"),
        (_write_list(b"../SegmentationClass/2008_c\n"), r"val\.txt: line 1 .*not inside"),
        (_write_list(b"/etc/x\n"), r"val\.txt: line 1 .*not inside"),
        (_write_list(b"a" * 9000), r"val\.txt: line 1 "),
        (_write_list(b"a\0b"), r"val\.txt: line 1 "),
        (lambda voc: (voc / "SegmentationClass/2008_c.png").unlink(), r"line 1 .*2008_c\.png"),
        (lambda voc: (voc / "SegmentationClass/2008_c.png").write_bytes(b"x"), r"2008_c\.png"),
        (_save_mask(np.full((HEIGHT, WIDTH), 21, np.uint8)), r"2008_c\.png: label id 21"),
        (_save_mask(np.full((HEIGHT, WIDTH, 3), [9, 8, 7], np.uint8)), r"2008_c\.png: 792 pixels"),
        (_save_mask(np.zeros((WIDTH, HEIGHT), np.uint8)), r"2008_c\.png: mask is 33x24.* 24x33"),
        (lambda voc: (voc / "classes.json").write_text("{"), r"classes\.json"),
    ],
)
def test_damage_is_refused_and_named(voc, strict, damage, message):
    damage(voc)
    with pytest.raises(UserError, match=message):
        source = strict(open_source("voc", voc))
        (item,) = source.items()["val"]
        source.annotation(item, HEIGHT, WIDTH)
