import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.records import decode_image
from cereals_tf.data_prep.sources.images import open_image, read_header

FORMATS = {
    "png": {"format": "png"},
    "jpeg": {"format": "jpeg", "quality": 95},
    "progressive": {"format": "jpeg", "progressive": True},
}


def _damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """Alter a few bits, cut the end off, or take a piece out."""
    altered = bytearray(content)
    place = int(rng.integers(len(altered)))
    match rng.integers(3):
        case 0:
            for place in rng.integers(len(altered), size=rng.integers(1, 4)):
                altered[place] ^= 1 << int(rng.integers(8))
        case 1:
            del altered[place:]
        case 2:
            del altered[place : place + int(rng.integers(1, 32))]
    return bytes(altered)


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_pillow_refuses_is_refused_without_decoding_with_pillow(name):
    """Why `convert_item` leaves the pixels to the decoder that will read the record."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (24, 40, 3)) + np.linspace(0, 180, 40)[None, :, None]
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, **FORMATS[name])
    refused = 0
    for _ in range(500):
        content = _damaged(rng, buffer.getvalue())
        try:
            open_image(io.BytesIO(content))
        except UserError:
            refused += 1
            with pytest.raises((UserError, tf.errors.OpError)):
                read_header(io.BytesIO(content))
                decode_image(content)
    assert 100 < refused < 500
