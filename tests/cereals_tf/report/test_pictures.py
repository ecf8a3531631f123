"""Pictures of the page, against what they were made from."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.report.pictures import MOST_PIXELS, chart_uri, picture_uri


def decoded(uri):
    head, _, encoded = uri.partition(",")
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        image.load()
        assert head == f"data:image/{image.format.lower()};base64"
        return image


@settings(max_examples=50)
@given(st.integers(1, 256), st.sampled_from([3, 4]), st.integers(0, 2**32 - 1))
def test_flat_colours_are_kept_exactly(count, channels, seed):
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, channels)).astype(np.uint8)
    pixels = colours[rng.integers(0, count, (9, 14))]
    image = decoded(picture_uri(pixels))
    assert image.format == "PNG"
    np.testing.assert_array_equal(image.convert("RGBA" if channels == 4 else "RGB"), pixels)


@pytest.mark.parametrize("height,width", [(1024, 2048), (2000, 300)])
def test_large_pictures_are_reduced(height, width):
    rows, columns = np.mgrid[:height, :width]
    label = (rows // 256 + columns // 256) % 5
    palette = np.random.default_rng(0).integers(0, 256, (5, 3)).astype(np.uint8)
    image = decoded(picture_uri(palette[label]))
    assert 0.98 * MOST_PIXELS < image.width * image.height < 1.02 * MOST_PIXELS
    assert image.width / image.height == pytest.approx(width / height, rel=0.02)
    found = {colour for _, colour in image.convert("RGB").getcolors()}
    assert found == set(map(tuple, palette[np.unique(label)].tolist()))


def test_photographs_look_alike_and_are_small():
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 32, 3)).astype(np.uint8))
    pixels = np.asarray(coarse.resize((2048, 1024), Image.Resampling.BICUBIC))
    uri = picture_uri(pixels)
    image = decoded(uri)
    assert image.format == "JPEG"
    assert len(uri) < 40_000
    expected = Image.fromarray(pixels).resize(image.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(image, float) - np.asarray(expected, float)).mean() < 3


def test_charts_keep_their_ink():
    pixels = np.full((40, 60, 3), 255, np.uint8)
    pixels[10:20, 5:50] = (31, 41, 51)
    pixels[25:30, 5:50] = (217, 72, 15)
    np.testing.assert_array_equal(decoded(chart_uri(pixels)).convert("RGB"), pixels)
