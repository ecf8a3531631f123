import contextlib
import io
import json
import sys
from copy import deepcopy

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.sources.registry import open_source

HEIGHT, WIDTH = 30, 40
CATEGORIES = [
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 62, "name": "chair", "supercategory": "furniture"},
]
TRAIN_IDS = {1: 1, 18: 2, 62: 3}


def _ellipse(y, x, height, width):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1).astype(np.uint8)


def _compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def _uncompressed(mask):
    values = mask.T.ravel()
    changes = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff([0, *changes, values.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if values[0] else runs}


def _annotation(number, image, category, segmentation, **more):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


DOG = [[2.5, 3.25, 20.75, 2.0, 24.5, 18.0, 3.0, 16.5], [26.0, 20.0, 38.5, 21.0, 30.25, 29.0]]
CHAIR = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]
SMALL = [[12, 8, 18, 8, 18, 14, 12, 14]]
OUTSIDE = [[-3.5, -2.0, 9.0, -1.0, 9.0, 6.0, -3.5, 6.0]]
TRAIN = {
    "categories": CATEGORIES,
    "images": [
        {"id": 7, "file_name": "000000000007.jpg", "height": HEIGHT, "width": WIDTH},
        {"id": 3, "file_name": "deep/000000000003.png", "height": HEIGHT, "width": WIDTH},
        {"id": 9, "file_name": "000000000009.jpg", "height": HEIGHT, "width": WIDTH},
    ],
    "annotations": [
        _annotation(102, 7, 1, SMALL),
        _annotation(101, 7, 62, CHAIR),
        _annotation(900100000001, 7, 1, _uncompressed(_ellipse(9, 30, 8, 9)), iscrowd=1),
        _annotation(103, 7, 18, DOG),
        _annotation(104, 7, 18, OUTSIDE),
        _annotation(106, 3, 18, CHAIR),
        _annotation(105, 3, 1, CHAIR),
        _annotation(107, 3, 62, _compressed(_ellipse(15, 20, 4, 9) | _ellipse(3, 4, 2, 2))),
    ],
}
VAL = {
    "categories": CATEGORIES,
    "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
    "annotations": [_annotation(1, 1, 62, CHAIR)],
}


