"""Every line of docs/datasets.md, run on a small set that is drawn in the layout it is for."""

import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf import cli
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.records import decode_image, decode_label, parse

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
LINES = re.findall(r"^    (cereals prepare (\w+) .*)$", PAGE, re.MULTILINE)
BLOCKS = {
    name: (kind, text)
    for kind, name, text in re.findall(r"^```(json|python) (\w+)\n(.*?)^```", PAGE, re.M | re.S)
}

HEIGHT, WIDTH = 24, 40
# The truth: the upper half is one thing, the lower another, with an object and an unknown corner.
UPPER, LOWER, OBJECT, UNKNOWN = range(4)
BOXES = {UPPER: (0, 0, 40, 10), LOWER: (0, 10, 40, 24), OBJECT: (8, 12, 21, 19)}
CORNER = (30, 0, 40, 5)


def _truth(unknown=True):
    truth = np.full((HEIGHT, WIDTH), UNKNOWN, np.uint8)
    for part, (left, top, right, bottom) in BOXES.items():
        truth[top:bottom, left:right] = part
    if unknown:
        left, top, right, bottom = CORNER
        truth[top:bottom, left:right] = UNKNOWN
    return truth


TRUTH = _truth()


def _file(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _image(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def _mask(path, values, palette=None):
    """Write a mask of these values, or colours, for the four parts of the truth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(values, np.uint8)[TRUTH])
    if palette:
        image.putpalette(palette)
    image.save(path)


def _corners(part, last=1):
    """The corners of a box; `last` is 1 where they are on the last pixels, 0 where behind them."""
    left, top, right, bottom = BOXES.get(part, CORNER)
    right, bottom = right - last, bottom - last
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _folder_masks(images, labels, values, splits=("train", "val"), **options):
    """Draws images and masks in folders of these names."""

    def draw(folder):
        for split, name in ((splits[0], "a"), (splits[0], "b"), (splits[-1], "c")):
            _image(folder / images.format(split=split, name=name))
            _mask(folder / labels.format(split=split, name=name), values, **options)

    return draw


def _streets(images="leftImg8bit", annotations="gtFine", suffix="", names=(), extra=()):
    """Cityscapes' layout; a is of polygons, b of label ids, c of train ids."""
    labels = names or ("sky", "road", "car", "static")
    frames = {"train": ("a", "b"), "val": ("c",)} | {name: ("d",) for name in extra}

    def draw(folder):
        for split, of_split in frames.items():
            for frame in of_split:
                stem = f"town_00_{frame}"
                _image(folder / images / split / "town" / f"{stem}_leftImg8bit{suffix}.png")
                place = folder / annotations / split / "town" / f"{stem}_{annotations}"
                if frame in "ad" or names:
                    objects = [
                        {"label": label, "polygon": _corners(part)}
                        for part, label in enumerate(labels)
                    ]
                    objects = [*objects[:2], objects[3], objects[2]]
                    size = {"imgHeight": HEIGHT, "imgWidth": WIDTH}
                    _file(Path(f"{place}_polygons.json"), {**size, "objects": objects})
                elif frame == "b":
                    _mask(Path(f"{place}_labelIds.png"), (23, 7, 26, 4))
                else:
                    _mask(Path(f"{place}_labelTrainIds.png"), (10, 0, 13, 255))
        _image(folder / images / "test/town" / f"town_00_t_leftImg8bit{suffix}.png")

    return draw


def _foggy(folder):
    for beta in ("0.005", "0.01", "0.02"):
        _streets("leftImg8bit_foggy", suffix=f"_foggy_beta_{beta}")(folder)


def _idd(folder):
    _streets(names=("sky", "road", "autorickshaw", "rectification border"))(folder)
    for part in ("leftImg8bit", "gtFine"):
        for path in list((folder / part).rglob("town_*")):
            for number in "01":
                to = Path(str(path).replace("/town/", f"/{number}/"))
                _file(to, path.read_bytes())
            path.unlink()


def _acdc(folder):
    for weather in ("fog", "night"):
        for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "t")):
            image = folder / f"rgb_anon/{weather}/{split}/GOPR1/{name}_rgb_anon.png"
            _image(image)
            _image(Path(str(image).replace(split, f"{split}_ref").replace("_rgb", "_ref_rgb")))
            place = f"{folder}/gt/{weather}/{split}/GOPR1/{name}_gt"
            if split != "test":
                _mask(Path(f"{place}_labelTrainIds.png"), (10, 0, 13, 255))
                _mask(Path(f"{place}_labelIds.png"), (23, 7, 26, 0))
                _mask(Path(f"{place}_labelColor.png"), [[70, 130, 180]] * 4)


