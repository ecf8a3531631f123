"""Choosing a round's regions: at random for round 0, else by score over the whole pool."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cereals_tf.acquisition.fusion import Scale, fuse
from cereals_tf.acquisition.information import RANDOM, random_windows
from cereals_tf.acquisition.regions import (
    Region,
    allowed_windows,
    cells,
    labelled_mask,
    window_grid,
    window_sums,
)
from cereals_tf.acquisition.scoring import Scorer
from cereals_tf.acquisition.selection import Candidate, Windows, best_first, within_budget
from cereals_tf.campaign.options import (
    Options,
    parse_budget,
    parse_clicks,
    parse_initial,
    parse_region,
)
from cereals_tf.campaign.oracle import click_grid_of, counted
from data_prep import records
from data_prep.clicks import STRIDE
from data_prep.dataset import ImageEntry
from data_prep.errors import UserError
from data_prep.files import write_atomically
from trainers.inputs import ImageReader
from trainers.randomness import derive_seed

Labelled = Mapping[str, Sequence[Region]]
"""The annotated regions of each image that has any."""


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


def resolve_region(region: str, images: Sequence[ImageEntry]) -> str:
    """Replace `auto` by an eighth of the shortest image side, and check that regions fit.

    Raises:
        UserError: The region is larger than some image.
    """
    side = min(min(entry.height, entry.width) for entry in images)
    if region == "auto":
        return str(max(STRIDE, round(side / 8 / STRIDE) * STRIDE))
    size = parse_region(region)
    if size is None:
        return region
    for entry in images:
        if size[0] > entry.height or size[1] > entry.width:
            raise UserError(
                f"--region={region}: larger than the image {entry.image_id!r} of "
                f"{entry.height}x{entry.width} pixels"
            )
    return region


def region_of(options: Options, entry: ImageEntry) -> tuple[int, int]:
    """Return (height, width) in pixels of an image's candidate regions."""
    return parse_region(options.region) or (entry.height, entry.width)


def region_area(options: Options, entry: ImageEntry) -> int:
    """Return the pixels of one candidate region of an image."""
    height, width = region_of(options, entry)
    return height * width


def allowed_in(options: Options, entry: ImageEntry, labelled: Labelled) -> np.ndarray:
    """Return which dense windows of an image are candidates, bool [rows, columns]."""
    return allowed_windows(
        labelled.get(entry.image_id, ()),
        entry.height,
        entry.width,
        *region_of(options, entry),
        options.max_overlap,
    )


def choose_initial(options: Options, reader: ImageReader) -> list[Candidate]:
    """Draw the regions of round 0 with the seed.

    Raises:
        UserError: More is asked for than the train split has.
    """
    amount = parse_initial(options.initial)
    images = reader.images
    seed = derive_seed(options.seed, 0, "initial")
    if amount.unit == "regions":
        return _random_regions(options, images, int(amount.number), seed)
    count = int(amount.number)
    if amount.unit == "%":
        count = max(1, int(amount.number * len(images) / 100))
    if count > len(images):
        raise UserError(f"--initial={options.initial}: the train split has {len(images)} images")
    order = np.random.default_rng(seed).permutation(len(images))
    drawn = (images[place] for place in sorted(order[:count]))
    return [
        Candidate(Region(entry.image_id, 0, 0, entry.height, entry.width), None, None, None)
        for entry in drawn
    ]


def _random_regions(
    options: Options, images: Sequence[ImageEntry], count: int, seed: int
) -> list[Candidate]:
    pool = []
    for key, entry in enumerate(images):
        allowed = allowed_in(options, entry, {})
        numbers = random_windows(seed, key, allowed.shape)
        pool.append(
            Windows(entry.image_id, *region_of(options, entry), numbers, numbers, numbers, allowed)
        )
    chosen = list(best_first(pool, limit=count))
    if len(chosen) < count:
        raise UserError(f"--initial={options.initial}: only {len(chosen)} regions fit")
    return [Candidate(candidate.region, None, None, None) for candidate in chosen]


