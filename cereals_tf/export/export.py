"""Writing a round's models in one of the formats, once they are seen to do what Keras does."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import new_folder
from cereals_tf.export.card import CARD, model_card
from cereals_tf.export.description import DESCRIPTION, describe
from cereals_tf.export.formats import FORMATS, Format, Segment
from cereals_tf.export.source import Size, Source, open_source

CHECKED = 16
"""Val images at most on which a file is compared with the Keras model."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        size: (height, width) of the images that it takes; None: any.
        images: How many val images it was compared on with the Keras model; 1, of noise, where the
            data set is gone.
        agreement: At what share of their pixels both see the same class.
    """

    size: Size | None
    images: int
    agreement: float


def export_round(
    campaign: Campaign,
    done: CommittedRound,
    out: Path,
    format: str = "savedmodel",
    *,
    quantize: str = "none",
    size: Size | None = None,
) -> Exported:
    """Write the models of a round.

    Args:
        campaign: The campaign.
        done: The round.
        out: New folder.
        format: One of `formats.FORMATS`.
        quantize: `none`, or one of what the format `quantizes`.
        size: (height, width) of the images, for a format that takes one size only. None: the
            campaign's image size, or that of all val images.

    Raises:
        UserError: `out` is taken or cannot be written, a package is missing, the data
            set changed or is damaged, or the models cannot be converted or do not see the classes
            then that they see in Keras; nothing is written.
    """
    chosen = FORMATS[format]
    chosen.refuse_missing()
    with new_folder(out) as partial:
        campaign = campaign.as_of(done)
        source = open_source(campaign, done, chosen, quantize, size)
        segment = chosen.write(source, partial)
        exported = _compared(source, chosen, segment)
        path = partial / (DESCRIPTION if format == "savedmodel" else DESCRIPTION.name)
        path.write_text(json.dumps(describe(source, exported.agreement), indent=1) + "\n")
        tried = exported.agreement, exported.images
        card = model_card(campaign, done, chosen, *tried, quantize)
        (partial / CARD).write_text(card, encoding="utf-8")
    return exported


def _compared(source: Source, chosen: Format, segment: Segment) -> Exported:
    """Compare the classes of what was written with the Keras model's.

    Raises:
        UserError: They differ.
    """
    images, agreeing, pixels = 0, 0, 0
    for image in source.trial_images(CHECKED):
        expected, found = source.keras_classes(image), segment(image)
        same = found == expected if found.shape == expected.shape else np.zeros(expected.shape)
        images, agreeing, pixels = images + 1, agreeing + same.sum(), pixels + same.size
    agreement = float(agreeing / pixels)
    least = chosen.least_agreement(source.quantize)
    if agreement < least:
        raise UserError(
            f"--format={chosen.name}: sees the Keras model's classes at {agreement:.4%} of the "
            f"pixels of {images} images, expected {least:.4%}; nothing is written"
        )
    return Exported(source.size, images, agreement)
