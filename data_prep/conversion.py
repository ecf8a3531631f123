"""Converting the items of a source, in threads or in worker processes.

Threads start at once and share the interpreter, which is enough for few cores and little work.
A worker process imports this module, which does without TensorFlow because that takes seconds.
"""

import importlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np

from cereals_tf.data_prep.annotated_image import AnnotatedImage, encode_label
from cereals_tf.data_prep.polygons import paint
from cereals_tf.data_prep.problems import Problem, SourceLog
from cereals_tf.data_prep.sources.images import StoredImage, read_image
from cereals_tf.data_prep.sources.source import Annotation, Item, Source
from cereals_tf.data_prep.statistics import Statistics


class Converted(NamedTuple):
    """What becomes the record of one image, and what is counted in it.

    Attributes:
        image: The annotated image.
        file: Where its encoded bytes come from.
        statistics: The image's counts.
    """

    image: AnnotatedImage
    file: Path
    statistics: Statistics


class Conversion(NamedTuple):
    """What became of an item.

    Attributes:
        converted: What becomes its record; None if it cannot have one.
        problems: What is wrong with it, or with parts of it that are left out.
    """

    converted: Converted | None
    problems: Sequence[Problem]


def convert_item(source: Source, item: Item) -> Conversion:
    """Read and check one image and its annotation, all but the image's pixels.

    Those are decoded where the record is made, with the decoder that will read it, which refuses
    whatever Pillow's refuses.
    """
    log = SourceLog()
    converted = None
    with log.noted("annotations that cannot be used"):
        image = read_image(item.image, source.options)
        annotation = _annotation(source, item, image.height, image.width)
        log.problems += annotation.problems
        converted = _converted(source, item, image, annotation)
    return Conversion(converted, log.problems)


def _annotation(source: Source, item: Item, height: int, width: int) -> Annotation:
    """Return an image's annotation, which is all ignored where people still have to annotate it."""
    if item.annotation:
        return source.annotation(item, height, width)
    return Annotation(np.full((height, width), source.classes.ignore_id, np.uint8), [])


def _converted(
    source: Source, item: Item, stored: StoredImage, annotation: Annotation
) -> Converted:
    label, polygons, _ = annotation
    painted = paint(polygons, stored.height, stored.width, background=source.background)
    image = AnnotatedImage(
        image_id=item.image_id,
        image_encoded=stored.encoded,
        image_format=stored.format,
        height=stored.height,
        width=stored.width,
        label_encoded=encode_label(label),
        polygons=polygons,
    )
    statistics = Statistics.of_image(item.image_id, label, polygons, painted, source.classes)
    return Converted(image, item.image, statistics)


@contextmanager
def in_threads(source: Source) -> Iterator[Callable[[Item], Conversion]]:
    """Give a `convert_item` of this source that may be called from several threads."""
    with libraries_prepared():
        yield partial(convert_item, source)


@contextmanager
def libraries_prepared() -> Iterator[None]:
    """Undo `prepare_libraries` in the end, whoever calls it in the block."""
    threads = cv2.getNumThreads()
    with warnings.catch_warnings():
        prepare_libraries()
        try:
            yield
        finally:
            cv2.setNumThreads(threads)


def prepare_libraries() -> None:
    """Stop OpenCV from dividing an image among cores that work on other images already."""
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", module="PIL")


@contextmanager
def in_processes(source: Source, workers: int) -> Iterator[Callable[[Item], Conversion]]:
    """Give a `convert_item` of this source that runs in the next free one of so many processes.

    The processes start as they are needed, and end with this one, even if it is killed.
    """
    context = multiprocessing.get_context("spawn")  # a fork of TensorFlow's threads may hang
    with ProcessPoolExecutor(workers, context, _start_worker, (source,)) as processes:
        yield lambda item: processes.submit(_convert_in_worker, item).result()


def _start_worker(source: Source) -> None:
    global _source
    _source = source
    prepare_libraries()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _convert_in_worker(item: Item) -> Conversion:
    return convert_item(_source, item)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _reduce_module(module: ModuleType) -> tuple:
    return importlib.import_module, (module.__name__,)


ForkingPickler.register(ModuleType, _reduce_module)  # CocoSource refers to one
