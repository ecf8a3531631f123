"""Conversion of whole sources, sound and damaged ones."""

import csv
import io
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from cityscapesscripts.helpers.annotation import Annotation as OfficialAnnotation
from cityscapesscripts.helpers.labels import name2label
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cereals_tf.data_prep import prepare as prepare_module
from cereals_tf.data_prep.conversion import convert_item
from cereals_tf.data_prep.damage import damaged_records
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.parallel import ordered_map
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.shards import serialize_checked
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.sources.source import Item


def _contents(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _records(data, split):
    """Parsed records by image id, in order."""
    shards = tf.data.TFRecordDataset([str(path) for path in data.shards(split)])
    parsed = [parse(content) for content in shards]
    return {record["image/id"].numpy().decode(): record for record in parsed}


def _converted(source, item):
    """What becomes the item's record; raises its first problem."""
    converted, problems = convert_item(source, item)
    for problem in problems:
        raise UserError(problem.text)
    return converted


# Sound sources.


def test_cityscapes_records_hold_the_official_train_ids_and_the_source_s_bytes(
    cityscapes_source, cityscapes_data
):
    for split, count in (("train", 3), ("val", 2)):
        found = _records(cityscapes_data, split)
        assert len(found) == count
        assert list(found) == sorted(found)
        for image_id, record in found.items():
            town = image_id.partition("_")[0]
            image = cityscapes_source / f"leftImg8bit/{split}/{town}/{image_id}_leftImg8bit.png"
            annotation = OfficialAnnotation()
            annotation.fromJsonFile(
                str(cityscapes_source / f"gtFine/{split}/{town}/{image_id}_gtFine_polygons.json")
            )
            np.testing.assert_array_equal(
                decode_label(record["label/encoded"]), createLabelImage(annotation, "trainIds")
            )
            assert record["image/encoded"].numpy() == image.read_bytes()
            assert record["image/format"].numpy() == b"png"
            assert (int(record["image/height"]), int(record["image/width"])) == (64, 96)
            polygons = [(p.class_id, p.points.tolist()) for p in polygons_of(record)]
            assert polygons == [
                (name2label[item.label].trainId, [list(point) for point in item.polygon])
                for item in annotation.objects
                if item.label != "license plate"
            ]


def test_masks_are_kept_exactly(masks_source, masks_data):
    for split, names in (("train", "abc"), ("val", "d")):
        found = _records(masks_data, split)
        assert list(found) == list(names)
        for name, record in found.items():
            mask = np.asarray(Image.open(masks_source / split / "labels" / f"{name}.png"))
            assert set(np.unique(mask)) == {0, 1, 2, 9}
            np.testing.assert_array_equal(decode_label(record["label/encoded"]), mask)
            image = masks_source / split / "images" / f"{name}.png"
            assert record["image/encoded"].numpy() == image.read_bytes()
            assert {polygon.class_id for polygon in polygons_of(record)} == {0, 1, 2}


def test_jpeg_images_and_palette_masks_in_camvid_s_layout(tmp_path, write_masks, convert):
    source = write_masks(tmp_path / "source", ["train/a", "val/b"], size=(31, 17))
    for split, name in (("train", "a"), ("val", "b")):
        path = source / split / "images" / f"{name}.png"
        progressive = {"quality": 71, "progressive": True, "comment": b"kept"}
        Image.open(path).save(path.with_suffix(".JPG"), "jpeg", **progressive)
        path.unlink()
        mask = Image.open(source / split / "labels" / f"{name}.png")
        mask.putpalette([7, 7, 7, 255, 0, 0, 0, 255, 0] + [40] * 21)
        mask.save(source / split / "labels" / f"{name}.png")
    data = convert(source, tmp_path / "out", "camvid")
    assert data.description.source == "camvid"
    record = _records(data, "train")["a"]
    assert record["image/encoded"].numpy() == (source / "train/images/a.JPG").read_bytes()
    assert record["image/format"].numpy() == b"jpeg"
    mask = np.asarray(Image.open(source / "train/labels/a.png"))
    np.testing.assert_array_equal(decode_label(record["label/encoded"]), mask)


def test_description_is_what_a_slow_count_gives(cityscapes_source, cityscapes_data):
    names = cityscapes_data.classes.names
    for split in ("train", "val"):
        pixels, clicks, clicks_of_image = Counter(), Counter(), []
        for path in sorted((cityscapes_source / "gtFine" / split).rglob("*_polygons.json")):
            annotation = OfficialAnnotation()
            annotation.fromJsonFile(str(path))
            pixels.update(np.asarray(createLabelImage(annotation, "trainIds")).ravel().tolist())
            before = clicks.total()
            for item in annotation.objects:
                if item.label != "license plate":
                    clicks[name2label[item.label].trainId] += len(item.polygon)
            clicks_of_image.append(clicks.total() - before)
        images = len(clicks_of_image)
        assert pixels[255] and clicks[255]
        assert cityscapes_data.split(split).to_json() == {
            "images": images,
            "shards": [f"Split-{split}/data_tfrecord-00000-of-00001"],
            "image_sizes": {"64x96": images},
            "pixels": images * 64 * 96,
            "pixels_ignored": pixels[255],
            "pixels_per_class": {name: pixels[i] for i, name in enumerate(names)},
            "clicks": clicks.total(),
            "clicks_ignored": clicks[255],
            "clicks_per_class": {name: clicks[i] for i, name in enumerate(names)},
            "polygon_iou_per_class": {
                name: 1.0 if pixels[i] else None for i, name in enumerate(names)
            },
        }
        entries = cityscapes_data.images[split]
        assert [entry.clicks for entry in entries] == clicks_of_image
        assert [(entry.height, entry.width) for entry in entries] == [(64, 96)] * images
        assert [entry.image_id for entry in entries] == list(_records(cityscapes_data, split))
    with (cityscapes_data.folder / "images.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["split", "image_id", "height", "width", "clicks"]
    assert [row[0] for row in rows] == ["train"] * 3 + ["val"] * 2


def test_polygons_from_masks_are_rated_by_what_they_paint(masks_source, masks_data):
    intersection, union = np.zeros(3), np.zeros(3)
    for name, record in _records(masks_data, "train").items():
        mask = np.asarray(Image.open(masks_source / "train" / "labels" / f"{name}.png"))
        canvas = Image.new("L", mask.shape[::-1], 9)
        for polygon in polygons_of(record):
            points = [tuple(point) for point in polygon.points]
            ImageDraw.Draw(canvas).polygon(points, fill=polygon.class_id)
        painted = np.asarray(canvas)[mask != 9]
        for i in range(3):
            intersection[i] += ((painted == i) & (mask[mask != 9] == i)).sum()
            union[i] += ((painted == i) | (mask[mask != 9] == i)).sum()
    found = masks_data.split("train").polygon_iou_per_class
    assert list(found.values()) == pytest.approx(intersection / union, abs=1e-6)
    assert masks_data.split("train").clicks_ignored == 0


def test_converting_twice_gives_the_same_bytes(cityscapes_source, cityscapes_data, tmp_path):
    (tmp_path / "empty").mkdir()
    prepare(cityscapes_source, tmp_path / "empty", "cityscapes")
    assert _contents(tmp_path / "empty") == _contents(cityscapes_data.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_large_splits_have_several_shards(masks_source, masks_data, tmp_path, monkeypatch, convert):
    monkeypatch.setattr(prepare_module, "IMAGES_PER_SHARD", 2)
    data = convert(masks_source, tmp_path / "out", "masks")
    assert [path.relative_to(data.folder).as_posix() for path in data.shards("train")] == [
        "Split-train/data_tfrecord-00000-of-00002",
        "Split-train/data_tfrecord-00001-of-00002",
    ]
    counts = [len(list(tf.data.TFRecordDataset(str(path)))) for path in data.shards("train")]
    assert counts == [2, 1]
    assert list(_records(data, "train")) == ["a", "b", "c"]
    assert data.images == masks_data.images


def test_sizes_may_differ_and_names_may_be_anything(tmp_path, write_masks, convert):
    source = write_masks(tmp_path / "source", ["train/a", "val/b"])
    names = {"deep/er": (7, 9), 'comma, "quote" é': (64, 8), "a.b": (1, 1)}
    for name, size in names.items():
        for folder in ("images", "labels"):
            path = source / "train" / folder / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros(size, np.uint8)).save(path)
    data = convert(source, tmp_path / "out", "masks")
    found = {entry.image_id: (entry.height, entry.width) for entry in data.images["train"]}
    assert found == {"a": (20, 30), **names}
    sizes = {"20x30": 1, "7x9": 1, "64x8": 1, "1x1": 1}
    assert data.split("train").image_sizes == sizes


# Damaged sources: nothing is written, and the file is named.


def _png_claiming(size):
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"0" * 99)), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        chunks += struct.pack(">I", len(data)) + kind + data + checksum
    return b"\x89PNG\r\n\x1a\n" + chunks


