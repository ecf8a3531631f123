"""What the report counts, against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import Box
from cereals_tf.report.statistics import class_pixels, position_maps
from cereals_tf.trainers.split import Split


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 6), st.floats(-3, 3)), min_size=1, max_size=30))
def test_rank_correlation(slow_rank_correlation, pairs):
    first, second = (list(column) for column in zip(*pairs, strict=True))
    found = rank_correlation(np.array(first), np.array(second))
    assert found == pytest.approx(slow_rank_correlation(first, second), abs=1e-12)


def test_position_maps_lay_all_images_over_each_other():
    """Against loops over pixels; the second image is half as high and wide as the other two."""
    options = Options.of(clicks="vertices+corners")
    images = [ImageEntry(name, *size, 0) for name, *size in (("a", 30, 44), ("b", 16, 24))]
    images.append(ImageEntry("c", 30, 44, 0))
    regions = {
        "a": [Annotated(Chosen(Region("a", Box(0, 0, 30, 44))), 0, RegionClicks(7, 100, 5))],
        "b": [
            Annotated(Chosen(Region("b", Box(0, 8, 8, 8))), 0, RegionClicks(3, 100, 0)),
            Annotated(Chosen(Region("b", Box(8, 8, 8, 16))), 0, RegionClicks(4, 100, 2)),
        ],
    }
    share, clicks = position_maps(images, regions, options)
    inside_b = {(0, 1): 3, (1, 1): 3, (1, 2): 3}
    for y in range(4):
        for x in range(6):
            here = inside_b.get((y // 2, x // 2), 0)
            assert share[y, x] == pytest.approx((1 + (here > 0)) / 3)
            assert clicks[y, x] == pytest.approx((12 / 24 + here / 4) / 3)
    assert share.shape == clicks.shape == (4, 6)


def test_class_pixels_count_each_pixel_once(campaign):
    reader = Split(campaign.data, "train")
    boxes = {0: [(0, 0, 24, 40), (16, 8, 40, 40)], 2: [(8, 56, 56, 40)]}
    excluded = {0: [(8, 8, 16, 16)]}
    ids = [entry.image_id for entry in reader.images]

    def regions(chosen):
        return {
            ids[place]: [
                Annotated(Chosen(Region("", Box(*box))), 0, RegionClicks(0, 0, 0)) for box in part
            ]
            for place, part in chosen.items()
        }

    def pixels(part):
        return {
            (y, x)
            for top, left, height, width in part
            for y in range(top, top + height)
            for x in range(left, left + width)
        }

    expected = np.zeros(len(campaign.data.classes), int)
    for place, record in enumerate(reader.records()):
        label = reader.label(record).numpy()
        for y, x in pixels(boxes.get(place, [])) - pixels(excluded.get(place, [])):
            if label[y, x] != 255:
                expected[label[y, x]] += 1
    found = class_pixels(reader, regions(boxes), regions(excluded))
    np.testing.assert_array_equal(found, expected)
