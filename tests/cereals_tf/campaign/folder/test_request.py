"""A round's request on disk, and a region's window in the original image."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.request import (
    own_window,
    read_request,
    write_request,
)
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.records import resize_label
from cereals_tf.trainers.targets import downscale_label

REGIONS = [
    Chosen(Region('a/"b",\nc ü', Box(8, 16, 24, 32)), 1 / 3, 1e-30, 7.25),
    Chosen(Region("..", Box(0, 0, 60, 90))),
]


def test_requests_read_back_as_they_were(tmp_path):
    path = tmp_path / "request.csv"
    for regions in (REGIONS, []):
        write_request(path, regions)
        assert read_request(path) == regions
    assert [item.name for item in tmp_path.iterdir()] == ["request.csv"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("number", "numbers"),
        lambda text: text.replace("\n1,", "\n2,"),
        lambda text: text.replace(",60,90", ",60.5,90"),
        lambda text: text[: text.rindex(",60")],
        lambda text: text.replace("7.25", "dear"),
    ],
)
def test_damaged_requests_are_refused_by_name(tmp_path, damage):
    path = tmp_path / "request.csv"
    write_request(path, REGIONS)
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"request\.csv: cannot be read"):
        read_request(path)


sizes = st.integers(8, 60)


def cells_of(data, size):
    """Draw an interval of whole cells on an axis of so many pixels; return its start and end."""
    cells = -(-size // 8)
    start = data.draw(st.integers(0, cells - 1))
    return 8 * start, min(8 * data.draw(st.integers(start + 1, cells)), size)


@settings(max_examples=60)
@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.data())
def test_windows_hold_every_label_that_training_sees(original, resized, data):
    (y, bottom), (x, right) = (cells_of(data, size) for size in resized)
    box = Box(y, x, bottom - y, right - x)
    window = own_window(box, ImageEntry("a", *original, 0), resized)
    for axis in (0, 1):
        places = np.indices(original, np.uint8)[axis]
        seen = resize_label(tf.constant(places), resized)
        cells = downscale_label(seen)[y // 8 : -(-bottom // 8), x // 8 : -(-right // 8)]
        first, count = window[axis], window[axis + 2]
        for part in (seen[y:bottom, x:right].numpy(), cells.numpy()):
            assert first <= part.min() and part.max() < first + count
        assert first >= 0 and first + count <= original[axis]


@settings(max_examples=100)
@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.data())
def test_windows_are_the_smallest(original, resized, data):
    y, x = (data.draw(st.integers(0, size - 1)) for size in resized)
    height = data.draw(st.integers(1, resized[0] - y))
    width = data.draw(st.integers(1, resized[1] - x))
    box = Box(y, x, height, width)
    window = own_window(box, ImageEntry("a", *original, 0), resized)
    for axis, start, length in ((0, y, height), (1, x, width)):
        touched = [
            pixel
            for pixel in range(original[axis])
            if pixel * resized[axis] < (start + length) * original[axis]
            and (pixel + 1) * resized[axis] > start * original[axis]
        ]
        assert window[axis] == touched[0]
        assert window[axis + 2] == len(touched)


def test_windows_of_images_as_they_are():
    entry = ImageEntry("a", 64, 96, 0)
    assert own_window(REGIONS[0].region.box, entry, None) == (8, 16, 24, 32)
