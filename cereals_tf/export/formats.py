"""The formats that models are exported in by name, and what each can do."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cereals_tf.data_prep.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from cereals_tf.export.source import Source

Segment = Callable[["np.ndarray"], "np.ndarray"]
"""Maps an image, uint8 [H, W, 3], to its classes, uint8 [H, W], as a written file does."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: As `--format` names it; `cereals_tf.export` has a module of this name.
        help: What is written.
        needs: The packages that must be there, by the names that import them.
        any_size: Whether the file takes images of any size; else of one size.
        quantizes: What `--quantize` can be beside `none`.
        agreement: The least share of pixels at which the file and the Keras model must agree.
        quantized_agreement: The same of a quantised file.
    """

    name: str
    help: str
    needs: tuple[str, ...] = ()
    any_size: bool = True
    quantizes: tuple[str, ...] = ()
    agreement: float = 0.999
    quantized_agreement: float = 0.9

    def least_agreement(self, quantize: str) -> float:
        """Return the least agreement of a file that is quantised so."""
        return self.agreement if quantize == "none" else self.quantized_agreement

    def refuse_missing(self) -> None:
        """Raise UserError if a package is missing; the message names what installs it."""
        for package in self.needs:
            if find_spec(package.partition(".")[0]) is None:
                raise UserError(
                    f"--format={self.name}: needs {package}, expected it from: "
                    f"pip install 'cereals-tf[{self.name}]'"
                )

    def write(self, source: "Source", folder: Path) -> "Segment":
        """Write the files into an empty folder, and return what runs them.

        Raises:
            UserError: The models cannot be converted.
        """
        return import_module(f"cereals_tf.export.{self.name}").write(source, folder)


FORMATS = {
    entry.name: entry
    for entry in (
        Format("savedmodel", "a folder for TensorFlow and TensorFlow Serving, decoding included"),
        Format(
            "onnx",
            "ONNX files for ONNX Runtime and Triton, any image size",
            needs=("tf2onnx", "onnx", "onnxruntime"),
        ),
        Format(
            "litert",
            ".tflite files for phones and small boards, one image size",
            needs=("ai_edge_litert",),
            any_size=False,
            quantizes=("int8",),
        ),
        Format(
            "openvino",
            "OpenVINO's .xml and .bin, any image size",
            needs=("openvino",),
        ),
    )
}
"""The formats by name."""

QUANTIZE = ("none", *sorted({way for entry in FORMATS.values() for way in entry.quantizes}))
"""What `--quantize` can be."""
