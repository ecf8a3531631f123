"""Pictures of the parts of regions that have no shape."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cereals_tf.annotation.tasks import file_stem
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.data_prep.grid import Box

_COLOUR = (255, 0, 255)


class Hole(NamedTuple):
    """The pixels of a region that no shape covers, bool [h, w], and where the region is."""

    image_id: str
    window: Box
    pixels: np.ndarray


def draw_holes(campaign: Campaign, holes: Mapping[int, Hole], folder: Path) -> None:
    """Write a PNG of each region with holes, by its number; the holes are magenta."""
    from cereals_tf.data_prep import records
    from cereals_tf.trainers.split import Split

    folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted({hole.image_id for hole in holes.values()})
    for record in Split(campaign.data, "train").records(wanted):
        image_id = record[records.IMAGE_ID].numpy().decode()
        with Image.open(io.BytesIO(record[records.IMAGE_ENCODED].numpy())) as image:
            pixels = np.array(image.convert("RGB"))
        for number, hole in holes.items():
            if hole.image_id == image_id:
                part = pixels[hole.window.slices].copy()
                part[hole.pixels] = _COLOUR
                name = f"region-{number:04d}-{file_stem(image_id)}.png"
                Image.fromarray(part).save(folder / name)
