"""Reading every record of a prepared data set to find the damaged ones."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from data_prep.dataset import DESCRIPTION, PreparedData
from data_prep.errors import UserError
from data_prep.parallel import cores, ordered_map
from data_prep.records import damage, read_raw


def verify(data: PreparedData) -> None:
    """Read and decode every record, on all cores.

    Raises:
        UserError: Some records are damaged or missing; each damaged one is named with its shard
            and number.
    """
    expected = {split: len(images) for split, images in data.images.items()}
    found: Counter[str] = Counter()
    damaged = []
    with (
        tqdm(total=sum(expected.values()), desc="verify", unit="record") as bar,
        ThreadPoolExecutor(cores()) as pool,
        closing(ordered_map(pool, _checked, _numbered(data), ahead=4 * cores())) as checked,
    ):
        for split, place, reason in checked:
            found[split] += 1
            if reason:
                damaged.append(f"{place}: {reason}")
            bar.update()
    damaged += [
        f"{data.folder}: {found[split]} records of {split}, {DESCRIPTION} says {count}"
        for split, count in expected.items()
        if found[split] != count
    ]
    if damaged:
        raise UserError(f"{len(damaged)} damaged: {'; '.join(damaged)}")


def _numbered(data: PreparedData) -> Iterator[tuple[str, Path, int, bytes | tf.errors.OpError]]:
    """Give every record with its split, shard and number."""
    for split in data.splits:
        for shard in data.shards(split):
            for number, content in enumerate(read_raw(shard)):
                yield split, shard, number, content


def _checked(
    numbered: tuple[str, Path, int, bytes | tf.errors.OpError],
) -> tuple[str, str, str | None]:
    split, shard, number, content = numbered
    return split, f"{shard}: record {number}", damage(content)