def _replace(name, content):
    return lambda source: (source / name).write_bytes(content)


def _image(name, mode, size=(30, 20), colour=0):
    return lambda source: Image.new(mode, size, colour).save(source / name, "png")


def _cut(name, count=20):
    return lambda source: os.truncate(source / name, (source / name).stat().st_size - count)


def _move(name, to):
    def move(source):
        (source / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source / name, source / to)

    return move


def _copy(name, to):
    def copy(source):
        (source / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, source / to)

    return copy


def _remove(name):
    return lambda source: shutil.rmtree(source / name)


def _remove_each(*names):
    return lambda source: [shutil.rmtree(source / name) for name in names]


def _remove_files(*names):
    return lambda source: [(source / name).unlink() for name in names]


def _empty(name):
    return lambda source: [path.unlink() for path in (source / name).rglob("*") if path.is_file()]


def _edit_json(name, **fields):
    def edit(source):
        content = json.loads((source / name).read_text())
        (source / name).write_text(json.dumps({**content, **fields}))

    return edit


DAMAGED_MASKS = {
    "no train": (_remove("train"), "train"),
    "no val": (_remove("val"), "val/images: no such folder"),
    "no labels": (_remove_each("train/labels", "val/labels"), "masks_source: .*--images"),
    "no labels of val": (_remove("val/labels"), "val/labels: no such folder"),
    "empty images": (_empty("train/images"), "train/images: no images"),
    "empty val": (_empty("val"), "val/images: no images"),
    "image without mask": (_remove_files("train/labels/b.png"), "images/b.png: image without"),
    "mask without image": (_remove_files("train/images/c.png"), "labels/c.png: annotation without"),
    "sizes differ": (_image("train/labels/b.png", "L", (20, 30)), "labels/b.png: mask is 30x20"),
    "image cut": (_cut("train/images/c.png"), "images/c.png: cannot be decoded"),
    "image cut at its end": (_cut("train/images/c.png", 1), "images/c.png: cannot be decoded"),
    "image empty": (_replace("train/images/c.png", b""), "images/c.png: an empty file"),
    "image is text": (_replace("val/images/d.png", b"no image"), "images/d.png: not an image"),
    "image claims much": (
        _replace("train/images/b.png", _png_claiming(60_000)),
        "images/b.png: (claims|cannot be decoded)",
    ),
    "mask claims much": (
        _replace("train/labels/b.png", _png_claiming(60_000)),
        "labels/b.png: (claims|cannot be decoded)",
    ),
    "mask cut": (_cut("train/labels/c.png"), "labels/c.png: cannot be decoded"),
    "mask of 16 bits": (
        _image("train/labels/a.png", "I;16", colour=300),
        "labels/a.png: label id 300",
    ),
    "mask in colour": (
        _image("train/labels/a.png", "RGB", colour=(1, 2, 3)),
        "labels/a.png: an RGB mask, expected 'palette'",
    ),
    "duplicate id": (_copy("train/images/a.png", "train/images/a.jpg"), "duplicate id 'a'"),
    "fewer classes": (_edit_json("classes.json", names=["a", "b"]), "labels/a.png: label id 2"),
    "other ignore id": (_edit_json("classes.json", ignore_id=255), "labels/a.png: label id 9"),
    "no classes": (_remove_files("classes.json"), "classes.json: no such classes file"),
    "broken classes": (_replace("classes.json", b"{"), "classes.json: broken JSON"),
    "names no list": (_edit_json("classes.json", names="a"), "classes.json: 'names' must"),
    "bad palette": (_edit_json("classes.json", palette=[[1]]), "classes.json: 'palette' must"),
}
_TOWN = "train/toytown/toytown_000001_000000"
_POLYGONS, _PICTURE = f"gtFine/{_TOWN}_gtFine_polygons.json", f"leftImg8bit/{_TOWN}_leftImg8bit.png"
_LABEL_IDS = _POLYGONS.replace("polygons.json", "labelIds.png")
_UNNAMED = "leftImg8bit/train/toytown/picture.png"
DAMAGED_CITYSCAPES = {
    "no images": (_remove("leftImg8bit"), "leftImg8bit: no such folder"),
    "no annotations": (_remove("gtFine"), "gtFine: no such folder"),
    "no val": (_remove("leftImg8bit/val"), "leftImg8bit/val: no such folder"),
    "empty images": (_empty("leftImg8bit/val"), "leftImg8bit/val: no images"),
    "empty annotations": (_empty("gtFine/val"), "_leftImg8bit.png: image without an annotation"),
    "image without": (
        _remove_files(_POLYGONS, _LABEL_IDS),
        f"{_PICTURE}: image without an annotation",
    ),
    "annotation without": (_remove_files(_PICTURE), f"{_POLYGONS}: annotation without an image"),
    "unknown name": (_move(_PICTURE, _UNNAMED), "picture.png: expected a name that ends in"),
    "broken JSON": (_cut(_POLYGONS), f"{_POLYGONS}: broken JSON"),
    "sizes differ": (_edit_json(_POLYGONS, imgHeight=96, imgWidth=64), f"{_POLYGONS}: says"),
    "objects no list": (_edit_json(_POLYGONS, objects={}), f"{_POLYGONS}: 'objects' is dict"),
    "unknown class": (
        _edit_json(_POLYGONS, objects=[{"label": "ship", "polygon": [[1, 1]]}]),
        f"{_POLYGONS}: object 0 has the unknown class name 'ship'",
    ),
    "point not finite": (
        _edit_json(_POLYGONS, objects=[{"label": "car", "polygon": [[1, float("inf")]]}]),
        rf"{_POLYGONS}: object 0 has the point \[1, inf\]",
    ),
    "same frame in two towns": (
        _copy(_PICTURE, _PICTURE.replace("/toytown/", "/other/")),
        "/other/toytown_000001_000000_leftImg8bit.png: image without an annotation",
    ),
    "same annotation in two towns": (
        _copy(_POLYGONS, _POLYGONS.replace("/toytown/", "/other/")),
        "/other/toytown_000001_000000_gtFine_polygons.json: annotation without an image",
    ),
    "PNG and JPEG": (_copy(_PICTURE, _PICTURE.replace(".png", ".jpg")), "duplicate id"),
}
DAMAGED = [
    pytest.param(kind, *case, id=f"{kind}: {name}")
    for kind, cases in (("masks", DAMAGED_MASKS), ("cityscapes", DAMAGED_CITYSCAPES))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("kind", "damage", "message"), DAMAGED)
