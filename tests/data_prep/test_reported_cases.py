"""Inputs of the kinds that users of annotation tools reported, drawn small, and what is right."""

import base64
import csv
import io
import json
import unicodedata
import zipfile

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.findings import findings
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.problems import ProblemsError
from cereals_tf.data_prep.records import decode_label, parse

HEIGHT, WIDTH = 20, 30
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ROAD, CAR, SKY = (
    [[-1, 11.5], [31, 11.5], [31, 21], [-1, 21]],
    [[4, 5], [12, 5], [12, 13], [4, 13]],
    [[-1, -1], [31, -1], [31, 11], [-1, 11]],
)


def _image(path, pixels=NOISE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def _json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _labels(data, split="train"):
    """Train ids of the images of a split, by id."""
    records = tf.data.TFRecordDataset([str(path) for path in data.shards(split)])
    return {
        bytes.decode(record["image/id"].numpy()): decode_label(record["label/encoded"]).numpy()
        for record in map(parse, records)
    }


def _problems(source, out, kind, **options):
    """The kinds of all problems for which a source is refused."""
    with pytest.raises(ProblemsError) as caught:
        prepare(source, out, kind, options)
    assert not out.exists()
    return [problem.kind for problem in caught.value.problems]


# COCO.

CATEGORIES = [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}]


def _coco(folder, change=lambda content: None, names=("a.png", "b.png"), name="all.json"):
    content = {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in enumerate(names)
        ],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [
            {
                "id": 10 * i + category,
                "image_id": i,
                "category_id": category,
                "segmentation": [np.ravel(points).tolist()],
                "iscrowd": 0,
            }
            for i in range(len(names))
            for category, points in ((1, ROAD), (2, CAR))
        ],
    }
    change(content)
    _json(folder / name, content)
    for file in names:
        _image(folder / "images" / file.replace("\\", "/"))
    return folder


ALL = {"annotations": "all.json", "images": "images", "val_percent": 50.0}


def test_a_mask_that_cvat_calls_a_crowd_is_of_its_class(tmp_path, convert):
    def brushed(content):
        runs = [4 * HEIGHT + 5, *[8, HEIGHT - 8] * 8]
        runs[-1] += HEIGHT * WIDTH - sum(runs)
        for entry in content["annotations"]:
            if entry["category_id"] == 2:
                entry |= {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}}

    source = _coco(tmp_path / "source", brushed)
    data = convert(source, tmp_path / "data", "coco", **ALL)
    assert data.split("train").pixels_per_class["car"] == 64
    said = []
    prepare(source, tmp_path / "other", "coco", {**ALL, "crowds": "ignore"}, note=said.append)
    assert said == ["2 annotations are crowds, their pixels are ignored"]


@pytest.mark.parametrize(("root", "group"), [("road", "road"), ("streets-x1", "streets-x1")])
def test_the_root_that_roboflow_writes_is_no_class(tmp_path, convert, root, group):
    def with_root(content):
        for category in content["categories"]:
            category["supercategory"] = group
        content["categories"].insert(0, {"id": 0, "name": root, "supercategory": "none"})

    source = _coco(tmp_path / "source", with_root)
    said = []
    prepare(source, tmp_path / "data", "coco", ALL, note=said.append)
    assert f"category {root} has no annotations" in said[0].replace("'", "")
    data = convert(source, tmp_path / "again", "coco", **ALL)
    assert data.classes.names == ("background", "road", "car")


@pytest.mark.parametrize("valid", ["valid", "Validation", "VAL"])
def test_roboflows_folders_and_splits_of_any_usual_name(tmp_path, convert, valid):
    for split in ("Train", valid):
        folder = _coco(tmp_path / "source" / split, name="_annotations.coco.json")
        for image in (folder / "images").iterdir():
            image.rename(folder / image.name)
        (folder / "images").rmdir()
    data = convert(tmp_path / "source", tmp_path / "data", "coco")
    assert [data.split(split).images for split in data.splits] == [2, 2]


def test_splits_of_unusual_names_are_named(tmp_path, convert):
    for split in ("fold1", "fold2"):
        source = _coco(tmp_path / "source", name=f"annotations/instances_{split}.json")
        (source / "images").rename(source / split)
    with pytest.raises(UserError, match="expected --train=NAME"):
        prepare(source, tmp_path / "data", "coco")
    data = convert(source, tmp_path / "data", "coco", train="fold1", val="fold2")
    assert data.split("val").images == 2


