"""Train splits that people will annotate: every kind of source, with and without splits."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf import tables
from cereals_tf.data_prep import prepare as prepare_module
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.findings import findings
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.records import decode_label, parse, polygons_of
from cereals_tf.data_prep.schema import is_schema
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.verify import verify

SIZE = HEIGHT, WIDTH = 20, 30
SQUARE = [[4, 4], [14, 4], [14, 14], [4, 14]]
TRIANGLE = [[16, 3], [24, 3], [20, 17]]
CLASSES = {"names": ["ground", "thing", "other"], "ignore_id": 9}
MASK = np.repeat([0, 1, 2, 9], 5)[:, None].repeat(WIDTH, 1).astype(np.uint8)
CATEGORIES = [{"id": 3, "name": "thing"}, {"id": 1, "name": "other"}]
OBJECTS = [{"label": "road", "polygon": SQUARE}, {"label": "car", "polygon": TRIANGLE}]
SHAPES = [
    {"label": "thing", "points": SQUARE, "shape_type": "polygon"},
    {"label": "other", "points": TRIANGLE, "shape_type": "polygon"},
]


def _image(path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.stem.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def _json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(MASK).save(path)


def _coco(files: list[str], annotated: list[str]) -> dict:
    """COCO's content for image files, of which those with a stem in `annotated` have objects."""
    images = [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for number, name in enumerate(files)
    ]
    annotations = [
        {
            "id": 10 * image["id"] + category,
            "image_id": image["id"],
            "category_id": category,
            "segmentation": [np.ravel(points).tolist()],
        }
        for image in images
        if Path(image["file_name"]).stem in annotated
        for category, points in ((3, SQUARE), (1, TRIANGLE))
    ]
    return {"images": images, "categories": CATEGORIES, "annotations": annotations}


IMAGES = {
    "cityscapes": "leftImg8bit/{split}/town/{name}_leftImg8bit.png",
    "voc": "JPEGImages/{name}.png",
    "coco": "{split}2017/{name}.png",
    "labelme": "{split}/{name}.png",
    "masks": "{split}/images/{name}.png",
    "camvid": "images/{split}/{name}.png",
}
ANNOTATIONS = {
    "cityscapes": "gtFine/{split}/town/{name}_gtFine_polygons.json",
    "voc": "SegmentationClass/{name}.png",
    "coco": "annotations/instances_{split}2017.json",
    "labelme": "{split}/{name}.json",
    "masks": "{split}/labels/{name}.png",
    "camvid": "masks/{split}/{name}.png",
}
NAMES = {"train": ["a", "b"], "val": ["c", "d"]}


def _annotate(folder: Path, kind: str, split: str, name: str) -> None:
    """Annotates an image; of coco, all of its split."""
    path = folder / ANNOTATIONS[kind].format(split=split, name=name)
    if kind == "cityscapes":
        _json(path, {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": OBJECTS})
    elif kind == "coco":
        _json(path, _coco([f"{stem}.png" for stem in NAMES[split]], NAMES[split]))
    elif kind == "labelme":
        _json(path, {"imagePath": f"{path.stem}.png", "shapes": SHAPES})
    else:
        _mask(path)


KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(
                kind == "coco" and not importlib.util.find_spec("pycocotools"),
                reason="without pycocotools",
            ),
        )
        for kind in IMAGES
    ],
)


@pytest.fixture
def source(tmp_path):
    """Writes a source of a kind: a and b of train without annotations, c and d of val with."""

    def write(kind: str) -> Path:
        folder = tmp_path / "source"
        for split, names in NAMES.items():
            for name in names:
                _image(folder / IMAGES[kind].format(split=split, name=name))
            if kind == "voc":
                path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(names))
        for name in NAMES["val"]:
            _annotate(folder, kind, "val", name)
        if kind in ("masks", "camvid", "voc"):
            _json(folder / "classes.json", CLASSES)
        return folder

    return write


def _records(data: PreparedData, split: str) -> dict[str, dict[str, tf.Tensor]]:
    shards = tf.data.TFRecordDataset([str(path) for path in data.shards(split)])
    parsed = [parse(content) for content in shards]
    return {record["image/id"].numpy().decode(): record for record in parsed}


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _refused(folder: Path, kind: str, **options) -> str:
    """The message of the error; nothing may have been written."""
    before = _contents(folder.parent)
    with pytest.raises(UserError) as caught:
        prepare(folder, folder.parent / "out", kind, options)
    assert _contents(folder.parent) == before
    return str(caught.value)


# Sources with splits.


