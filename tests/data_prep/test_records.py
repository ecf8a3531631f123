"""Records: written by the production encoder, read by the production decoder and by a plain one."""

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.data_prep import records
from cereals_tf.data_prep.annotated_image import AnnotatedImage
from cereals_tf.data_prep.damage import damage_named, damaged_records, refuse_damage
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.records import serialize


def _encoded(array, kind):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def _record(height=20, width=15, kind="png", seed=0, polygons=()):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    label = rng.integers(0, 256, (height, width), np.uint8)
    encoded, label_encoded = _encoded(image, kind), _encoded(label, "png")
    record = AnnotatedImage(f"city/é{seed}", encoded, kind, height, width, label_encoded, polygons)
    return record, image, label


def _written(path: Path, serialized):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in serialized:
            writer.write(content)
    return path


@pytest.mark.parametrize("size", [(20, 15), (31, 17)])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_arrays_come_back(tmp_path, size, kind):
    polygons = [Polygon(3, np.array([[0.5, -2], [7, 1e6]])), Polygon(255, np.array([[1.0, 2.0]]))]
    record, image, label = _record(*size, kind, polygons=polygons)
    (parsed,) = records.read_shards([_written(tmp_path / "shard", [serialize(record)])])
    decoded = records.decode_image(parsed["image/encoded"]).numpy()
    if kind == "png":
        np.testing.assert_array_equal(decoded, image)
    else:
        reference = np.asarray(Image.open(io.BytesIO(record.image_encoded)), int)
        assert np.abs(decoded - reference).mean() < 2
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(records.decode_label(parsed["label/encoded"]), label)
    assert (int(parsed["image/height"]), int(parsed["image/width"])) == size
    for found, polygon in zip(records.polygons_of(parsed), polygons, strict=True):
        assert found.class_id == polygon.class_id
        np.testing.assert_array_equal(found.points, polygon.points)


def test_any_reader_of_examples_can_parse_it():
    polygons = [Polygon(2, np.array([[1.5, 2], [3, 4], [5, 6]])), Polygon(0, np.array([[7.0, 8]]))]
    record, _, _ = _record(polygons=polygons)
    spec = {
        **{f"image/{name}": tf.io.FixedLenFeature([], tf.string) for name in ("id", "encoded")},
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "label/encoded": tf.io.FixedLenFeature([], tf.string),
        "polygon/class": tf.io.VarLenFeature(tf.int64),
        "polygon/length": tf.io.VarLenFeature(tf.int64),
        "polygon/points": tf.io.VarLenFeature(tf.float32),
    }
    content = serialize(record)
    parsed = tf.io.parse_single_example(content, spec)
    found = {name: parsed[name] for name in spec if not name.startswith("polygon")}
    found |= {name: parsed[name].values.numpy().tolist() for name in spec if name not in found}
    assert found == {
        "image/id": "city/é0".encode(),
        "image/encoded": record.image_encoded,
        "image/format": b"png",
        "image/height": 20,
        "image/width": 15,
        "label/encoded": record.label_encoded,
        "polygon/class": [2, 0],
        "polygon/length": [3, 1],
        "polygon/points": [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    }
    assert set(tf.train.Example.FromString(content).features.feature) == set(spec)
    assert set(records.FEATURES) == set(spec)


def test_equal_records_give_equal_bytes():
    polygons = [Polygon(1, np.array([[0.0, 1.0], [2.0, 3.0]]))]
    first, again, other = (serialize(_record(seed=n, polygons=polygons)[0]) for n in (0, 0, 1))
    assert first == again
    assert first != other


COORDINATES = st.floats(-1e6, 1e6, width=32)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 255),
            st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=5),
        ),
        max_size=4,
    )
)
@settings(max_examples=30)
def test_polygons_come_back(drawn):
    polygons = [Polygon(class_id, np.array(points)) for class_id, points in drawn]
    record = AnnotatedImage("a", b"", "png", 1, 1, b"", polygons)
    found = records.polygons_of(records.parse(serialize(record)))
    assert [(p.class_id, [tuple(point) for point in p.points.tolist()]) for p in found] == drawn