def test_backslashes_separate_folders(tmp_path, convert):
    source = _coco(tmp_path / "source", names=("cam\\a.png", "images\\cam\\b.png"))
    (source / "images" / "images" / "cam" / "b.png").rename(source / "images" / "cam" / "b.png")
    data = convert(source, tmp_path / "data", "coco", **ALL)
    assert {*_labels(data), *_labels(data, "val")} == {"cam/a", "cam/b"}


def test_all_that_is_wrong_is_listed_and_left_out(tmp_path, convert):
    def damage(content):
        first, second, *_ = content["annotations"]
        first["segmentation"].append([3, 4])
        second["segmentation"] = []
        content["images"].append({"id": 7, "file_name": "x.png", "height": 9, "width": 9})
        content["annotations"].append({**first, "id": 99, "category_id": 8})

    names = ("a.png", "b.png", "c.png", "d.png")
    source = _coco(tmp_path / "source", damage, names)
    assert sorted(_problems(source, tmp_path / "data", "coco", **ALL)) == [
        "annotations of no image or no category",
        "annotations without polygons or a mask",
        "images that are listed but cannot be used",
        "polygons of fewer than three points",
    ]
    said = []
    file = tmp_path / "problems.csv"
    prepare(source, tmp_path / "data", "coco", ALL, note=said.append, invalid="skip", problems=file)
    assert "left out: 1 " in said[-1] and "left_out.csv lists them" in said[-1]
    left_out = list(csv.DictReader((tmp_path / "data" / "left_out.csv").open()))
    assert left_out == list(csv.DictReader(file.open())) and len(left_out) == 4
    assert all(str(source) in row["text"] for row in left_out)
    description = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert sum(description["left_out"].values()) == 4


# Orientation.


