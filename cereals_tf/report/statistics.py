"""What a report counts: how good the cost estimates are, which classes were acquired, and where."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.ranks import rank_correlation
from cereals_tf.acquisition.regions import labelled_mask
from cereals_tf.campaign.annotators.people import People
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound, regions_of
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import STRIDE, cells
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.data_prep.progress import Progress
from cereals_tf.trainers.split import Split


def annotated_train(campaign: Campaign) -> Split:
    """Return the train split; where people annotate, with what they drew for its labels."""
    train = open_split(campaign, "train")
    if campaign.options.annotator == "files":
        return People(campaign, campaign.rounds(), train).labelled()
    return train


class CostQuality(NamedTuple):
    """Estimated against true costs of regions, in clicks or seconds.

    Attributes:
        mean_estimated: Cost per region, estimated.
        mean_true: Cost per region, true.
        rank_correlation: Spearman's, in [-1, 1]; None where it is not defined.
        mean_absolute_error: Cost per region.
    """

    mean_estimated: float
    mean_true: float
    rank_correlation: float | None
    mean_absolute_error: float


def cost_quality(estimated: np.ndarray, true: np.ndarray) -> CostQuality:
    """Compare the estimated with the true costs of regions, both float [N], N >= 1."""
    return CostQuality(
        float(estimated.mean()),
        float(true.mean()),
        rank_correlation(estimated, true),
        float(np.abs(estimated - true).mean()),
    )


def annotated_by_image(rounds: Sequence[CommittedRound]) -> dict[str, list[Annotated]]:
    """Return the regions that were annotated in some rounds, per image that has any."""
    by_image: dict[str, list[Annotated]] = {}
    for region in regions_of(rounds):
        by_image.setdefault(region.region.image_id, []).append(region)
    return by_image


def unlabelled_cells(regions: Sequence[Annotated], height: int, width: int) -> np.ndarray:
    """Return which stride-8 cells of an image lie in no region, bool [h, w]."""
    return ~labelled_mask((region.region.box for region in regions), height, width)


def position_maps(
    images: Sequence[ImageEntry],
    regions: Mapping[str, Sequence[Annotated]],
    options: Options,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the image plane regions lie, and where their clicks were spent.

    The plane has the stride-8 positions of the most frequent image size; images of other sizes are
    stretched to it, each of its positions taking the nearest one of theirs.

    Args:
        images: All images of the split.
        regions: Per image id.
        options: The campaign's; the clicks of a region are spread evenly over its positions.

    Returns:
        Share of the images in which a position lies in a region, float64 [h, w], 0 to 1; and mean
        clicks per image at a position, float64 [h, w].
    """
    sizes = Counter((entry.height, entry.width) for entry in images)
    (height, width), _ = sizes.most_common(1)[0]
    plane = (cells(height), cells(width))
    share, clicks = np.zeros(plane), np.zeros(plane)
    for entry in images:
        if here := regions.get(entry.image_id, ()):
            labelled = ~unlabelled_cells(here, entry.height, entry.width)
            share += _stretched(labelled, plane)
            spent = _click_density(here, options, labelled.shape)
            clicks += _stretched(spent, plane) * spent.size / clicks.size
    return share / len(images), clicks / len(images)


def _click_density(
    regions: Sequence[Annotated], options: Options, shape: tuple[int, int]
) -> np.ndarray:
    """Return clicks per position, float64 [h, w]."""
    density = np.zeros(shape)
    for region in regions:
        inside = density[region.region.box.cell_slices]
        inside += region.bill(options) / inside.size
    return density


def _stretched(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a map [h, w] to another shape, nearest neighbour."""
    rows, columns = (
        (np.arange(new) + 0.5) * old // new for old, new in zip(values.shape, shape, strict=True)
    )
    return values[np.ix_(rows.astype(int), columns.astype(int))]


def class_pixels(
    reader: Split,
    regions: Mapping[str, Sequence[Annotated]],
    excluded: Mapping[str, Sequence[Annotated]],
) -> np.ndarray:
    """Count the pixels of each class in regions.

    Args:
        reader: The split.
        regions: Where to count, per image id; a pixel in several regions counts once.
        excluded: Where not to count, per image id.

    Returns:
        int64 [C].
    """

    def decode(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return record[records.IMAGE_ID], reader.label(record)

    labels = mapped(reader.records(list(regions)), decode)
    counts = np.zeros(256, np.int64)
    for image_id, label in Progress(labels, desc="labels", total=len(regions), unit="image"):
        image_id, label = image_id.numpy().decode(), label.numpy()
        outside = unlabelled_cells(regions[image_id], *label.shape)
        counted = ~outside & unlabelled_cells(excluded.get(image_id, ()), *label.shape)
        pixels = counted.repeat(STRIDE, 0).repeat(STRIDE, 1)[: label.shape[0], : label.shape[1]]
        counts += np.bincount(label[pixels], minlength=len(counts))
    return counts[: len(reader.data.classes)]
