"""What is implausible of a polygon or a class, against pictures, slow geometry and the model."""

import json
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.doubts import area, clipped, crosses_itself, doubts_about, unlike
from cereals_tf.annotation.drawn import Shape
from cereals_tf.campaign.folder.request import own_window, write_request
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12]]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (SQUARE, []),
        ([[-1, -1], [40, -1], [40, 30], [-1, 30]], []),
        ([[-20, 2], [8, 2], [8, 12], [-20, 12]], ["outside the image"]),
        ([[50, 50], [60, 50], [60, 60]], ["outside the image"]),
        ([[2, 2], [12, 12], [12, 2], [2, 12]], ["crosses itself"]),
        ([[2, 2], [12, 2], [12, 12], [7, 2], [2, 12]], []),
        ([[2, 2], [12, 2], [2, 2], [2, 12]], []),
    ],
)
def test_doubts(points, said):
    found = list(doubts_about(Shape("s", "road", [np.array(points, float)]), 30, 40))
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))


def test_classes_that_are_predicted_nowhere():
    label = np.array([[0, 0, 1, 2], [0, 3, 1, 255]], np.uint8)
    predicted = np.array([[0, 0, 0, 0], [2, 2, 0, 0]], np.uint8)
    assert unlike(label, predicted, [0, 1, 2]) == {1: 25.0}


def test_a_class_that_the_prediction_finds_nowhere_is_warned_of_by_region(
    first_round, labelme, cereals, tmp_path
):
    """All regions are drawn as the class that the model finds in the fewest of them."""
    campaign = first_round(annotator="files")
    done = campaign.round(0)
    names = campaign.data.classes.names
    content = json.loads((done.folder / "metrics.json").read_text())
    content["iou_per_class"] = dict.fromkeys(names, 0.5)
    (done.folder / "metrics.json").write_text(json.dumps(content))
    model, train = load_segmentation(campaign, done), Split(campaign.data, "train", (60, 90))
    boxes = [Box(y, x, 16, 16) for y in (0, 24) for x in (0, 48)]
    windows, predicted = {}, {}
    for record, entry in zip(train.records(), campaign.data.images["train"], strict=True):
        logits = tf.image.resize(model(train.image(record)[None]), (64, 96))[0, :60, :90]
        full = tf.image.resize(logits, (64, 96), method="nearest").numpy().argmax(axis=-1)
        windows |= {(entry.image_id, box): own_window(box, entry, (60, 90)) for box in boxes}
        predicted |= {
            (entry.image_id, box): set(full[windows[entry.image_id, box].slices].flat)
            for box in boxes
        }
    found = [number for classes in predicted.values() for number in classes]
    drawn = min(found, key=found.count)
    places = list(predicted)
    with campaign.lock():
        campaign.working.mkdir()
    write_request(campaign.working / "request.csv", [Chosen(Region(*place)) for place in places])
    assert cereals("tasks", campaign.folder, tmp_path / "out")[0] == 0
    whole = [(names[drawn], np.array([[0, 0], [95, 0], [95, 63], [0, 63]], float))]
    labelme.draw(tmp_path / "out", lambda image_id: whole)
    collecting = ("collect", campaign.folder, tmp_path / "out")
    status, _, said = cereals(*collecting)
    assert status == 0
    for number, place in enumerate(places):
        warned = f"warning: region {number}: 100 % of it is drawn as {names[drawn]}" in said
        assert warned == (drawn not in predicted[place])
    assert "finds nowhere" not in cereals(*collecting)[2]  # nothing is new


def test_what_lies_in_the_image_is_its_area_there():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radius = rng.uniform(3, 30, 7)
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
        points += rng.uniform(-10, 50, 2)
        y, x = np.mgrid[0:29:0.25, 0:39:0.25]
        inside = _contains(points, x.ravel() + 0.125, y.ravel() + 0.125)
        assert area(clipped(points, 30, 40)) == pytest.approx(inside.sum() / 16, abs=6)


def _contains(points, x, y):
    """By the crossings of a ray to the right."""
    inside = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ay != by:
            crossed = ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
            inside ^= crossed
    return inside


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=8))
def test_crossings_are_those_of_every_pair_of_edges(vertices):
    def side(a, b, c):
        return np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    edges = list(zip(vertices, vertices[1:] + vertices[:1], strict=True))
    expected = any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )
    assert crosses_itself(np.array(vertices, float)) == expected
