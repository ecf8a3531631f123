"""Group `selection`: choosing a round's regions over a pool of Cityscapes' size.

The windows are those of 128x128 pixels on images of 1024x2048, from score files as a scoring leaves
them. The peers do what they can: a loop over the picks in NumPy with the same rule, and
scikit-activeml's batch selection, which knows no overlap and is compared without it.
"""

import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cereals_tf.acquisition.regions import Region, window_grid, window_sums
from cereals_tf.acquisition.selection import Chosen, Windows, select
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.choose import choose_scored
from cereals_tf.campaign.pool.files import WindowScores, path_of, save_scores
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.data_prep.dataset import IMAGES, PreparedData
from cereals_tf.data_prep.description import Classes, Description, SplitDescription
from cereals_tf.data_prep.grid import STRIDE, Box
from cereals_tf.trainers.split import Split
from tests.bench.measure import ROOT, Ratio, Row, in_child, interleaved

PEERS = ROOT / ".venv-peers"


class Size(NamedTuple):
    """How much is measured: images, their size, regions' side, what peers get, turns."""

    images: int
    height: int
    width: int
    region: int
    loop_images: int
    peer_images: int
    peer_picks: int
    repeats: int


FULL = Size(2975, 1024, 2048, 128, 60, 4, 200, 3)
QUICK = Size(12, 128, 256, 32, 6, 2, 10, 1)
MANY_FULL = Size(100_000, 192, 256, 24, 0, 0, 0, 1)
MANY_QUICK = Size(60, 64, 96, 16, 0, 0, 0, 1)
SHARE = 0.05
"""Share of the pool's area that is chosen."""


def rows(quick: bool) -> Iterator[Row]:
    """Measure selection from files, its memory, and the peers on what they can do."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        yield from _whole_pool(size, Path(folder))
    yield from _many_images(quick)
    yield from _loop(size)
    if (PEERS / "installed").exists() and not quick:
        yield from _scikit_activeml(size)
    elif not quick:
        print("selection: no scikit-activeml to compare with: make bench-peers", file=sys.stderr)


def _whole_pool(size: Size, folder: Path) -> Iterator[Row]:
    write_pool(size.images, folder, size)
    windows = size.images * int(np.prod(_grid(size)))
    pool = open_pool(folder, size)
    seconds = interleaved(
        {
            "choose": partial(choose_from, pool, folder, _area_of(size)),
            "read": partial(_read_all, pool, folder),
        },
        size.repeats,
    )
    ratio = Ratio.of(seconds["choose"], seconds["read"])
    best = min(seconds["choose"])
    yield Row(
        "selection",
        f"choose {SHARE:.0%} of {size.images:,} images, {windows / 1e6:.0f} million windows",
        best,
        "s",
        "reading the score files and their maxima",
        ratio.median,
        "",
        f"product fusion; {ratio}",
    )
    few, many = (
        _chosen_in(folder, count, size, _area_of(size._replace(images=count)))
        for count in (size.images // 10, size.images)
    )
    yield _memory(size, few, many, "mapped files that are read count while they fit")


def _many_images(quick: bool) -> Iterator[Row]:
    """Choose the same number of regions among few and many small images."""
    size = MANY_QUICK if quick else MANY_FULL
    budget = size.images // 10 * size.region**2
    with tempfile.TemporaryDirectory() as folder:
        write_pool(size.images, Path(folder), size)
        few, many = (
            _chosen_in(folder, count, size, budget) for count in (size.images // 10, size.images)
        )
    yield Row(
        "selection",
        f"choose {many['result']:,} regions of {size.images:,} images",
        many["seconds"],
        "s",
        f"{size.images // 10:,} images",
        many["seconds"] / few["seconds"],
        "",
        f"of {size.height}x{size.width}, product fusion",
    )
    yield _memory(size, few, many, f"{many['result']:,} regions are chosen")


def _memory(size: Size, few: dict[str, Any], many: dict[str, Any], note: str) -> Row:
    """Compare the peak memory of choosing among a tenth of the images and among all."""
    return Row(
        "selection",
        f"peak memory, {size.images:,} images of {size.height}x{size.width}",
        many["peak_mib"],
        "MiB",
        f"{size.images // 10:,} images",
        many["peak_mib"] / few["peak_mib"],
        "<= 1.25",
        f"process with TensorFlow; {note}",
    )


def _chosen_in(folder: str | Path, images: int, size: Size, budget: float) -> dict[str, Any]:
    """Choose among the first images of a pool in a fresh process, see `in_child`."""
    return in_child("tests.bench.selection:choose_in", str(folder), images, list(size), budget)


def _area_of(size: Size) -> float:
    """Return `SHARE` of a pool's area."""
    return SHARE * size.images * size.height * size.width


