"""Which part of which image a training step sees: whole images (mask) or cut-outs (crop).

METHOD: training on regions has two forms. *mask* feeds whole images and gives every unlabelled
output position weight 0; *crop* feeds the labelled regions with the receptive field that they need,
so that the labelled outputs see the same pixels as in the whole image. Both are a list of samples
here, and one input pipeline serves both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cereals_tf.data_prep.grid import Box

STEP_PIXELS = 1 << 15
"""What a training step costs beside its pixels (weights, optimizer), in pixels; docs/performance.md
has the measurements."""


class Sample(NamedTuple):
    """One training sample of an image.

    Attributes:
        crop: What is cut out and fed to the model.
        core: Where inside the image the crop's labels count; the cores of an image's samples do
            not overlap, so that every labelled position counts once.
    """

    crop: Box
    core: Box


CropFor = Callable[[Box, int, int], Box]
"""Maps (labelled box, image height, image width) to the input box that its outputs depend on."""


def plan_samples(
    regions: Sequence[Box],
    height: int,
    width: int,
    train_on: str,
    crop_for: CropFor,
    step_pixels: int = 0,
) -> list[Sample]:
    """Return the samples of one image whose labelled regions are given.

    Args:
        regions: The image's labelled regions, at least one.
        height: Image height in pixels.
        width: Image width in pixels.
        train_on: `mask`: one sample, the whole image. `crop`: one per region, joined wherever
            that makes the cost no larger. `auto`: whichever of the two costs less.
        crop_for: The model's receptive field.
        step_pixels: What a sample costs beside the pixels that are fed, in pixels.
    """
    image = Box(0, 0, height, width)
    whole = [Sample(image, image)]
    if train_on == "mask":
        return whole
    crops = _joined(
        [Sample(crop_for(core, height, width), core) for core in regions],
        lambda core: crop_for(core, height, width),
        step_pixels,
    )
    cost = sum(sample.crop.area + step_pixels for sample in crops)
    if train_on == "auto" and cost >= image.area + step_pixels:
        return whole
    return crops


def _joined(samples: list[Sample], crop_of: Callable[[Box], Box], step_pixels: int) -> list[Sample]:
    """Join samples while cores overlap, or while that costs no more."""
    samples = list(samples)
    i = 0
    while i < len(samples):
        for j in range(i):
            core = samples[i].core.joined(samples[j].core)
            joined = Sample(crop_of(core), core)
            apart = samples[i].crop.area + samples[j].crop.area + step_pixels
            if samples[i].core.overlaps(samples[j].core) or joined.crop.area <= apart:
                del samples[i], samples[j]
                samples.append(joined)
                i = j - 1
                break
        i = max(i + 1, 0)
    return samples
