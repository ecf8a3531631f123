"""What a client needs to read a model's outputs."""

from pathlib import Path
from typing import Any

from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.export.source import Source

DESCRIPTION = Path("assets.extra", "cereals.json")
"""Where a SavedModel says what its class ids and its maps mean; other formats: beside the model."""


def describe(source: Source, agreement: float) -> dict[str, Any]:
    """Return the description, in JSON's types.

    Args:
        source: What is exported.
        agreement: At what share of pixels it sees the Keras model's classes.
    """
    campaign, done = source.campaign, source.done
    classes, options = campaign.classes, source.options
    return {
        "classes": classes.names,
        "palette": classes.palette,
        "round": done.number,
        "miou": done.metrics.miou,
        "image_size": campaign.image_size,
        "stride": STRIDE,
        "information": options.information,
        "fusion": options.fusion,
        "alpha": options.alpha,
        "region_clicks": options.region_clicks,
        "format": source.format,
        "quantize": source.quantize,
        "size": source.size,
        "agreement": agreement,
    }
