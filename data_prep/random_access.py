"""Reading single records of TFRecord files, from where they begin."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import tensorflow as tf

from cereals_tf.data_prep.mapping import as_it_is, flat_mapped
from cereals_tf.data_prep.remote import RemotePath

_HEADER_BYTES = 8
_CHECKSUM_BYTES = 4
_BUFFER_BYTES = 1 << 18


def record_offsets(path: Path | RemotePath) -> Iterator[int]:
    """Give where each record of a file begins, in bytes; only the records' lengths are read.

    A record is its length, the length's checksum, the data, their checksum. A damaged length shows
    when the record is read.
    """
    offset = 0
    with path.errors_named() if isinstance(path, RemotePath) else nullcontext():
        end = path.stat().st_size
        with path.open("rb") as file:
            while offset < end:
                yield offset
                file.seek(offset)
                length = int.from_bytes(file.read(_HEADER_BYTES), "little")
                offset += _HEADER_BYTES + length + 2 * _CHECKSUM_BYTES


def columns(places: Sequence[tuple[str, int]]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the paths, string [N], and the offsets, int64 [N], of (path, offset) pairs."""
    paths, offsets = zip(*places, strict=True) if places else ((), ())
    return tf.constant(paths, tf.string), tf.constant(offsets, tf.int64)


def read_at(places: tf.data.Dataset) -> tf.data.Dataset:
    """Read records in the order of their places.

    Args:
        places: Elements (path, offset, *others): scalar string, scalar int64, and any tensors;
            a data set of slices of `columns`, for example.

    Returns:
        Elements (serialised record, *others), the record a scalar string.
    """

    def read(*place: tf.Tensor) -> tf.data.Dataset:
        path, offset, *others = place
        rest_of_file = tf.raw_ops.TFRecordDatasetV2(
            filenames=path[None],
            compression_type="",
            buffer_size=_BUFFER_BYTES,
            byte_offsets=offset[None],
        )
        records = tf.data.experimental.from_variant(rest_of_file, tf.TensorSpec([], tf.string))
        return records.take(1).map(as_it_is(lambda record: (record, *others)))

    return flat_mapped(places, read)