def _loveda(folder):
    for split, place, name in (
        ("Train", "Rural", "0"),
        ("Train", "Urban", "0"),
        ("Val", "Rural", "2"),
        ("Test", "Urban", "3"),
    ):
        _image(folder / f"{split}/{place}/images_png/{name}.png")
        if split != "Test":
            _mask(folder / f"{split}/{place}/masks_png/{name}.png", (3, 7, 2, 0))


def _kitti(folder):
    for i in range(10):
        _image(folder / f"training/image_2/{i:06d}_10.png")
        _mask(folder / f"training/semantic/{i:06d}_10.png", (23, 7, 26, 0))
        _image(folder / f"testing/image_2/{i:06d}_10.png")


def _gta(folder):
    palette = np.random.default_rng(0).permutation(768).astype(np.uint8)
    palette[21:24] = 244, 35, 232  # the colour of another class
    for i in range(10):
        _image(folder / f"images/{i:05d}.png")
        _mask(folder / f"labels/{i:05d}.png", (23, 7, 26, 0), palette=palette.tolist())


def _mapillary(folder):
    labels = [
        {"readable": name, "evaluate": name != "Unlabeled", "color": [i, 0, 0]}
        for i, name in enumerate(("Bird", "Sky", "Road", "Car", "Unlabeled"))
    ]
    _file(folder / "config_v1.2.json", {"labels": labels})
    palette = [part for i in range(256) for part in (i, 0, 0)]
    draw = _folder_masks(
        "{split}/images/{name}.jpg",
        "{split}/v1.2/labels/{name}.png",
        (1, 2, 3, 4),
        ("training", "validation"),
        palette=palette,
    )
    draw(folder)
    _image(folder / "testing/images/t.jpg")


def _camvid(folder):
    colours = ((128, 128, 128), (192, 0, 64), (64, 128, 192), (0, 0, 0))
    for i in range(10):
        _image(folder / f"701_StillsRaw_full/Seq05VD_f{i:05d}.png")
        _mask(folder / f"LabeledApproved_full/Seq05VD_f{i:05d}_L.png", colours)


def _voc_palette():
    return [part for i in range(256) for part in _voc_colour(i)]


def _voc_colour(index):
    colour = [0, 0, 0]
    for bit in range(8):
        for part in range(3):
            colour[part] |= (index >> 3 * bit + part & 1) << 7 - bit
    return colour


def _voc(folder):
    inner = folder / "VOCdevkit/VOC2012"
    for name in "abc":
        _image(inner / f"JPEGImages/{name}.jpg")
        _mask(inner / f"SegmentationClass/{name}.png", (0, 7, 15, 255), palette=_voc_palette())
    _file(inner / "ImageSets/Segmentation/train.txt", "a\nb\n")
    _file(inner / "ImageSets/Segmentation/val.txt", "c\n")
    _file(inner / "ImageSets/Segmentation/trainval.txt", "a\nb\nc\n")


def _coco(names, pictures, brushed=False, root=None):
    categories = [{"id": i, "name": n} for i, n in enumerate(("sky", "road", "car"), 1)]
    if root:
        categories = [
            {"id": 0, "name": root, "supercategory": "none"},
            *({**category, "supercategory": root} for category in categories),
        ]
    images, annotations = [], []
    for i, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        images.append({"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH})
        _image(picture)
        for part in BOXES:
            segmentation = [np.ravel(_corners(part, 0)).tolist()]
            if brushed and part == OBJECT:
                runs = _runs(part == TRUTH.T)
                segmentation = {"size": [HEIGHT, WIDTH], "counts": runs}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": part + 1,
                    "segmentation": segmentation,
                    "iscrowd": int(isinstance(segmentation, dict)),
                }
            )
    return {"images": images, "annotations": annotations, "categories": categories}


def _runs(mask):
    """Lengths of runs without and with the mask in turn, row by row."""
    flat = [False, *mask.ravel().tolist()]
    starts = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    return np.diff([1, *starts, len(flat)]).tolist()


def _official_coco(folder):
    for split, names in (("train", ("a.jpg", "b.jpg")), ("val", ("c.jpg",))):
        pictures = [folder / f"{split}2017" / name for name in names]
        _file(folder / f"annotations/instances_{split}2017.json", _coco(names, pictures))


