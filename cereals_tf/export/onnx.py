"""Export as ONNX files, through tf2onnx."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cereals_tf.export.formats import Segment
from cereals_tf.export.portable import IMAGE, Portable, converting
from cereals_tf.export.source import Source
from cereals_tf.export.x_anylabeling import write_assistant

OPSET = 17
"""ONNX Runtime 1.12 and later, OpenVINO and Triton read it."""


def write(source: Source, folder: Path) -> Segment:
    """Write `model.onnx` and `score.onnx`, and `x-anylabeling.yaml`; see `Format.write`.

    Each says its class names in its metadata.
    """
    import onnx
    import onnxruntime
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    images = tf.TensorSpec([None, None, None, 3], tf.uint8, IMAGE)
    classes = source.campaign.classes.names
    write_assistant(folder, classes, source.done.number)
    for name, function in Portable.of(source).functions.items():
        with converting(source.format):
            model, _ = tf2onnx.convert.from_function(
                tf.function(function), input_signature=[images], opset=OPSET
            )
            onnx.checker.check_model(model)
        _name_sizes(model)
        onnx.helper.set_model_props(model, {"classes": json.dumps(classes)})
        onnx.save(model, folder / f"{name}.onnx")
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )

    def segment(image: np.ndarray) -> np.ndarray:
        (classes,) = session.run(["classes"], {IMAGE: image[None]})
        return np.asarray(classes)[0]

    return segment


def _name_sizes(model: Any) -> None:
    """Name the sizes that may vary, in place of tf2onnx's running numbers."""
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        scored = len(dimensions) == 3 and value.name != "classes"
        names = ("images", "rows", "columns") if scored else ("images", "height", "width")
        for dimension, name in zip(dimensions, names, strict=False):
            dimension.dim_param = name
