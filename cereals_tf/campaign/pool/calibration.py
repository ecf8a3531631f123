"""Whether the cost model puts the pool's regions in the right order, where the truth is known."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.campaign.pool.files import load_scores, needs_clicks, path_of
from cereals_tf.campaign.pool.pool import Pool, PoolImage, region_of
from cereals_tf.data_prep import records
from cereals_tf.trainers.randomness import derive_seed

SAMPLE = 32
"""Images that are looked at, at most: tens of thousands of windows."""


def pool_rank_correlation(pool: Pool, folder: Path, round_number: int) -> float | None:
    """Return Spearman's correlation of estimated and true clicks over windows of the pool.

    Args:
        pool: The pool of a simulation.
        folder: The scores of its images.
        round_number: The round in progress, from which and the seed the sample follows.

    Returns:
        -1 to 1, over all free windows of up to `SAMPLE` images; None where all are the same.
    """
    options = pool.options
    rng = np.random.default_rng(derive_seed(options.seed, round_number, "calibration"))
    ids = list(pool.candidates)
    if not ids:
        return None
    sample = rng.choice(len(ids), min(SAMPLE, len(ids)), replace=False)
    images = [pool.candidates[ids[place]] for place in np.sort(sample)]
    free = [pool.allowed(entry) for _, entry in images]
    scores = [load_scores(path_of(folder, number), options) for number, _ in images]
    if needs_clicks(options):
        clicks = [kept.true_clicks for kept in scores]
    else:
        clicks = _counted(pool, images)
    estimated = [kept.cost_estimated[windows] for kept, windows in zip(scores, free, strict=True)]
    true = [counted[windows] for counted, windows in zip(clicks, free, strict=True)]
    return rank_correlation(np.concatenate(estimated), np.concatenate(true))


def _counted(pool: Pool, images: Sequence[PoolImage]) -> Iterator[np.ndarray]:
    """Count the true clicks in the windows of images, which are in the order of the split."""
    options = pool.options
    records_of = pool.reader.records([entry.image_id for _, entry in images])
    for (_, entry), record in zip(images, records_of, strict=True):
        grid = records.click_grid_of(record, entry.height, entry.width)
        clicks = grid.windows(*region_of(options, entry), pool.unlabelled(entry))
        rows, columns = pool.allowed(entry).shape
        yield clicks.of(options.drawn_clicks)[:rows, :columns]