def _write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def _write_coco(folder, train=TRAIN, val=VAL):
    (folder / "annotations").mkdir(parents=True)
    for split, content in (("train", train), ("val", val)):
        (folder / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
        for image in {"train": TRAIN, "val": VAL}[split]["images"]:
            _write_image(folder / f"{split}2017" / image["file_name"])
    return folder


def _official(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def _slow_label(coco, image_id, crowd=None):
    """The train id of every pixel: that of the smallest object over it, the last of equal ones."""
    annotations = coco.loadAnns(coco.getAnnIds(image_id))
    masks = [coco.annToMask(annotation) for annotation in annotations]
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            over = [
                (-int(mask.sum()), annotation["id"], annotation)
                for mask, annotation in zip(masks, annotations, strict=True)
                if mask[y, x]
            ]
            if over:
                top = max(over, key=lambda entry: entry[:2])[2]
                ignored = top["iscrowd"] and crowd is not None
                label[y, x] = crowd if ignored else TRAIN_IDS[top["category_id"]]
    return label


def test_records_hold_the_masks_of_pycocotools_and_the_annotations_polygons(tmp_path, convert):
    source = _write_coco(tmp_path / "source")
    _write_image(source / "train2017/not_listed.jpg")
    data = convert(source, tmp_path / "out", "coco", crowds="ignore")
    assert data.classes.names == ("background", "person", "dog", "chair")
    assert data.classes.ignore_id == 255
    records = {}
    for split in ("train", "val"):
        shards = [str(path) for path in data.shards(split)]
        found = [parse(content) for content in tf.data.TFRecordDataset(shards)]
        records[split] = {record["image/id"].numpy().decode(): record for record in found}
    assert list(records["train"]) == ["000000000007", "000000000009", "deep/000000000003"]
    assert list(records["val"]) == ["a"]
    for split, content in (("train", TRAIN), ("val", VAL)):
        coco = _official(source / f"annotations/instances_{split}2017.json")
        for image in content["images"]:
            record = records[split][image["file_name"].rpartition(".")[0]]
            path = source / f"{split}2017" / image["file_name"]
            assert record["image/encoded"].numpy() == path.read_bytes()
            np.testing.assert_array_equal(
                decode_label(record["label/encoded"]), _slow_label(coco, image["id"], 255)
            )
    label = decode_label(records["train"]["000000000007"]["label/encoded"])
    assert set(np.unique(label)) == {0, 1, 2, 3, 255}

    polygons = polygons_of(records["train"]["000000000007"])
    drawn = [(p.class_id, p.points.ravel().tolist()) for p in polygons if p.class_id != 255]
    parts = [(3, CHAIR[0]), (2, DOG[0]), (2, DOG[1]), (2, OUTSIDE[0]), (1, SMALL[0])]
    assert drawn == parts
    assert [p.class_id for p in polygons].count(255) == 1
    last = polygons_of(records["train"]["deep/000000000003"])
    assert [p.class_id for p in last] == [1, 2, 3, 3]
    assert polygons_of(records["train"]["000000000009"]) == []
    assert data.split("val").polygon_iou_per_class["background"] > 0.9


def test_a_crowd_is_of_its_class_unless_crowds_are_ignored(tmp_path):
    """CVAT writes every mask that was brushed as a crowd."""
    folder = _write_coco(tmp_path)
    coco = _official(folder / "annotations/instances_train2017.json")
    for crowds, crowd in (("class", None), ("ignore", 255)):
        source = open_source("coco", folder, {"crowds": crowds})
        item = source.items()["train"][0]
        found = source.annotation(item, HEIGHT, WIDTH).label
        np.testing.assert_array_equal(found, _slow_label(coco, 7, crowd))
        assert (255 in found) == (crowd == 255)
        assert (
            source.log.remarks
            == ["1 annotations are crowds, their pixels are ignored"][: crowd == 255]
        )


def test_run_lengths_of_any_mask_are_read_as_pycocotools_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 9), (9, 1), (5, 7), (64, 80)]
    masks = [
        (rng.random(size) < share).astype(np.uint8)
        for size in sizes
        for share in (0, 0.02, 0.5, 0.9, 1)
    ]
    masks.append(np.kron(rng.integers(0, 2, (5, 4)), np.ones((300, 200))).astype(np.uint8))
    content = {"categories": CATEGORIES, "images": [], "annotations": []}
    for i, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"{i:03}.png")
        height, width = mask.shape
        content["images"].append(
            {"id": i, "file_name": f"{i:03}.png", "height": height, "width": width}
        )
        segmentation = (_compressed, _uncompressed)[i % 2](mask)
        content["annotations"].append(_annotation(i, i, 18, segmentation))
    (tmp_path / "all.json").write_text(json.dumps(content))
    source = open_source("coco", tmp_path, {"annotations": "all.json", "images": "."})
    splits = source.items()
    assert len(splits["val"]) == len(masks) // 5
    for item in splits["train"] + splits["val"]:
        mask = masks[int(item.image_id)]
        label, polygons, _ = source.annotation(item, *mask.shape)
        np.testing.assert_array_equal(label, 2 * mask)
        assert {polygon.class_id for polygon in polygons} == ({2} if mask.any() else set())


@pytest.mark.parametrize(
    ("change", "names", "unlabelled"),
    [
        ({}, ("background", "person", "dog", "chair"), 0),
        ({"name": "background"}, ("person", "background", "chair"), 1),
        ({"isthing": 0}, ("person", "dog", "chair"), 255),
        ({"isthing": 1}, ("background", "person", "dog", "chair"), 0),
    ],
)
def test_pixels_without_annotation(tmp_path, change, names, unlabelled):
    content = deepcopy(VAL)
    content["categories"][0].update(change)
    _write_image(tmp_path / "train2017/a.jpg")
    source = open_source("coco", _write_coco(tmp_path, content, content))
    assert source.classes.names == names
    (item,) = source.items()["val"]
    label = source.annotation(item, HEIGHT, WIDTH).label
    assert set(np.unique(label)) == {unlabelled, names.index("chair")}
    assert source.background == unlabelled


