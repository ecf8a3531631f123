"""Conversion of a source to a prepared data set: shards, schema.pbtxt, dataset.json, images.csv."""

import csv
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from data_prep.dataset import DESCRIPTION, FORMAT_VERSION, IMAGES, SCHEMA, Classes
from data_prep.errors import UserError
from data_prep.files import new_folder
from data_prep.polygons import agreement, paint
from data_prep.records import Record, decode_image, first_line
from data_prep.schema import schema_text
from data_prep.sources import SourceOptions, open_source
from data_prep.sources.source import IMAGE_FORMATS, Item, Source, open_image

IMAGES_PER_SHARD = 100


@dataclass
class SplitStatistics:
    """What the records of one split hold, counted while they are written."""

    classes: Classes
    rows: list[tuple[str, int, int, int]] = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(init=False)
    clicks: np.ndarray = field(init=False)
    overlap: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.zeros(256, np.int64)
        self.clicks = np.zeros(256, np.int64)
        self.overlap = np.zeros((2, len(self.classes)), np.int64)

    def add(self, converted: "Converted") -> None:
        """Count one converted image."""
        record = converted.record
        vertices = np.zeros(256, np.int64)
        for polygon in record.polygons:
            vertices[polygon.class_id] += len(polygon.points)
        self.rows.append((record.image_id, record.height, record.width, int(vertices.sum())))
        self.sizes[f"{record.height}x{record.width}"] += 1
        self.pixels += converted.pixels
        self.clicks += vertices
        self.overlap += converted.overlap

    def describe(self, shards: Sequence[str]) -> dict[str, Any]:
        """Return the split's part of `dataset.json`."""
        names, ignore_id = self.classes.names, self.classes.ignore_id
        intersection, union = self.overlap
        return {
            "images": len(self.rows),
            "shards": list(shards),
            "image_sizes": dict(sorted(self.sizes.items())),
            "pixels": int(self.pixels.sum()),
            "pixels_ignored": int(self.pixels[ignore_id]),
            "pixels_per_class": _per_class(names, self.pixels),
            "clicks": int(self.clicks.sum()),
            "clicks_ignored": int(self.clicks[ignore_id]),
            "clicks_per_class": _per_class(names, self.clicks),
            "polygon_iou_per_class": {
                name: round(float(intersection[i] / union[i]), 6) if union[i] else None
                for i, name in enumerate(names)
            },
        }


def _per_class(names: Sequence[str], counts: np.ndarray) -> dict[str, int]:
    return {name: int(counts[i]) for i, name in enumerate(names)}


@dataclass(frozen=True)
class Converted:
    """A record with its label's pixel counts [256] and its polygons' overlap [2, classes]."""

    record: Record
    pixels: np.ndarray
    overlap: np.ndarray


def convert_item(source: Source, item: Item) -> Converted:
    """Read and check one image and its annotation.

    Raises:
        UserError: A file is damaged, or image and annotation do not fit each other.
    """
    image = open_image(item.image)
    label, polygons = source.annotation(item, image.height, image.width)
    record = Record(
        image_id=item.image_id,
        image_encoded=_decodable(item.image),
        image_format=IMAGE_FORMATS[image.format],
        height=image.height,
        width=image.width,
        label_encoded=_encode_png(label),
        polygons=polygons,
    )
    classes = source.classes
    painted = paint(polygons, image.height, image.width, background=source.background)
    return Converted(
        record,
        np.bincount(label.ravel(), minlength=256),
        agreement(label, painted, len(classes), classes.ignore_id),
    )


def _decodable(path: Path) -> bytes:
    """Return the bytes of an image that TensorFlow, stricter than Pillow, decodes as well."""
    encoded = path.read_bytes()
    try:
        decode_image(encoded)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be decoded: {first_line(error)}") from None
    return encoded


def _encode_png(label: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, format="png", compress_level=6)
    return buffer.getvalue()


def prepare(folder: Path, out: Path, kind: str, options: SourceOptions) -> None:
    """Convert a source of a kind in `SOURCES` into the prepared data set `out`.

    Everything is checked while it is converted; `out` appears only when all of it is there.

    Raises:
        UserError: The source is damaged or inconsistent (the file is named), or `out` exists.
    """
    source = open_source(kind, folder, options)
    splits = source.items()
    with new_folder(out) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        description = {
            "format_version": FORMAT_VERSION,
            "source": kind,
            "classes": list(source.classes.names),
            "palette": [list(colour) for colour in source.classes.palette],
            "ignore_id": source.classes.ignore_id,
            "splits": {},
        }
        rows = []
        for split, items in splits.items():
            statistics = SplitStatistics(source.classes)
            shards = _write_split(partial, split, source, items, statistics)
            description["splits"][split] = statistics.describe(shards)
            rows += [(split, *row) for row in statistics.rows]
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        (partial / SCHEMA).write_text(schema_text(source.classes))
        _write_rows(partial / IMAGES, rows)


def _write_split(
    out: Path, split: str, source: Source, items: Sequence[Item], statistics: SplitStatistics
) -> list[str]:
    """Write a split's shards and return their names relative to `out`."""
    (out / f"Split-{split}").mkdir()
    count = -(-len(items) // IMAGES_PER_SHARD)
    names = [f"Split-{split}/data_tfrecord-{i:05d}-of-{count:05d}" for i in range(count)]
    with tqdm(total=len(items), desc=f"prepare {split}", unit="image") as bar:
        for i, name in enumerate(names):
            part = items[i * IMAGES_PER_SHARD : (i + 1) * IMAGES_PER_SHARD]
            with tf.io.TFRecordWriter(str(out / name)) as writer:
                for converted in _converted(source, part):
                    writer.write(converted.record.serialize())
                    statistics.add(converted)
                    bar.update()
    return names


def _converted(source: Source, items: Sequence[Item]) -> Iterator[Converted]:
    """Convert items on all cores, in order; decoding leaves the interpreter lock alone."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(convert_item, source, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _write_rows(path: Path, rows: Sequence[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "image_id", "height", "width", "clicks"])
        writer.writerows(rows)
