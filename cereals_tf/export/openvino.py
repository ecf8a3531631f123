"""Export as OpenVINO's intermediate representation."""

from pathlib import Path

import numpy as np

from cereals_tf.export.formats import Segment
from cereals_tf.export.portable import IMAGE, Portable, converting, saved
from cereals_tf.export.source import Source

LARGEST = 1 << 14
"""Sides of images are bounded, as OpenVINO works out the bounds of what follows from them."""


def write(source: Source, folder: Path) -> Segment:
    """Write `model.xml`, `score.xml` and their `.bin`; see `Format.write`."""
    import openvino

    side = openvino.Dimension(1, LARGEST)
    shape = openvino.PartialShape([openvino.Dimension(), side, side, 3])
    for name, function in Portable.of(source).functions.items():
        with converting(source.format), saved(source, function, [None, None, None, 3]) as path:
            model = openvino.convert_model(path, input=[(IMAGE, shape)])
            openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    compiled = openvino.Core().compile_model(
        folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    def segment(image: np.ndarray) -> np.ndarray:
        return compiled({IMAGE: image[None]})["classes"][0]

    return segment
