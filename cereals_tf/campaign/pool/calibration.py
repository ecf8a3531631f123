"""Whether the cost model puts the pool's regions in the right order, where the truth is known."""

from pathlib import Path

import numpy as np

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.campaign.pool.files import load_scores, path_of
from cereals_tf.campaign.pool.pool import Pool, region_of
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
    estimated, true = [], []
    for record in pool.reader.records([ids[place] for place in sample]):
        number, entry = pool.candidates[record[records.IMAGE_ID].numpy().decode()]
        scores, free = load_scores(path_of(folder, number), options), pool.allowed(entry)
        grid = records.click_grid_of(record, entry.height, entry.width)
        clicks = grid.windows(*region_of(options, entry), pool.unlabelled(entry))
        rows, columns = free.shape
        estimated.append(scores.cost_estimated[free])
        true.append(clicks.of(options.drawn_clicks)[:rows, :columns][free])
    return rank_correlation(np.concatenate(estimated), np.concatenate(true))
