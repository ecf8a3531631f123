"""Scoring the pool: the dense windows of each image, with what they are scored by, on disk."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cereals_tf.acquisition.information import RANDOM, random_windows
from cereals_tf.acquisition.regions import cells, window_grid, window_sums
from cereals_tf.acquisition.scoring import Scorer
from cereals_tf.campaign.options import Options, parse_clicks
from cereals_tf.campaign.oracle import click_grid_of, counted
from cereals_tf.campaign.pool import Pool, region_of
from data_prep import records
from data_prep.dataset import ImageEntry
from data_prep.files import write_atomically
from trainers.randomness import derive_seed


class WindowScores(NamedTuple):
    """What the dense windows of one image are scored by, each float32 [rows, columns].

    Attributes:
        information: Sum over a window's unlabelled positions (or random numbers).
        cost_estimated: Clicks that the cost model predicts there.
        cost: Clicks that the fusion uses: the estimated ones, or the ground truth's.
    """

    information: np.ndarray
    cost_estimated: np.ndarray
    cost: np.ndarray


def score_pool(pool: Pool, scorer: Scorer, round_number: int, folder: Path) -> None:
    """Write the window scores of every pool image into a folder, continuing where it was left.

    Each image's random numbers depend on the seed, the round and the image alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options, reader, candidates = pool.options, pool.reader, pool.candidates
    todo = [
        image_id for image_id, (key, _) in candidates.items() if not path_of(folder, key).exists()
    ]
    decoded = reader.records(todo).map(
        lambda record: (record, reader.image(record)), num_parallel_calls=tf.data.AUTOTUNE
    )
    done = len(candidates) - len(todo)
    bar = tqdm(decoded.prefetch(2), desc="score", total=len(candidates), initial=done, unit="image")
    for record, image in bar:
        key, entry = candidates[record[records.IMAGE_ID].numpy().decode()]
        information, estimated = image_maps(options, scorer, entry.image_id, image, round_number)
        unlabelled = pool.unlabelled(entry)
        information = _sums(options, entry, information, unlabelled)
        estimated = _sums(options, entry, estimated, unlabelled)
        if options.information == RANDOM:
            seed = derive_seed(options.seed, round_number, "random")
            information = random_windows(seed, key, information.shape)
        cost = _true_clicks(options, entry, record) if options.cost == "gt" else estimated
        _save(path_of(folder, key), WindowScores(information, estimated, cost))


def image_maps(
    options: Options, scorer: Scorer, image_id: str, image: tf.Tensor, round_number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the information map and the predicted click map of an image of the pool.

    A committee's draws depend on the seed, the round and the image alone.

    Args:
        options: The campaign's options.
        scorer: Holds the models of the round before.
        image_id: The image's id.
        image: uint8 [H, W, 3].
        round_number: The round whose regions are to be chosen.

    Returns:
        Two float32 [h, w] at stride 8, see `Scorer.compute_maps`.
    """
    scorer.reseed(derive_seed(options.seed, round_number, "score", image_id))
    information, clicks = scorer.maps(image[None])
    return information[0].numpy(), clicks[0].numpy()


def _sums(
    options: Options, entry: ImageEntry, values: np.ndarray, unlabelled: np.ndarray
) -> np.ndarray:
    """Sum a map [h, w] over the unlabelled positions of every dense window."""
    size = region_of(options, entry)
    rows, columns = window_grid(entry.height, entry.width, *size)
    sums = window_sums(values, (cells(size[0]), cells(size[1])), unlabelled)
    return sums[:rows, :columns].astype(np.float32)


def _true_clicks(options: Options, entry: ImageEntry, record: dict[str, tf.Tensor]) -> np.ndarray:
    windows = click_grid_of(record, entry).windows(*region_of(options, entry))
    return counted(windows, parse_clicks(options.clicks)).astype(np.float32)


def path_of(folder: Path, key: int) -> Path:
    """Return where the scores of the image at a place in the split are kept."""
    return folder / f"{key:08d}.npz"


def _save(path: Path, scores: WindowScores) -> None:
    content = io.BytesIO()
    np.savez(content, **scores._asdict())
    write_atomically(path, content.getvalue())


def load_scores(path: Path) -> WindowScores:
    """Read the scores of one image."""
    with np.load(path, allow_pickle=False) as arrays:
        return WindowScores(**{name: arrays[name] for name in WindowScores._fields})
