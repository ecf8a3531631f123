"""The scores of the pool on disk: a file per image, float32 [2 to 4, rows, columns]."""

import os
import secrets
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cereals_tf.acquisition.regions import pixels_in
from cereals_tf.acquisition.selection import Chosen, Price
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.draw import tiles_of
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import ClickGrid
from cereals_tf.data_prep.grid import STRIDE, Box

OPEN_FILES = 64
"""Files that stay open while regions are priced."""


class WindowScores(NamedTuple):
    """What the dense windows of one image are scored by, each float32 [rows, columns].

    Attributes:
        information: Sum over a window's unlabelled positions (or random numbers).
        cost_estimated: Clicks that the cost model predicts there.
        clicks: True clicks there of the kinds that count, where `needs_clicks`.
        classes: The predicted class, where the options' selection needs it.
    """

    information: np.ndarray
    cost_estimated: np.ndarray
    clicks: np.ndarray | None = None
    classes: np.ndarray | None = None

    def cost(self, options: Options) -> np.ndarray:
        """Return the clicks that the fusion uses: the estimated ones, or the ground truth's."""
        return self.true_clicks if options.cost == "gt" else self.cost_estimated

    @property
    def true_clicks(self) -> np.ndarray:
        """The true clicks, where `needs_clicks`."""
        assert self.clicks is not None
        return self.clicks


def needs_clicks(options: Options) -> bool:
    """Return whether a campaign's cost or its budget is in true clicks, which the oracle knows."""
    spent = options.budget.unit == "clicks" and options.annotator == "oracle"
    return options.cost == "gt" or spent


def path_of(folder: Path, number: int) -> Path:
    """Return where the scores of the image at a place in the split are kept."""
    return folder / f"{number:08d}.npy"


def save_scores(path: Path, scores: WindowScores) -> None:
    """Write the scores of one image so that the file is there whole or not at all.

    Its temporary name is this call's own, as another process may be writing the same scores.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with partial.open("wb") as file:
        np.save(file, np.stack([part for part in scores if part is not None]))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_scores(path: Path, options: Options) -> WindowScores:
    """Open the scores of one image, which are read from the disk where they are looked at."""
    there = {"clicks": needs_clicks(options), "classes": options.composition.needs_classes}
    names = [name for name in WindowScores._fields if there.get(name, True)]
    arrays = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return WindowScores(**dict(zip(names, arrays, strict=True)))


def price_in(unit: str, pool: Pool, folder: Path) -> Price:
    """Return what a region takes from the budget: what its new cells will be billed.

    Args:
        unit: The budget's: `pixels`, `clicks` or `seconds`. Those of the oracle are true clicks;
            what people will need is what the cost model expects.
        pool: The pool.
        folder: The scores of its images.
    """
    if unit == "pixels":
        return partial(_pixels, pool)
    if needs_clicks(pool.options):
        drawn = pool.options.draws_tiles
        return _price_of_tiles(pool) if drawn else _price_in_true_clicks(pool, folder)
    return lambda chosen, new: pool.options.bill(chosen.cost or 0.0, unit)


def _pixels(pool: Pool, chosen: Chosen, new: np.ndarray | None) -> float:
    image_id, box = chosen.region
    if new is None:
        if not pool.options.max_overlap and image_id not in pool.leftovers:
            return float(box.area)
        new = pool.unlabelled(pool.candidates[image_id].entry)[box.cell_slices]
    return float(pixels_in(box, new))


def _price_of_tiles(pool: Pool) -> Price:
    """Return the price of a tile in true clicks; an image's record is read once for all of its."""

    @cache
    def clicks_of(image_id: str) -> dict[Box, int]:
        entry = pool.candidates[image_id].entry
        grid, unlabelled = _click_grid(pool, image_id), pool.unlabelled(entry)
        kinds = pool.options.drawn_clicks
        return {
            box: grid.region(*box, counted=unlabelled[box.cell_slices]).of(kinds)
            for box in tiles_of(pool, entry)
        }

    return lambda chosen, new: pool.options.bill(
        float(clicks_of(chosen.region.image_id)[chosen.region.box]), "clicks"
    )


def _click_grid(pool: Pool, image_id: str) -> ClickGrid:
    entry = pool.candidates[image_id].entry
    return records.click_grid_of(pool.reader.record(image_id), entry.height, entry.width)


def _price_in_true_clicks(pool: Pool, folder: Path) -> Price:
    """Return the price of a region in true clicks, as the oracle will count them."""

    @lru_cache(OPEN_FILES)
    def clicks_of(image_id: str) -> np.ndarray:
        path = path_of(folder, pool.candidates[image_id].number)
        return load_scores(path, pool.options).true_clicks

    @lru_cache(OPEN_FILES)
    def grid_of(image_id: str) -> ClickGrid:
        return _click_grid(pool, image_id)

    def price(chosen: Chosen, new: np.ndarray | None) -> float:
        image_id, box = chosen.region
        if new is None:
            clicks = clicks_of(image_id)[box.y // STRIDE, box.x // STRIDE]
        else:
            clicks = grid_of(image_id).region(*box, counted=new).of(pool.options.drawn_clicks)
        return pool.options.bill(float(clicks))

    return price
