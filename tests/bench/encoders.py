"""Group `encoders`: what each encoder takes beside the default one.

All as `--recipe=fast` keeps them, frozen and with random weights, on one image; pairs of passes in
turn.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import tensorflow as tf

from cereals_tf.models.build import build_encoder
from cereals_tf.models.registry import BACKBONES
from tests.bench.measure import Row, interleaved, per_image

DEFAULT = "efficientnet_lite0"


def rows(quick: bool) -> Iterator[Row]:
    """Measure a pass of every encoder, with its weights and the bytes of its features."""
    height, width, passes, repeats = (64, 96, 1, 1) if quick else (256, 512, 5, 5)
    image = tf.constant(
        np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    )

    def run(encode: tf.types.experimental.PolymorphicFunction) -> None:
        for _ in range(passes):
            encode(image)

    def encoder_of(name: str) -> tuple[tf.types.experimental.PolymorphicFunction, str]:
        encoder = build_encoder(
            backbone=name, width_multiplier=1.0, precision="float32", rounded=True
        )
        encode = tf.function(encoder)
        kept = sum(part.numpy().nbytes for part in encode(image)) / (height * width)
        million = encoder.count_params() / 1e6
        return encode, f"{name}: {million:.1f} M weights, features {kept:.2g} bytes/pixel"

    default, _ = encoder_of(DEFAULT)
    for name in ("efficientnet_lite0", "mobilenet") if quick else BACKBONES:
        encode, what = encoder_of(name)
        seconds = interleaved(
            {"this": partial(run, encode), DEFAULT: partial(run, default)}, repeats
        )
        yield per_image("encoders", what, seconds["this"], passes, DEFAULT, seconds[DEFAULT])