def test_pycocotools_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"pip install cereals-tf\[coco\]"):
        open_source("coco", _write_coco(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotations": "all.json"}, "--annotations=all.json is one file"),
        ({"annotations": "all.json", "images": "train2017"}, r"all\.json: cannot be read"),
        ({"annotations": "{split}.json"}, r"val\.json: cannot be read"),
        ({"images": "{split}"}, "train: no such folder"),
        (
            {"annotations": "annotations/instances_val2017.json", "images": "val2017"},
            "--val_percent=20 of 1 image leaves",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        open_source("coco", _write_coco(tmp_path), options).items()


def _set(*path, to):
    """Returns a change of one place in the content of val's file."""

    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


def _segmentation(value):
    return _set("annotations", 0, "segmentation", to=value)


SIZE = [HEIGHT, WIDTH]
LONG = _compressed(np.ones((HEIGHT, WIDTH + 1), np.uint8))["counts"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("images", to={}), "'images' is dict"),
        (_set("images", to=[]), "no images"),
        (_set("images", to=[4]), r"images\[0\] is int"),
        (_set("images", to=VAL["images"] * 2), r"images\[1\] has the duplicate id 1"),
        (
            _set("images", to=[VAL["images"][0], {**VAL["images"][0], "id": 2}]),
            r"images\[1\] has the image 'a', also the image of .*images\[0\]",
        ),
        (_set("images", 0, "file_name", to="b.jpg"), r"images\[0\] .*b\.jpg"),
        (_set("images", 0, "file_name", to="../train2017/000000000007.jpg"), "not inside"),
        (_set("images", 0, "file_name", to="/etc/passwd"), "not inside"),
        (_set("images", 0, "file_name", to=None), "expected a file name"),
        (_set("images", 0, "height", to=WIDTH), r"\[40, 40\] of a\.jpg, the image is \[30, 40\]"),
        (_set("categories", 0, "name", to="cat"), "not those of the other splits"),
        (_set("categories", 0, "name", to="person"), r"categories\[1\] .*duplicate name 'person'"),
        (_set("categories", 0, "name", to=""), r"categories\[0\] has the name ''"),
        (_set("categories", to=[]), "no categories"),
        (_set("annotations", to=None), "'annotations' is NoneType"),
        (_set("annotations", to=VAL["annotations"] * 2), r"annotations\[1\] .*duplicate id 1"),
        (_set("annotations", 0, "image_id", to=2), "image_id 2, which no image has"),
        (_set("annotations", 0, "category_id", to=2), "category_id 2, which no category has"),
        (_set("annotations", 0, "category_id", to="one"), "'category_id' 'one'"),
        (_set("annotations", 0, "iscrowd", to="no"), "annotation 1 has 'iscrowd' 'no'"),
        (_segmentation(True), "annotation 1 has the segmentation True"),
        (_segmentation([]), "annotation 1 has an empty segmentation"),
        (_segmentation([[1, 1, 5, 5]]), "annotation 1: polygon 0 is"),
        (_segmentation([*CHAIR, [1, 1, 5, 5, 9, 9, 9]]), "annotation 1: polygon 1 is"),
        (_segmentation([[1, 1, 5, 5, 9, float("nan")]]), "polygon 0 has the coordinate nan"),
        (_segmentation([[1, 1, 5, 5, 9, 1e9]]), "polygon 0 has the coordinate 1000000000.0"),
        (_segmentation([[1, 1, 5, 5, 9, "2"]]), "polygon 0 has the coordinate '2'"),
        (_segmentation({"size": [40, 30], "counts": [1200]}), r"RLE of size \[40, 30\]"),
        (_segmentation({"size": SIZE, "counts": [600, 500]}), "RLE of 1100 pixels"),
        (_segmentation({"size": SIZE, "counts": [1300, -100]}), "no lengths"),
        (_segmentation({"size": SIZE, "counts": [1200.0]}), "no lengths"),
        (_segmentation({"size": SIZE}), "no lengths"),
        (_segmentation({"size": SIZE, "counts": LONG}), "RLE of 1230 pixels"),
        (_segmentation({"size": SIZE, "counts": "ooo"}), "ends within a number"),
        (_segmentation({"size": SIZE, "counts": "o" * 50}), "wrong character 'o'"),
        (_segmentation({"size": SIZE, "counts": "  "}), "wrong character ' '"),
    ],
)
def test_damage_is_refused_and_named(tmp_path, strict, change, message):
    content = deepcopy(VAL)
    change(content)
    with pytest.raises(UserError, match=message) as caught:
        source = strict(open_source("coco", _write_coco(tmp_path, val=content)))
        (item,) = source.items()["val"]
        source.annotation(item, HEIGHT, WIDTH)
    assert "instances_val2017.json" in str(caught.value)
