"""Training: what the input pipeline adds to the steps, and what makes a step or an epoch cheaper.

FCN8s on VGG-16 at width multiplier 0.25; drawn street scenes.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.random_access import columns, read_at, record_offsets
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.models.build import build_model
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.evaluation import SegmentationEvaluator
from cereals_tf.trainers.fitting import BETA_1, BETA_2, compile_model, segmentation_loss
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.normalization import fused_normalization
from cereals_tf.trainers.receptive_field import crop_rule
from cereals_tf.trainers.samples import STEP_PIXELS, plan_samples
from cereals_tf.trainers.split import Split
from tests.bench.measure import Row, interleaved, per_image

SEED = 1
LEARNING_RATE = 1e-4
HALF = "mixed_bfloat16"
STEPS_OF_ONE = 4
LABELLED_SHARE = 0.05
RECORD_BYTES = 1 << 20


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        images: Scenes in the train split.
        few: As many of them go through an epoch over whole images, and as many are in val.
        height: Height of the scenes, pixels.
        width: Width of the scenes, pixels.
        region: Side of an annotated region, pixels.
        pool: Records of a pool of which few are labelled.
        width_multiplier: Of the model.
        repeats: Turns of each comparison.
    """

    images: int
    few: int
    height: int
    width: int
    region: int
    pool: int
    width_multiplier: float
    repeats: int


FULL = Size(4, 2, 1024, 2048, 128, 1000, 0.25, 3)
QUICK = Size(2, 1, 64, 96, 16, 20, 0.03125, 1)

Run = Callable[[], None]
_row = partial(per_image, "training")


def rows(quick: bool) -> Iterator[Row]:
    """Measure epochs, steps and reading.

    Yields:
        Epochs over the same steps on arrays in memory, from everywhere that samples are kept; crop
        and auto over mask; evaluation over training; steps of other precisions, batch sizes and
        operations; reading the labelled records of a pool.
    """
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        write_toy(Path(folder, "drawn"), size.images, size.few, size.height, size.width)
        prepare(Path(folder, "drawn"), Path(folder, "data"), "cityscapes")
        data = PreparedData.open(Path(folder, "data"))
        model = _model(size, "float32")
        yield from _epochs(model, data, Path(folder, "cache"), size)
        yield from _crops(model, data, size)
        yield from _steps(size)
        yield from _labelled_records(Path(folder, "pool"), size)


def _model(size: Size, precision: str, normalization: str = "batch") -> keras.Model:
    keras.utils.set_random_seed(SEED)
    model = build_model(
        "segmentation",
        19,
        width_multiplier=size.width_multiplier,
        precision=precision,
        normalization=normalization,
    )
    compile_model(model, segmentation_loss(), LEARNING_RATE)
    return model


def _trains(model: keras.Model, epoch: Callable[[], tf.data.Dataset], fused: bool = True) -> Run:
    """Return what trains an epoch as `fit` does."""

    def train() -> None:
        model.fit(epoch(), shuffle=False, verbose=0)

    def train_fused() -> None:
        with fused_normalization(model):
            train()

    return train_fused if fused else train


# Epochs.


def _training_data(
    model: keras.Model,
    reader: Split,
    regions: Mapping[str, Sequence[Box]],
    train_on: str,
    cache: Cache,
) -> TrainingData:
    sizes = {entry.image_id: (entry.height, entry.width) for entry in reader.images}
    crop_of = crop_rule(model)
    samples = {
        image_id: plan_samples(boxes, *sizes[image_id], train_on, crop_of, STEP_PIXELS)
        for image_id, boxes in regions.items()
    }
    return TrainingData(reader, "segmentation", regions, samples, 1, cache)


def _epochs(model: keras.Model, data: PreparedData, folder: Path, size: Size) -> Iterator[Row]:
    """Compare epochs over whole images with the same steps on arrays that are in memory."""
    reader = Split(data, "train")
    regions = _regions(reader, size, itertools.repeat(1, size.few))
    trainings = {
        way: _training_data(model, reader, regions, "mask", Cache(way, folder))
        for way in ("memory", "disk", "none")
    }
    batches = list(trainings["memory"].epochs([SEED]))
    arrays = [np.concatenate([batch[i] for batch in batches]) for i in range(3)]

    def train_on_arrays() -> None:
        images, labels, weights = arrays
        with fused_normalization(model):
            model.fit(images, labels, sample_weight=weights, batch_size=1, verbose=0)

    evaluator = SegmentationEvaluator(model, Split(data, "val"), False, Cache("memory"))
    functions = {"arrays": train_on_arrays, "evaluation": evaluator.confusion}
    for way, training in trainings.items():
        functions[way] = _trains(model, lambda training=training: training.epochs([SEED]))
    seconds = interleaved(functions, size.repeats)
    for way in trainings:
        target = "" if way == "none" else "<= 1.05"
        what = f"epoch over whole images, cache {way}"
        yield _row(what, seconds[way], size.few, "arrays in memory", seconds["arrays"], target)
    yield _row(
        "evaluation at stride 8, cache memory",
        seconds["evaluation"],
        size.few,
        "epoch over as many whole images",
        seconds["memory"],
    )