def score_pool(
    options: Options,
    reader: ImageReader,
    labelled: Labelled,
    scorer: Scorer,
    round_number: int,
    folder: Path,
) -> None:
    """Write the window scores of every pool image into a folder, continuing where it was left.

    Each image's random numbers depend on the seed, the round and the image alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = {entry.image_id: (key, entry) for key, entry in enumerate(reader.images)}
    pool = [
        image_id
        for image_id, (key, entry) in entries.items()
        if allowed_in(options, entry, labelled).any()
    ]
    todo = [image_id for image_id in pool if not _path(folder, entries[image_id][0]).exists()]
    decoded = reader.records(todo).map(
        lambda record: (record, reader.image(record)), num_parallel_calls=tf.data.AUTOTUNE
    )
    done = len(pool) - len(todo)
    bar = tqdm(decoded.prefetch(2), desc="score", total=len(pool), initial=done, unit="image")
    for record, image in bar:
        key, entry = entries[record[records.IMAGE_ID].numpy().decode()]
        information, estimated = image_maps(options, scorer, entry.image_id, image, round_number)
        unlabelled = ~labelled_mask(labelled.get(entry.image_id, ()), entry.height, entry.width)
        information = _sums(options, entry, information, unlabelled)
        estimated = _sums(options, entry, estimated, unlabelled)
        if options.information == RANDOM:
            seed = derive_seed(options.seed, round_number, "random")
            information = random_windows(seed, key, information.shape)
        cost = _true_clicks(options, entry, record) if options.cost == "gt" else estimated
        _save(_path(folder, key), WindowScores(information, estimated, cost))


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


def _path(folder: Path, key: int) -> Path:
    return folder / f"{key:08d}.npz"


def _save(path: Path, scores: WindowScores) -> None:
    content = io.BytesIO()
    np.savez(content, **scores._asdict())
    write_atomically(path, content.getvalue())


def _load(path: Path) -> WindowScores:
    with np.load(path, allow_pickle=False) as arrays:
        return WindowScores(**{name: arrays[name] for name in WindowScores._fields})


def choose_best(
    options: Options,
    reader: ImageReader,
    labelled: Labelled,
    folder: Path,
    price: Callable[[Candidate], float],
    budget: float,
) -> list[Candidate]:
    """Select the best regions of the scored pool within the budget, best first.

    Args:
        options: The campaign's options.
        reader: The train split.
        labelled: What is annotated already.
        folder: The window scores that `score_pool` wrote.
        price: What a region takes from the budget.
        budget: The budget, in the unit of `price`.

    Raises:
        UserError: No candidate is left, or the budget does not pay for the best one.
    """
    information_scale, cost_scale = _scales(options, reader, labelled, folder)

    def fused(entry: ImageEntry, scores: WindowScores, allowed: np.ndarray) -> Windows:
        score = fuse(
            options.fusion,
            scores.information,
            scores.cost,
            information_scale,
            cost_scale,
            options.alpha,
        )
        size = region_of(options, entry)
        return Windows(
            entry.image_id, *size, score, scores.information, scores.cost_estimated, allowed
        )

    pool = (fused(*scored) for scored in _scored(options, reader, labelled, folder))
    candidates = list(best_first(pool, options.max_overlap))
    chosen = within_budget(candidates, price, budget)
    if candidates and not chosen:
        raise UserError(
            f"--budget={options.budget}: does not pay for the best region, which takes "
            f"{price(candidates[0]):g} of {budget:g}"
        )
    return chosen


def _scored(
    options: Options, reader: ImageReader, labelled: Labelled, folder: Path
) -> Iterator[tuple[ImageEntry, WindowScores, np.ndarray]]:
    """Yield each image that has candidates, with its window scores and its allowed windows."""
    for key, entry in enumerate(reader.images):
        allowed = allowed_in(options, entry, labelled)
        if allowed.any():
            yield entry, _load(_path(folder, key)), allowed


def _scales(
    options: Options, reader: ImageReader, labelled: Labelled, folder: Path
) -> tuple[Scale, Scale]:
    """Return the ranges of information and cost over the candidates of the pool."""
    ranges = []
    for _, scores, allowed in _scored(options, reader, labelled, folder):
        parts = (scores.information[allowed], scores.cost[allowed])
        ranges.append([(part.min(), part.max()) for part in parts])
    if not ranges:
        return Scale(0.0, 0.0), Scale(0.0, 0.0)
    low, high = np.min(ranges, axis=0)[:, 0], np.max(ranges, axis=0)[:, 1]
    return Scale(float(low[0]), float(high[0])), Scale(float(low[1]), float(high[1]))


def budget_of(options: Options, images: Sequence[ImageEntry]) -> tuple[float, str]:
    """Return a round's budget and its unit, `pixels` or `clicks`."""
    amount = parse_budget(options.budget)
    if amount.unit == "clicks":
        return amount.number, "clicks"
    pixels = sum(entry.height * entry.width for entry in images)
    whole = 100 if amount.unit == "%" else len(images)
    return amount.number * pixels / whole, "pixels"
