"""Converting the items of a source, in threads or in worker processes.

Threads start at once and share the interpreter, which is enough for few cores and little work.
A worker process imports this module, which does without TensorFlow because that takes seconds.
"""

import importlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator
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
from cereals_tf.data_prep.sources.reading import IMAGE_FORMATS, read_header, refuse_rotated
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


def convert_item(source: Source, item: Item) -> Converted:
    """Read and check one image and its annotation, all but the image's pixels.

    Those are decoded where the record is made, with the decoder that will read it, which refuses
    whatever Pillow's refuses.

    Raises:
        UserError: A file is damaged, or image and annotation do not fit each other.
    """
    image_format, height, width = read_header(item.image)
    label, polygons = _annotation(source, item, height, width)
    painted = paint(polygons, height, width, background=source.background)
    image = AnnotatedImage(
        image_id=item.image_id,
        image_encoded=item.image.read_bytes(),
        image_format=IMAGE_FORMATS[image_format],
        height=height,
        width=width,
        label_encoded=encode_label(label),
        polygons=polygons,
    )
    statistics = Statistics.of_image(item.image_id, label, polygons, painted, source.classes)
    return Converted(image, item.image, statistics)


def _annotation(source: Source, item: Item, height: int, width: int) -> Annotation:
    """Return an image's annotation, which is all ignored where people still have to annotate it."""
    if item.annotation:
        return source.annotation(item, height, width)
    refuse_rotated(item.image)
    return Annotation(np.full((height, width), source.classes.ignore_id, np.uint8), [])


@contextmanager
def in_threads(source: Source) -> Iterator[Callable[[Item], Converted]]:
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
def in_processes(source: Source, workers: int) -> Iterator[Callable[[Item], Converted]]:
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


def _convert_in_worker(item: Item) -> Converted:
    return convert_item(_source, item)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _reduce_module(module: ModuleType) -> tuple:
    return importlib.import_module, (module.__name__,)


ForkingPickler.register(ModuleType, _reduce_module)  # CocoSource refers to one
