"""Group `scoring`: the pool through both models to the files of window scores.

FCN8s on VGG-16 at width multiplier 0.25 with random weights, drawn street scenes as PNG. The floor
is the two models' forward pass, one graph, on the same images decoded beforehand.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.pool.scoring import score_pool
from cereals_tf.campaign.pool.share import ALL, Share
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.parallel import cores
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.trainers.split import Split
from tests.bench.measure import POLL_SECONDS, Ratio, Row, in_child, interleaved


class Size(NamedTuple):
    """How much is measured: scenes and their size, small images twice, committee, turns."""

    scenes: int
    height: int
    width: int
    few: int
    many: int
    members: int
    repeats: int


FULL = Size(16, 512, 1024, 200, 2000, 20, 5)
QUICK = Size(3, 64, 96, 6, 12, 3, 1)
SMALL = (64, 96)
SHARDS = 2


def rows(quick: bool) -> Iterator[Row]:
    """Measure throughput, the share of the window sums, shards, and memory."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_toy(folder / "drawn", size.scenes, 1, size.height, size.width)
        prepare(folder / "drawn", folder / "data", "cityscapes")
        yield from _throughput(folder, size)
        yield from _shards(folder, size)
        yield _memory(folder, size)


def open_pool(data: Path, **options: Any) -> tuple[Pool, Scorer]:
    """Return a pool with nothing labelled, and a scorer whose weights are always the same."""
    chosen = Options.of(region="16", **options)
    prepared = PreparedData.open(data)
    keras.utils.set_random_seed(0)
    built = Models.at(Path(), chosen, prepared.classes)
    models = map(built.random, TASKS)
    scorer = Scorer(*models, chosen.information, chosen.committee)
    return Pool(chosen, Split(prepared, "train"), {}), scorer


def score_afresh(pool: Pool, scorer: Scorer, folder: Path, shard: Share = ALL) -> int:
    """Score a share of the pool and return the number of its images."""
    shutil.rmtree(folder, ignore_errors=True)
    return score_pool(pool, scorer, 1, folder, shard)


