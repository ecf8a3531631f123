"""Images that look the same although their files differ."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from cereals_tf.data_prep import records
from cereals_tf.data_prep.progress import Progress
from cereals_tf.data_prep.remote import RemotePath

SIDE = 16
"""Of the picture that two images are compared by, pixels."""
MOST_DIFFERENT = 8
"""Bits of its 256 in which images may differ that look the same."""
_REDUCED = 8 * 4 * SIDE
"""Images of longer sides are decoded at an eighth of their size, pixels."""


def difference_hash(image: np.ndarray) -> np.ndarray:
    """Return by which neighbours of a small picture of an image the left one is brighter.

    The dHash of Krawetz, "Kind of Like That", 2013, with 16x16 bits in place of 8x8.

    Args:
        image: uint8 [H, W], grey.

    Returns:
        uint64 [4].
    """
    small = cv2.resize(image, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, :-1] > small[:, 1:]).view(np.uint64)


def near_duplicates(
    new: Sequence[Path | RemotePath], known: Sequence[Path | RemotePath], images: int
) -> dict[str, str]:
    """Return those of new images that look like a known one, each with the first such.

    Args:
        new: The shards of the new images.
        known: The shards of the known ones.
        images: How many images all of them hold.
    """
    with Progress(desc="compare", total=images, unit="image") as bar:
        hashes = _hashes(known, bar)
        names, codes = list(hashes), np.stack([*hashes.values()])
        found = {}
        for image_id, code in _hashes(new, bar).items():
            differing = np.unpackbits((codes ^ code).view(np.uint8), axis=1).sum(axis=1)
            if differing.min() <= MOST_DIFFERENT:
                found[image_id] = names[int(differing.argmin())]
    return found


def _hashes(shards: Sequence[Path | RemotePath], bar: Progress) -> Mapping[str, np.ndarray]:
    return dict(_hashed(shards, bar))


def _hashed(shards: Sequence[Path | RemotePath], bar: Progress) -> Iterator[tuple[str, np.ndarray]]:
    for record in records.read_shards(list(shards)):
        encoded = np.frombuffer(record[records.IMAGE_ENCODED].numpy(), np.uint8)
        size = min(int(record[name]) for name in (records.IMAGE_HEIGHT, records.IMAGE_WIDTH))
        way = cv2.IMREAD_REDUCED_GRAYSCALE_8 if size > _REDUCED else cv2.IMREAD_GRAYSCALE
        image = cv2.imdecode(encoded, way)
        if image is not None:
            yield record[records.IMAGE_ID].numpy().decode(), difference_hash(image)
        bar.update()