def _loop(size: Size) -> Iterator[Row]:
    pool = list(_windows(size.loop_images, size))
    budget = SHARE * size.loop_images * size.height * size.width
    chosen: dict[str, Sequence[Region]] = {}

    def ours() -> None:
        selection = select(iter(pool), _area, budget)
        chosen["ours"] = [candidate.region for candidate in selection.chosen]

    def loop() -> None:
        chosen["loop"] = _pick_one_by_one(pool, int(budget // size.region**2))

    seconds = interleaved({"ours": ours, "loop": loop}, size.repeats)
    if chosen["ours"] != chosen["loop"]:
        raise AssertionError("the loop chose other regions")
    ratio = Ratio.of(seconds["loop"], seconds["ours"])
    yield Row(
        "selection",
        f"loop in NumPy, {size.loop_images} images, {len(chosen['loop'])} regions",
        min(seconds["loop"]),
        "s",
        "our selection of the same regions",
        ratio.median,
        ">= 1.0",
        str(ratio),
    )


def _scikit_activeml(size: Size) -> Iterator[Row]:
    scores = np.stack([windows.score for windows in _windows(size.peer_images, size)])
    # A window that is a cell overlaps nothing, as there.
    pool = [
        Windows(f"{number:04d}", STRIDE, STRIDE, *[part] * 3, np.ones(part.shape, bool))
        for number, part in enumerate(scores)
    ]
    chosen = []

    def ours() -> None:
        chosen[:] = select(iter(pool), lambda candidate, new: 1.0, size.peer_picks).chosen

    seconds = interleaved({"ours": ours}, size.repeats)["ours"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scores.npy")
        np.save(path, scores.reshape(-1))
        answer = in_child(
            "tests.bench.peer_activeml:choose",
            str(path),
            size.peer_picks,
            size.repeats,
            python=str(PEERS / "bin" / "python"),
        )["result"]
    places = [
        int(c.region.image_id) * scores[0].size
        + c.region.box.y // STRIDE * scores.shape[2]
        + c.region.box.x // STRIDE
        for c in chosen
    ]
    if places != answer["chosen"]:
        raise AssertionError("scikit-activeml chose other windows")
    ratio = Ratio.of(answer["seconds"], seconds)
    yield Row(
        "selection",
        f"scikit-activeml, {size.peer_picks} of {scores.size:,} windows, no overlap rule",
        min(answer["seconds"]),
        "s",
        "our selection of the same windows",
        ratio.median,
        ">= 1.0",
        str(ratio),
    )


def _pick_one_by_one(pool: Sequence[Windows], count: int) -> list[Region]:
    """Look for the best window of all anew for each pick."""
    scores = np.stack([windows.score for windows in pool])
    region, chosen = pool[0].height, []
    reach = region // STRIDE - 1
    for _ in range(count):
        image, row, column = np.unravel_index(scores.argmax(), scores.shape)
        rows = slice(max(0, row - reach), row + reach + 1)
        scores[image, rows, max(0, column - reach) : column + reach + 1] = -np.inf
        place = (int(row) * STRIDE, int(column) * STRIDE)
        chosen.append(Region(pool[image].image_id, Box(*place, region, region)))
    return chosen


def _grid(size: Size) -> tuple[int, int]:
    return window_grid(size.height, size.width, size.region, size.region)


def _windows(images: int, size: Size) -> Iterator[Windows]:
    """Give the windows of images: sums of spotty maps, so that neighbours are alike."""
    rng = np.random.default_rng(0)
    cells = size.region // STRIDE
    for number in range(images):
        spots = rng.gamma(0.5, rng.uniform(0.5, 1), (size.height // STRIDE, size.width // STRIDE))
        sums = window_sums(spots, (cells, cells)).astype(np.float32)
        allowed = np.ones(sums.shape, bool)
        cost = sums[::-1, ::-1]
        yield Windows(f"{number:06d}", size.region, size.region, sums, sums, cost, allowed)


def write_pool(images: int, folder: Path, size: Size) -> None:
    """Write the score files of a pool, and the list of its images."""
    for number, windows in enumerate(_windows(images, size)):
        scores = WindowScores(windows.information, windows.cost)
        save_scores(path_of(folder, number), scores)
    with (folder / IMAGES).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image_id", "height", "width", "clicks"])
        for number in range(images):
            writer.writerow(["train", f"{number:06d}", size.height, size.width, 1])


def open_pool(folder: Path, size: Size) -> Pool:
    """Return the pool that `write_pool` wrote."""
    images = {f"{size.height}x{size.width}": size.images}
    counts = (0, 0, {}, size.images, 0, {}, {})
    train = SplitDescription(size.images, (), images, *counts)
    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), 255)
    data = PreparedData(folder, Description("drawn", classes, {"train": train}))
    options = Options.of(region=str(size.region), fusion="product")
    return Pool(options, Split(data, "train"), {})


def choose_from(pool: Pool, folder: Path, budget: float) -> list[Chosen]:
    """Choose so many pixels of a pool."""
    return choose_scored(pool, folder, _area, budget, round_number=1)


def choose_in(folder: str, images: int, numbers: Sequence[int], budget: float) -> int:
    """Choose so many pixels of the first images of a pool of a `Size` that was written."""
    size = Size(*numbers)
    path = Path(folder)
    lines = (path / IMAGES).read_text().splitlines()[: images + 1]
    with tempfile.TemporaryDirectory() as part:
        for number in range(images):
            path_of(Path(part), number).symlink_to(path_of(path, number))
        Path(part, IMAGES).write_text("\n".join(lines) + "\n")
        pool = open_pool(Path(part), size._replace(images=images))
        return len(choose_from(pool, Path(part), budget))


def _read_all(pool: Pool, folder: Path) -> None:
    for number, _ in pool.candidates.values():
        np.load(path_of(folder, number), mmap_mode="r").max(axis=(1, 2))


def _area(candidate: Chosen, new: np.ndarray | None) -> float:
    return float(candidate.region.box.area)