def _throughput(folder: Path, size: Size) -> Iterator[Row]:
    pool, scorer = open_pool(folder / "data")
    _, committee = open_pool(folder / "data", information="vote_entropy", committee=size.members)
    drawing = Pool(Options.of(region="16", information="vote_entropy"), pool.reader, {})
    images = [pool.reader.image(record)[None] for record in pool.reader.records()]
    unlabelled = np.ones((1, size.height // 8, size.width // 8), bool)
    forward = tf.function(
        lambda image: (
            scorer.segmentation(image, training=False),
            scorer.cost(image, training=False),
        ),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    seconds = interleaved(
        {
            "score": partial(score_afresh, pool, scorer, folder / "scores"),
            "forward": partial(_each, forward, images),
            "maps": partial(_each, scorer.maps, images),
            "windows": partial(
                _each,
                lambda image: scorer.windows(image, unlabelled, (16, 16)),
                images,
            ),
            "score by committee": partial(score_afresh, drawing, committee, folder / "scores"),
            "committee": partial(_each, committee.maps, images),
        },
        size.repeats,
    )
    what = f"of {size.height}x{size.width}"

    def speed(name: str) -> float:
        return len(images) / float(np.median(seconds[name]))

    def row(name: str, text: str, floor: str, description: str, target: str) -> Row:
        ratio = Ratio.of(seconds[floor], seconds[name])
        note = f"ratio {ratio}; that {speed(floor):.3g} images/s"
        return Row(
            "scoring", text, speed(name), "images/s", description, ratio.median, target, note
        )

    bare = "both models' forward pass, images decoded"
    yield row("score", f"pool {what}, decode to files", "forward", bare, ">= 0.85")
    yield row(
        "score by committee",
        f"the same by vote entropy, E = {size.members}",
        "committee",
        "the committee's and the cost model's maps, images decoded",
        ">= 0.85",
    )
    yield row(
        "score by committee",
        f"the same by vote entropy, E = {size.members}",
        "score",
        "the pool by entropy",
        "",
    )
    yield row("windows", f"window sums {what}, in the graph", "maps", "the maps alone", ">= 0.97")


def _each(function: Callable[[tf.Tensor], Any], images: list[tf.Tensor]) -> None:
    for image in images:
        function(image)


def _shards(folder: Path, size: Size) -> Iterator[Row]:
    """Compare shares scored by processes of one thread each with one process of all threads."""
    (alone,) = _scored_at_once(folder, 1)
    parts = _scored_at_once(folder, SHARDS, TF_NUM_INTRAOP_THREADS="1")
    slowest = max(part["seconds"] for part in parts)
    yield Row(
        "scoring",
        f"{SHARDS} shares at once, a thread each",
        size.scenes / slowest,
        "images/s",
        f"one process, {cores()} threads",
        alone["seconds"] / slowest,
        "",
        "imports, loading and tracing left out",
    )


def _scored_at_once(folder: Path, count: int, **environment: str) -> list[dict[str, Any]]:
    out = folder / f"shards-{count}"
    (out / "ready").mkdir(parents=True)

    def child(number: int) -> dict[str, Any]:
        arguments = str(folder / "data"), str(out), number, count
        return in_child("tests.bench.scoring:score_share", *arguments, **environment)["result"]

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(child, range(1, count + 1)))


def score_share(data: str, out: str, number: int, count: int) -> dict[str, Any]:
    """Score a share once all shares' processes are ready; return the seconds."""
    pool, scorer = open_pool(Path(data))
    entry = pool.reader.images[0]
    image = np.zeros((1, entry.height, entry.width, 3), np.uint8)
    scorer.windows(image, pool.unlabelled(entry)[None], (16, 16))
    ready = Path(out, "ready")
    (ready / str(number)).touch()
    while len(list(ready.iterdir())) < count:
        time.sleep(POLL_SECONDS)
    begin = time.perf_counter()
    images = score_pool(pool, scorer, 1, Path(out), Share(number, count))
    return {"seconds": time.perf_counter() - begin, "images": images}


def _memory(folder: Path, size: Size) -> Row:
    """Compare the peak memory of fresh processes that score few and many small images."""

    def prepared(count: int, data: Path) -> tuple[str, str]:
        return str(data), str(folder / "scores")

    row = memory_row(
        "scoring", "{} images of {}x{}", folder, size, "tests.bench.scoring:score_small", prepared
    )
    return row._replace(note=f"{row.note}; true clicks included")


def memory_row(
    group: str,
    what: str,
    folder: Path,
    size: Size,
    function: str,
    prepared: Callable[[int, Path], tuple[str, ...]],
) -> Row:
    """Compare the peak memory of fresh processes that work on few and many small images.

    Args:
        group: The row's.
        what: What is measured, with places for the number of images, their height and width.
        folder: Where data sets of so many images are made.
        size: How many are few and many.
        function: `module:function` of what runs in the processes.
        prepared: Returns its arguments, given the number of images and their data set.
    """
    write_toy(folder / "small", 4, 1, *SMALL)
    peaks = []
    for count in (size.few, size.many):
        link_scenes(folder / "small", folder / f"{count}", count)
        data = folder / f"{count}-data"
        prepare(folder / f"{count}", data, "cityscapes")
        peaks.append(in_child(function, *prepared(count, data))["peak_mib"])
    return Row(
        group,
        f"peak memory, {what.format(size.many, *SMALL)}",
        peaks[1],
        "MiB",
        f"{size.few} images",
        peaks[1] / peaks[0],
        "<= 1.05",
        f"that {peaks[0]:.0f} MiB",
    )


def score_small(data: str, out: str) -> int:
    """Score a pool of small images with true clicks and return their number."""
    pool, scorer = open_pool(Path(data), cost="gt", budget="100clicks", width_multiplier=0.0625)
    return score_afresh(pool, scorer, Path(out))


def link_scenes(drawn: Path, out: Path, count: int) -> None:
    """Make a source of so many training images out of links to a few drawn ones."""
    for kind in ("leftImg8bit", "gtFine"):
        shutil.copytree(drawn / kind / "val", out / kind / "val")
        (out / kind / "train" / "links").mkdir(parents=True)
        for path in (drawn / kind / "train").rglob("*_*"):
            if not path.is_file():
                continue
            _, scene, _, ending = path.name.split("_", 3)
            for number in range(int(scene), count, 4):
                os.link(path, out / kind / "train" / "links" / f"links_{number:06d}_0_{ending}")
