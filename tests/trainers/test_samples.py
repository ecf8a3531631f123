"""Plans of samples, for any regions and a receptive field made up here."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.samples import Sample, plan_samples

WAYS = ("mask", "crop", "auto")


@st.composite
def _cases(draw):
    """(regions, height, width, margin): disjoint or not, aligned to 8 or ending at the border."""
    height, width = (draw(st.integers(8, 400)) for _ in range(2))

    def interval(size):
        cells = -(-size // 8)
        start = draw(st.integers(0, cells - 1))
        stop = draw(st.integers(start + 1, min(cells, start + 8)))
        return start * 8, min(stop * 8, size) - start * 8

    regions = []
    for _ in range(draw(st.integers(1, 7))):
        (y, rows), (x, columns) = interval(height), interval(width)
        regions.append(Box(y, x, rows, columns))
    if draw(st.booleans()):
        kept = []
        for region in regions:
            if not any(region.overlaps(other) for other in kept):
                kept.append(region)
        regions = kept
    return regions, height, width, draw(st.sampled_from([0, 20, 60, 500]))


def _receptive_field(margin):
    def crop_for(core, height, width):
        top, left = (max(start - margin, 0) // 32 * 32 for start in (core.y, core.x))
        bottom = min(-(-(core.y + core.height + margin) // 32) * 32, height)
        right = min(-(-(core.x + core.width + margin) // 32) * 32, width)
        return Box(top, left, bottom - top, right - left)

    return crop_for


def _pixels(boxes, height, width):
    """How many of the boxes cover each pixel."""
    counts = np.zeros((height, width), int)
    for y, x, rows, columns in boxes:
        counts[y : y + rows, x : x + columns] += 1
    return counts


def _inside(inner, outer):
    joined = inner.joined(outer)
    return joined == outer


@given(_cases())
@settings(max_examples=150)
def test_every_region_counts_in_one_sample_that_sees_what_it_needs(case):
    regions, height, width, margin = case
    crop_for = _receptive_field(margin)
    plans = {on: plan_samples(regions, height, width, on, crop_for) for on in WAYS}
    image = Box(0, 0, height, width)
    fed = {on: sum(sample.crop.area for sample in plan) for on, plan in plans.items()}
    assert plans["mask"] == [Sample(image, image)]
    assert plans["auto"] in (plans["mask"], plans["crop"])
    assert fed["auto"] == min(fed["mask"], fed["crop"])
    for sample in plans["crop"]:
        assert sample.crop == crop_for(sample.core, height, width)
        assert _inside(sample.core, sample.crop) and _inside(sample.crop, image)
        assert any(_inside(region, sample.core) for region in regions)
    for plan in plans.values():
        cores = [sample.core for sample in plan]
        assert _pixels(cores, height, width).max() == 1
        for region in regions:
            assert sum(_inside(region, core) for core in cores) == 1


@given(_cases())
@settings(max_examples=100)
def test_joining_two_regions_never_feeds_more_pixels(case):
    (first, *others), height, width, margin = case
    crop_for = _receptive_field(margin)
    for other in others:
        if not first.overlaps(other):
            crops = plan_samples([first, other], height, width, "crop", crop_for)
            singly = sum(crop_for(region, height, width).area for region in (first, other))
            assert sum(sample.crop.area for sample in crops) <= singly


def test_regions_far_apart_stay_apart_and_neighbours_are_joined():
    crop_for = _receptive_field(20)
    near = [Box(0, 0, 32, 32), Box(0, 32, 32, 32)]
    far = Box(304, 304, 32, 32)
    crops = plan_samples([*near, far], 400, 400, "crop", crop_for)
    assert {sample.core for sample in crops} == {Box(0, 0, 32, 64), far}
    (alone,) = plan_samples([far], 400, 400, "crop", crop_for)
    assert alone == Sample(Box(256, 256, 128, 128), far)


@given(*[st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2)] * 2)
def test_boxes_join_and_overlap_as_their_pixels_do(first, second):
    first, second = Box(*first), Box(*second)
    counts = _pixels([first, second], 40, 40)
    assert first.overlaps(second) == second.overlaps(first) == (counts.max() == 2)
    rows, columns = np.nonzero(counts)
    expected = Box(rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert first.joined(second) == second.joined(first) == expected
    assert first.area == _pixels([first], 40, 40).sum()


def test_overlapping_regions_are_joined_at_any_price():
    crop_for = _receptive_field(0)
    regions = [Box(0, 0, 64, 64), Box(56, 56, 64, 64)]
    (joined,) = plan_samples(regions, 400, 400, "crop", crop_for)
    assert joined.core == Box(0, 0, 120, 120)


def test_auto_takes_the_image_where_crops_add_up_to_more():
    def crop_for(core, height, width):
        y, x = max(core.y - 140, 0), max(core.x - 140, 0)
        bottom = min(core.y + core.height + 140, height)
        right = min(core.x + core.width + 140, width)
        return Box(y, x, bottom - y, right - x)

    regions = [Box(0, 0, 136, 136), Box(264, 264, 136, 136), Box(0, 392, 8, 8)]
    plans = {on: plan_samples(regions, 400, 400, on, crop_for) for on in WAYS}
    assert len(plans["crop"]) == 3
    assert sum(sample.crop.area for sample in plans["crop"]) > 400 * 400
    assert plans["auto"] == plans["mask"]


@given(_cases(), st.sampled_from([1000, 30000]))
@settings(max_examples=100)
def test_the_cost_of_a_step_counts_beside_the_pixels(case, step_pixels):
    regions, height, width, margin = case
    crop_for = _receptive_field(margin)
    plans = {on: plan_samples(regions, height, width, on, crop_for, step_pixels) for on in WAYS}
    cost = {
        on: sum(sample.crop.area + step_pixels for sample in plan) for on, plan in plans.items()
    }
    assert cost["auto"] == min(cost["mask"], cost["crop"])
    apart = plan_samples(regions, height, width, "crop", crop_for)
    assert len(plans["crop"]) <= len(apart)
    for sample in plans["crop"]:
        assert sample.crop == crop_for(sample.core, height, width)
    if len(regions) == 2 and not regions[0].overlaps(regions[1]):
        singly = sum(crop_for(box, height, width).area + step_pixels for box in regions)
        assert cost["crop"] <= singly