def _voc(folder):
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        _image(folder / "SegmentationClass" / f"{split}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text(split)
    return "JPEGImages/{}.jpg"


def _masks(folder):
    for split in ("train", "val"):
        _image(folder / "labels" / split / f"{split}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    _json(folder / "classes.json", {"names": ["road", "car"]})
    return "images/{0}/{0}.png"


def _streets(folder):
    frame = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": []}
    for split in ("train", "val"):
        _json(folder / "gtFine" / split / "c" / f"{split}_gtFine_polygons.json", frame)
    return "leftImg8bit/{0}/c/{0}_leftImg8bit.png"


def _whole(folder):
    for split in ("train", "val"):
        name = f"instances_{split}2017.json"
        _coco(folder, names=(f"{split}.png",), name=f"annotations/{name}")
    return "{0}2017/{0}.png"


SOURCES = {"voc": _voc, "masks": _masks, "cityscapes": _streets, "coco": _whole}


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("kind", SOURCES)
def test_rotated_images_are_refused_with_one_advice_in_every_kind(
    tmp_path, convert, kind, orientation
):
    source = tmp_path / "source"
    place = SOURCES[kind](source)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(NOISE)
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    for split in ("train", "val"):
        path = source / place.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        stored.transpose(back).save(path, exif=exif)
    with pytest.raises(ProblemsError, match=r"mogrify -auto-orient.*--exif=apply") as caught:
        prepare(source, tmp_path / "data", kind)
    assert {problem.kind for problem in caught.value.problems} == {"images that are stored rotated"}
    data = convert(source, tmp_path / "data", kind, exif="apply")
    assert data.split("train").image_sizes == {f"{HEIGHT}x{WIDTH}": 1}


# Masks.


def test_masks_of_0_and_255_are_asked_about_and_can_be_said(tmp_path, convert):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:9, 3:13] = 255
    for split in ("train", "val"):
        _image(tmp_path / "source" / split / "images" / f"{split}.png")
        _image(tmp_path / "source" / split / "labels" / f"{split}.png", mask)
    classes = tmp_path / "source" / "classes.json"
    _json(classes, {"names": ["ground", "building"]})
    data = convert(tmp_path / "source", tmp_path / "data", "masks")
    (found,) = [text for text in findings(data) if "no pixel of train shows: building" in text]
    assert '255 is ignore_id: if the masks are of 0 and 255, "ids": [0, 255]' in found
    _json(classes, {"names": ["ground", "building"], "ids": [0, 255]})
    data = convert(tmp_path / "source", tmp_path / "other", "masks")
    assert data.split("train").pixels_per_class["building"] == 40


# LabelMe and X-AnyLabeling.


def _labelme(folder, *shapes, stem="a"):
    everything = [
        {"label": "sky", "points": SKY, "shape_type": "polygon"},
        {"label": "road", "points": ROAD, "shape_type": "polygon"},
        *shapes,
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    _json(folder / f"{stem}.json", {"imagePath": f"{stem}.png", "shapes": everything, **size})
    _image(folder / f"{stem}.png")


@pytest.mark.parametrize(
    "kind", ["rectangle", "rotation", "quadrilateral", "oriented_rectangle", "polygon"]
)
def test_shapes_of_four_corners_are_polygons(tmp_path, convert, kind):
    shape = {"label": "car", "points": CAR, "shape_type": kind, "direction": 0.5}
    _labelme(tmp_path / "source", shape)
    _labelme(tmp_path / "source", stem="b")
    data = convert(tmp_path / "source", tmp_path / "data", "labelme", val_percent=50.0)
    car = data.classes.names.index("car")
    np.testing.assert_array_equal(
        np.argwhere(_labels(data)["a"] == car),
        [(y, x) for y in range(5, 14) for x in range(4, 13)],
    )


@pytest.mark.parametrize("stored", ["whole", "cropped"])
def test_a_mask_at_the_border_is_cut_there(tmp_path, convert, stored):
    """As `labelme.utils.shapes_to_label` places it."""
    pixels = np.full((6, 10), 255, np.uint8)[:, : 10 if stored == "whole" else 6]
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    encoded = base64.b64encode(png.getvalue()).decode()
    points = [[24, 4], [33, 9]]
    shape = {"label": "car", "points": points, "shape_type": "mask", "mask": encoded}
    _labelme(tmp_path / "source", shape)
    _labelme(tmp_path / "source", stem="b")
    data = convert(tmp_path / "source", tmp_path / "data", "labelme", val_percent=50.0)
    label = _labels(data)["a"] == data.classes.names.index("car")
    assert label[4:10, 24:].all() and label.sum() == 36


def test_points_and_lines_of_all_files_are_told_at_once_and_may_be_left_out(tmp_path, convert):
    for stem in "abc":
        stray = {"label": "x", "points": [[3, 4]], "shape_type": "point"}
        line = {"label": "x", "points": [[3, 4], [5, 6]], "shape_type": "line"}
        _labelme(tmp_path / "source", stray, line, stem=stem)
    source = tmp_path / "source"
    found = _problems(source, tmp_path / "data", "labelme", val_percent=50.0)
    assert found == ["shapes without an area"] * 6
    prepare(source, tmp_path / "data", "labelme", {"val_percent": 50.0}, invalid="skip")
    description = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert description["classes"] == ["road", "sky"]
    assert description["left_out"] == {"shapes without an area": 6}


def test_images_of_any_format_become_photographs_and_thumbnails_do_not(tmp_path, convert):
    source = tmp_path / "source"
    _labelme(source)
    for name in ("p.bmp", "q.tif", "r.webp", "s.jpg"):
        _image(source / name)
    for name in ("@eaDir/s.jpg/THUMB.jpg", ".ipynb_checkpoints/s.jpg", "._s.jpg", "Thumbs.db"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((source / "s.jpg").read_bytes())
    (source / "t.xcf").write_bytes(b"gimp")
    said = []
    prepare(source, tmp_path / "data", "labelme", {"unlabelled_train": True}, note=said.append)
    assert sum("1 files are of formats that are not read, as t.xcf" in text for text in said) == 1
    data = convert(source, tmp_path / "again", "labelme", unlabelled_train=True)
    assert [entry.image_id for entry in data.images["train"]] == ["p", "q", "r", "s"]


# Zip files.


def test_problems_in_a_zip_file_have_its_name(tmp_path):
    stray = {"label": "x", "points": [[3, 4]], "shape_type": "point"}
    for stem in "ab":
        _labelme(tmp_path / "source", stray, stem=stem)
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (tmp_path / "source").iterdir():
            file.write(path, path.name)
    said = []
    with pytest.raises(ProblemsError, match=f"^{archive}/a.json: shape 2"):
        prepare(archive, tmp_path / "data", "labelme", {"val_percent": 50.0}, note=said.append)
    assert all(text.startswith(f"  {archive}/") for text in said)
    with pytest.raises(UserError, match=f"^{archive}/leftImg8bit: no such folder"):
        prepare(archive, tmp_path / "data", "cityscapes")


# Names, and files that are not what their names say.


def test_letters_with_marks_are_one_letter_however_they_are_written(tmp_path, convert):
    """macOS takes them apart in the names of files; lists that people type have them whole."""
    composed, apart = (unicodedata.normalize(form, "rue café") for form in ("NFC", "NFD"))
    for split in ("train", "val"):
        _image(tmp_path / "masks" / split / "images" / f"{apart}.png")
        _image(tmp_path / "masks" / split / "labels" / f"{composed}.png", NOISE[..., 0] % 2)
    _json(tmp_path / "masks" / "classes.json", {"names": ["road", "car"]})
    found = _labels(convert(tmp_path / "masks", tmp_path / "data", "masks"))
    np.testing.assert_array_equal(found[composed], NOISE[..., 0] % 2)
    _coco(tmp_path / "coco", names=(f"{composed}.png", "b.png"))
    images = tmp_path / "coco" / "images"
    (images / f"{composed}.png").rename(images / f"{apart}.png")
    data = convert(tmp_path / "coco", tmp_path / "of-coco", "coco", **ALL)
    assert {entry.image_id for part in data.images.values() for entry in part} == {composed, "b"}


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda path: path.write_bytes(b""), "images that cannot be read", "an empty file"),
        (
            lambda path: Image.fromarray(NOISE).save(
                path, save_all=True, append_images=[Image.fromarray(NOISE[::-1])]
            ),
            "images that cannot be read",
            "several images in one file",
        ),
    ],
)
def test_a_file_without_an_image_or_with_several_is_named(tmp_path, spoil, kind, said):
    for split in ("train", "val"):
        _image(tmp_path / split / "images" / "a.png")
        _image(tmp_path / split / "labels" / "a.png", NOISE[..., 0] % 2)
    _json(tmp_path / "classes.json", {"names": ["road", "car"]})
    spoil(tmp_path / "train/images/a.png")
    with pytest.raises(ProblemsError, match=f"train/images/a.png: {said}") as caught:
        prepare(tmp_path, tmp_path / "out", "masks")
    assert [problem.kind for problem in caught.value.problems] == [kind]