def test_damaged_source_is_refused_and_named_and_nothing_written(
    request, tmp_path, kind, damage, message
):
    source = shutil.copytree(request.getfixturevalue(f"{kind}_source"), tmp_path / "masks_source")
    damage(source)
    before = _contents(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=message) as caught:
            prepare(source, tmp_path / "new" / "out", kind)
    assert "\n" not in str(caught.value)
    assert _contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["masks_source"]


def test_large_images_convert_without_a_warning(masks_source, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # half of the images' 600 pixels, and more
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(masks_source, tmp_path / "out", "masks")


def test_occupied_or_read_only_places_are_left_alone(masks_source, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("kept")
    (tmp_path / "locked").mkdir(mode=0o555)
    before = _contents(tmp_path)
    for out in ("full", "full/precious", "full/precious/out", "locked/out", "locked/new/out"):
        with pytest.raises(UserError, match=out.partition("/")[0]):
            prepare(masks_source, tmp_path / out, "masks")
        assert _contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "locked", "precious"]


# Worker processes.


@pytest.fixture(scope="module")
def many_masks(tmp_path_factory, write_masks):
    """Fourteen images of train and two of val."""
    names = [*(f"train/{number:02d}" for number in range(14)), "val/a", "val/b"]
    return write_masks(tmp_path_factory.mktemp("many") / "source", names)


@pytest.fixture
def small_shards(monkeypatch):
    """Two images a shard: `many_masks` has seven shards of train and one of val."""
    monkeypatch.setattr(prepare_module, "IMAGES_PER_SHARD", 2)


@pytest.fixture
def processes(monkeypatch):
    """Worker processes for small data sets too."""
    monkeypatch.setattr(prepare_module, "BYTES_WORTH_PROCESSES", 0)
    monkeypatch.setattr(prepare_module, "BYTES_WORTH_TWO_PROCESSES", 0)


@pytest.fixture
def undisturbed(many_masks, tmp_path, small_shards):
    """The content of a conversion of `many_masks`."""
    prepare(many_masks, tmp_path / "undisturbed", "masks")
    return _contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("workers", [0, 3])
def test_the_number_of_workers_does_not_change_a_byte(
    many_masks, tmp_path, undisturbed, processes, workers
):
    prepare(many_masks, tmp_path / "out", "masks", {}, workers)
    assert _contents(tmp_path / "out") == undisturbed


def test_threads_give_the_same_bytes(many_masks, tmp_path, undisturbed):
    prepare(many_masks, tmp_path / "out", "masks", workers=3)
    assert _contents(tmp_path / "out") == undisturbed


def test_damage_found_in_a_worker_process_is_named_and_nothing_written(
    many_masks, tmp_path, small_shards, processes
):
    source = shutil.copytree(many_masks, tmp_path / "source")
    _cut("train/images/11.png")(source)
    with pytest.raises(UserError, match=r"images/11\.png: cannot be decoded"):
        prepare(source, tmp_path / "new" / "out", "masks", workers=2)
    assert os.listdir(tmp_path) == ["source"]


def test_every_kind_of_source_can_be_sent_to_a_worker(tmp_path, cityscapes_source, masks_source):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "one" / "a.png")
    square = {"id": 1, "image_id": 7, "category_id": 5, "segmentation": [[1, 1, 4, 1, 4, 4]]}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": 5, "name": "thing"}],
        "annotations": [square],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    coco = open_source(
        "coco", tmp_path, {"images": "one", "annotations": "all.json", "val_percent": 50}
    )
    item = Item("a", tmp_path / "one" / "a.png", tmp_path / "all.json")
    sources = [(coco, item)]
    for kind, folder in (("cityscapes", cityscapes_source), ("masks", masks_source)):
        source = open_source(kind, folder)
        sources.append((source, source.items()["train"][0]))
    for source, item in sources:
        sent = pickle.loads(ForkingPickler.dumps(source))
        there, here = _converted(sent, item), _converted(source, item)
        assert serialize_checked(there) == serialize_checked(here)
        assert there.statistics.to_json() == here.statistics.to_json()


