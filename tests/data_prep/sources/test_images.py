"""Tests of what becomes of image files of every kind, against Pillow's own reading of them."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import ImageOptions, images_below, read_image

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
ORIENTATION = 0x0112


def _decoded(stored):
    image = Image.open(io.BytesIO(stored.encoded))
    assert image.format.lower() == stored.format
    assert (image.height, image.width) == (stored.height, stored.width)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "jfif"])
def test_png_and_jpeg_files_stay_as_they_are(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path)
    stored = read_image(path, ImageOptions())
    assert stored.encoded == path.read_bytes()
    assert stored[1:] == ("png" if suffix == "png" else "jpeg", 12, 20)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("suffix", ["bmp", "dib", "tif", "tiff", "webp", "gif", "ppm", "pgm"])
def test_other_files_become_png_without_loss(tmp_path, suffix, mode):
    if (suffix, mode) in {("bmp", "LA"), ("dib", "LA"), ("ppm", "LA"), ("ppm", "P")}:
        pytest.skip("Pillow writes no such file")
    path = tmp_path / f"a.{suffix.upper()}"
    image = Image.fromarray(RGB).convert(mode)
    try:
        image.save(path, lossless=True)
    except OSError:
        pytest.skip("Pillow writes no such file")
    stored = read_image(path, ImageOptions())
    assert stored.format == "png"
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(_decoded(stored), expected)
    if mode == "RGB" and suffix != "gif":
        np.testing.assert_array_equal(expected, RGB)


def test_heic_needs_its_extra(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        UserError, match=r"a\.heic: a HEIC image, .*pip install 'cereals-tf\[heic\]'"
    ):
        read_image(path, ImageOptions())


def test_heic_is_converted(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.HEIC"
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    heif.from_pillow(Image.fromarray(smooth)).save(path, quality=-1, chroma=444)
    decoded = _decoded(read_image(path, ImageOptions()))
    assert np.abs(decoded.astype(int) - smooth).max() < 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_images_are_refused_or_turned_or_left(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(RGB).save(path, exif=exif, lossless=True)
    if orientation == 1:
        read_image(path, ImageOptions())
        return
    with pytest.raises(UserError, match=f"EXIF orientation {orientation}, .*auto-orient.*apply"):
        read_image(path, ImageOptions())
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    turned = read_image(path, ImageOptions(exif="apply"))
    np.testing.assert_array_equal(_decoded(turned), upright)
    assert (turned.height, turned.width) == ((20, 12) if orientation > 4 else (12, 20))
    if suffix == "tif":  # Pillow turns those by itself
        with pytest.raises(UserError, match=r"--exif=ignore, expected another format than TIFF"):
            read_image(path, ImageOptions(exif="ignore"))
        return
    left = read_image(path, ImageOptions(exif="ignore"))
    assert (left.height, left.width) == (12, 20)
    assert (left.encoded == path.read_bytes()) == (suffix != "webp")


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "ppm"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_images_of_16_bits_are_scaled_by_the_bits_that_they_use(tmp_path, suffix, bits):
    path = tmp_path / f"a.{suffix}"
    shape = (12, 20) if suffix == "pgm" else (12, 20, 3)
    values = np.random.default_rng(0).integers(0, 2**bits, shape, np.uint16)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    assert cv2.imwrite(str(path), values)
    with pytest.raises(
        UserError, match=rf"16 bits, up to the value {2**bits - 1}, .*--bits={bits}"
    ):
        read_image(path, ImageOptions())
    decoded = _decoded(read_image(path, ImageOptions(bits=bits)))
    expected = [round(255 * int(value) / (2**bits - 1)) for value in values.ravel()]
    expected = np.reshape(expected, shape)
    expected = np.dstack([expected] * 3) if expected.ndim == 2 else expected[..., ::-1]
    np.testing.assert_array_equal(decoded, expected)
    clipped = _decoded(read_image(path, ImageOptions(bits=9)))
    assert (clipped == 255).any() and clipped.max() == 255


def test_what_a_conversion_would_alter_is_refused(tmp_path):
    pictures = {
        "pages.tif": ({"save_all": True, "append_images": [Image.fromarray(RGB)]}, "2 images in"),
        "moving.webp": ({"save_all": True, "append_images": [Image.fromarray(~RGB)]}, "2 images"),
        "moving.gif": ({"save_all": True, "append_images": [Image.fromarray(~RGB)]}, "2 images"),
    }
    for name, (options, message) in pictures.items():
        Image.fromarray(RGB).save(tmp_path / name, **options)
        with pytest.raises(UserError, match=f"{name}: {message}"):
            read_image(tmp_path / name, ImageOptions())
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "print.tif")
    with pytest.raises(UserError, match=r"print\.tif: an image of mode CMYK, expected grey or RGB"):
        read_image(tmp_path / "print.tif", ImageOptions())
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif: an image of more than 8 bits .* not read"):
        read_image(tmp_path / "float.tif", ImageOptions())
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.jpg: not an image that is read"):
        read_image(tmp_path / "text.jpg", ImageOptions())


def test_hidden_files_and_what_file_managers_leave_are_passed_over(tmp_path):
    for name in (
        "a.png",
        "deep/b.jpg",
        ".hidden.png",
        "._a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "@eaDir/a.png/SYNOPHOTO_THUMB_S.jpg",
        "__MACOSX/a.png",
        "deep/.thumbnails/b.png",
        "Thumbs.db",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    log = SourceLog()
    assert sorted(images_below(tmp_path, log)) == ["a", "deep/b"]
    assert not log.remarks


def test_images_of_another_ending_are_named(tmp_path):
    for name in ("x_sat.jpg", "x_mask.png", "y_sat.jpg", "z.jpg"):
        (tmp_path / name).touch()
    log = SourceLog()
    found = images_below(tmp_path, log, "_sat", "_mask")
    assert {key: path.name for key, path in found.items()} == {"x": "x_sat.jpg", "y": "y_sat.jpg"}
    assert log.remarks == [f"{tmp_path}: 1 files do not end in _sat, as z.jpg"]
    with pytest.raises(UserError, match="no images whose names end in _rgb"):
        images_below(tmp_path, log, "_rgb")