def _cvat_coco(folder):
    names = [f"frame {i}.jpg" for i in range(5)]
    pictures = [folder / "images/default" / name for name in names]
    _file(folder / "annotations/instances_default.json", _coco(names, pictures, brushed=True))


def _label_studio(folder):
    names = [f"images\\{i}/shot{i}.jpg" for i in range(5)]
    pictures = [folder / "images" / f"shot{i}.jpg" for i in range(5)]
    _file(folder / "result.json", _coco(names, pictures))


def _roboflow(folder):
    for split, names in (("train", ("a.jpg", "b.jpg")), ("valid", ("c.jpg",))):
        content = _coco(names, [folder / split / name for name in names], root="streets")
        _file(folder / split / "_annotations.coco.json", content)


def _roboflow_masks(folder):
    for split, name in (("train", "a"), ("train", "b"), ("valid", "c")):
        _image(folder / split / f"{name}.jpg")
        _mask(folder / split / f"{name}_mask.png", (0, 0, 1, 0))
        _file(folder / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, building\n")


def _cvat(folder):
    lines = ["<annotations><version>1.1</version><meta><job><labels>"]
    lines += [f"<label><name>{name}</name></label>" for name in ("sky", "road", "car")]
    lines += ["<label><name>blurred</name><type>tag</type></label></labels></job></meta>"]
    for i in range(5):
        _image(folder / f"images/frame {i}.jpg")
        lines.append(f'<image id="{i}" name="frame {i}.jpg" width="{WIDTH}" height="{HEIGHT}">')
        left, top, right, bottom = BOXES[OBJECT]
        runs = ", ".join(map(str, [0, (right - left) * (bottom - top)]))
        lines.append(
            f'<mask label="car" rle="{runs}" left="{left}" top="{top}" '
            f'width="{right - left}" height="{bottom - top}" z_order="2"/>'
        )
        points = ";".join(f"{x}.00,{y}.00" for x, y in _corners(LOWER, 0))
        lines.append(f'<polygon label="road" points="{points}" z_order="1" occluded="0"/>')
        left, top, right, bottom = BOXES[UPPER]
        lines.append(
            f'<box label="sky" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}" z_order="0"/>'
        )
        lines.append('<tag label="blurred"/></image>')
    _file(folder / "annotations.xml", "\n".join([*lines, "</annotations>"]))


def _cvat_masks(folder):
    for i in range(5):
        _image(folder / f"JPEGImages/frame {i}.jpg")
        _mask(
            folder / f"SegmentationClass/frame {i}.png",
            ((61, 61, 245), (128, 64, 128), (0, 0, 142), (0, 0, 0)),
        )
    _file(
        folder / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n"
        "car:0,0,142::\nsky:61,61,245::\n",
    )
    _file(
        folder / "ImageSets/Segmentation/default.txt",
        "".join(f"frame {i}\n" for i in range(5)),
    )


def _labelme(kinds, labelled=range(5)):
    def draw(folder):
        for i in range(10):
            _image(folder / f"shot {i}.jpg")
            if i not in labelled:
                continue
            shapes = []
            for part, label in enumerate(("sky", "road", "car")):
                points = _corners(part)
                kind = kinds[part]
                if kind == "rectangle" and kinds[0] != "rotation":
                    points = points[::2]
                shapes.append({"label": label, "points": points, "shape_type": kind})
            corner = {"label": "__ignore__", "points": _corners(3), "shape_type": "polygon"}
            content = {
                "imagePath": f"shot {i}.jpg",
                "shapes": [*shapes[:2], corner, shapes[2]],
                "imageHeight": HEIGHT,
                "imageWidth": WIDTH,
            }
            _file(folder / f"shot {i}.json", content)

    def all_labelled(folder):
        draw(folder)
        for i in range(10):
            if i not in labelled and len(labelled) == 5:
                (folder / f"shot {i}.jpg").unlink()

    return all_labelled


def _ade20k(folder):
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    rows += [f"{i}\t0.1\t9\t9\t0\tclass {i}, other word" for i in range(1, 151)]
    _file(folder / "objectInfo150.txt", "\n".join(rows) + "\n")
    draw = _folder_masks(
        "images/{split}/{name}.jpg",
        "annotations/{split}/{name}.png",
        (3, 7, 150, 0),
        ("training", "validation"),
    )
    draw(folder)


def _deepglobe(folder):
    for i in range(10):
        _image(folder / f"train/{i}_sat.jpg")
        colours = ((0, 0, 255), (0, 255, 0), (0, 255, 255), (0, 0, 0))
        _mask(folder / f"train/{i}_mask.png", colours)
        _image(folder / f"valid/{i}_sat.jpg")


STREETS = ("sky", "road", "car", None)
DRAWN = {
    "CITYSCAPES": (_streets(), STREETS),
    "COARSE": (_streets(annotations="gtCoarse", extra=["train_extra"]), STREETS),
    "FOGGY": (_foggy, STREETS),
    "ACDC": (_acdc, STREETS),
    "BDD100K": (
        _folder_masks(
            "images/10k/{split}/{name}.jpg",
            "labels/sem_seg/masks/{split}/{name}.png",
            (10, 0, 13, 255),
        ),
        STREETS,
    ),
    "KITTI": (_kitti, STREETS),
    "GTA5": (_gta, STREETS),
    "IDD": (_idd, ("sky", "road", "autorickshaw", None)),
    "MAPILLARY": (_mapillary, ("Sky", "Road", "Car", None)),
    "CAMVID": (_camvid, STREETS),
    "SEGNET": (
        _folder_masks("{split}/{name}.png", "{split}annot/{name}.png", (0, 3, 8, 11)),
        STREETS,
    ),
    "VOC": (_voc, ("background", "car", "person", None)),
    "COCO": (_official_coco, ("sky", "road", "car", "sky")),
    "ADE20K": (_ade20k, (*(f"class {i}, other word" for i in (3, 7, 150)), None)),
    "DEEPGLOBE": (_deepglobe, ("water", "forest", "urban", None)),
    "LOVEDA": (_loveda, ("road", "agriculture", "building", None)),
    "CVAT": (_cvat, ("sky", "road", "car", "sky")),
    "CVAT_MASKS": (_cvat_masks, ("sky", "road", "car", "background")),
    "CVAT_COCO": (_cvat_coco, ("sky", "road", "car", "sky")),
    "LABEL_STUDIO": (_label_studio, ("sky", "road", "car", "sky")),
    "LABELME": (_labelme(("polygon", "rectangle", "polygon")), STREETS),
    "X_ANYLABELING": (_labelme(("rotation", "rectangle", "polygon")), STREETS),
    "ROBOFLOW": (_roboflow, ("sky", "road", "car", "sky")),
    "ROBOFLOW_MASKS": (_roboflow_masks, ("background", "background", "building", "background")),
    "BLACK_AND_WHITE": (
        _folder_masks("{split}/images/{name}.png", "{split}/labels/{name}.png", (0, 0, 255, 0)),
        ("background", "background", "building", "background"),
    ),
    "PHOTOS": (_labelme(("polygon",) * 3, range(3)), STREETS),
}


def test_every_line_has_a_drawn_set():
    assert [source for _, source in LINES] == list(DRAWN)


@pytest.mark.parametrize(("line", "source"), LINES, ids=[source for _, source in LINES])
def test_the_line_of_the_page_reads_the_set(tmp_path, monkeypatch, capsys, line, source):
    draw, names = DRAWN[source]
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / source)
    kind, text = BLOCKS.get(source, ("", ""))
    if kind == "json":
        _file(tmp_path / source / "classes.json", text)
    elif kind == "python":
        exec(compile(text, "docs/datasets.md", "exec"), {})
    assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    data = PreparedData.open(tmp_path / "data")
    for split in data.splits:
        records = tf.data.TFRecordDataset([str(path) for path in data.shards(split)])
        assert data.split(split).images == len(list(records))
        for record in map(parse, records):
            label = decode_label(record["label/encoded"]).numpy()
            assert decode_image(record["image/encoded"]).shape == (HEIGHT, WIDTH, 3)
            ids = [data.classes.names.index(n) if n else data.classes.ignore_id for n in names]
            if source == "PHOTOS" and split == "train":
                ids = [data.classes.ignore_id] * 4
            np.testing.assert_array_equal(label, np.array(ids)[TRUTH])
    assert not data.description.left_out


def test_a_zip_file_is_read_like_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _cvat(tmp_path / "CVAT")
    with zipfile.ZipFile("CVAT.zip", "w") as archive:
        for path in sorted((tmp_path / "CVAT").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "CVAT"))
    assert cli.main(["prepare", "CVAT", "from_folder", "--dataset=cvat"]) == 0
    assert cli.main(["prepare", "CVAT.zip", "from_zip", "--dataset=cvat"]) == 0
    found = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "from_folder", tmp_path / "from_zip")
    ]
    assert found[0] == found[1] and found[0]