def test_a_worker_starts_without_tensorflow():
    code = (
        "import sys, cereals_tf.data_prep.conversion, cereals_tf.data_prep.sources.registry; "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_negative_workers_are_refused(masks_source, tmp_path):
    with pytest.raises(UserError, match="--workers=-1: expected 0 or more"):
        prepare(masks_source, tmp_path / "out", "masks", workers=-1)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40)
def test_results_come_in_order_and_few_are_waiting(ahead, threads, count, consumed):
    taken = []

    def items():
        for number in range(count):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(threads) as pool:
        results = ordered_map(pool, lambda number: number**2, items(), ahead)
        for given_out in range(min(consumed, count)):
            assert next(results) == given_out**2
            assert len(taken) <= given_out + ahead
        results.close()
        assert len(taken) <= min(consumed, count) + ahead


# Interruptions: the same call goes on, and gives what it would have given.


class _Stop:
    """`os.replace`, but at the given call, before or after it is done, something happens."""

    def __init__(self, number: int, happens: Callable[[], None], after: bool = True) -> None:
        self.left, self.happens, self.after, self.replace = number, happens, after, os.replace

    def __call__(self, source, target):
        self.left -= 1
        if self.left == 0 and not self.after:
            self.happens()
        self.replace(source, target)
        if self.left == 0 and self.after:
            self.happens()


