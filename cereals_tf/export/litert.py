"""Export as LiteRT's .tflite files, each for images of one size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from cereals_tf.export.formats import Segment
from cereals_tf.export.portable import IMAGE, Function, Portable, converting, saved
from cereals_tf.export.source import Source

CALIBRATED = 64
"""Val images at most from which the ranges of quantised values are taken."""


def write(source: Source, folder: Path) -> Segment:
    """Write `model.tflite` and `score.tflite`; see `Format.write`."""
    from ai_edge_litert.interpreter import Interpreter

    for name, function in Portable.of(source).functions.items():
        (folder / f"{name}.tflite").write_bytes(_converted(source, function))
    run = Interpreter(str(folder / "model.tflite")).get_signature_runner()

    def segment(image: np.ndarray) -> np.ndarray:
        return run(**{IMAGE: image[None]})["classes"][0]

    return segment


def _converted(source: Source, function: Function) -> bytes:
    assert source.size
    with converting(source.format), saved(source, function, [1, *source.size, 3]) as path:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
        if source.quantize == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            _ = source.campaign.data
            converter.representative_dataset = lambda: _calibration(source)
        return converter.convert()


def _calibration(source: Source) -> Iterator[list[np.ndarray]]:
    for image in source.val_images(CALIBRATED):
        yield [image[None]]
