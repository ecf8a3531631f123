"""Findings on real, prepared data sets whose masks are made to have one fault each."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.findings import findings


def bands(*rows, width=40):
    """A mask of horizontal bands, given as (class id, rows)."""
    return np.repeat([i for i, _ in rows], [n for _, n in rows])[:, None].repeat(width, 1)


EVEN = bands((0, 10), (1, 10), (2, 10))


@pytest.fixture
def found_in(tmp_path, convert):
    """Converts masks, a list per split, and returns what is found in the data set."""

    def run(tolerance=2.0, names=("ground", "thing", "other"), **splits) -> list[str]:
        for split, masks in splits.items():
            for number, mask in enumerate(masks):
                for kind, array in (("images", np.zeros((*mask.shape, 3))), ("labels", mask)):
                    path = tmp_path / split / kind / f"{split}{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array.astype(np.uint8)).save(path)
        classes = {"names": names, "ignore_id": 9}
        (tmp_path / "classes.json").write_text(json.dumps(classes))
        return findings(convert(tmp_path, tmp_path / "out", "masks", tolerance=tolerance))

    return run


def test_nothing_is_found_in_a_sound_data_set(found_in):
    assert found_in(train=[EVEN, EVEN], val=[EVEN]) == []


def test_a_class_absent_from_train(found_in):
    found = found_in(train=[bands((0, 30), (1, 3))], val=[bands((0, 30), (1, 3), (2, 1))])
    assert found[0] == "no pixel of train shows: other"


def test_a_class_absent_from_val(found_in):
    found = found_in(train=[bands((0, 15), (1, 15), (2, 1))], val=[bands((0, 15), (1, 15))])
    assert found[0] == "no pixel of val shows, so that nothing is measured of: other"


def test_different_class_shares(found_in):
    train, val = bands((0, 10), (1, 15), (2, 5)), bands((0, 20), (1, 5), (2, 5))
    (found,) = found_in(train=[train], val=[val])
    assert found.endswith("(33% apart): ground 33.3% and 66.7%, thing 50.0% and 16.7%")


@pytest.mark.parametrize(("moved", "count"), [(3, 0), (4, 1)])
def test_shares_may_differ_by_a_tenth(found_in, moved, count):
    found = found_in(
        train=[bands((0, 10), (1, 10), (2, 10))],
        val=[bands((0, 10 + moved), (1, 10 - moved), (2, 10))],
    )
    assert len(found) == count


def test_unlabelled_pixels(found_in):
    hollow = np.where(np.arange(40) < 16, 9, EVEN)
    (found,) = found_in(train=[hollow], val=[EVEN])
    assert found.startswith("40% of the pixels of train are unlabelled")


def test_polygons_that_miss_their_masks(found_in):
    fine = EVEN.copy()
    fine[:10, ::4] = 2
    found = found_in(train=[fine], val=[fine], tolerance=6)
    assert re.match(r"polygons, painted back, miss their masks \(IoU ground 0\.33", found[0])


def test_images_of_different_sizes(found_in):
    found = found_in(train=[EVEN, EVEN.repeat(2, axis=1)], val=[EVEN])
    assert found == ["images have 2 sizes; batches above 1 need --image_size"]


def test_an_image_in_both_splits(found_in, tmp_path):
    found_in(train=[EVEN, EVEN], val=[EVEN])
    path = tmp_path / "out" / "images.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[-1][1] = "train1"
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    (found,) = findings(PreparedData.open(tmp_path / "out"))
    assert found == "ids in both train and val: 1, as 'train1'"


def test_classes_that_differ_in_case_or_spaces(found_in):
    found = found_in(
        train=[EVEN], val=[EVEN], names=["Road", "traffic light", "road ", "Traffic  light"]
    )
    assert "classes that differ in case or spaces only: 'Road', 'road '" in found
    assert "classes that differ in case or spaces only: 'traffic light', 'Traffic  light'" in found