def _interrupt():
    raise KeyboardInterrupt


def _finished(unfinished: Path):
    """(inode, time of change) of the shards that an interrupted conversion need not redo."""
    states = {}
    for note in unfinished.glob("notes/*/data_tfrecord-*"):
        shard = unfinished / "data" / note.relative_to(unfinished / "notes")
        states[shard.relative_to(unfinished / "data")] = _state(shard)
    return states


def _state(path: Path):
    return path.stat().st_ino, path.stat().st_mtime_ns


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_anywhere_loses_at_most_a_shard(
    many_masks, tmp_path, undisturbed, monkeypatch, after
):
    shards, out = 8, tmp_path / "out"
    for number in range(1, 2 * shards + 2):  # the fingerprint, then each shard and its note
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", _Stop(number, _interrupt, after))
            prepare(many_masks, out, "masks")
        assert not out.exists()
        finished = _finished(tmp_path / ".out.unfinished")
        replaced = number if after else number - 1
        assert len(finished) == max(0, replaced - 1) // 2
        prepare(many_masks, out, "masks")
        assert _contents(out) == undisturbed
        assert {name: _state(out / name) for name in finished} == finished
        assert sorted(os.listdir(tmp_path)) == ["out", "undisturbed"]
        shutil.rmtree(out)