def _crops(model: keras.Model, data: PreparedData, size: Size) -> Iterator[Row]:
    """Compare crop and auto with mask: one region an image, and from one to ever more."""
    reader = Split(data, "train")
    plans = {
        "one region an image": _regions(reader, size, itertools.repeat(1)),
        "1, 4, 16, 64 regions": _regions(reader, size, (4**i for i in itertools.count())),
    }
    for name, regions in plans.items():
        trainings = {
            train_on: _training_data(model, reader, regions, train_on, Cache("memory"))
            for train_on in ("mask", "crop", "auto")
        }
        functions = {
            train_on: _trains(model, lambda training=training: training.epochs([SEED]))
            for train_on, training in trainings.items()
        }
        seconds = interleaved(functions, size.repeats)
        fed = {train_on: _fed_pixels(training) for train_on, training in trainings.items()}
        for train_on in ("crop", "auto"):
            yield _row(
                f"epoch of {train_on}, {name}",
                seconds[train_on],
                size.images,
                "epoch of mask",
                seconds["mask"],
                "<= 0.2" if (train_on, name) == ("crop", "one region an image") else "",
                f"{trainings[train_on].steps} steps, pixels x {fed[train_on] / fed['mask']:.3f}",
            )
        if len(set(map(len, regions.values()))) > 1:
            better = [min(turn) for turn in zip(seconds["mask"], seconds["crop"], strict=True)]
            what = f"epoch of auto, {name}"
            yield _row(what, seconds["auto"], size.images, "better of both", better, "<= 1.05")


def _fed_pixels(training: TrainingData) -> int:
    return sum(sample.crop.area for part in training.samples.values() for sample in part)


def _regions(reader: Split, size: Size, counts: Iterator[int]) -> dict[str, list[Box]]:
    """Draw so many regions that do not overlap in each image, from the cells of a grid."""
    rng = np.random.default_rng(SEED)
    side, regions = size.region, {}
    for entry, count in zip(reader.images, counts, strict=False):
        columns = entry.width // side
        cells = columns * (entry.height // side)
        drawn = rng.permutation(cells)[: min(count, cells)]
        places = (divmod(int(cell), columns) for cell in drawn)
        regions[entry.image_id] = [Box(y * side, x * side, side, side) for y, x in places]
    return regions


# Steps.


def _steps(size: Size) -> Iterator[Row]:
    """Compare steps: Keras's operations, precisions, batch sizes."""
    half, eighth = (size.height // 2, size.width // 2), (size.height // 8, size.width // 8)
    models = {precision: _model(size, precision) for precision in ("float32", HALF)}
    plain, grouped = _model(size, "float32"), _model(size, "float32", "group")
    optimizer = keras.optimizers.Adam(LEARNING_RATE, beta_1=BETA_1, beta_2=BETA_2)
    plain.compile(optimizer=optimizer, loss=segmentation_loss(), jit_compile=False)
    for height, width in (half, eighth):
        single, together = (_batches(count, height, width) for count in (1, STEPS_OF_ONE))
        functions = {
            "ours": _trains(models["float32"], single),
            "Keras": _trains(plain, single, fused=False),
            HALF: _trains(models[HALF], single),
            "together": _trains(models["float32"], together),
            "group": _trains(grouped, single),
        }
        seconds = interleaved(functions, size.repeats)
        for what, name, floor, floor_name in (
            ("", "ours", "Keras's Adam and batch normalisation", "Keras"),
            (f", {HALF}", HALF, "float32", "ours"),
            (f", batch of {STEPS_OF_ONE}", "together", "batch of 1", "ours"),
            (", group normalisation", "group", "batch normalisation", "ours"),
        ):
            step = f"step, {height}x{width}{what}"
            target = "<= 1.15" if (name, height) == ("group", half[0]) else ""
            yield _row(step, seconds[name], STEPS_OF_ONE, floor, seconds[floor_name], target)


def _batches(batch_size: int, height: int, width: int) -> Callable[[], tf.data.Dataset]:
    """Return what gives a few images in batches."""
    rng = np.random.default_rng(SEED)
    grid = (STEPS_OF_ONE, -(-height // 8), -(-width // 8))
    images = rng.integers(0, 256, (STEPS_OF_ONE, height, width, 3), np.uint8)
    arrays = (images, rng.integers(0, 19, grid, np.int32), np.ones(grid, np.float32))
    kept = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size, drop_remainder=True).cache()
    return lambda: kept


# Reading.


def _labelled_records(path: Path, size: Size) -> Iterator[Row]:
    """Compare reading the few labelled records of a pool with looking through all of it."""
    rng = np.random.default_rng(SEED)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(size.pool):
            writer.write(rng.bytes(RECORD_BYTES if size is FULL else 100))
    count = max(1, int(LABELLED_SHARE * size.pool))
    labelled = sorted(rng.permutation(size.pool)[:count])

    def read_labelled() -> None:
        offsets = list(record_offsets(path))
        places = columns([(str(path), offsets[number]) for number in labelled])
        _exhaust(read_at(tf.data.Dataset.from_tensor_slices(places)))

    functions = {
        "labelled": read_labelled,
        "all": lambda: _exhaust(tf.data.TFRecordDataset(str(path))),
    }
    seconds = interleaved(functions, size.repeats)
    what = f"reading {count} labelled of {size.pool} records"
    yield _row(what, seconds["labelled"], count, "reading all", seconds["all"])


def _exhaust(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass
