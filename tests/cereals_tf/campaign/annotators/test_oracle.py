"""The oracle's counts, against pixel masks and the click grid itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import Region, boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.oracle import annotate, click_grids
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import RegionClicks, click_grid
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.trainers.split import Split

SIZES = {"as they are": None, "not of whole cells": (60, 90), "enlarged": (100, 131)}


@pytest.fixture(scope="module", params=SIZES)
def reader(request, toy_data):
    return Split(PreparedData.open(toy_data), "train", SIZES[request.param])


@pytest.fixture(scope="module")
def grids(reader):
    return dict(click_grids(reader, [entry.image_id for entry in reader.images]))


def boxes(entry):
    """Boxes of whole cells, some of which end at the image's lower or right border."""

    def side(size):
        starts = st.integers(0, (size - 1) // 8).map(lambda cell: 8 * cell)
        return starts.flatmap(
            lambda start: st.integers(1, -(-size // 8) - start // 8).map(
                lambda cells: (start, min(8 * cells, size - start))
            )
        )

    return st.tuples(side(entry.height), side(entry.width)).map(
        lambda sides: Region(
            entry.image_id, Box(sides[0][0], sides[1][0], sides[0][1], sides[1][1])
        )
    )


def test_click_grids_are_of_the_resized_polygons(reader, grids):
    assert set(grids) == {entry.image_id for entry in reader.images}
    for record in reader.records():
        image_id = record[records.IMAGE_ID].numpy().decode()
        entry = next(entry for entry in reader.images if entry.image_id == image_id)
        factor = np.array([entry.width / 96, entry.height / 64])
        polygons = [
            Polygon(polygon.class_id, polygon.points * factor)
            for polygon in records.polygons_of(record)
        ]
        expected = click_grid(polygons, entry.height, entry.width)
        for found in (grids[image_id], records.click_grid_of(record, entry.height, entry.width)):
            for part in ("vertices", "vertical_crossings", "horizontal_crossings", "corners"):
                np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
        assert grids[image_id].vertices.sum() == entry.clicks


def test_click_grids_of_some_images(reader, grids):
    wanted = [reader.images[2].image_id, reader.images[0].image_id]
    assert set(dict(click_grids(reader, wanted))) == set(wanted)
    assert dict(click_grids(reader, [])) == {}


@settings(max_examples=25)
@given(drawn=st.data())
def test_annotation_counts_every_pixel_once(reader, grids, drawn):
    any_box = st.sampled_from(reader.images[:2]).flatmap(boxes)
    before = drawn.draw(st.lists(any_box, max_size=3))
    new = drawn.draw(st.lists(any_box, min_size=1, max_size=5))
    labelled = boxes_by_image(before)
    candidates = [Chosen(region, 0.5, 2.0, 3.0) for region in new]
    options = Options.of(clicks="vertices+intersections+region", region_clicks=3)
    rows = annotate(reader, candidates, labelled, options)

    assert sum(map(len, labelled.values())) == len(before)
    masks = {entry.image_id: np.zeros((entry.height, entry.width), bool) for entry in reader.images}
    for image_id, (y, x, height, width) in before:
        masks[image_id][y : y + height, x : x + width] = True
    for row, region in zip(rows, new, strict=True):
        y, x, height, width = region.box
        part = masks[region.image_id][y : y + height, x : x + width]
        new = ~part[::8, ::8]
        assert row.pixels == np.count_nonzero(~part)
        assert row.chosen == (region, 0.5, 2.0, 3.0)
        assert row.clicks == grids[region.image_id].region(y, x, height, width, new)
        assert row.clicks_billed == 3 + row.clicks.vertices + row.clicks.intersections
        part[:] = True


def test_the_vertices_of_overlapping_regions_are_billed_once(reader, grids):
    """Together they are those of the union."""
    entry = reader.images[0]
    regions = [Region(entry.image_id, Box(y, x, 32, 32)) for y in (0, 16) for x in (0, 16, 24)]
    rows = annotate(reader, list(map(Chosen, regions)), {}, Options.of(clicks="vertices"))
    union = grids[entry.image_id].region(0, 0, 48, 56)
    assert sum(row.clicks.vertices for row in rows) == union.vertices
    assert sum(row.pixels for row in rows) == 48 * 56


def test_a_region_without_polygons_takes_one_click(reader, grids):
    grid = grids[reader.images[0].image_id]
    y, x = np.argwhere(grid.windows(8, 8).of(("vertices", "intersections")) == 0)[0] * 8
    region = Region(reader.images[0].image_id, Box(int(y), int(x), 8, 8))
    (row,) = annotate(reader, [Chosen(region)], {}, Options())
    assert (row.clicks.vertices, row.clicks.intersections, row.clicks_billed) == (0, 0, 1)


def test_a_whole_image_takes_its_vertices(reader):
    entry = reader.images[1]
    whole = Region(entry.image_id, Box(0, 0, entry.height, entry.width))
    (row,) = annotate(reader, [Chosen(whole)], {}, Options())
    assert row.pixels == entry.height * entry.width
    assert row.clicks == (entry.clicks, 0, 0)
    assert row.chosen == (whole, None, None, None)


def test_which_clicks_count():
    one = RegionClicks(3, 20, 100)
    assert one.of(("vertices",)) == 3
    assert one.of(("vertices", "intersections")) == 23
    assert one.of(("vertices", "intersections", "corners")) == 123
    many = RegionClicks(*(np.full((2, 3), value, np.int32) for value in one))
    np.testing.assert_array_equal(many.of(("intersections", "corners")), np.full((2, 3), 120))