def test_an_interruption_of_the_last_rename_loses_nothing(
    many_masks, tmp_path, undisturbed, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", lambda *_: _interrupt())
        prepare(many_masks, tmp_path / "out", "masks")
    finished = _finished(tmp_path / ".out.unfinished")
    assert len(finished) == 8
    prepare(many_masks, tmp_path / "out", "masks")
    assert _contents(tmp_path / "out") == undisturbed
    assert {name: _state(tmp_path / "out" / name) for name in finished} == finished


KILLED = """
import os, signal, sys
from pathlib import Path

def kill_at(number):
    replace = os.replace
    def counted(source, target):
        nonlocal number
        replace(source, target)
        number -= 1
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = counted

if __name__ == "__main__":
    from cereals_tf.data_prep import prepare
    prepare.IMAGES_PER_SHARD = 2
    prepare.BYTES_WORTH_TWO_PROCESSES = 0
    kill_at(6)
    prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), "masks", workers=2)
"""


def test_a_killed_conversion_takes_its_workers_along_and_goes_on(many_masks, tmp_path, undisturbed):
    """Killed when the third shard was written, but not its note."""
    out = tmp_path / "out"
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(many_masks), str(out)]
    # The workers hold the pipe of stderr: `run` returns when the last of them has ended.
    killed = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    unfinished = tmp_path / ".out.unfinished"
    finished = _finished(unfinished)
    assert len(finished) == 2
    redone = Path("Split-train/data_tfrecord-00002-of-00007")
    before = _state(unfinished / "data" / redone)
    prepare(many_masks, out, "masks")
    assert _contents(out) == undisturbed
    assert {name: _state(out / name) for name in finished} == finished
    assert _state(out / redone) != before
    assert not unfinished.exists()