def test_grey_and_palette_images_become_rgb():
    grey = np.arange(20 * 15, dtype=np.uint8).reshape(20, 15)
    palette = Image.fromarray(grey % 4).convert("P")
    palette.putpalette([9, 8, 7, 1, 2, 3, 200, 0, 0, 0, 0, 255])
    buffer = io.BytesIO()
    palette.save(buffer, "png")
    for encoded, expected in (
        (_encoded(grey, "png"), np.repeat(grey[..., None], 3, axis=2)),
        (buffer.getvalue(), np.asarray(palette.convert("RGB"))),
    ):
        np.testing.assert_array_equal(records.decode_image(encoded), expected)


@pytest.mark.parametrize("size", [(10, 15), (7, 11), (40, 21)])
def test_images_are_resized_as_pillow_does_and_labels_to_the_nearest(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 15, 3), np.uint8)
    found = records.resize_image(image, size).numpy()
    expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(expected, int)).max() <= 1

    label = rng.integers(0, 256, (20, 15), np.uint8)
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, label.shape, strict=True)
    )
    found = records.resize_label(label, size).numpy()
    np.testing.assert_array_equal(found, label[np.ix_(rows, columns)])
    assert records.resize_image(image, None) is image
    assert records.resize_label(label, None) is label


# Damage.


def _truncate(content, start, end):
    return content[: end - 20]


def _flip(content, start, end):
    middle = (start + end) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _flip_length(content, start, end):
    return content[: start - 12] + bytes([content[start - 12] ^ 1]) + content[start - 11 :]


@pytest.fixture
def data(tmp_path, masks_data):
    """A prepared data set of three records of train and one of val, to damage."""
    return PreparedData.open(shutil.copytree(masks_data.folder, tmp_path / "data"))


def _damage_record(path: Path, number, damage):
    """Apply `damage` to the file's bytes, given where a record's payload starts and ends."""
    content, start = path.read_bytes(), 12
    for _ in range(number):
        start += struct.unpack("<Q", content[start - 12 : start - 4])[0] + 16
    end = start + struct.unpack("<Q", content[start - 12 : start - 4])[0]
    path.write_bytes(damage(content, start, end))


@pytest.mark.parametrize("damage", [_truncate, _flip, _flip_length])
@pytest.mark.parametrize("number", [0, 2])
def test_damaged_bytes_are_found_by_record_number(data, damage, number):
    (train,), (val,) = data.shards("train"), data.shards("val")
    _damage_record(train, number, damage)
    assert list(damaged_records(val)) == []
    ((found, reason),) = damaged_records(train)
    assert found == number
    assert reason and "\n" not in reason
    message = f"{train}: record {number} is damaged"
    with pytest.raises(UserError, match=message), damage_named(data, "val", "train"):
        list(records.read_shards([val, train]))
    with pytest.raises(UserError, match=message):
        refuse_damage(data, ["val", "train"])
    refuse_damage(data, ["val"])


def test_bad_content_is_found_in_every_record_that_has_it(tmp_path):
    good, _, _ = _record(polygons=[Polygon(0, np.ones((3, 2)))])

    def changed(**fields):
        return serialize(AnnotatedImage(**{**vars(good), **fields}))

    odd = tf.train.Example.FromString(serialize(good))
    odd.features.feature["polygon/points"].float_list.value.append(1.0)
    missing = tf.train.Example.FromString(serialize(good))
    del missing.features.feature["image/width"]
    contents = [
        serialize(good),
        changed(image_encoded=b"no image"),
        changed(image_encoded=good.image_encoded[:-40]),
        changed(height=21),
        serialize(good),
        changed(label_encoded=_encoded(np.zeros((15, 20), np.uint8), "png")),
        odd.SerializeToString(),
        missing.SerializeToString(),
        b"no example",
    ]
    path = _written(tmp_path / "shard", contents)
    damaged = list(damaged_records(path))
    assert [number for number, _ in damaged] == [1, 2, 3, 5, 6, 7, 8]
    for _, reason in damaged:
        assert 5 < len(reason) <= 200
        assert not any(internal in reason for internal in ("\n", "function_node", "[Op:"))


def test_other_failures_pass_through_where_no_record_is_damaged(data):
    with pytest.raises(tf.errors.InvalidArgumentError), damage_named(data, "train"):
        tf.io.decode_png(b"no image")
    with pytest.raises(KeyboardInterrupt), damage_named(data, "train"):
        raise KeyboardInterrupt