@KINDS
@pytest.mark.parametrize("option", [False, True])
def test_a_train_split_without_any_annotation_is_converted(source, tmp_path, convert, kind, option):
    folder = source(kind)
    data = convert(folder, tmp_path / "out", kind, unlabelled_train=option)
    assert (data.labelled("train"), data.labelled("val")) == (False, True)
    found = _records(data, "train")
    assert list(found) == ["a", "b"]
    for name, record in found.items():
        image = folder / IMAGES[kind].format(split="train", name=name)
        assert record["image/encoded"].numpy() == image.read_bytes()
        label = decode_label(record["label/encoded"]).numpy()
        assert label.shape == SIZE and (label == data.classes.ignore_id).all()
        assert polygons_of(record) == []
    for record in _records(data, "val").values():
        assert len(np.unique(decode_label(record["label/encoded"]))) > 1
    assert all(entry.clicks == 0 for entry in data.images["train"])
    verify(data)
    assert is_schema((data.folder / "schema.pbtxt").read_bytes(), data.classes)


@KINDS
def test_val_is_what_it_is_beside_a_labelled_train(source, tmp_path, convert, kind):
    folder = source(kind)
    without = convert(folder, tmp_path / "without", kind)
    for name in NAMES["train"]:
        _annotate(folder, kind, "train", name)
    labelled = convert(folder, tmp_path / "labelled", kind)
    assert labelled.labelled("train")
    assert "labelled" not in labelled.split("train").to_json()
    assert labelled.classes == without.classes
    assert labelled.split("val") == without.split("val")
    (shard,), (other) = without.shards("val"), labelled.shards("val")
    assert shard.read_bytes() == other[0].read_bytes()


@KINDS
def test_a_labelled_train_contradicts_the_option(source, kind):
    folder = source(kind)
    for name in NAMES["train"]:
        _annotate(folder, kind, "train", name)
    message = _refused(folder, kind, unlabelled_train=True)
    assert message.startswith("--unlabelled_train: ")
    assert ANNOTATIONS[kind].format(split="train", name="a") in message


@KINDS
def test_a_mixture_is_refused_unless_people_annotate_the_others(source, tmp_path, convert, kind):
    folder = source(kind)
    _annotate(folder, kind, "train", "a")
    if kind == "coco":
        path = folder / ANNOTATIONS["coco"].format(split="train")
        _json(path, _coco(["a.png", "b.png"], ["a"]))
    else:
        of = ANNOTATIONS if kind == "voc" else IMAGES
        assert Path(of[kind].format(split="train", name="b")).name in _refused(folder, kind)
    data = convert(folder, tmp_path / "out", kind, unlabelled_train=True)
    assert [entry.labelled for entry in data.images["train"]] == [True, False]
    assert all(entry.labelled for entry in data.images["val"])
    assert (data.labelled("train"), data.split("train").labelled_images) == (False, 1)
    found = _records(data, "train")
    drawn = {name: decode_label(record["label/encoded"]).numpy() for name, record in found.items()}
    assert (drawn["b"] == data.classes.ignore_id).all() and not polygons_of(found["b"])
    assert len(np.unique(drawn["a"])) > 1 and polygons_of(found["a"])
    verify(data)
    assert PreparedData.open(data.folder).description == data.description


def test_images_that_are_labelled_become_train_by_a_share(tmp_path, convert):
    for name in "abcdefgh":
        _image(tmp_path / "source" / "images" / f"{name}.png")
    for name in "bdfh":
        _mask(tmp_path / "source" / "labels" / f"{name}.png")
    _json(tmp_path / "source" / "classes.json", CLASSES)
    notes = []
    options = {"unlabelled_train": True, "labelled_train": 50.0}
    prepare(tmp_path / "source", tmp_path / "out", "masks", options, note=notes.append)
    assert "train: 2 of 6 images have labels, round 0: people will annotate the others" in notes[0]
    data = PreparedData.open(tmp_path / "out")
    labelled = {entry.image_id: entry.labelled for entry in data.images["train"]}
    assert labelled == {name: name in "bf" for name in "abcefg"}
    assert [entry.image_id for entry in data.images["val"]] == ["d", "h"]
    options["labelled_train"] = 100.0
    with pytest.raises(UserError, match="--labelled_train=100 of 4 images leaves no image for val"):
        prepare(tmp_path / "source", tmp_path / "other", "masks", options)


@pytest.mark.parametrize("kind", sorted(IMAGES.keys() - {"coco"}))
def test_an_empty_folder_of_labels_is_as_good_as_none(source, tmp_path, convert, kind):
    folder = source(kind)
    (folder / ANNOTATIONS[kind].format(split="train", name="a")).parent.mkdir(
        parents=True, exist_ok=True
    )
    assert not convert(folder, tmp_path / "out", kind).labelled("train")


