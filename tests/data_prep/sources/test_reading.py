import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import MAX_PIXELS, images_below, open_image
from cereals_tf.data_prep.sources.splits import pair

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def claiming(path, height, width):
    """Write a greyscale PNG whose header claims a size, with next to no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"0" * 99)), (b"IEND", b"")):
            checksum = zlib.crc32(kind + data)
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.MPO.jpeg"])
def test_images_are_decoded(tmp_path, name):
    path = tmp_path / name
    options = {"format": "MPO", "save_all": True} if "MPO" in name else {}
    more = [Image.fromarray(PIXELS)] if options else []
    Image.fromarray(PIXELS).save(path, **options, append_images=more)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        image = open_image(path)
    assert image.size == (30, 20)
    assert np.asarray(image).shape == (20, 30, 3)
    path.unlink()


@pytest.mark.parametrize("kind", ["gif", "bmp", "webp", "tiff", "ppm"])
def test_other_formats_are_refused_whatever_the_name(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, kind)
    with pytest.raises(UserError, match=r"a\.png: not a PNG or JPEG"):
        open_image(path)


def test_every_cut_and_every_altered_byte_of_a_png_is_refused(tmp_path):
    """Each byte of a PNG is the signature, a length, or under a checksum."""
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS[:4, :4]).save(path)
    content = path.read_bytes()
    for place in range(len(content) - 12):
        path.write_bytes(content[:place])
        with pytest.raises(UserError, match=r"a\.png"):
            open_image(path)
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"a\.png"):
            open_image(path)


@pytest.mark.parametrize(("height", "width"), [(60_000, 60_000), (20_000, 10_001), (9000, 10_000)])
def test_claimed_sizes_cost_neither_memory_nor_a_warning(tmp_path, height, width):
    claiming(tmp_path / "a.png", height, width)
    expected = "claims|bomb" if height * width > MAX_PIXELS else "decoded"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UserError, match=expected):
            open_image(tmp_path / "a.png")


def test_images_below_a_folder_are_found_by_name(tmp_path):
    for name in ("b.png", "deep/er/a.JPG", "deep/a.jpeg", "a.b.png", "notes.txt", "c.tif", "d.nef"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    log = SourceLog()
    found = images_below(tmp_path, log)
    assert {key: path.name for key, path in found.items()} == {
        "b": "b.png",
        "deep/er/a": "a.JPG",
        "deep/a": "a.jpeg",
        "a.b": "a.b.png",
        "c": "c.tif",
    }
    assert log.remarks == [f"{tmp_path}: 1 files are of formats that are not read, as d.nef"]


def test_folders_that_hold_no_images_or_two_of_a_name_are_refused(tmp_path):
    log = SourceLog()
    with pytest.raises(UserError, match="no images"):
        images_below(tmp_path, log)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        images_below(tmp_path / "nowhere", log)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    assert images_below(tmp_path, log) == {"a": tmp_path / "a.jpg"}
    (problem,) = log.problems
    assert problem.text == f"{tmp_path}/a.png: duplicate id 'a', also the name of a.jpg"


def test_names_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(UserError, match="UTF-8") as caught:
        images_below(tmp_path, SourceLog())
    str(caught.value).encode()


def test_annotations_are_paired_with_their_images(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    log = SourceLog()
    assert pair({"x": a}, {"x": b}, log) == [("x", a, b)]
    assert pair({"y": a, "x": a}, {"y": b}, log) == [("x", a, None), ("y", a, b)]
    assert not log.problems
    assert pair({"y": a}, {"x": b, "y": b}, log) == [("y", a, b)]
    (problem,) = log.problems
    assert problem.text == f"{b}: annotation without an image"
