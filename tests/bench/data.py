"""Group `data`: preparing a data set and reading it back, against what nobody can do without.

The images are street scenes of half Cityscapes' height and width, drawn anew in each run and linked
under many names, as PNG and as JPEG. All files are in the page cache, so that the disk is measured
in what is written only.
"""

import io
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.parallel import cores
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.sources.source import Item
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.data_prep.verify import verify
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.samples import Sample
from cereals_tf.trainers.split import Split
from tests.bench.measure import Ratio, Row, in_child, interleaved

KIND = "cityscapes"
JPEG_QUALITY = 95
DECODING = "tf.io.decode_image of the same bytes"
DECODING_BOTH = "decoding the images and the labels of the same bytes"
DECODING_AND_ENCODING = "decoding each image, encoding its label"
PNG_LEVEL = 6
"""The level at which `cereals_tf.data_prep.conversion` writes labels."""


class Size(NamedTuple):
    """How much is measured: scenes drawn, images that are links to them, their size, turns."""

    scenes: int
    images: int
    height: int
    width: int
    repeats: int


FULL = Size(60, 240, 512, 1024, 5)
QUICK = Size(2, 6, 64, 96, 1)


def rows(quick: bool) -> Iterator[Row]:
    """Measure `prepare`, reading back and `verify`, for PNG and for JPEG images."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "drawn")
        write_toy(drawn, size.scenes, 1, size.height, size.width)
        yield from _memory(drawn, Path(folder, "memory"), size)
        for suffix in ("png", "jpg"):
            source = _linked(drawn, Path(folder, suffix), size.images, suffix)
            yield from _preparing(source, Path(folder, f"{suffix}-data"), size)
            yield from _reading(Path(folder, f"{suffix}-data"), suffix, size)


def _linked(drawn: Path, out: Path, images: int, suffix: str) -> Path:
    """Make a source of so many training images, links to the drawn ones, as PNG or JPEG."""
    for split, count in (("train", images), ("val", 1)):
        scenes = open_source(KIND, drawn).items()[split]
        for kind in ("leftImg8bit", "gtFine"):
            (out / kind / split / "town").mkdir(parents=True)
        for i in range(count):
            scene = scenes[i % len(scenes)]
            image = out / "leftImg8bit" / split / "town" / f"{split}_{i:06d}_leftImg8bit.{suffix}"
            polygons = out / "gtFine" / split / "town" / f"{split}_{i:06d}_gtFine_polygons.json"
            os.link(_as_jpeg(scene.image) if suffix == "jpg" else scene.image, image)
            os.link(scene.annotation, polygons)
    return out


def _as_jpeg(image: Path) -> Path:
    """Return the JPEG file beside a drawn PNG file, which is made once."""
    converted = image.with_suffix(".jpeg-copy")
    if not converted.exists():
        Image.open(image).save(converted, format="jpeg", quality=JPEG_QUALITY)
    return converted


def prepare_afresh(source: str, out: str) -> None:
    """Convert a source on all cores, in place of what was converted before."""
    shutil.rmtree(out, ignore_errors=True)
    prepare(Path(source), Path(out), KIND, workers=0)


def _memory(drawn: Path, folder: Path, size: Size) -> Iterator[Row]:
    """Compare the peak memory of a fresh process for some images and for four times as many."""
    counts = (size.images // 2, 2 * size.images)
    peaks = []
    for count in counts:
        source = _linked(drawn, folder / f"{count}", count, "png")
        done = in_child("tests.bench.data:prepare_afresh", str(source), str(folder / "out"))
        peaks.append(done["peak_mib"])
    yield Row(
        "data",
        f"prepare {counts[1]} PNG images: peak memory",
        peaks[1],
        "MiB",
        f"{counts[0]} images",
        peaks[1] / peaks[0],
        "<= 1.1",
        f"all processes together, {cores()} workers, TensorFlow included",
    )


def _preparing(source: Path, out: Path, size: Size) -> Iterator[Row]:
    opened = open_source(KIND, source)
    items = [item for part in opened.items().values() for item in part]
    labels = [
        opened.annotation(item, size.height, size.width).label for item in items[: size.scenes]
    ]
    encoded = [item.image.read_bytes() for item in items]

    def encode_labels() -> None:
        _on_all_cores(lambda i: _encode(labels[i % len(labels)]), range(len(items)))

    def decode_and_encode() -> None:
        _on_all_cores(tf.io.decode_image, encoded)
        encode_labels()

    measured = {"prepare": lambda: prepare_afresh(str(source), str(out))}
    floors: dict[str, Callable[[], None]] = {
        "reading the source files": lambda: _on_all_cores(_read, items),
        "copying the images, synced": lambda: _copy(items, out.with_name("copy")),
        "encoding the labels": encode_labels,
        DECODING_AND_ENCODING: decode_and_encode,
    }
    counts = dict.fromkeys(measured | floors, len(items))
    targets = {("prepare", DECODING_AND_ENCODING): "<= 2.0"}
    suffix = items[0].image.suffix[1:]
    yield from _compared(measured, floors, counts, targets, suffix, size.repeats)


def _read(item: Item) -> None:
    item.image.read_bytes()
    item.annotation.read_bytes()


def _copy(items: Sequence[Item], path: Path) -> None:
    """Write all images into one file and flush it to the disk, as `prepare` does with records."""
    with path.open("wb") as file:
        for item in items:
            file.write(item.image.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _encode(label: np.ndarray) -> None:
    Image.fromarray(label).save(io.BytesIO(), format="png", compress_level=PNG_LEVEL)


def _reading(folder: Path, suffix: str, size: Size) -> Iterator[Row]:
    data = PreparedData.open(folder)
    shards = [str(shard) for shard in data.shards("train")]
    reader = Split(data, "train")
    both = [(record["image/encoded"], record["label/encoded"]) for record in reader.records()]
    encoded = [image for image, _ in both]
    count = len(encoded)
    epochs = deque(_first_epoch(reader) for _ in range(size.repeats + 1))
    measured: dict[str, Callable[[], None]] = {
        "read back for training": lambda: _exhaust(epochs.popleft()),
        "verify": lambda: verify(data),
    }
    floors: dict[str, Callable[[], None]] = {
        "reading the records' bytes": lambda: _exhaust(tf.data.TFRecordDataset(shards)),
        DECODING: lambda: _on_all_cores(tf.io.decode_image, encoded),
        DECODING_BOTH: lambda: _on_all_cores(_decode_both, both),
    }
    counts = dict.fromkeys(measured | floors, count)
    counts["verify"] = sum(map(len, data.images.values()))
    targets = {("read back for training", DECODING): "<= 2.0", ("verify", DECODING): "<= 2.0"}
    yield from _compared(measured, floors, counts, targets, suffix, size.repeats)


def _decode_both(pair: tuple[tf.Tensor, tf.Tensor]) -> None:
    image, label = pair
    tf.io.decode_image(image)
    tf.io.decode_png(label, channels=1)


def _first_epoch(reader: Split) -> tf.data.Dataset:
    """Return an epoch of (image, stride-8 label, weights) over whole images, nothing cached yet."""
    boxes = {entry.image_id: Box(0, 0, entry.height, entry.width) for entry in reader.images}
    regions = {image_id: [box] for image_id, box in boxes.items()}
    samples = {image_id: [Sample(box, box)] for image_id, box in boxes.items()}
    return TrainingData(reader, "segmentation", regions, samples).epochs([0])


def _exhaust(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass


def _on_all_cores(function: Callable[[Any], Any], arguments: Sequence[Any]) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(function, arguments):
            pass


def _compared(
    measured: dict[str, Callable[[], None]],
    floors: dict[str, Callable[[], None]],
    counts: dict[str, int],
    targets: dict[tuple[str, str], str],
    suffix: str,
    repeats: int,
) -> Iterator[Row]:
    """Compare what is measured with every floor, by the seconds that each takes per image."""
    seconds = {
        name: np.array(times) / counts[name]
        for name, times in interleaved(measured | floors, repeats).items()
    }
    speeds = {name: 1 / float(np.median(times)) for name, times in seconds.items()}
    for name, floor in product(measured, floors):
        ratio = Ratio.of(seconds[name], seconds[floor])
        target = targets.get((name, floor), "")
        note = f"{ratio}; floor {speeds[floor]:.4g} images/s"
        yield Row(
            "data", f"{name}, {suffix}", speeds[name], "images/s", floor, ratio.median, target, note
        )
