"""A corpus of malformed sources and prepared data sets: broken ones, odd ones, forged ones.

Each case is a name and what damages a sound source. Whatever it is, `prepare` ends in one line that
names the file and leaves nothing behind, or converts it to what an independent reading gives.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import cityscapesscripts.helpers.annotation as official
import numpy as np
import pytest
import tensorflow as tf
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from cereals_tf import cli
from cereals_tf.data_prep.conversion import Converted, convert_item
from cereals_tf.data_prep.damage import examine, refuse_damage
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.problems import refuse
from cereals_tf.data_prep.records import decode_label, parse
from cereals_tf.data_prep.shards import serialize_checked
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.verify import verify

HEIGHT, WIDTH = 20, 30
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
MASK = np.kron(np.array([[0, 1, 2], [2, 9, 0]], np.uint8), np.ones((10, 10), np.uint8))
SIZE = [HEIGHT, WIDTH]
SQUARE = [[2, 2], [12, 2.5], [12, 14], [3, 14]]
TRIANGLE = [[15, 1], [29, 18], [16.5, 17]]
NAMES = ["_background_", "thing", "other"]


# Sound sources: images a and b of train, c of val.


class Layout(NamedTuple):
    """Where a source has the image a, its annotation, and what else it reads."""

    image: str
    annotation: str
    more: tuple[str, ...] = ()


LAYOUTS = {
    "cityscapes": Layout(
        "leftImg8bit/train/town/a_leftImg8bit.png", "gtFine/train/town/a_gtFine_polygons.json"
    ),
    "masks": Layout("train/images/a.png", "train/labels/a.png", ("classes.json",)),
    "camvid": Layout("images/train/a.png", "masks/train/a.png", ("classes.json",)),
    "voc": Layout(
        "JPEGImages/a.jpg",
        "SegmentationClass/a.png",
        ("ImageSets/Segmentation/train.txt", "classes.json"),
    ),
    "coco": Layout("train2017/a.png", "annotations/instances_train2017.json"),
    "labelme": Layout("train/a.png", "train/a.json", ("classes.json",)),
}


def _file(path: Path, content: bytes | str | dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _png(array: np.ndarray = PIXELS, **options) -> bytes:
    return _encoded(Image.fromarray(array), "png", **options)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


CITYSCAPES = {
    "imgHeight": HEIGHT,
    "imgWidth": WIDTH,
    "objects": [
        {"label": "road", "polygon": SQUARE},
        {"label": "cargroup", "polygon": TRIANGLE, "deleted": 0},
    ],
}
CLASSES = {"names": NAMES, "ignore_id": 9, "palette": [[0, 0, 0], [255, 0, 0], [0, 0, 255]]}
COCO_TRAIN = {
    "info": {},
    "images": [
        {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
        {"id": 8, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
    ],
    "categories": [{"id": 3, "name": "thing"}, {"id": 1, "name": "other"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "iscrowd": 0,
            "segmentation": [np.ravel(SQUARE).tolist(), np.ravel(TRIANGLE).tolist()],
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 1,
            "iscrowd": 1,
            "segmentation": {"size": SIZE, "counts": [50, 40, 500, 10]},
        },
    ],
}
COCO_VAL = COCO_TRAIN | {
    "images": [{"id": 1, "file_name": "c.png", "height": HEIGHT, "width": WIDTH}],
    "annotations": [],
}


def _labelme(stem: str) -> dict:
    blot = base64.b64encode(_png(MASK[5:15, 5:15])).decode()
    shapes = [
        {"label": "thing", "points": SQUARE, "shape_type": "polygon"},
        {"label": "other", "points": [[15, 3], [20, 9]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[8, 8], [9, 12]], "shape_type": "circle"},
        {"label": "thing", "points": [[4, 4], [13, 13]], "shape_type": "mask", "mask": blot},
        {"label": "__ignore__", "points": TRIANGLE, "shape_type": None},
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"imagePath": f"{stem}.png", "imageData": None, "shapes": shapes, **size}


def _of(stem: str, split: str, name: str) -> str:
    """Where another image has what the image a has in `name`."""
    folder, _, file = name.replace("train", split).rpartition("/")
    return f"{folder}/{stem}{file[1:]}"


def _write_source(folder: Path, kind: str) -> None:
    layout = LAYOUTS[kind]
    for stem, split in (("a", "train"), ("b", "train"), ("c", "val")):
        image = folder / _of(stem, split, layout.image)
        annotation = folder / _of(stem, split, layout.annotation)
        _file(image, _encoded(Image.fromarray(PIXELS), "jpeg" if kind == "voc" else "png"))
        if kind in ("masks", "camvid", "voc"):
            _file(annotation, _png(MASK))
        if kind == "cityscapes":
            _file(annotation, CITYSCAPES)
        if kind == "labelme":
            _file(annotation, _labelme(stem))
    if kind == "coco":
        _file(folder / layout.annotation, COCO_TRAIN)
        _file(folder / layout.annotation.replace("train", "val"), COCO_VAL)
    if kind == "voc":
        _file(folder / "ImageSets/Segmentation/train.txt", "a\nb\n")
        _file(folder / "ImageSets/Segmentation/val.txt", "c\n")
    if "classes.json" in layout.more:
        _file(folder / "classes.json", CLASSES)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound source of every kind, by its name."""
    folder = tmp_path_factory.mktemp("sound")
    for kind in LAYOUTS:
        _write_source(folder / kind, kind)
    return folder


# What independent readers make of a source: the train ids of its images.


def _official_cityscapes(path: Path) -> np.ndarray:
    annotation = official.Annotation()
    annotation.fromJsonFile(str(path))
    return np.asarray(createLabelImage(annotation, "trainIds"))


def _official_coco(path: Path, file_name: str) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    (image,) = (
        image for image in coco.imgs.values() if Path(image["file_name"]) == Path(file_name)
    )
    annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
    masks = {annotation["id"]: coco.annToMask(annotation) for annotation in annotations}
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    train_ids = {number: i for i, number in enumerate(sorted(coco.getCatIds()), 1)}
    for annotation in sorted(annotations, key=lambda a: (-int(masks[a["id"]].sum()), a["id"])):
        label[masks[annotation["id"]] > 0] = train_ids[annotation["category_id"]]
    return label


def _official_labelme(path: Path) -> np.ndarray:
    """As `labelme.utils.shape_to_mask` draws them, in the order of the file."""
    shapes = json.loads(path.read_bytes())["shapes"]
    label = np.full((HEIGHT, WIDTH), 0, np.uint8)
    for shape in shapes:
        canvas = Image.new("1", (WIDTH, HEIGHT))
        drawer = ImageDraw.Draw(canvas)
        points = [tuple(point) for point in shape["points"]]
        match shape.get("shape_type"):
            case "mask":
                blot = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
                canvas.paste(blot.point(bool, "1"), tuple(int(part) for part in points[0]))
            case "circle":
                (x, y), radius = points[0], np.hypot(*np.subtract(*points))
                drawer.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
            case "rectangle":
                (x, y), (other_x, other_y) = points
                box = [min(x, other_x), min(y, other_y), max(x, other_x), max(y, other_y)]
                drawer.rectangle(box, fill=1)
            case _:
                drawer.polygon(points, fill=1)
        name = shape["label"]
        label[np.asarray(canvas)] = 9 if name == "__ignore__" else NAMES.index(name)
    return label