def test_text_of_another_encoding_is_named(tmp_path):
    for split in ("train", "val"):
        _image(tmp_path / split / "a.png")
        (tmp_path / split / "a.json").write_bytes('{"flags": "\xe9"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.json: expected text in UTF-8, the byte 11 is none"):
        prepare(tmp_path, tmp_path / "out", "labelme")


def test_a_polygon_of_coco_may_lie_in_no_list_of_polygons(tmp_path, convert):
    def flat(content):
        for entry in content["annotations"]:
            (entry["segmentation"],) = entry["segmentation"]

    _coco(tmp_path / "flat", flat)
    _coco(tmp_path / "nested")
    flat, nested = (
        _labels(convert(tmp_path / name, tmp_path / f"{name}-data", "coco", **ALL))
        for name in ("flat", "nested")
    )
    assert flat.keys() == nested.keys()
    assert all((flat[image_id] == nested[image_id]).all() for image_id in flat)


def test_lists_of_voc_may_name_files(tmp_path, convert):
    for name in "ab":
        _image(tmp_path / "JPEGImages" / f"{name}.jpg")
        _image(tmp_path / "SegmentationClass" / f"{name}.png", NOISE[..., 0] % 2)
    for split, name in (("train", "a.jpg"), ("val", "b.JPG")):
        path = tmp_path / "ImageSets/Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"\ufeff{name}\r\n\r\n")
    assert list(_labels(convert(tmp_path, tmp_path / "out", "voc"))) == ["a"]


# The same thing in other tools' words.


def _as_text(content):
    for entry in [*content["images"], *content["annotations"]]:
        entry |= {name: str(entry[name]) for name in ("id", "image_id") if name in entry}


def _as_floats(content):
    for entry in content["annotations"]:
        entry |= {name: float(entry[name]) for name in ("id", "image_id", "category_id")}


def _of_sizes_in_text(content):
    for image in content["images"]:
        image |= {name: str(image[name]) for name in ("height", "width")}


def _of_blanks_in_names(content):
    for category in content["categories"]:
        category["name"] += " "


def _of_unknown_size(content):
    for image in content["images"]:
        del image["height"], image["width"]


def _of_label_studio(content):
    first, second = content["images"]
    first["file_name"] = "..\\..\\label-studio\\data\\media\\upload\\1\\a.png"
    second["file_name"] = "/data/local-files/?d=streets/b%2Epng"


def _of_other_capitals(content):
    first, second = content["images"]
    first["file_name"], second["file_name"] = "A.PNG", "upload/B.PNG"


@pytest.mark.parametrize(
    "spelled",
    [
        *(_as_text, _as_floats, _of_sizes_in_text, _of_unknown_size, _of_blanks_in_names),
        *(_of_label_studio, _of_other_capitals),
    ],
)
def test_coco_is_read_as_other_tools_spell_it(tmp_path, convert, spelled):
    data = convert(_coco(tmp_path / "source", spelled), tmp_path / "data", "coco", **ALL)
    assert data.split("train").pixels_per_class["car"] == 64
    assert {*_labels(data), *_labels(data, "val")} == {"a", "b"}


def test_an_image_that_labelme_saw_elsewhere_lies_beside_its_file(tmp_path, convert):
    for stem, place in (("a", "C:\\photos\\"), ("b", "../photos/")):
        shape = {"label": "road ", "points": CAR, "shape_type": "polygon"}
        _labelme(tmp_path / "source", shape, stem=stem)
        path = tmp_path / "source" / f"{stem}.json"
        _json(path, json.loads(path.read_text()) | {"imagePath": f"{place}{stem}.png"})
    data = convert(tmp_path / "source", tmp_path / "data", "labelme", val_percent=50.0)
    assert [*_labels(data), *_labels(data, "val")] == ["a", "b"]
    assert data.classes.names == ("road", "sky")


def test_the_only_folder_of_a_zip_file_is_the_source(tmp_path):
    _coco(tmp_path / "source")
    archive = tmp_path / "download (1).zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (tmp_path / "source").rglob("*.*"):
            file.write(path, f"exports/job 3/{path.relative_to(tmp_path / 'source')}")
        file.writestr("__MACOSX/exports/._all.json", b"")
    prepare(archive, tmp_path / "data", "coco", ALL)
    assert json.loads((tmp_path / "data/dataset.json").read_text())["splits"]["val"]["images"] == 1


def _unlisted_coco(folder):
    _coco(folder)
    _image(folder / "images" / "c.png")
    return "coco", ALL


def _unlisted_voc(folder):
    for name in "abc":
        _image(folder / "JPEGImages" / f"{name}.JPG")
    for name in "ab":
        _image(folder / "SegmentationClass" / f"{name}.PNG", NOISE[..., 0] % 2)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/default.txt").write_text("a\nb  \r\n")
    return "voc", {"val_percent": 50.0}


def _unlisted_cvat(folder):
    label = "<meta><task><labels><label><name>car</name></label></labels></task></meta>"
    box = '<box label="car" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    images = "".join(
        f'<image id="{i}" name="{name}.PNG" width="{WIDTH}" height="{HEIGHT}">{box}</image>'
        for i, name in enumerate("ab")
    )
    for name in "abc":
        _image(folder / "images" / f"{name}.png")
    (folder / "annotations.XML").write_text(f"<annotations>{label}{images}</annotations>")
    return "cvat", {"val_percent": 50.0}


