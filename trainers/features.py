"""The features of a frozen encoder: computed once for each image, and kept on disk in float16.

A file holds the features of some neighbouring images of a split. It is there whole or not at all:
what was interrupted goes on with the files that are missing, and several processes may write at a
time. Features are read image by image, so that memory does not grow with their number.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import sync
from cereals_tf.data_prep.grid import cells
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.data_prep.progress import Progress, note
from cereals_tf.data_prep.random_access import columns, read_at
from cereals_tf.data_prep.records import first_line

if TYPE_CHECKING:
    from cereals_tf.trainers.split import Split

IMAGES_PER_FILE = 16
PIXELS_PER_PASS = 1 << 19
"""Pixels that the encoder sees at a time; whole images where they are larger."""
TOTAL_STRIDE = 32
_FRAME_BYTES = 16
"""What a TFRecord has beside its content."""

Shape = tuple[int, int, int]


class _File(NamedTuple):
    """A file, and the images whose features it holds."""

    path: Path
    entries: Sequence[ImageEntry]


@dataclass(frozen=True)
class Features:
    """The kept features of a split's images.

    Attributes:
        folder: Where the files are, which belongs to this encoder, data set and image size alone.
        split: The split, whose images the encoder sees.
        encoder: Gives the encoder, see `cereals_tf.models.encoder.build_encoder`; called only
            where features are missing.
        channels: Of the maps at strides 8, 16 and 32.
        added: The folders of what was added to the data set, likewise, in order.
    """

    folder: Path
    split: "Split"
    encoder: Callable[[], keras.Model]
    channels: tuple[int, int, int]
    added: Sequence[Path] = ()

    @property
    def bytes_on_disk(self) -> int:
        """What all of them take."""
        return sum(_FRAME_BYTES + self._record_bytes(entry) for entry in self.split.images)

    def compute(self, image_ids: Sequence[str] | None = None) -> None:
        """Compute what is missing, with a progress bar, after saying how large it will be.

        Args:
            image_ids: Those whose features are needed. None: all of the split.

        Raises:
            UserError: There is no space for them, or they cannot be written.
        """
        wanted = None if image_ids is None else set(image_ids)
        missing = [
            file
            for file in self._files
            if (wanted is None or any(entry.image_id in wanted for entry in file.entries))
            and not file.path.exists()
        ]
        if not missing:
            return
        entries = [entry for file in missing for entry in file.entries]
        self._announce(sum(map(self._record_bytes, entries)))
        encode = _encoding(self.encoder())
        with Progress(
            desc=f"features of {self.split.name}", total=len(entries), unit="image"
        ) as bar:
            for file in missing:
                file.path.parent.mkdir(parents=True, exist_ok=True)
                with self._errors_named(), _alone(file.path) as partial:
                    if partial:
                        self._write(partial, file.entries, encode, bar)

    def read(self, places: tf.data.Dataset) -> tf.data.Dataset:
        """Read features by place.

        Args:
            places: Elements (path, offset, height, width, *others), the first four as in a row of
                `places`, the others any tensors.

        Returns:
            Elements (features, *others): a tuple of three maps, float16 [h, w, C].
        """

        def parse(
            content: tf.Tensor, height: tf.Tensor, width: tf.Tensor, *others: tf.Tensor
        ) -> tuple[Any, ...]:
            values = tf.io.decode_raw(content, tf.float16)
            shapes = [tf.stack(shape) for shape in self._shapes(height, width)]
            parts = tf.split(values, [tf.reduce_prod(shape) for shape in shapes])
            maps = tuple(
                tf.ensure_shape(tf.reshape(part, shape), [None, None, channels])
                for part, shape, channels in zip(parts, shapes, self.channels, strict=True)
            )
            return maps, *others

        return mapped(read_at(places), parse)

    def places(self, image_ids: Sequence[str]) -> tuple[tf.Tensor, ...]:
        """Return path, offset, height and width of images' features, [N] each, in this order."""
        found = [self._places[image_id] for image_id in image_ids]
        sizes = tf.constant([place[2:] for place in found], tf.int32, [len(found), 2])
        return *columns([place[:2] for place in found]), sizes[:, 0], sizes[:, 1]

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int, int]]:
        places = {}
        for path, entries in self._files:
            ends = accumulate(_FRAME_BYTES + self._record_bytes(entry) for entry in entries)
            for entry, start in zip(entries, [0, *ends], strict=False):
                places[entry.image_id] = str(path), start, entry.height, entry.width
        return places

    @cached_property
    def _files(self) -> list["_File"]:
        """The files, those of the data set as it was prepared first, as if nothing were added."""
        if not self.added:
            return self._files_in(self.folder, self.split.images)
        images = iter(self.split.images)
        parts = self.split.data.parts.values()
        counts = [len(part.images.get(self.split.name, ())) for part in parts]
        return [
            file
            for folder, count in zip([self.folder, *self.added], counts, strict=True)
            for file in self._files_in(folder, list(islice(images, count)))
        ]

    def _files_in(self, folder: Path, images: Sequence[ImageEntry]) -> list["_File"]:
        files = []
        for first in range(0, len(images), IMAGES_PER_FILE):
            entries = images[first : first + IMAGES_PER_FILE]
            last = first + len(entries) - 1
            path = folder / f"{self.split.name}-{first:07d}-{last:07d}.tfrecord"
            files.append(_File(path, entries))
        return files

    def _shapes(self, height: Any, width: Any) -> list[Shape]:
        padded = [-(-size // TOTAL_STRIDE) for size in (height, width)]
        grids = [(cells(height), cells(width)), [2 * size for size in padded], padded]
        return [(*grid, channels) for grid, channels in zip(grids, self.channels, strict=True)]

    def _record_bytes(self, entry: ImageEntry) -> int:
        return 2 * sum(int(np.prod(shape)) for shape in self._shapes(entry.height, entry.width))

    def _announce(self, size: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        takes, has = (tqdm.format_sizeof(number, "B") for number in (size, free))
        if size > free:
            raise UserError(
                f"{self.folder}: the features of {self.split.name} take {takes}, {has} are free "
                "there; --cache=FOLDER keeps them elsewhere, --cache=none not at all"
            )
        note(f"{self.folder}: the features of {self.split.name} will take {takes}")

    def _write(
        self, path: Path, entries: Sequence[ImageEntry], encode: Callable, bar: Progress
    ) -> None:
        """Write the features of a file's images."""
        records = self.split.records([entry.image_id for entry in entries])
        images = mapped(records, self.split.image)
        sizes = {(entry.height, entry.width) for entry in entries}
        pixels = max(height * width for height, width in sizes)
        together = max(1, PIXELS_PER_PASS // pixels) if len(sizes) == 1 else 1
        with tf.io.TFRecordWriter(str(path)) as writer:
            for batch in images.batch(together).prefetch(1):
                maps = [values.numpy() for values in encode(batch)]
                for image_maps in zip(*maps, strict=True):
                    writer.write(b"".join(np.ascontiguousarray(part) for part in image_maps))
                    bar.update()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            reason = first_line(error) if isinstance(error, tf.errors.OpError) else error.strerror
            raise UserError(
                f"{self.folder}: features cannot be written ({reason}); --cache=FOLDER keeps them "
                "elsewhere, --cache=none not at all"
            ) from None


def _encoding(encoder: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    """Return the encoder as one graph for images of all sizes, whichever come first."""
    images = tf.TensorSpec([None, None, None, 3], tf.uint8)
    return tf.function(
        lambda batch: encoder(batch, training=False), input_signature=[images], autograph=False
    )


@contextmanager
def _alone(path: Path) -> Iterator[Path | None]:
    """Give a file to write in place of `path`; None if another process has written it meanwhile."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            partial.unlink(missing_ok=True)
            yield None
            return
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
