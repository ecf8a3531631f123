"""One annotated image, as every source gives it and every record holds it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cereals_tf.data_prep.polygons import Polygon


@dataclass(frozen=True)
class AnnotatedImage:
    """One annotated image.

    Attributes:
        image_id: The image's only identity, unique in its split.
        image_encoded: JPEG or PNG bytes, as the source has them.
        image_format: `jpeg` or `png`.
        height: Image height in pixels.
        width: Image width in pixels.
        label_encoded: 8-bit greyscale PNG of train ids, the image's size.
        polygons: The annotation in painter's order; points in pixels.
    """

    image_id: str
    image_encoded: bytes
    image_format: str
    height: int
    width: int
    label_encoded: bytes
    polygons: Sequence[Polygon]


def encode_label(label: np.ndarray) -> bytes:
    """Return train ids, uint8 [H, W], as an 8-bit greyscale PNG."""
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, format="png", compress_level=6)
    return buffer.getvalue()