@pytest.mark.parametrize("kind", [_unlisted_coco, _unlisted_voc, _unlisted_cvat])
def test_images_that_no_list_names_are_counted_or_left_to_people(tmp_path, convert, kind):
    name, options = kind(tmp_path / "source")
    said = []
    prepare(tmp_path / "source", tmp_path / "data", name, options, note=said.append)
    assert len(said) == 1
    assert "1 image is listed nowhere and left out, as 'c." in said[0]
    del options["val_percent"]
    data = convert(tmp_path / "source", tmp_path / "people", name, **options, unlabelled_train=True)
    assert {split: [e.image_id for e in data.images[split]] for split in data.splits} == {
        "train": ["c"],
        "val": ["a", "b"],
    }


def test_one_folder_of_images_may_have_a_file_for_each_split(tmp_path, convert):
    for split in ("train", "val"):
        _coco(tmp_path, names=(f"{split}.png",), name=f"of_{split}.json")
    options = {"annotations": "of_{split}.json", "images": "images"}
    assert list(_labels(convert(tmp_path, tmp_path / "data", "coco", **options))) == ["train"]


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        ("x{}_sat.png", "x{}_mask.png", "--image_suffix=_sat --label_suffix=_mask if"),
        ("x{}.png", "x{}_L.png", "expected --label_suffix=_L if"),
        ("x{}.jpg", "x{}.jpg.png", "expected --label_suffix=.jpg if"),
        ("x{}.png", "other{}.png", "--image_suffix=ENDING --label_suffix=ENDING if"),
    ],
)
def test_suffixes_that_set_masks_apart_are_found_out(tmp_path, convert, image, mask, said):
    for number in range(2):
        _image(tmp_path / "images" / image.format(number))
        _image(tmp_path / "labels" / mask.format(number), NOISE[..., 0] % 2)
    _json(tmp_path / "classes.json", {"names": ["road", "car"]})
    with pytest.raises(UserError, match=said) as caught:
        prepare(tmp_path, tmp_path / "data", "masks", {"val_percent": 50.0})
    if "ENDING" not in said:
        words = [word[2:].split("=") for word in str(caught.value).split() if word[:2] == "--"]
        data = convert(tmp_path, tmp_path / "data", "masks", val_percent=50.0, **dict(words))
        assert list(_labels(data)) == ["x0"]


