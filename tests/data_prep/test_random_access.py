"""Reading single records, against reading all of them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.data_prep.random_access import columns, read_at, record_offsets


@pytest.fixture(scope="module")
def write_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")

    def write(name, contents):
        path = folder / name
        with tf.io.TFRecordWriter(str(path)) as writer:
            for content in contents:
                writer.write(content)
        return path

    return write


@given(st.lists(st.binary(max_size=300), max_size=6), st.randoms())
@settings(max_examples=30)
def test_records_come_from_their_offsets_in_any_order(write_file, contents, random):
    path = write_file("some", contents)
    offsets = list(record_offsets(path))
    assert len(offsets) == len(contents)
    order = random.sample(range(len(contents)), len(contents))
    found = columns([(str(path), offsets[i]) for i in order])
    places = tf.data.Dataset.from_tensor_slices((*found, tf.constant(order, tf.int32)))
    found = [(record.numpy(), int(number)) for record, number in read_at(places)]
    assert found == [(contents[i], i) for i in order]


def test_records_of_several_files_and_beyond_the_buffer(write_file):
    rng = np.random.default_rng(0)
    contents = [rng.bytes(size) for size in (700_000, 0, 5, 1_000_000)]
    paths = [write_file("first", contents[:2]), write_file("second", contents[2:])]
    places = [(str(path), offset) for path in paths for offset in record_offsets(path)]
    for order in ([0, 1, 2, 3], [3, 0, 3, 2]):
        read = read_at(tf.data.Dataset.from_tensor_slices(columns([places[i] for i in order])))
        assert [record.numpy() for (record,) in read] == [contents[i] for i in order]


def test_a_damaged_record_fails_when_it_is_read(write_file):
    path = write_file("damaged", [b"one", b"two"])
    offsets = list(record_offsets(path))
    content = bytearray(path.read_bytes())
    content[offsets[1] + 13] ^= 1
    path.write_bytes(content)
    places = columns([(str(path), offset) for offset in offsets])
    read = iter(read_at(tf.data.Dataset.from_tensor_slices(places)))
    assert next(read)[0].numpy() == b"one"
    with pytest.raises(tf.errors.DataLossError):
        next(read)
