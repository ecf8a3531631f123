"""Event files for TensorBoard: what a running training shows of itself.

They are written with `tf.summary.write`, for which TensorFlow is enough: `tf.summary.scalar` and
`tf.summary.image` are parts of TensorBoard, which TensorFlow 2.21 no longer installs. The form of
the values is that of TensorBoard's plugins `scalars` and `images`.

Nobody's training ends because of a curve: where a file cannot be written, a line on stderr says so
and no more is tried.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cereals_tf.trainers.fitting import FitState


class EventFile:
    """An event file that takes the place of an earlier one of its name. A context manager.

    Args:
        folder: What TensorBoard calls a run. Made if it is missing.
        name: Ends the file's name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._writer: tf.summary.SummaryWriter | None = None
        with self._given_up_on_errors():
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"events.out.tfevents.*.{name}"):
                old.unlink()
            self._writer = tf.summary.create_file_writer(str(folder), filename_suffix=f".{name}")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._write(tag, tf.constant(value, tf.float32), step, "scalars", "DATA_CLASS_SCALAR")

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Add a picture, uint8 [H, W, 3]."""
        height, width, _ = pixels.shape
        content = tf.stack([str(width), str(height), tf.io.encode_png(pixels)])
        self._write(tag, content, step, "images", "DATA_CLASS_BLOB_SEQUENCE")

    def flush(self) -> None:
        """Let a TensorBoard that is running see all that was added."""
        if self._writer is not None:
            with self._given_up_on_errors():
                self._writer.flush()

    def _write(self, tag: str, value: tf.Tensor, step: int, plugin: str, data: str) -> None:
        if self._writer is None:
            return
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data={"plugin_name": plugin}, data_class=data
        )
        with self._given_up_on_errors(), self._writer.as_default():
            tf.summary.write(tag, value, step, metadata)

    @contextmanager
    def _given_up_on_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._writer = None
            reason = str(error).splitlines()[0]
            tqdm.write(f"{self._folder}: not written for TensorBoard: {reason}", file=sys.stderr)

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            with self._given_up_on_errors():
                self._writer.close()


def epoch_writer(
    file: EventFile, name: str, metric_name: str, rate: Callable[[int], float]
) -> Callable[[FitState], None]:
    """Return what writes the epochs of a training that it has not written yet.

    So a training that goes on writes all of its epochs anew, as its state knows them, and no point
    is there twice or missing, wherever it was killed.

    Args:
        file: Where to.
        name: The model's name, before the curves' names.
        metric_name: Name of the val metric.
        rate: Returns the learning rate of an epoch, counted from 0.
    """
    written = 0

    def write(state: FitState) -> None:
        nonlocal written
        for epoch in range(written, state.epoch):
            step = epoch + 1
            file.scalar(f"{name}/loss", state.losses[epoch], step)
            file.scalar(f"{name}/val_{metric_name}", state.metrics[epoch], step)
            file.scalar(f"{name}/learning_rate", rate(epoch), step)
        written = state.epoch
        file.flush()

    return write
