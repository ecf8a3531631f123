"""Training by several processes, on one machine or several, each with a device of its own.

Every process holds the whole model in plain variables and runs the same program on its part of
each batch. What they exchange goes through `Workers`: sums of gradients, losses and measurements,
and numbers of the chief. `tf.distribute.MultiWorkerMirroredStrategy` carries it, with which Keras 3
itself cannot train (keras-team/keras issue 20585).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.mapping import as_it_is
from cereals_tf.data_prep.progress import note
from cereals_tf.data_prep.quiet import notes_kept_back
from cereals_tf.trainers.cluster import read_cluster

Item = TypeVar("Item")
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
"""What is raised where an exchange fails."""


class Workers:
    """The processes that train together, of which this is one; in most cases it is the only one.

    All of them call `sum`, `told` and `wait` as often and in the same order.

    Attributes:
        index: Which one this is; 0 is the chief, who alone writes.
        count: How many there are.

    Args:
        index: See above.
        strategy: Sums over the workers. None: there is one alone.
    """

    def __init__(
        self, index: int = 0, strategy: tf.distribute.MultiWorkerMirroredStrategy | None = None
    ) -> None:
        self.index, self._strategy = index, strategy
        self.count = strategy.num_replicas_in_sync if strategy else 1
        self._summed = tf.function(self.sum, reduce_retracing=True, autograph=False)

    @property
    def lead(self) -> bool:
        """Whether this is the chief."""
        return self.index == 0

    def sum(self, parts: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return the sums over all workers of tensors, in a traced function."""
        if self._strategy is None:
            return parts

        def sums(*parts: tf.Tensor) -> Sequence[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            assert context
            here = [tf.identity(part) for part in parts]  # on the replica's device, by name
            return context.all_reduce(tf.distribute.ReduceOp.SUM, here)

        return self._strategy.run(sums, args=tuple(parts))

    def total(self, part: np.ndarray) -> np.ndarray:
        """Return the sum over all workers of an array."""
        return part if self._strategy is None else self._summed([tf.constant(part)])[0].numpy()

    def told(self, number: int = 0) -> int:
        """Return the chief's number, which it says here; what others say does not count."""
        return int(self.total(np.array(number if self.lead else 0, np.int64)))

    def wait(self) -> None:
        """Go on once all workers are here."""
        self.told()

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Let the chief do what the block does, and then the others: they find what it wrote."""
        if not self.lead:
            self.wait()
        yield
        if self.lead:
            self.wait()

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this worker's part of what all of them do together, neighbours of one another."""
        first, last = (len(items) * at // self.count for at in (self.index, self.index + 1))
        return items[first:last]

    def parts(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return this worker's part of each batch, whose size is a multiple of their number."""

        def part(*batch: Any) -> Any:
            size = tf.shape(batch[-1])[0] // self.count
            first = self.index * size
            return tf.nest.map_structure(lambda whole: whole[first : first + size], batch)

        return batches.map(as_it_is(part))

    def follow_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Give variables the values that they have at the chief."""
        if self._strategy is None or not variables:
            return
        kept = 1.0 if self.lead else 0.0
        for variable, value in zip(
            variables, self._summed([kept * variable.value for variable in variables]), strict=True
        ):
            variable.assign(value)

    @contextmanager
    def losses_named(self, place: object) -> Iterator[None]:
        """Say in one line that another worker ended, where the block meets that.

        Args:
            place: What they work on.
        """
        try:
            yield
        except LOST as error:
            if self._strategy is None:
                raise
            found = re.findall(r"/job:(\w+)/replica:\d+/task:(\d+)", str(error))
            who = " or ".join(sorted({" ".join(name) for name in found})) or "another worker"
            raise UserError(
                f"{place}: {who} ended or cannot be reached any more, and so all workers stop; "
                "started again, they go on from the last epoch"
            ) from None


ALONE = Workers()
"""This process trains by itself."""


def open_workers(strategy: str, batch_size: int) -> Workers:
    """Return the workers of a strategy of this name, once all of them are there.

    Args:
        strategy: `multiworker`: those that TF_CONFIG names; otherwise this process is alone.
        batch_size: Images in a step, of all workers together.

    Raises:
        UserError: TF_CONFIG is not set or wrong, the workers cannot share the images of a step
            equally, this one has several devices, or TensorFlow was used before.
    """
    if strategy != "multiworker":
        return ALONE
    cluster = read_cluster()
    count = len(cluster.addresses)
    if batch_size % count:
        raise UserError(
            f"--strategy=multiworker: {count} workers share the images of a step, so the "
            f"campaign's --batch_size must be a multiple of {count}; it is {batch_size}"
        )
    return _joined(cluster.index, count)


@cache
def _joined(index: int, count: int) -> Workers:
    """Join the workers, which a process can do once."""
    devices = len(tf.config.list_physical_devices("GPU"))
    if devices > 1:
        raise UserError(
            f"--strategy=multiworker: this worker sees {devices} GPUs, and trains on one; start a "
            "worker for each, with CUDA_VISIBLE_DEVICES=0, 1 and so on"
        )
    if index == 0 and count > 1:
        note(f"waits until all {count} workers are there")
    try:
        with notes_kept_back():
            return Workers(index, tf.distribute.MultiWorkerMirroredStrategy())
    except RuntimeError:
        raise UserError(
            "--strategy=multiworker: must be opened before TensorFlow is used for anything else"
        ) from None
