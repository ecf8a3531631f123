"""What people annotated, on disk."""

import json

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.campaign.folder.annotations import AnnotationStore, RegionAnnotation
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon


def annotation(number, seconds=None, class_id=1):
    label = np.random.default_rng(number).integers(0, 256, (5, 7), np.uint8)
    points = np.random.default_rng(class_id).normal(0, 1e3, (4, 2))
    polygons = [Polygon(class_id, points), Polygon(0, points[:1])]
    return RegionAnnotation(number, "a/ü", Box(1, 2, 5, 7), label, polygons, seconds)


SKIPPED = Region("a/ü", Box(8, 16, 24, 32))


def assert_equal(found, expected):
    for name in ("number", "image_id", "window", "seconds"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.label.dtype == np.uint8
    np.testing.assert_array_equal(found.label, expected.label)
    for one, other in zip(found.polygons, expected.polygons, strict=True):
        assert one.class_id == other.class_id
        np.testing.assert_array_equal(one.points, other.points)


def test_annotations_read_back_as_they_were(tmp_path):
    store = AnnotationStore(tmp_path / "annotations")
    assert (store.annotated(), store.skipped()) == ({}, set())
    assert not store.folder.exists()
    written = [annotation(12, 61.5), annotation(0), annotation(123456, 0.0)]
    for one in written:
        store.write(one)
    store.skip(7, SKIPPED)
    found = AnnotationStore(tmp_path / "annotations")
    assert list(found.annotated()) == [0, 12, 123456]
    assert found.skipped() == {7}
    assert found.numbers() == {0, 7, 12, 123456}
    assert found.read(7) is None
    for one in written:
        assert_equal(found.annotated()[one.number], one)
        assert_equal(found.read(one.number), one)
    assert (tmp_path / "annotations" / "00012.json").is_file()
    assert len(list((tmp_path / "annotations").iterdir())) == 4


def test_what_comes_later_counts(tmp_path):
    store = AnnotationStore(tmp_path)
    store.write(annotation(3))
    store.write(annotation(3, 5.0, class_id=2))
    assert_equal(store.read(3), annotation(3, 5.0, class_id=2))
    store.skip(3, SKIPPED)
    assert (store.annotated(), store.skipped()) == ({}, {3})
    store.write(annotation(3))
    assert (list(store.annotated()), store.skipped()) == ([3], set())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"{",
        lambda content: b"[]",
        lambda content: content | {"number": 4},
        lambda content: content | {"label": "%"},
        lambda content: content | {"label": "aGVsbG8="},
        lambda content: content | {"window": [1, 2, 7, 5]},
        lambda content: content | {"polygons": [{"class_id": 1, "points": [[1, 2], [3]]}]},
        lambda content: content | {"seconds": "long"},
        lambda content: {key: content[key] for key in content if key != "polygons"},
    ],
)
def test_damaged_annotations_are_refused_by_name(tmp_path, damage):
    store = AnnotationStore(tmp_path)
    store.write(annotation(3))
    path = tmp_path / "00003.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    with pytest.raises(UserError, match=r"00003\.json: cannot be read"):
        store.annotated()


def test_labels_of_another_shape_are_a_defect():
    with pytest.raises(ValueError, match="label"):
        RegionAnnotation(0, "a", Box(0, 0, 2, 2), np.zeros((2, 3), np.uint8), [], None)
    with pytest.raises(ValueError, match="label"):
        RegionAnnotation(0, "a", Box(0, 0, 2, 2), np.zeros((2, 2), np.int64), [], None)