def test_colours_of_16_bits_are_no_mask(tmp_path):
    for split in ("train", "val"):
        _image(tmp_path / split / "images" / "a.png")
        path = tmp_path / split / "labels" / "a.png"
        path.parent.mkdir()
        cv2.imwrite(str(path), NOISE.astype(np.uint16) % 2)
    _json(tmp_path / "classes.json", {"names": ["road", "car"]})
    with pytest.raises(ProblemsError, match="found mode RGB of 16 bits"):
        prepare(tmp_path, tmp_path / "data", "masks")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("coco", {}, "give --annotations=FILE and --images=FOLDER"),
        ("coco", {"annotations": "all.json"}, "expected one folder in --images, as --images="),
        ("coco", ALL | {"val_percent": 1.0}, "leaves no image for val, expected 50 or more"),
        ("coco", ALL | {"annotations": "one.json"}, "leaves no image for val, expected two images"),
        ("cityscapes", {}, "gtFine: no such folder, there is --annotations=gtCoarse"),
        ("masks", {}, "no such classes file"),
        ("masks", {"classes": "typo.json"}, "has the field 'pallete', did you mean 'palette'"),
        ("cvat", {"annotations": "empty.xml"}, "empty.xml: an empty file"),
    ],
)
def test_what_is_missing_is_told(tmp_path, kind, options, said):
    _coco(tmp_path / "source")
    _coco(tmp_path / "source", names=("a.png",), name="one.json")
    for folder in ("leftImg8bit", "gtCoarse"):
        (tmp_path / "source" / folder).mkdir()
    (tmp_path / "source/empty.xml").write_bytes(b"")
    _json(tmp_path / "source/typo.json", {"names": ["road", "car"], "pallete": []})
    with pytest.raises(UserError, match=said):
        prepare(tmp_path / "source", tmp_path / "data", kind, options)


def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path):
    _coco(tmp_path / "source")
    for problems, said in ((tmp_path, "a folder"), (tmp_path / "no/p.csv", "no such folder")):
        with pytest.raises(UserError, match=said):
            prepare(tmp_path / "source", tmp_path / "data", "coco", ALL, problems=problems)
    with pytest.raises(UserError, match="a file, expected a folder or a zip file"):
        prepare(tmp_path / "source/all.json", tmp_path / "data", "coco", ALL)
    assert not (tmp_path / "data").exists()