@KINDS
@pytest.mark.parametrize("option", [False, True])
def test_val_without_labels_is_refused(source, kind, option):
    folder = source(kind)
    for name in NAMES["val"]:
        (folder / ANNOTATIONS[kind].format(split="val", name=name)).unlink(missing_ok=True)
    assert "val" in _refused(folder, kind, unlabelled_train=option)


@KINDS
def test_val_with_one_label_missing_is_refused(source, kind):
    folder = source(kind)
    (folder / ANNOTATIONS[kind].format(split="val", name="d")).unlink()
    assert "d" in _refused(folder, kind)


@KINDS
def test_train_without_images_is_refused(source, kind):
    folder = source(kind)
    for name in NAMES["train"]:
        (folder / IMAGES[kind].format(split="train", name=name)).unlink()
    assert "train" in _refused(folder, kind)


@pytest.mark.parametrize("kind", ["cityscapes", "masks", "camvid"])
def test_a_link_to_nothing_is_no_missing_folder(source, kind):
    folder = source(kind)
    labels = ANNOTATIONS[kind].partition("{split}")[0] + "train" + "/labels" * (kind == "masks")
    (folder / labels).symlink_to("nowhere")
    assert f"{labels}: no such folder" in _refused(folder, kind)


@KINDS
def test_a_photograph_that_tools_show_rotated_is_refused(source, kind):
    folder = source(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / IMAGES[kind].format(split="train", name="b")
    _image(path, exif=exif)
    assert f"{path}: EXIF orientation 6" in _refused(folder, kind)


@pytest.mark.parametrize("field", ["missing", "empty"])
def test_images_that_coco_lists_without_annotations(source, tmp_path, convert, field):
    pytest.importorskip("pycocotools")
    folder = source("coco")
    _image(folder / "train2017/unlisted.png")
    content = _coco(["a.png", "b.png"], [])
    if field == "missing":
        del content["annotations"]
    _json(folder / ANNOTATIONS["coco"].format(split="train"), content)
    data = convert(folder, tmp_path / "out", "coco", unlabelled_train=True)
    assert [entry.image_id for entry in data.images["train"]] == ["a", "b"]
    assert not data.labelled("train")
    if field == "missing":
        assert "'annotations' is NoneType" in _refused(folder, "coco")
    else:
        data = convert(folder, tmp_path / "plain", "coco")
        label = decode_label(_records(data, "train")["a"]["label/encoded"])
        assert data.labelled("train") and (label.numpy() == 0).all()  # background


# Sources without splits.


@pytest.fixture
def photos(tmp_path):
    """Photographs in nested folders, of which LabelMe annotated the third and the sixth."""
    folder = tmp_path / "PHOTOS"
    for number in range(7):
        path = folder / f"2024-0{1 + number % 2}" / "route 1" / f"IMG_{number}.jpg"
        _image(path, quality=90)
        if number in (2, 5):
            _json(path.with_suffix(".json"), {"imagePath": path.name, "shapes": SHAPES})
    (folder / "notes.txt").write_text("taken with a telephone")
    return folder


PHOTOS = {
    "train": [f"2024-0{1 + number % 2}/route 1/IMG_{number}" for number in (0, 4, 6, 1, 3)],
    "val": ["2024-01/route 1/IMG_2", "2024-02/route 1/IMG_5"],
}


def _ids(folder: Path, kind: str, **options) -> dict[str, list[str]]:
    splits = open_source(kind, folder, {"unlabelled_train": True, **options}).items()
    assert {item.annotation is None for item in splits["train"]} == {True}
    assert {item.annotation is None for item in splits["val"]} == {False}
    return {split: [item.image_id for item in items] for split, items in splits.items()}


def test_annotated_photographs_become_val(photos, tmp_path, convert):
    assert _ids(photos, "labelme") == PHOTOS
    message = _refused(photos, "labelme")
    assert "IMG_0.jpg: image without an annotation" in message and "--unlabelled_train" in message
    notes = []
    options = {"unlabelled_train": True}
    prepare(photos, tmp_path / "data", "labelme", options, note=notes.append)
    (note,) = notes
    assert "train has no labels" in note and "its 5 images (start --annotator=files)" in note
    assert "a classes file may name more" in note and note.endswith("other, thing")
    data = PreparedData.open(tmp_path / "data")
    assert {split: [e.image_id for e in data.images[split]] for split in data.splits} == PHOTOS
    verify(data)


def test_a_classes_file_names_what_val_lacks(photos, tmp_path):
    _json(photos / "classes.json", {"names": ["_background_", "thing", "other", "tram"]})
    notes = []
    options = {"unlabelled_train": True}
    prepare(photos, tmp_path / "data", "labelme", options, note=notes.append)
    assert notes[0].endswith("classes.json: _background_, thing, other, tram")
    data = PreparedData.open(tmp_path / "data")
    record = _records(data, "train")[PHOTOS["train"][0]]
    assert (decode_label(record["label/encoded"]).numpy() == data.classes.ignore_id).all()
    found = findings(data)
    assert "no pixel of val shows, so that nothing is measured of: tram" in found


def test_images_without_masks_become_train(tmp_path, strict):
    for name in "abcde":
        _image(tmp_path / "images" / f"{name}.jpg")
    for name in "bd":
        _mask(tmp_path / "labels" / f"{name}.png")
    _json(tmp_path / "classes.json", CLASSES)
    assert _ids(tmp_path, "masks") == {"train": ["a", "c", "e"], "val": ["b", "d"]}
    with pytest.raises(UserError, match=r"a\.jpg: image without .*--unlabelled_train"):
        strict(open_source("masks", tmp_path)).items()


def test_images_without_objects_or_not_listed_become_train(tmp_path):
    pytest.importorskip("pycocotools")
    for name in "abcd":
        _image(tmp_path / "shots" / "deep" / f"{name}.jpg")
    _json(tmp_path / "all.json", _coco([f"deep/{name}.jpg" for name in "abc"], ["b"]))
    found = _ids(tmp_path, "coco", images="shots", annotations="all.json")
    assert found == {"train": ["deep/a", "deep/c", "deep/d"], "val": ["deep/b"]}


@pytest.mark.parametrize("annotated", ["none", "all"])
def test_without_splits_some_have_annotations_and_some_have_none(photos, annotated):
    for path in photos.rglob("*.jpg"):
        if annotated == "none":
            path.with_suffix(".json").unlink(missing_ok=True)
        elif not path.with_suffix(".json").exists():
            path.unlink()
    message = _refused(photos, "labelme", unlabelled_train=True)
    expected = {"none": "no JSON files of LabelMe", "all": "none of 2 images is without an"}
    assert expected[annotated] in message


def test_masks_of_no_image_are_refused_and_so_is_a_folder_without_masks(tmp_path):
    _image(tmp_path / "source" / "images" / "a.png")
    _json(tmp_path / "source" / "classes.json", CLASSES)
    (tmp_path / "source" / "labels").mkdir()
    message = _refused(tmp_path / "source", "masks", unlabelled_train=True)
    assert "none of 1 image is with an annotation, expected some: they become val" in message
    _mask(tmp_path / "source" / "labels" / "b.png")
    message = _refused(tmp_path / "source", "masks", unlabelled_train=True)
    assert "labels/b.png: no mask has the name of an image, as a.png" in message


@pytest.mark.parametrize("stem", ["IMG_0", "IMG_2"])
def test_two_files_of_one_id_are_refused(photos, stem):
    _image(photos / "2024-01" / "route 1" / f"{stem}.png")
    message = _refused(photos, "labelme", unlabelled_train=True)
    assert f"duplicate id '2024-01/route 1/{stem}'" in message


def test_too_few_labels_in_val_are_refused_with_advice(photos):
    for path in photos.rglob("*.json"):
        _json(path, {"imagePath": f"{path.stem}.jpg", "shapes": SHAPES[:1]})
    message = _refused(photos, "labelme", unlabelled_train=True)
    assert "has 1 labels ['thing']" in message and "a classes file (see --classes)" in message


# What is said of a train split without labels.


@pytest.fixture
def data(source, tmp_path, convert):
    return convert(source("masks"), tmp_path / "out", "masks")


def test_counts_that_labels_would_give_are_not_shown(data, capsys):
    summary = tables.dataset_summary(data)
    train = summary["splits"]["train"]
    assert (train["images"], train["pixels"], train["labelled"]) == (2, 2 * HEIGHT * WIDTH, False)
    unknown = {key for key, value in train.items() if value is None}
    assert unknown == {
        *("pixels_ignored", "pixels_per_class", "clicks", "clicks_ignored", "clicks_per_class"),
        "polygon_iou_per_class",
    }
    assert summary["splits"]["val"] == data.split("val").to_json()
    assert data.split("train").clicks == 0  # on disk, for whoever adds up

    tables.show_dataset(data)
    rows = {
        cells[0]: cells[1:]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│") and (cells := [cell.strip() for cell in line.strip("│").split("│")])
    }
    assert rows["train"][0] == "2" and rows["train"][3:] == ["n/a"] * 3
    for name in data.classes.names:
        assert rows[name][:2] == ["n/a"] * 2
        assert float(rows[name][2]) == 25.0
        assert float(rows[name][4]) == round(data.polygon_iou_per_class[name], 3)


def test_agreement_of_polygons_is_that_of_val(data):
    splits = data.description.to_json()["splits"]
    assert set(splits["train"]["polygon_iou_per_class"].values()) == {None}
    assert data.polygon_iou_per_class == splits["val"]["polygon_iou_per_class"]
    assert None not in data.polygon_iou_per_class.values()


def test_findings_do_not_compare_with_what_is_unknown(data):
    assert findings(data) == []


def test_loose_polygons_of_val_are_found(source, tmp_path, convert):
    folder = source("masks")
    fine = np.where(np.arange(WIDTH) % 4 == 0, 2, 0)[None].repeat(HEIGHT, 0)
    for name in NAMES["val"]:
        path = folder / ANNOTATIONS["masks"].format(split="val", name=name)
        Image.fromarray(fine.astype(np.uint8)).save(path)
    found = findings(convert(folder, tmp_path / "out", "masks", tolerance=6.0))
    assert any("polygons, painted back, miss their masks" in text for text in found)


def _described(data: PreparedData, change: Callable[[dict], object]) -> PreparedData:
    path = data.folder / "dataset.json"
    content = json.loads(path.read_text())
    change(content["splits"])
    path.write_text(json.dumps(content))
    return PreparedData.open(data.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda splits: splits["train"].update(labelled=0), "expected true or false"),
        (lambda splits: splits["train"].update(labelled=None), "expected true or false"),
        (lambda splits: splits["val"].update(labelled=False), "only train may lack labels"),
        (lambda splits: splits["train"].update(splits["val"], labelled=False), "labelled pixels"),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(data, change, message):
    with pytest.raises(UserError, match=f"splits.*labelled.*{message}"):
        _described(data, change)


def test_labelled_is_what_older_data_sets_are(data):
    found = _described(data, lambda splits: splits["val"].update(labelled=True))
    assert found.labelled("val")
    with pytest.raises(UserError, match="no split 'test'"):
        found.labelled("test")


def test_a_label_in_a_split_without_labels_is_damage(data):
    shard = data.shards("train")[0]
    (first, second) = tf.data.TFRecordDataset(str(shard))
    example = tf.train.Example.FromString(first.numpy())
    label = np.full(SIZE, data.classes.ignore_id, np.uint8)
    label[3, 4] = 0
    encoded = tf.io.encode_png(label[..., None]).numpy()
    example.features.feature["label/encoded"].bytes_list.value[:] = [encoded]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(example.SerializeToString())
        writer.write(second.numpy())
    with pytest.raises(UserError, match=r"1 damaged: .*record 0: a labelled pixel"):
        verify(data)


# The same bytes, however they are written.


@pytest.fixture
def small_shards(monkeypatch):
    """Two images a shard: `photos` has three shards of train and one of val."""
    monkeypatch.setattr(prepare_module, "IMAGES_PER_SHARD", 2)


def _prepared(photos: Path, out: Path, **how) -> dict[str, bytes]:
    prepare(photos, out, "labelme", {"unlabelled_train": True}, **how)
    return _contents(out)


def test_worker_processes_give_the_same_bytes(photos, tmp_path, small_shards, monkeypatch):
    plain = _prepared(photos, tmp_path / "plain")
    monkeypatch.setattr(prepare_module, "BYTES_WORTH_TWO_PROCESSES", 0)
    assert _prepared(photos, tmp_path / "out", workers=2) == plain


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_conversion_goes_on(photos, tmp_path, small_shards, monkeypatch):
    """Interrupted where the finished folder would get its name."""
    plain = _prepared(photos, tmp_path / "plain")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", _interrupt)
        _prepared(photos, tmp_path / "out")
    shards = {
        path.name: path.stat().st_ino
        for path in (tmp_path / ".out.unfinished/data/Split-train").iterdir()
    }
    assert len(shards) == 3
    assert _prepared(photos, tmp_path / "out") == plain
    for name, number in shards.items():
        assert (tmp_path / "out/Split-train" / name).stat().st_ino == number


@pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="without Beam")
def test_a_pipeline_of_beam_gives_the_same_bytes(photos, tmp_path, small_shards):
    plain = _prepared(photos, tmp_path / "plain")
    assert _prepared(photos, tmp_path / "out", beam_options="") == plain
