"""What a report counts: how good the cost estimates are, and which classes were acquired."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cereals_tf.acquisition.regions import Region, labelled_mask
from cereals_tf.campaign.state import AnnotatedRegion, CommittedRound
from data_prep import records
from data_prep.clicks import STRIDE
from trainers.inputs import ImageReader


class CostQuality(NamedTuple):
    """Estimated against true clicks of regions.

    Attributes:
        mean_estimated: Clicks per region, estimated.
        mean_true: Clicks per region, true.
        rank_correlation: Spearman's, in [-1, 1]; None where it is not defined.
        mean_absolute_error: Clicks per region.
    """

    mean_estimated: float
    mean_true: float
    rank_correlation: float | None
    mean_absolute_error: float


def cost_quality(estimated: np.ndarray, true: np.ndarray) -> CostQuality:
    """Compare the estimated with the true clicks of regions, both float [N], N >= 1."""
    return CostQuality(
        float(estimated.mean()),
        float(true.mean()),
        rank_correlation(estimated, true),
        float(np.abs(estimated - true).mean()),
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        first: float [N].
        second: float [N].

    Returns:
        A number in [-1, 1]; None where all values of an argument are equal.
    """
    deviations = [ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second))]
    norms = [np.sqrt(deviation @ deviation) for deviation in deviations]
    if not all(norms):
        return None
    return float(np.clip(deviations[0] @ deviations[1] / (norms[0] * norms[1]), -1.0, 1.0))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def regions_by_image(rounds: Sequence[CommittedRound]) -> dict[str, list[AnnotatedRegion]]:
    """Return the regions that were annotated in some rounds, per image that has any."""
    by_image: dict[str, list[AnnotatedRegion]] = {}
    for region in (region for done in rounds for region in done.regions):
        by_image.setdefault(region.image_id, []).append(region)
    return by_image


def unlabelled_cells(regions: Sequence[AnnotatedRegion], height: int, width: int) -> np.ndarray:
    """Return which stride-8 cells of an image lie in no region, bool [h, w]."""
    boxes = (Region(region.image_id, *region.box) for region in regions)
    return ~labelled_mask(boxes, height, width)


def class_pixels(
    reader: ImageReader,
    regions: Mapping[str, Sequence[AnnotatedRegion]],
    excluded: Mapping[str, Sequence[AnnotatedRegion]],
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

    labels = reader.records(list(regions)).map(
        decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    counts = np.zeros(256, np.int64)
    for image_id, label in tqdm(labels, desc="labels", total=len(regions), unit="image"):
        image_id, label = image_id.numpy().decode(), label.numpy()
        outside = unlabelled_cells(regions[image_id], *label.shape)
        counted = ~outside & unlabelled_cells(excluded.get(image_id, ()), *label.shape)
        pixels = counted.repeat(STRIDE, 0).repeat(STRIDE, 1)[: label.shape[0], : label.shape[1]]
        counts += np.bincount(label[pixels], minlength=len(counts))
    return counts[: len(reader.data.classes)]