def test_a_killed_worker_is_reported_and_the_finished_shards_stay(
    many_masks, tmp_path, undisturbed, processes, monkeypatch
):
    def kill_workers():
        for child in multiprocessing.active_children():
            child.kill()

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _Stop(3, kill_workers))
        with pytest.raises(UserError, match="--workers=2: a worker process was killed"):
            prepare(many_masks, tmp_path / "out", "masks", workers=2)
    finished = _finished(tmp_path / ".out.unfinished")
    assert finished
    prepare(many_masks, tmp_path / "out", "masks")
    assert _contents(tmp_path / "out") == undisturbed
    assert {name: _state(tmp_path / "out" / name) for name in finished} == finished


def _touch(source, options):
    path = source / "train" / "images" / "00.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    return options


def _new_image(source, options):
    for part in ("images", "labels"):
        shutil.copy(source / "train" / part / "00.png", source / "train" / part / "000.png")
    return options


def _other_palette(source, options):
    _edit_json("classes.json", palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])(source)
    return options


@pytest.mark.parametrize(
    "change",
    [_touch, _new_image, _other_palette, lambda source, options: {"tolerance": 0.0}],
)
def test_after_a_change_nothing_of_the_interrupted_conversion_is_kept(
    many_masks, tmp_path, small_shards, monkeypatch, change
):
    source = shutil.copytree(many_masks, tmp_path / "source")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", _Stop(5, _interrupt))
        prepare(source, tmp_path / "out", "masks")
    finished = _finished(tmp_path / ".out.unfinished")
    assert len(finished) == 2
    options = change(source, {})
    prepare(source, tmp_path / "out", "masks", options)
    prepare(source, tmp_path / "fresh", "masks", options)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "fresh")
    if change is _touch:  # the same bytes, but written anew
        assert all(_state(tmp_path / "out" / name) != finished[name] for name in finished)


def test_an_error_after_an_interruption_leaves_nothing(
    many_masks, tmp_path, small_shards, monkeypatch
):
    source = shutil.copytree(many_masks, tmp_path / "source")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", _Stop(5, _interrupt))
        prepare(source, tmp_path / "out", "masks")
    _cut("train/images/13.png")(source)
    with pytest.raises(UserError, match=r"images/13\.png"):
        prepare(source, tmp_path / "out", "masks")
    assert os.listdir(tmp_path) == ["source"]


def test_a_second_conversion_to_the_same_place_is_refused(
    many_masks, tmp_path, undisturbed, monkeypatch
):
    refused = []

    def prepare_again():
        for options in ({}, {"tolerance": 0.0}):
            with pytest.raises(UserError, match=r"/out: another process is making it") as caught:
                prepare(many_masks, tmp_path / "out", "masks", options)
            refused.append(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _Stop(4, prepare_again))
        prepare(many_masks, tmp_path / "out", "masks")
    assert len(refused) == 2
    assert _contents(tmp_path / "out") == undisturbed


# Fuzzing: whatever the bytes, either a record that reads back, or a UserError.


def _altered(content: bytes, dice: random.Random) -> bytes:
    place, altered = dice.randrange(len(content)), bytearray(content)
    match dice.randrange(3):
        case 0:
            del altered[place:]
        case 1:
            altered[place] ^= 1 << dice.randrange(8)
        case 2:
            altered[place : place + dice.randrange(8)] = dice.randbytes(dice.randrange(8))
    return bytes(altered)


def _jpeg(**options):
    buffer = io.BytesIO()
    image = np.kron(np.arange(150).reshape(10, 15), np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(image).convert("RGB").save(buffer, "jpeg", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "progressive", "mask"])
