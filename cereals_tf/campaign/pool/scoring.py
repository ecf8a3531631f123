"""Scoring the pool: from the images to the scores of their dense windows, in files.

Nothing is kept in memory per image but its id and size. The images go through the models in batches
that depend on the pool alone, not on what is scored already: a scoring that was interrupted, or is
shared by several processes, ends with the same bytes as any other. Fusion is left to `choose`, as
product and convex need the range of information and cost over the whole pool, which is known only
after its last image.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.files import WindowScores, needs_clicks, path_of, save_scores
from cereals_tf.campaign.pool.pool import Pool, PoolImage, region_of
from cereals_tf.campaign.pool.share import ALL, Share
from cereals_tf.data_prep import records
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.parallel import ordered_map
from cereals_tf.data_prep.progress import Progress
from cereals_tf.trainers.evaluation import PIXELS_PER_BATCH
from cereals_tf.trainers.randomness import derive_seed

WRITERS = 4
"""Threads that count true clicks and write files, which mostly wait for the disk."""

Batch = Sequence[PoolImage]
Record = dict[str, tf.Tensor]


def score_pool(
    pool: Pool, scorer: Scorer, round_number: int, folder: Path, shard: Share = ALL
) -> int:
    """Write the scores of a share of the pool into a folder, those that are missing there.

    A committee's draws depend on the seed, the round and the image alone.

    Args:
        pool: The images, and what of them is labelled.
        scorer: Holds the models of the round before.
        round_number: The round whose regions are to be chosen.
        folder: Where the files go; made if it is not there.
        shard: The share of the batches to score.

    Returns:
        How many images there are in this share, those included that were there before.

    Raises:
        UserError: The models give NaN or infinity for an image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = {path.name for path in folder.iterdir()}

    def is_missing(place: PoolImage) -> bool:
        return path_of(folder, place.number).name not in present

    batches = shard.of(plan_batches(pool, scorer))
    todo = [batch for batch in batches if any(map(is_missing, batch))]
    total, left = sum(map(len, batches)), sum(map(len, todo))
    ahead = WRITERS + max(map(len, todo), default=0)

    def write(image: _ScoredImage) -> None:
        if is_missing(image.place):
            scores = _window_scores(pool, scorer, image, round_number)
            save_scores(path_of(folder, image.place.number), scores)

    with (
        ThreadPoolExecutor(WRITERS) as threads,
        Progress(desc="score", total=total, initial=total - left, unit="image") as bar,
    ):
        images = _scored_images(pool, scorer, round_number, todo)
        for _ in ordered_map(threads, write, images, ahead=ahead):
            bar.update()
    return total


def plan_batches(pool: Pool, scorer: Scorer) -> list[Batch]:
    """Return the candidate images as they go through the models together.

    Neighbours of one size, no more than `PIXELS_PER_BATCH` pixels together; one by one where a
    committee draws, as an image's draws must not depend on its neighbours.
    """

    def size(place: PoolImage) -> tuple[int, int]:
        return place.entry.height, place.entry.width

    batches = []
    for (height, width), neighbours in groupby(pool.candidates.values(), size):
        together = 1 if scorer.draws else max(1, PIXELS_PER_BATCH // (height * width))
        while batch := list(islice(neighbours, together)):
            batches.append(batch)
    return batches


class _ScoredImage(NamedTuple):
    """An image on its way from the models to its file.

    Attributes:
        place: The image.
        sums: What `Scorer.compute_windows` gives for it, float32 [rows, columns] each.
        record: What true clicks are counted by, where they are needed; else nothing.
    """

    place: PoolImage
    sums: dict[str, np.ndarray]
    record: Record


def _scored_images(
    pool: Pool, scorer: Scorer, round_number: int, batches: Sequence[Batch]
) -> Iterator[_ScoredImage]:
    """Pass batches of images through the models."""
    for batch, (seen, kept) in zip(batches, _decoded(pool, batches), strict=True):
        entry = batch[0].entry
        if scorer.draws:
            _reseed(pool.options, scorer, entry.image_id, round_number)
        unlabelled = np.stack([pool.unlabelled(place.entry) for place in batch])
        sums = scorer.windows(seen, unlabelled, region_of(pool.options, entry))
        sums = {name: values.numpy() for name, values in sums.items()}
        for index, (place, record) in enumerate(zip(batch, kept, strict=True)):
            rows, columns = pool.allowed(place.entry).shape
            part = {name: values[index, :rows, :columns] for name, values in sums.items()}
            if not all(np.isfinite(values).all() for values in part.values()):
                raise UserError(
                    f"{place.entry.image_id}: the models of round {round_number - 1} give NaN or "
                    "infinity for this image, expected numbers: their training has diverged"
                )
            yield _ScoredImage(place, part, record)


def _decoded(pool: Pool, batches: Sequence[Batch]) -> Iterator[tuple[Any, list[Record]]]:
    """Read what the models take of batches of images, decoding ahead, with what is counted."""

    def counted(record: Record) -> tuple[Record]:
        return ({name: record[name] for name in records.COUNTED},)

    image_ids = [place.entry.image_id for batch in batches for place in batch]
    target = counted if needs_clicks(pool.options) else None
    decoded = pool.reader.examples(target, image_ids)
    examples = iter(decoded.prefetch(2 * max(map(len, batches), default=1)))
    for batch in batches:
        seen, *kept = zip(*islice(examples, len(batch)), strict=True)
        stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *seen)
        yield stacked, list(*kept) or [{}] * len(batch)


def _window_scores(
    pool: Pool, scorer: Scorer, image: _ScoredImage, round_number: int
) -> WindowScores:
    """Add to an image's sums what does not come from the models."""
    (number, entry), scores, options = image.place, dict(image.sums), pool.options
    if scorer.measure.of_windows:
        seed = derive_seed(options.seed, round_number, options.information)
        shape = scores["cost_estimated"].shape
        scores["information"] = scorer.measure.function(seed, number, shape)
    if needs_clicks(options):
        grid = records.click_grid_of(image.record, entry.height, entry.width)
        clicks = grid.windows(*region_of(options, entry), pool.unlabelled(entry))
        rows, columns = scores["cost_estimated"].shape
        scores["clicks"] = clicks.of(options.drawn_clicks)[:rows, :columns].astype(np.float32)
    return WindowScores(**scores)


def image_maps(
    options: Options, scorer: Scorer, image_id: str, image: tf.Tensor, round_number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the information map and the predicted click map of an image of the pool.

    A committee draws as it does when the pool is scored.

    Args:
        options: The campaign's options.
        scorer: Holds the models of the round before.
        image_id: The image's id.
        image: uint8 [H, W, 3].
        round_number: The round whose regions are to be chosen.

    Returns:
        Two float32 [h, w] at stride 8, see `Scorer.compute_maps`.
    """
    _reseed(options, scorer, image_id, round_number)
    information, clicks = scorer.maps(image[None])
    return information[0].numpy(), clicks[0].numpy()


def _reseed(options: Options, scorer: Scorer, image_id: str, round_number: int) -> None:
    scorer.reseed(derive_seed(options.seed, round_number, "score", image_id))
