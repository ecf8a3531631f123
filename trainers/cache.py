"""Where decoded samples are kept between epochs: in memory, on disk, or nowhere.

What a training sees, and in which order, is the same for all of these.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import cells
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.random_access import columns, read_at, record_offsets
from cereals_tf.trainers.choices import WAYS

SHARE_OF_MEMORY = 0.25
"""What `auto` gives to each of the two splits that a training holds at a time."""

BYTES_PER_PIXEL = 3
BYTES_PER_POSITION = 8
"""Of a decoded sample: uint8 RGB, and at stride 8 a target and a weight of 4 bytes each."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Return this machine's memory, or what its container may use of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        if path.is_file() and (text := path.read_text().strip()).isdecimal():
            limits.append(int(text))
    return min(limits)


def sample_bytes(height: int, width: int, without_image: bool = False) -> int:
    """Return the memory that a decoded sample of so many pixels takes."""
    target = BYTES_PER_POSITION * cells(height) * cells(width)
    return target if without_image else target + BYTES_PER_PIXEL * height * width


@dataclass(frozen=True)
class Cache:
    """Where decoded samples are kept.

    Attributes:
        way: `memory`; `disk`, in a file of `folder`; `none`: they are decoded in every epoch;
            `auto`: `memory` where they take at most a quarter of it, else `none`.
        folder: Holds the files of `disk`; whoever made it removes it.
    """

    way: str = "auto"
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ValueError(f"`way` must be one of {WAYS}. Received: {self.way!r}")
        if self.way == "disk" and self.folder is None:
            raise ValueError("`folder` must be given where `way` is 'disk'. Received: None")

    def chosen(self, size: int) -> str:
        """Return where samples of so many bytes in all are kept."""
        if self.way == "auto":
            return "memory" if size <= SHARE_OF_MEMORY * memory_bytes() else "none"
        return self.way

    def file(self, name: str, samples: tf.data.Dataset) -> "SampleFile":
        """Write samples into a file of this name, in place of one that may be there."""
        assert self.folder
        return SampleFile(self.folder / f"{name}.tfrecord", samples)

    def sequence(self, name: str, samples: tf.data.Dataset, size: int) -> tf.data.Dataset:
        """Return the same samples in the same order, to be read again and again.

        Args:
            name: Distinguishes what is kept at a time.
            samples: Tuples of tensors.
            size: Bytes that all of them take.
        """
        way = self.chosen(size)
        if way == "memory":
            return samples.cache()
        return self.file(name, samples).in_order() if way == "disk" else samples


class SampleFile:
    """Decoded samples in a TFRecord file.

    The file is always written anew: one of an interrupted training may end anywhere.

    Args:
        path: The file.
        samples: The samples, tuples of tensors.

    Raises:
        UserError: The file cannot be written.
    """

    def __init__(self, path: Path, samples: tf.data.Dataset) -> None:
        self._path = path
        self._spec: Any = samples.element_spec
        path.parent.mkdir(parents=True, exist_ok=True)
        serialized = mapped(samples, _serialize)
        writer = self._try(tf.io.TFRecordWriter, str(path))
        hidden = {"leave": False, "delay": 2}
        for record in Progress(serialized.prefetch(2), desc="cache", unit="sample", **hidden):
            self._try(writer.write, record.numpy())
        self._try(writer.close)

    def _try(self, write: Callable[..., Any], *args: Any) -> Any:
        try:
            return write(*args)
        except tf.errors.OpError as error:
            reason = records.first_line(error)
            raise UserError(f"{self._path}: cannot be written (--cache=disk): {reason}") from None

    def in_order(self) -> tf.data.Dataset:
        """Return the samples as they were written."""
        return self._parsed(tf.data.TFRecordDataset(str(self._path)))

    def drawn(self, draw: Callable[[tf.data.Dataset], tf.data.Dataset]) -> tf.data.Dataset:
        """Return the samples that `draw` picks from a dataset of all of them, in its order."""
        places = [(str(self._path), offset) for offset in record_offsets(self._path)]
        return self._parsed(read_at(draw(tf.data.Dataset.from_tensor_slices(columns(places)))))

    def _parsed(self, serialized: tf.data.Dataset) -> tf.data.Dataset:
        def parse(*contents: tf.Tensor) -> tuple[tf.Tensor, ...]:
            parts = tf.io.parse_tensor(contents[0], tf.string)
            return tuple(
                tf.ensure_shape(tf.io.parse_tensor(parts[i], spec.dtype), spec.shape)
                for i, spec in enumerate(self._spec)
            )

        return mapped(serialized, parse)


def _serialize(*sample: tf.Tensor) -> tf.Tensor:
    return tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(part) for part in sample]))