def test_fuzzed_images_convert_soundly_or_are_refused(masks_source, tmp_path, kind):
    source = open_source("masks", masks_source)
    image, mask = (masks_source / "train" / part / "a.png" for part in ("images", "labels"))
    content = {
        "png": image.read_bytes(),
        "mask": mask.read_bytes(),
        "jpeg": _jpeg(),
        "progressive": _jpeg(progressive=True, quality=30),
    }[kind]
    true_mask = np.asarray(Image.open(mask))
    path, dice, converted = tmp_path / "fuzzed.png", random.Random(0), []
    item = Item("a", image, path) if kind == "mask" else Item("a", path, mask)
    for _ in range(200):
        path.write_bytes(_altered(content, dice))
        try:
            image = _converted(source, item)
            converted.append(serialize_checked(image))
        except UserError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            continue
        np.testing.assert_array_equal(decode_label(image.image.label_encoded), true_mask)
    assert len(converted) < 200
    with tf.io.TFRecordWriter(str(tmp_path / "shard")) as writer:
        for serialized in converted:
            writer.write(serialized)
    assert list(damaged_records(tmp_path / "shard")) == []


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, 1e300, -1e6, 1e6, "car", "cargroup"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["label", "polygon", "objects"]), inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES = [
    [],
    ["objects"],
    ["objects", 0],
    ["objects", 0, "label"],
    ["objects", 0, "deleted"],
    ["objects", 0, "polygon"],
    ["objects", 0, "polygon", 0],
    ["objects", 0, "polygon", 0, 1],
    ["imgHeight"],
]


@pytest.fixture(scope="module")
def fuzzed_annotation(cityscapes_source, tmp_path_factory):
    """A function that converts an image with the given bytes as its annotation."""
    source = open_source("cityscapes", cityscapes_source)
    path = tmp_path_factory.mktemp("fuzzed") / "polygons.json"

    def convert(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            item = Item("a", cityscapes_source / _PICTURE, path)
            converted = _converted(source, item)
            record = serialize_checked(converted)
        except UserError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            return False
        points = np.concatenate([np.zeros((1, 2)), *(p.points for p in converted.image.polygons)])
        assert np.abs(points).max() <= 1e6
        polygons_of(parse(record))
        return True

    return convert


@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=150)
def test_annotations_with_any_value_anywhere_convert_or_are_refused(
    cityscapes_source, fuzzed_annotation, place, value
):
    content = {"": json.loads((cityscapes_source / _POLYGONS).read_text())}
    inner, path = content, ["", *place]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    fuzzed_annotation(json.dumps(content[""]).encode())


def test_altered_bytes_of_annotations_convert_or_are_refused(cityscapes_source, fuzzed_annotation):
    content, dice = (cityscapes_source / _POLYGONS).read_bytes(), random.Random(0)
    outcomes = {fuzzed_annotation(_altered(content, dice)) for _ in range(200)}
    assert outcomes == {True, False}


ON_SMALL_DISKS = """
import subprocess, sys
from pathlib import Path
from cereals_tf.cli import main

source, disk = sys.argv[1:]
for kilobytes in (16, 40, 64, 4000):
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk], check=True
    )
    status = main(["prepare", source, f"{disk}/out", "--dataset=masks"])
    left = sorted(path.name for path in Path(disk).iterdir())
    print(f"{kilobytes} kB: status {status}, left {left}", file=sys.stderr)
    subprocess.run(["umount", disk], check=True)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, write_masks):
    in_a_namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*in_a_namespace, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a namespace of its own to mount a small disk in")
    names = [
        f"{split}/{i:02d}" for split, count in (("train", 20), ("val", 4)) for i in range(count)
    ]
    source = write_masks(tmp_path / "source", names)
    (tmp_path / "disk").mkdir()
    found = subprocess.run(
        [*in_a_namespace, sys.executable, "-c", ON_SMALL_DISKS, source, tmp_path / "disk"],
        capture_output=True,
        text=True,
    )
    lines = [line for line in found.stderr.splitlines() if "error" in line or " kB: " in line]
    *failed, succeeded = lines
    assert succeeded == "4000 kB: status 0, left ['out']", found.stderr
    refusal = f"cereals: error: {tmp_path}/disk/out: No space left on device, expected room"
    for said, ended in zip(failed[::2], failed[1::2], strict=True):
        assert said.startswith(refusal), found.stderr
        assert ended.endswith(" kB: status 2, left []"), found.stderr