def _read_independently(source: Path, kind: str) -> np.ndarray:
    """The train ids of the image a."""
    path = source / LAYOUTS[kind].annotation
    match kind:
        case "cityscapes":
            return _official_cityscapes(path)
        case "coco":
            return _official_coco(path, "a.png")
        case "labelme":
            return _official_labelme(path)
    return np.asarray(Image.open(path))


# Running `cereals` in this process.


@pytest.fixture(autouse=True)
def no_hanging():
    """Fails a test that waits for ever, as on a pipe that nobody writes to."""

    def stop(*_):
        pytest.fail("hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def cereals(capsys):
    """Runs a command line; returns its status, stdout, and the lines on stderr."""

    def run(*arguments) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err.replace("\r", "\n").splitlines()

    return run


@pytest.fixture
def refused(cereals, tmp_path):
    """Checks that a command line is refused in one line and leaves `tmp_path` as it was."""

    def run(*arguments) -> str:
        before = _state(tmp_path)
        status, out, lines = cereals(*arguments)
        assert (status, out) == (2, ""), lines
        assert [line for line in lines if "cereals" in line or "Error" in line] == lines[-1:]
        assert lines[-1].startswith("cereals: error: ") and len(lines[-1]) < 1500
        assert _state(tmp_path) == before
        return lines[-1]

    return run


def _state(folder: Path) -> dict[str, tuple]:
    """What is below a folder, without opening any of it."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            status = os.lstat(os.path.join(place, name))
            written = () if name in folders else (status.st_size, status.st_mtime_ns)
            found[os.path.join(place, name)] = (status.st_mode, status.st_ino, *written)
    return found


@pytest.fixture
def refused_source(sound, tmp_path, refused):
    """Damages a sound source, and checks that `prepare` refuses it; returns the line."""

    def run(kind: str, damage: Callable[[Path], Any], *options: str) -> str:
        source = shutil.copytree(sound / kind, tmp_path / "source")
        _file(tmp_path / "outside" / "secret.png", _png())
        damage(source)
        line = ["prepare", source, tmp_path / "new" / "out", f"--dataset={kind}"]
        return refused(*line, "--workers=1", *options)

    return run


def _write(name: str, content: bytes | str | dict) -> Callable[[Path], None]:
    def write(source: Path) -> None:
        (source / name).unlink(missing_ok=True)
        _file(source / name, content)

    return write


@pytest.fixture
def converted(sound, tmp_path, cereals):
    """Changes a sound source, and checks that the image a is converted as it is read independently.

    Returns the records of train by their ids.
    """

    def run(kind: str, change: Callable[[Path], Any]) -> dict[str, dict[str, tf.Tensor]]:
        source, out = shutil.copytree(sound / kind, tmp_path / "source"), tmp_path / "out"
        _file(tmp_path / "outside" / "secret.png", SOUND_PNG)
        expected = change(source)
        status, _, lines = cereals("prepare", source, out, f"--dataset={kind}", "--workers=1")
        assert status == 0, lines
        data = PreparedData.open(out)
        verify(data)
        shards = tf.data.TFRecordDataset([str(path) for path in data.shards("train")])
        records = {
            bytes.decode(record["image/id"].numpy()): record for record in map(parse, shards)
        }
        label = decode_label(records["a"]["label/encoded"])
        if expected is None:
            expected = _read_independently(source, kind)
        np.testing.assert_array_equal(label, expected)
        return records

    return run


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_undamaged_sources_are_converted(converted, kind):
    converted(kind, lambda source: None)


# Images, and masks.


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _raw_png(
    height: int = HEIGHT,
    width: int = WIDTH,
    depth: int = 8,
    colour: int = 0,
    content: bytes | None = None,
    chunks: bytes = b"",
    end: bytes = _chunk(b"IEND", b""),
) -> bytes:
    """A PNG whose header says what it is told to."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    if content is None:
        content = bytes(min((1 + width) * height, 1 << 16))
    data = _chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + data + end


def _jpeg(**options) -> bytes:
    return _encoded(Image.fromarray(PIXELS), "jpeg", **options)


def _jpeg_claiming(height: int, width: int, frame: int = 0xC0, bits: int = 8) -> bytes:
    """A JPEG whose frame header says what it is told to."""
    content = _jpeg()
    place = content.index(b"\xff\xc0")
    frame_header = struct.pack(">BBHBHH", 0xFF, frame, 17, bits, height, width)
    return content[:place] + frame_header + content[place + len(frame_header) :]


def _without_segment(content: bytes, marker: int) -> bytes:
    place = content.index(bytes([0xFF, marker]))
    length = struct.unpack_from(">H", content, place + 2)[0]
    return content[:place] + content[place + 2 + length :]


SOUND_PNG, SOUND_JPEG = _png(), _jpeg()
IMAGES = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"no image",
    "HTML": b"<!doctype html><title>404 Not Found</title>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "PNG signature alone": SOUND_PNG[:8],
    "PNG header alone": SOUND_PNG[:33],
    "PNG without data": SOUND_PNG[:33] + _chunk(b"IEND", b""),
    "PNG cut in its data": SOUND_PNG[: len(SOUND_PNG) // 2],
    "PNG in text mode": SOUND_PNG.replace(b"\r\n", b"\n"),
    "PNG with a bit flipped": SOUND_PNG[:99] + bytes([SOUND_PNG[99] ^ 1]) + SOUND_PNG[100:],
    "PNG of width 0": _raw_png(width=0),
    "PNG of height 0": _raw_png(height=0),
    "PNG of 60,000 x 60,000": _raw_png(60_000, 60_000, content=bytes(99)),
    "PNG of 2,147,483,647 x 1": _raw_png(1, 2**31 - 1, content=bytes(99)),
    "PNG of 4,294,967,295 rows": _raw_png(2**32 - 1, 1, content=bytes(99)),
    "PNG with too few rows": _raw_png(content=bytes(400)),
    "PNG of 3 bits": _raw_png(depth=3),
    "PNG of colour type 9": _raw_png(colour=9),
    "PNG without its palette": _raw_png(colour=3),
    "PNG with an unknown filter": _raw_png(content=b"\x09" * (1 + WIDTH) * HEIGHT),
    "PNG whose data are no zlib stream": SOUND_PNG[:33] + _chunk(b"IDAT", b"x" * 99),
    "JPEG signature alone": SOUND_JPEG[:3],
    "JPEG cut in its header": SOUND_JPEG[:100],
    "JPEG cut in its data": SOUND_JPEG[: len(SOUND_JPEG) * 3 // 4],
    "JPEG of 60,000 x 60,000": _jpeg_claiming(60_000, 60_000),
    "JPEG of width 0": _jpeg_claiming(HEIGHT, 0),
    "JPEG of height 0": _jpeg_claiming(0, WIDTH),
    "JPEG of 12 bits": _jpeg_claiming(HEIGHT, WIDTH, bits=12),
    "JPEG without loss": _jpeg_claiming(HEIGHT, WIDTH, frame=0xC3),
    "JPEG without quantisation": _without_segment(_without_segment(SOUND_JPEG, 0xDB), 0xDB),
    "JPEG without a frame": _without_segment(SOUND_JPEG, 0xC0),
    "JPEG with broken EXIF": _jpeg(exif=b"Exif\0\0MM\x01*\0\0\0\x08", dpi=(72, 72)),
    "PNG of 16 bits in grey": _png(PIXELS[..., 0].astype(np.uint16) * 257),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", ["masks", "voc"])
def test_a_malformed_image_is_refused(refused_source, kind, name):
    image = LAYOUTS[kind].image
    assert image in refused_source(kind, _write(image, IMAGES[name]))


def _saved(mode: str, kind: str = "png", **options) -> bytes:
    return _encoded(Image.fromarray(PIXELS).convert(mode), kind, **options)


def _grey(bits: int) -> bytes:
    """A greyscale PNG whose rows of fewer than 8 bits hold the values 0 and 1 in turn."""
    ones = sum(1 << bits * place for place in range(0, 8 // bits, 2))
    row = bytes([0]) + bytes([ones]) * -(-WIDTH * bits // 8)
    return _raw_png(depth=bits, content=row * HEIGHT)


FRAME = Image.fromarray(PIXELS[::-1])
ODD_IMAGES = {
    "grey of 1 bit": _grey(1),
    "grey of 2 bits": _grey(2),
    "grey and alpha": _saved("LA"),
    "colour and alpha": _saved("RGBA"),
    "palette": _saved("P"),
    "palette and transparency": _saved("P", transparency=3),
    "more rows than it says": _raw_png(content=bytes((1 + WIDTH) * HEIGHT * 9)),
    "a profile that is none": _raw_png(chunks=_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"none"))),
    "text that is not zlib": _raw_png(chunks=_chunk(b"zTXt", b"note\0\0none")),
    "an unknown chunk": _raw_png(chunks=_chunk(b"exTr", b"more")),
    "bytes behind its end": _raw_png() + b"more",
    "grey JPEG": _saved("L", "jpeg"),
    "CMYK JPEG": _saved("CMYK", "jpeg"),
    "JPEG with another behind it": _encoded(
        Image.fromarray(PIXELS), "mpo", save_all=True, append_images=[FRAME]
    ),
    "JPEG with bytes behind its end": SOUND_JPEG + b"more",
}


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_an_odd_image_is_converted(converted, name):
    records = converted("masks", _write(LAYOUTS["masks"].image, ODD_IMAGES[name]))
    assert records["a"]["image/encoded"].numpy() == ODD_IMAGES[name]


def _mask(array: np.ndarray = MASK, **options) -> bytes:
    return _png(array, **options)


MASKS = {
    **{name: content for name, content in IMAGES.items() if not name.startswith("JPEG")},
    "JPEG": _encoded(Image.fromarray(MASK), "jpeg", quality=100),
    **{kind: _encoded(Image.fromarray(PIXELS), kind) for kind in ("gif", "bmp", "webp", "tiff")},
    "colour": _png(),
    "an id that is no class": _mask(np.where(MASK == 9, 3, MASK).astype(np.uint8)),
    "the usual ignore id": _mask(np.where(MASK == 9, 255, MASK).astype(np.uint8)),
    "turned": _mask(MASK.T.copy()),
    "one row too many": _mask(np.concatenate([MASK, MASK[:1]])),
    "one pixel": _mask(MASK[:1, :1]),
    "half the size": _mask(MASK[::2, ::2].copy()),
}
del MASKS["PNG without its palette"]  # only colours are lost, not indices


@pytest.mark.parametrize("name", MASKS)
def test_a_malformed_mask_is_refused(refused_source, name):
    mask = LAYOUTS["camvid"].annotation
    assert mask in refused_source("camvid", _write(mask, MASKS[name]))


def _palette_mask(**options) -> bytes:
    image = Image.fromarray(MASK)
    image.putpalette([7] * 30)  # ten ids of one colour
    return _encoded(image, "png", **options)


ODD_MASKS = {
    "palette of one colour": _palette_mask(),
    "palette of 4 bits": _palette_mask(bits=4),
    "palette with a transparent id": _palette_mask(transparency=2),
    "animated": _mask(save_all=True, append_images=[Image.fromarray(MASK[::-1])]),
    "with a gamma of 9": _raw_png(
        content=b"".join(b"\0" + row.tobytes() for row in MASK),
        chunks=_chunk(b"gAMA", struct.pack(">I", 900_000)),
    ),
    "nothing but ignored": _mask(np.full_like(MASK, 9)),
}


@pytest.mark.parametrize("name", ODD_MASKS)
@pytest.mark.parametrize("kind", ["camvid", "voc"])
def test_an_odd_mask_is_converted(converted, kind, name):
    converted(kind, _write(LAYOUTS[kind].annotation, ODD_MASKS[name]))


# JSON, YAML and lists.

JSON = {
    "cityscapes": LAYOUTS["cityscapes"].annotation,
    "coco": LAYOUTS["coco"].annotation,
    "labelme": LAYOUTS["labelme"].annotation,
    "masks": "classes.json",
    "voc": "classes.json",
}
TEXTS = {
    "empty": b"",
    "blank": b" \n\n",
    "100,000 brackets": b"[" * 100_000,
    "100,000 closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "nesting in a field": b'{"names": ' + b"[" * 940 + b"]" * 940 + b"}",
    "null": b"null",
    "a number": b"7",
    "a text": b'"classes"',
    "a list": b"[]",
    "an empty object": b"{}",
    "objects in lines": b'{"a": 1}\n{"a": 2}\n',
    "a comma too many": b'{"names": ["a", "b"],}',
    "single quotes": b"{'names': ['a', 'b']}",
    "comments": b'{"names": ["a", "b"]} // mine',
    "YAML": b"names:\n  - a\n  - b\nignore_id: 255\n",
    "YAML of one line": b"{names: [a, b], ignore_id: 255}",
    "XML": b"<annotation><object><name>a</name></object></annotation>",
    "JavaScript's values": b'{"names": undefined}',
    "NUL behind": b'{"names": ["a", "b"]}\0',
    "a control character": b'{"names": ["a\n", "b"]}',
    "latin-1": '{"names": ["é", "b"]}'.encode("latin-1"),
    "half of UTF-16": '{"names": ["a", "b"]}'.encode("utf-16")[:-1],
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "5,000 digits": b'{"names": ' + b"9" * 5000 + b"}",
    "an image": SOUND_PNG,
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", JSON)
def test_a_malformed_text_is_refused(refused_source, kind, text):
    assert JSON[kind] in refused_source(kind, _write(JSON[kind], TEXTS[text]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", JSON)
def test_json_in_any_unicode_is_converted(converted, kind, encoding):
    def encode(source: Path) -> np.ndarray:
        path = source / JSON[kind]
        expected = _read_independently(source, kind)
        path.write_bytes(path.read_text().encode(encoding))
        return expected

    converted(kind, encode)


@pytest.mark.parametrize("kind", JSON)
def test_json_cut_anywhere_is_refused(sound, tmp_path, kind):
    source = shutil.copytree(sound / kind, tmp_path / "source")
    path = source / JSON[kind]
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place])
        with pytest.raises(UserError, match=JSON[kind]) as caught:
            _convert_a(source, kind)
        assert "\n" not in str(caught.value)


def _convert_a(source: Path, kind: str) -> tuple[Converted, bytes]:
    """Convert the image a as `prepare` does, which refuses a source with problems."""
    opened = open_source(kind, source)
    items = opened.items()["train"]
    refuse(opened.log.problems)
    (item,) = (item for item in items if item.image_id == "a")
    converted, problems = convert_item(opened, item)
    refuse(problems)
    return converted, serialize_checked(converted)


def _places(content: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON document; of lists of numbers or of points, the first."""
    yield before
    inner = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        inner = [*enumerate(content)][: None if isinstance(content[0], dict) else 1]
    for key, value in inner:
        yield from _places(value, *before, key)


def _replaced(content: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a JSON document with another value in one place, or without that place."""
    outer = {"": deepcopy(content)}
    inner, path = outer, ["", *place]
    for key in path[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return outer.get("", "")


def _nested(depth: int) -> list:
    value = []
    for _ in range(depth):
        value = [value]
    return value


ABSENT = object()
NUMBERS = [-1, 0.5, 10**6, 2**64, 10**400, 1e300, float("nan"), float("-inf")]
STRINGS = ["", "x", "\ud800", "a\nb", "../../outside/secret.png", "/etc/passwd", "x" * 70_000]
VALUES = [ABSENT, None, True, *NUMBERS, *STRINGS, [], {}, [[1, 2]] * 3, _nested(900)]
DOCUMENTS = {
    "cityscapes": CITYSCAPES,
    "coco": COCO_TRAIN,
    "labelme": _labelme("a"),
    "masks": CLASSES,
}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        pytest.param(kind, place, id="/".join([kind, *map(str, place)]))
        for kind, content in DOCUMENTS.items()
        for place in _places(content)
    ],
)
def test_any_value_anywhere_is_refused_or_converted_soundly(sound, tmp_path, kind, place):
    source = shutil.copytree(sound / kind, tmp_path / "source")
    path = source / JSON[kind]
    for value in VALUES:
        path.write_text(json.dumps(_replaced(DOCUMENTS[kind], place, value)))
        try:
            found, record = _convert_a(source, kind)
        except UserError as error:
            message = str(error)
            assert str(source) in message and len(message) < 1500 and "\n" not in message
            message.encode()
            continue
        assert examine(record).reason is None
        label = np.asarray(Image.open(io.BytesIO(found.image.label_encoded)))
        np.testing.assert_array_equal(label, _read_independently(source, kind))


# Names, links, and what is no file.


def _both(*names: str) -> tuple[str, ...]:
    return tuple(Path(name).name for name in names)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


NO_FILES = {
    "nothing": lambda path: None,
    "a pipe": _pipe,
    "a folder": Path.mkdir,
    "a link to nothing": _link("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a pipe": lambda path: (_pipe(path.with_name("pipe")), path.symlink_to("pipe")),
    "a link to a folder": _link("."),
    "a link to a file that cannot be read": _link("/proc/self/mem"),
    "a link to what has no end": _link("/dev/zero"),
}


_OPTIONAL = {("voc", "classes.json"), ("labelme", "classes.json")}
_UNLABELLED = {("coco", LAYOUTS["coco"].annotation, "nothing")}  # people will annotate train
_BUILT_IN = {("camvid", "classes.json", "nothing")}


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        pytest.param(kind, name, what, id=f"{kind}: {name}-{what}")
        for kind, layout in LAYOUTS.items()
        for name in (layout.image, layout.annotation, *layout.more)
        for what in NO_FILES
        if (kind, name) not in _OPTIONAL and (kind, name, what) not in _UNLABELLED | _BUILT_IN
    ],
)
def test_what_is_no_file_is_refused(refused_source, kind, name, what):
    def replace(source: Path) -> None:
        (source / name).unlink()
        NO_FILES[what](source / name)

    line = refused_source(kind, replace)
    pair = (Path(part).name for part in (*LAYOUTS[kind][:2], name))
    assert any(part in line for part in pair)


def _append(name: str, text: str) -> Callable[[Path], None]:
    def append(source: Path) -> None:
        with (source / name).open("a") as file:
            file.write(text)

    return append


def _edit(name: str, *place: str | int, to: Any) -> Callable[[Path], None]:
    def edit(source: Path) -> None:
        content = json.loads((source / name).read_text())
        (source / name).write_text(json.dumps(_replaced(content, place, to)))

    return edit


def _copies(kind: str, stem: str, suffix: str = "") -> Callable[[Path], None]:
    """Copies the image a and its annotation to others of the same kind."""

    def copy(source: Path) -> None:
        for name in LAYOUTS[kind][:2]:
            path = source / _of(stem, "train", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, path.with_suffix(suffix) if suffix else path)

    return copy


def _folder_link(name: str, to: str) -> Callable[[Path], None]:
    return lambda source: (source / name).symlink_to(to)


_LIST = "ImageSets/Segmentation/train.txt"
_INSTANCES, _SHAPES = LAYOUTS["coco"].annotation, LAYOUTS["labelme"].annotation
_BYTES = os.fsdecode(b"caf\xe9")
BAD_NAMES = {
    "an id of nothing": ("cityscapes", _copies("cityscapes", ""), "_leftImg8bit.png"),
    "names in latin-1": ("masks", _copies("masks", _BYTES), "caf"),
    "names of frames in latin-1": ("cityscapes", _copies("cityscapes", _BYTES), "caf"),
    "names of JSON in latin-1": ("labelme", _copies("labelme", _BYTES), ".json"),
    "one id of two suffixes": ("masks", _copies("masks", "a", ".jpg"), "duplicate id 'a'"),
    "one id of two cases of suffix": ("masks", _copies("masks", "a", ".PNG"), "duplicate id 'a'"),
    "a link to a folder outside": (
        "masks",
        _folder_link("train/images/more", "../../../outside"),
        "images/more",
    ),
    "a link in a circle": ("cityscapes", _folder_link("gtFine/train/town/up", ".."), "town/up"),
    "JSON in a circle": ("labelme", _folder_link("train/up", ".."), "train/up"),
    "a list that leads out": ("voc", _append(_LIST, "../../outside/secret\n"), "train.txt: line 3"),
    "a list with a path from the root": (
        "voc",
        _append(_LIST, "/etc/passwd\n"),
        "train.txt: line 3",
    ),
    "a list of a name twice": ("voc", _append(_LIST, "./a\n"), "train.txt: line 3"),
    "a list of a name the long way": ("voc", _append(_LIST, "b/../a\n"), "train.txt: line 3"),
    "a list of a folder": ("voc", _append(_LIST, ".\n"), "train.txt: line 3"),
    "a list with NUL": ("voc", _append(_LIST, "a\0\n"), "train.txt: line 3"),
    "a list of a long name": ("voc", _append(_LIST, "a" * 70_000), "train.txt: line 3"),
    "a list in UTF-16": ("voc", _write(_LIST, "a\nb\n".encode("utf-16")), "train.txt"),
    "a list that is an image": ("voc", _write(_LIST, SOUND_PNG), "train.txt"),
    "a list with two columns": ("voc", _write(_LIST, "a 1\nb -1\n"), "train.txt: line 1"),
    "an image of val in train": ("voc", _append(_LIST, "c\n"), "listed twice"),
    "a file_name that leads out": (
        "coco",
        _edit(_INSTANCES, "images", 0, "file_name", to="../../outside/secret.png"),
        "not inside",
    ),
    "a file_name of val": (
        "coco",
        _edit(_INSTANCES, "images", 0, "file_name", to="../val2017/c.png"),
        "not inside",
    ),
    "a file_name the long way": (
        "coco",
        _edit(_INSTANCES, "images", 1, "file_name", to="x/../a.png"),
        "images[1]",
    ),
    "an imagePath that leads out": (
        "labelme",
        _edit(_SHAPES, "imagePath", to="../../outside/secret.png"),
        "not inside",
    ),
    "an imagePath of Windows that leads out": (
        "labelme",
        _edit(_SHAPES, "imagePath", to="..\\..\\outside\\secret.png"),
        "not inside",
    ),
    "an imagePath of a drive": ("labelme", _edit(_SHAPES, "imagePath", to="C:\\z.png"), "a.json"),
    "an imagePath of a server": (
        "labelme",
        _edit(_SHAPES, "imagePath", to="\\\\server\\share\\z.png"),
        "not inside",
    ),
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_misleads_is_refused(refused_source, name):
    kind, damage, named = BAD_NAMES[name]
    assert named in refused_source(kind, damage)


ODD_NAMES = ["A", "a.b", "-rf", "~", "%s{0}", "*?[!x]", "[/red]", ":smile:", 'comma,"quote"', " "]
ODD_NAMES += [
    "new\nline",
    "tab\t",
    "\x1b[2J",
    "é",
    "e\u0301",
    "\u202eback",
    "図",
    "x" * 230,
    "d/e/e/p",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_an_id(converted, name):
    records = converted("masks", _copies("masks", name))
    assert list(records) == sorted(["a", "b", unicodedata.normalize("NFC", name)])


def _link_out(source: Path) -> None:
    (source / LAYOUTS["masks"].image).unlink()
    (source / LAYOUTS["masks"].image).symlink_to(source.parent / "outside" / "secret.png")


ODD_LAYOUTS = {
    "an image that is a link": ("masks", _link_out),
    "a list with a byte order mark": ("voc", _write(_LIST, "a\nb\n".encode("utf-8-sig"))),
    "a list of DOS": ("voc", _write(_LIST, "a\r\nb\r\n")),
    "files of other kinds between": ("masks", _write("train/images/Thumbs.db", "x")),
    "a folder with the suffix of images": ("masks", _write("train/images/x.png/notes", "x")),
    "a file_name with a folder": (
        "coco",
        _edit(_INSTANCES, "images", 0, "file_name", to="./a.png"),
    ),
    "class names of markup": (
        "masks",
        _edit("classes.json", "names", to=["[/red]", ":smile:", "\x1b[2J\n"]),
    ),
    "an unknown field nested deeply": (
        "cityscapes",
        _write(JSON["cityscapes"], {**CITYSCAPES, "more": _nested(900)}),
    ),
}


@pytest.mark.parametrize("name", ODD_LAYOUTS)
def test_an_odd_source_is_converted(converted, name):
    kind, change = ODD_LAYOUTS[name]
    converted(kind, change)


# What single kinds of annotation may lie about.


def _rle(**fields) -> Callable[[Path], None]:
    rle = {"size": SIZE, "counts": [50, 40, 500, 10], **fields}
    return _edit(_INSTANCES, "annotations", 1, "segmentation", to=rle)


def _categories(categories: list[dict]) -> Callable[[Path], None]:
    def edit(source: Path) -> None:
        for name in (_INSTANCES, _INSTANCES.replace("train", "val")):
            _edit(name, "categories", to=categories)(source)

    return edit


def _polygon(*points: float) -> Callable[[Path], None]:
    return _edit(_INSTANCES, "annotations", 0, "segmentation", to=[list(points)])


def _shape(**fields) -> Callable[[Path], None]:
    shape = {**_labelme("a")["shapes"][3], **fields}
    return _edit(_SHAPES, "shapes", 1, to=shape)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _object(**fields) -> Callable[[Path], None]:
    return _edit(JSON["cityscapes"], "objects", 0, to={**CITYSCAPES["objects"][0], **fields})


_NEAR, _FAR = [15.0, 10.0], [1e6, -1e6]
LIES = {
    "RLE beyond its size": ("coco", _rle(counts=[50, 40, 511])),
    "RLE short of its size": ("coco", _rle(counts=[50, 40])),
    "RLE of nothing": ("coco", _rle(counts=[])),
    "RLE of no text": ("coco", _rle(counts="")),
    "RLE of a negative run": ("coco", _rle(counts=[50, -40, 590])),
    "RLE that wraps around 32 bits": ("coco", _rle(counts=[2**32 + 600])),
    "RLE that wraps around 64 bits": ("coco", _rle(counts=[2**64 + 600])),
    "RLE of a number of 400 digits": ("coco", _rle(counts=[10**400])),
    "RLE of fractions": ("coco", _rle(counts=[300.0, 300.0])),
    "RLE of truths": ("coco", _rle(counts=[True] * 600)),
    "RLE of runs in texts": ("coco", _rle(counts=["600"])),
    "RLE of 60,000 x 60,000": ("coco", _rle(size=[60_000] * 2, counts=[60_000**2])),
    "RLE of the size turned": ("coco", _rle(size=[WIDTH, HEIGHT])),
    "RLE of three sizes": ("coco", _rle(size=[HEIGHT, WIDTH, 1])),
    "RLE compressed beyond its size": ("coco", _rle(counts="PPYo1")),
    "RLE compressed to a negative run": ("coco", _rle(counts="1O")),
    "RLE compressed without an end": ("coco", _rle(counts="o" * 9)),
    "RLE compressed of characters beyond": ("coco", _rle(counts="\u20ac\ud800")),
    "RLE compressed twice": ("coco", _rle(counts=_base64(zlib.compress(b"12")))),
    "RLE in bytes": ("coco", _rle(counts=[{"bytes": "12"}])),
    "a box for a polygon": ("coco", _polygon(1, 1, 9, 9)),
    "a polygon of a coordinate too few": ("coco", _polygon(1, 1, 9, 1, 9, 9, 1)),
    "a polygon far away": ("coco", _polygon(*_NEAR, *_FAR, 1, 1)),
    "a polygon beyond floats": ("coco", _polygon(10**400, 1, 9, 1, 9, 9)),
    "a polygon at NaN": ("coco", _polygon(float("nan"), 1, 9, 1, 9, 9)),
    "a polygon at minus infinity": ("coco", _polygon(1, float("-inf"), 9, 1, 9, 9)),
    "a polygon to and fro": ("coco", _polygon(*[-25, 0, 55, 9] * 9000)),
    "many polygons to and fro": (
        "coco",
        _edit(_INSTANCES, "annotations", 0, "segmentation", to=[[-25, 0, 55, 9, 0, 0]] * 9000),
    ),
    "300 categories": ("coco", _categories([{"id": i, "name": f"c{i}"} for i in range(300)])),
    "a category of half a character": ("coco", _categories([{"id": 1, "name": "\udc80"}])),
    "a category twice": ("coco", _categories([{"id": i, "name": "c"} for i in (1, 3)])),
    "a far point": ("cityscapes", _object(polygon=[_NEAR, _FAR, [1e6 + 1, 0]])),
    "a point of 64 bits": ("cityscapes", _object(polygon=[_NEAR, [2**64, 0], [0, 0]])),
    "a point beyond floats": ("cityscapes", _object(polygon=[_NEAR, [10**400, 0], [0, 0]])),
    "a point at NaN": ("cityscapes", _object(polygon=[_NEAR, [float("nan"), 0], [0, 0]])),
    "a point in space": ("cityscapes", _object(polygon=[[1, 2, 3]] * 3)),
    "a class of a polygon in lines": ("cityscapes", _object(label="car\ncereals: error: x")),
    "a class in capitals": ("cityscapes", _object(label="Road")),
    "a size turned": ("cityscapes", _write(JSON["cityscapes"], {**CITYSCAPES, "imgHeight": 30})),
    "a mask before its image": ("labelme", _shape(points=[[-1, 4], [8, 13]])),
    "a mask outside its image": ("labelme", _shape(points=[[30, 4], [39, 13]])),
    "a mask of another size": ("labelme", _shape(points=[[4, 4], [14, 13]])),
    "a mask turned around": ("labelme", _shape(points=[[13, 13], [4, 4]])),
    "a mask of 60,000 x 60,000": ("labelme", _shape(mask=_base64(_raw_png(60_000, 60_000)))),
    "a mask in JPEG's colours": ("labelme", _shape(mask=_base64(SOUND_JPEG))),
    "a mask that is cut": ("labelme", _shape(mask=_base64(SOUND_PNG)[:80])),
    "a mask that is no base64": ("labelme", _shape(mask="\u20ac")),
    "a mask as a list": ("labelme", _shape(mask=[1, 0])),
    "a huge circle": ("labelme", _shape(shape_type="circle", points=[_NEAR, _FAR])),
    "a circle at infinity": ("labelme", _shape(shape_type="circle", points=[_NEAR, [1e300, 0]])),
    "a shape without area": ("labelme", _shape(shape_type="linestrip", points=SQUARE)),
    "a label of another case": ("labelme", _shape(label="Thing")),
    "a name twice": ("masks", _edit("classes.json", "names", to=["a", "b", "a"])),
    "300 names": ("masks", _edit("classes.json", "names", to=[f"c{i}" for i in range(300)])),
    "no names": ("masks", _edit("classes.json", "names", to=[])),
    "a name of half a character": ("masks", _edit("classes.json", "names", 0, to="\udc80")),
    "the ignore id of a class": ("masks", _edit("classes.json", "ignore_id", to=2)),
    "an ignore id of 64 bits": ("masks", _edit("classes.json", "ignore_id", to=2**64)),
    "an ignore id nested": ("masks", _edit("classes.json", "ignore_id", to=_nested(930))),
    "a palette too short": ("masks", _edit("classes.json", "palette", to=[[0, 0, 0]])),
    "a palette of 256": ("masks", _edit("classes.json", "palette", 0, 0, to=256)),
    "a palette nested": ("masks", _edit("classes.json", "palette", to=_nested(930))),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused(refused_source, name):
    kind, damage = LIES[name]
    assert JSON[kind].replace("train2017.json", "") in refused_source(kind, damage)


# Few bytes that would fill the memory, or keep a processor busy for hours.

BOMBS_CHILD = """
import json, resource, sys
from cereals_tf import cli

resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
for kind, source in json.loads(sys.argv[1]):
    status = cli.main(["prepare", source, f"{source}-out", f"--dataset={kind}", "--workers=1"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([status, peak // 1024]), flush=True)
    print("END", file=sys.stderr, flush=True)
"""


def _zeros(gigabytes: int) -> bytes:
    """A zlib stream of so many zeros; its checksum, which comes last, is wrong."""
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * (1024 * gigabytes - 1) + packer.flush()


def _many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose scans say, in a few bytes, that no block changes."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    blocks = (side // 8) ** 2
    run = "0" + "1" * 13 + "0"  # a run of 2^14 + (2^14 - 2) blocks without coefficients
    bits = run * -(-blocks // 32_766)
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    head = segment(0xDB, b"\0" + bytes([1] * 64))
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\0")
    head += segment(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
    head += segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0]))
    head += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(blocks // 8)
    again = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + packed
    return b"\xff\xd8" + head + again * scans + b"\xff\xd9"


def _bombs() -> dict[str, tuple[str, Callable[[Path], Any], int]]:
    """Kind of source, damage, and the expected status of each."""
    zeros = _zeros(1)
    image, photo = LAYOUTS["masks"].image, LAYOUTS["voc"].image

    def stuffed(chunk: bytes) -> Callable[[Path], None]:
        return _write(image, _raw_png(chunks=chunk))

    compressed_text = _chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(1 << 20), 9)[:-4])
    header = SOUND_PNG[:8] + _chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0))
    data_bomb = header + _chunk(b"IDAT", zeros) + _chunk(b"IEND", b"")
    far = np.tile([-25, 0, 55, 9], 100_000).tolist()
    return {
        "rows of gigabytes": ("masks", _write(image, data_bomb), 0),
        "mask of gigabytes": ("masks", _write(LAYOUTS["masks"].annotation, data_bomb), 0),
        "text of gigabytes": ("masks", stuffed(_chunk(b"zTXt", b"note\0\0" + zeros)), 2),
        "Unicode text of gigabytes": (
            "masks",
            stuffed(_chunk(b"iTXt", b"note\0\1\0\0\0" + zeros)),
            2,
        ),
        "many texts": ("masks", stuffed(compressed_text * 300), 2),
        "profile of gigabytes": ("masks", stuffed(_chunk(b"iCCP", b"icc\0\0" + zeros)), 2),
        "claim of a large image": (
            "cityscapes",
            lambda source: (
                _write(LAYOUTS["cityscapes"].image, _raw_png(8_000, 8_000, content=b"0"))(source),
                _write(JSON["cityscapes"], {**CITYSCAPES, "imgHeight": 8_000, "imgWidth": 8_000})(
                    source
                ),
            ),
            2,
        ),
        "claim of a large JPEG": ("voc", _write(photo, _jpeg_claiming(8_000, 8_000)), 2),
        "JPEG of many scans": ("voc", _write(photo, _many_scans(8000, 50_000)), 2),
        "embedded mask of gigabytes": ("labelme", _shape(mask=_base64(data_bomb)), 2),
        "polygon to and fro": ("coco", _polygon(*far), 2),
    }


def test_bombs_cost_neither_memory_nor_time(sound, tmp_path):
    bombs = _bombs()
    sources = [("masks", str(sound / "masks"))]
    for number, (kind, damage, _) in enumerate(bombs.values()):
        source = shutil.copytree(sound / kind, tmp_path / str(number))
        damage(source)
        sources.append((kind, str(source)))
    command = [sys.executable, "-c", BOMBS_CHILD, json.dumps(sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    outcomes = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    print(outcomes, done.stderr[-3000:])
    (status, before), *outcomes = outcomes
    assert status == 0
    assert {name: status for name, (status, _) in zip(bombs, outcomes, strict=False)} == {
        name: status for name, (*_, status) in bombs.items()
    }
    assert max(peak for _, peak in outcomes) - before < 500


# Prepared data sets.


@pytest.fixture(scope="module")
def sound_data(sound, tmp_path_factory):
    """A sound prepared data set: a and b of train, c of val."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare(sound / "masks", folder, "masks")
    return folder


@pytest.fixture
def data(sound_data, tmp_path):
    """A copy of it, to damage; what lies outside has the bytes of a shard too."""
    shutil.copytree(sound_data, tmp_path / "data")
    shutil.copy(sound_data / SHARD, tmp_path / "outside")
    return tmp_path / "data"


SHARD = "Split-train/data_tfrecord-00000-of-00001"
_SPLIT = ("splits", "train")
FORGED_DESCRIPTIONS = {
    "a shard outside": ("../outside",),
    "a shard outside the long way": ("Split-train/../../outside",),
    "a shard from the root": ("/dev/zero",),
    "a shard of half a character": ("\udc80",),
    "a shard with NUL": ("a\0",),
    "a shard of no name": ("",),
    "the folder as a shard": (".",),
    "a shard twice": (SHARD, SHARD),
    "no shards": (),
    "a shard that is no text": (7,),
    "a shard that is not there": ("Split-train/data_tfrecord-00000-of-00002",),
    "a shard of another scheme": ("file:///dev/zero",),
}


@pytest.fixture
def refused_data(data, tmp_path, refused):
    """Checks that each command that would read the data set refuses it; returns the lines."""

    def run(*commands: str) -> list[str]:
        lines = []
        for command in commands or ("inspect", "verify", "start"):
            match command:
                case "inspect":
                    line = ["inspect", data]
                case "verify":
                    line = ["inspect", data, "--verify"]
                case "start":
                    line = ["start", tmp_path / "campaign", f"--data={data}", "--region=16"]
            lines.append(refused(*line))
        return lines

    return run


@pytest.mark.parametrize("name", FORGED_DESCRIPTIONS)
def test_a_forged_list_of_shards_is_refused(data, refused_data, name):
    _edit("dataset.json", *_SPLIT, "shards", to=list(FORGED_DESCRIPTIONS[name]))(data)
    for line in refused_data():
        assert "dataset.json" in line


@pytest.mark.parametrize("text", TEXTS)
def test_a_malformed_description_is_refused(data, refused_data, text):
    _write("dataset.json", TEXTS[text])(data)
    for line in refused_data("inspect", "start"):
        assert "dataset.json" in line


_DESCRIBED = {
    "format_version": 1,
    "source": "masks",
    "classes": [""],
    "palette": [[0]],
    "ignore_id": 9,
    "splits": {
        "train": {
            "images": 2,
            "shards": [""],
            "image_sizes": {"20x30": 2},
            "pixels": 1,
            "pixels_ignored": 1,
            "pixels_per_class": {"thing": 1},
            "clicks": 1,
            "clicks_ignored": 1,
            "clicks_per_class": {"thing": 1},
            "polygon_iou_per_class": {"thing": 1},
        },
        "val": {"images": 1, "shards": [""]},
    },
}


@pytest.mark.parametrize("place", _places(_DESCRIBED), ids=lambda place: "/".join(map(str, place)))
def test_any_value_anywhere_in_a_description_is_refused_or_does_no_harm(data, cereals, place):
    path = data / "dataset.json"
    content = json.loads(path.read_text())
    for value in VALUES:
        path.write_text(json.dumps(_replaced(content, place, value)))
        try:
            opened = PreparedData.open(data)
        except UserError as error:
            message = str(error)
            assert str(data) in message and len(message) < 1500 and "\n" not in message
            continue
        status, _, lines = cereals("inspect", data)
        assert status == 0, lines
        assert len(opened.images["train"]) == 2


def _images(change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def edit(data: Path) -> None:
        changed = change((data / "images.csv").read_bytes().decode())
        _write("images.csv", changed)(data)

    return edit


LISTS = {
    "empty": lambda text: "",
    "a header alone": lambda text: text.partition("\n")[0],
    "an image of nothing": lambda text: text.replace("train,a,20,30", "train,a,0,30"),
    "an image of less than nothing": lambda text: text.replace("train,a,20,30", "train,a,-20,-30"),
    "an image of 10^9 x 10^9": lambda text: text.replace("a,20,30", f"a,{10**9},{10**9}"),
    "a height of 5,000 digits": lambda text: text.replace("a,20,30", f"a,{'9' * 5000},30"),
    "a height of 400 digits": lambda text: text.replace("a,20,30", f"a,{10**400},30"),
    "a height of NaN": lambda text: text.replace("a,20,30", "a,nan,30"),
    "the size turned": lambda text: text.replace("train,a,20,30", "train,a,30,20"),
    "clicks below 0": lambda text: re.sub(r"(train,a,20,30),.*", r"\1,-1", text),
    "another number of clicks": lambda text: re.sub(r"(train,a,20,30),.*", r"\1,1", text),
    "an image twice": lambda text: text.replace("train,b", "train,a"),
    "an image too many": lambda text: text + "train,x,20,30,0\r\n",
    "an image too few": lambda text: re.sub("train,a.*\n", "", text),
    "another split": lambda text: text.replace("train,a", "test,a"),
    "no columns": lambda text: text.replace(",", ";"),
    "a quotation without an end": lambda text: text.replace("train,a", 'train,"a'),
    "latin-1": lambda text: text.replace("train,a", "train,\xe9").encode("latin-1"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "a long field": lambda text: text.replace("train,a", f"train,{'a' * 200_000}"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_malformed_list_of_images_is_refused(data, refused_data, name):
    path = data / "images.csv"
    before = path.read_bytes()
    _images(LISTS[name])(data)
    assert path.read_bytes() != before
    for line in refused_data("verify", "start"):
        assert "images.csv" in line


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("name", ["dataset.json", "images.csv", SHARD])
def test_what_is_no_file_of_a_data_set_is_refused(data, refused_data, name, what):
    (data / name).unlink()
    NO_FILES[what](data / name)
    readable = what == "a link to a file that cannot be read"
    for line in refused_data("verify") if readable else refused_data("verify", "start"):
        assert name in line or "dataset.json" in line


def _example(data: Path, number: int = 1) -> tf.train.Example:
    contents = list(tf.data.TFRecordDataset(str(data / SHARD)).as_numpy_iterator())
    return tf.train.Example.FromString(contents[number])


def _feature(name: str, *values: Any) -> Callable[[tf.train.Example], None]:
    """Replaces a feature of a record."""

    def change(example: tf.train.Example) -> None:
        feature = example.features.feature[name]
        kind = feature.WhichOneof("kind")
        if values and isinstance(values[0], bytes):
            kind = "bytes_list"
        getattr(feature, kind).value[:] = values

    return change


def _no_feature(name: str) -> Callable[[tf.train.Example], None]:
    return lambda example: example.features.feature.pop(name)


def _points(*values: float) -> Callable[[tf.train.Example], None]:
    """Replaces the first of a record's points."""

    def change(example: tf.train.Example) -> None:
        example.features.feature["polygon/points"].float_list.value[: len(values)] = values

    return change


def _first(name: str, value: int) -> Callable[[tf.train.Example], None]:
    """Replaces the first of a record's numbers."""

    def change(example: tf.train.Example) -> None:
        example.features.feature[name].int64_list.value[0] = value

    return change


FORGED_RECORDS = {
    "no id": _no_feature("image/id"),
    "two ids": _feature("image/id", b"b", b"a"),
    "the id of another": _feature("image/id", b"a"),
    "the id of val": _feature("image/id", b"c"),
    "an id that is not listed": _feature("image/id", b"../../outside"),
    "an id in latin-1": _feature("image/id", b"\xe9"),
    "no image": _no_feature("image/encoded"),
    "an image of nothing": _feature("image/encoded", b""),
    "an image that is text": _feature("image/encoded", b"no image"),
    "a GIF": _feature("image/encoded", MASKS["gif"]),
    "an image of another size": _feature("image/encoded", _png(PIXELS[:-1])),
    "an image of 60,000 x 60,000": _feature("image/encoded", _raw_png(60_000, 60_000)),
    "an image of width 0": _feature("image/encoded", _raw_png(width=0)),
    "no height": _no_feature("image/height"),
    "a height of 0": _feature("image/height", 0),
    "a height of 2^62": _feature("image/height", 2**62),
    "a height below 0": _feature("image/height", -HEIGHT),
    "the size turned": lambda example: (
        _feature("image/height", WIDTH)(example),
        _feature("image/width", HEIGHT)(example),
    ),
    "a label of nothing": _feature("label/encoded", b""),
    "a label of another size": _feature("label/encoded", _png(MASK[1:])),
    "a label of 60,000 x 60,000": _feature("label/encoded", _raw_png(60_000, 60_000)),
    "two labels": _feature("label/encoded", _png(MASK), _png(MASK)),
    "a length of 0": _first("polygon/length", 0),
    "a length below 0": _first("polygon/length", -(2**63)),
    "a length of 2^62": _first("polygon/length", 2**62),
    "a length too many": lambda example: example.features.feature[
        "polygon/length"
    ].int64_list.value.append(1),
    "no lengths": _feature("polygon/length"),
    "no points": _feature("polygon/points"),
    "half a point": lambda example: example.features.feature[
        "polygon/points"
    ].float_list.value.pop(),
    "a point at NaN": _points(float("nan")),
    "a point at infinity": _points(0.0, float("-inf")),
    "a point far away": _points(3e38),
    "a polygon of another class": _first("polygon/class", 3),
    "a polygon of a class below 0": _first("polygon/class", -1),
    "a polygon of a class of 64 bits": _first("polygon/class", 2**63 - 1),
}
FORGED_PIXELS = {
    "an image that is cut": _feature("image/encoded", SOUND_PNG[: len(SOUND_PNG) // 2]),
    "an image with too few rows": _feature("image/encoded", _raw_png(content=bytes(400))),
    "a JPEG that is cut": _feature("image/encoded", SOUND_JPEG[: len(SOUND_JPEG) * 3 // 4]),
    "a label that is cut": _feature("label/encoded", _png(MASK)[:-30]),
    "a label of another class": _feature("label/encoded", _png(np.where(MASK == 9, 3, MASK))),
}


def _forge(data: Path, change: Callable[[tf.train.Example], Any]) -> None:
    """Changes the record 1 of train; its checksums are right."""
    examples = [_example(data, number) for number in (0, 1)]
    change(examples[1])
    with tf.io.TFRecordWriter(str(data / SHARD)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())


@pytest.mark.parametrize("name", [*FORGED_RECORDS, *FORGED_PIXELS])
def test_a_forged_record_is_named(data, refused_data, name):
    _forge(data, (FORGED_RECORDS | FORGED_PIXELS)[name])
    (line,) = refused_data("verify")
    if name != "the id of another":
        assert f"1 damaged: {data / SHARD}: record 1: " in line
    opened = PreparedData.open(data)
    if name in FORGED_RECORDS:
        with pytest.raises(UserError, match=f"{SHARD}: record 1 is damaged") as caught:
            refuse_damage(opened, ["val", "train"])
        assert "\n" not in str(caught.value)
    else:
        refuse_damage(opened, ["val", "train"])


PLUGIN = """
from keras import Input, Sequential, layers


def build(channels):
    return Sequential([Input((None, None, 3)), layers.Dropout(0.1), layers.Conv2D(channels, 8, 8)])
"""


@pytest.mark.parametrize("name", ["a label of another class", "an image with too few rows"])
def test_forged_pixels_stop_a_step(data, tmp_path, cereals, monkeypatch, name):
    """What only decoding shows."""
    (tmp_path / "malformed_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    _forge(data, FORGED_PIXELS[name])
    models = [f"--{part}=malformed_plugin:build" for part in ("model", "cost_model")]
    options = ["--region=16", "--initial=2images", "--budget=1images", "--epochs=1", *models]
    campaign = tmp_path / "campaign"
    status, _, lines = cereals("start", campaign, f"--data={data}", *options)
    assert status == 0, lines
    status, out, lines = cereals("step", campaign)
    assert (status, out) == (2, ""), lines
    assert lines[-1].startswith(f"cereals: error: {data / SHARD}: record 1 is damaged: ")
    assert not any("Traceback" in line for line in lines)
