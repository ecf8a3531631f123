"""Annotated regions whose labels look wrong: those that a model which has not seen them doubts."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.regions import Region
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.unseen import Unseen, by_folds, by_rounds
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import at_work


@dataclass(frozen=True, eq=False)
class Reviewed:
    """An annotated region, and how far a model that has not seen its labels doubts them.

    Attributes:
        name: The region's name.
        region: Where it is.
        score: See `disbelief`.
        share: The share of its labelled positions where the model sees another class, 0 to 1.
        labelled: The class id that the model doubts most, at the most positions; None: none.
        seen: The class id that it sees there most often; None: none.
        label: uint8 [h, w], its train ids at stride 8.
        predicted: uint8 [h, w], what the model sees.
    """

    name: RegionName
    region: Region
    score: float
    share: float
    labelled: int | None
    seen: int | None
    label: np.ndarray
    predicted: np.ndarray


def review(campaign: Campaign, folds: int) -> list[Reviewed]:
    """Return the regions of all complete rounds by how little their labels are believed.

    A region that was drawn again is judged by its last labels. One without a label is left out.

    Args:
        campaign: The campaign.
        folds: Parts of the annotated images, each of which is judged by a model of the others; 0,
            and where the campaign has no pretrained encoder: the regions of a round are judged by
            the model of the round before, those of round 0 by none.

    Raises:
        UserError: No round is complete, the campaign is busy, or its data set changed or is
            damaged.
    """
    campaign.round(None)
    with at_work(campaign, ("train", "val"), shared=True), tempfile.TemporaryDirectory() as scratch:
        labelled = Round(campaign).annotator.labelled()
        regions = first_names(campaign)
        if folds and Models.of(campaign).stand_on_encoder:
            val = open_split(campaign, "val")
            found = by_folds(campaign, regions, labelled, val, folds, Path(scratch))
        else:
            found = by_rounds(campaign, regions, labelled)
        ignore_id = campaign.data.classes.ignore_id
        reviewed = [
            judged
            for unseen in found
            for name, done in unseen.regions.items()
            if (judged := judge(name, done.region, unseen, ignore_id))
        ]
    return sorted(reviewed, key=lambda each: (-each.score, each.name))


def first_names(campaign: Campaign) -> dict[RegionName, Annotated]:
    """Return all that is annotated, each region once, by the name that it had first."""
    found: dict[Region, tuple[RegionName, Annotated]] = {}
    for done in campaign.rounds():
        for name, annotated in done.named.items():
            found.setdefault(annotated.region, (name, annotated))
    return dict(found.values())


def judge(name: RegionName, region: Region, unseen: Unseen, ignore_id: int) -> Reviewed | None:
    """Hold a region's labels against what a model that has not seen them predicts.

    Args:
        name: The region's name.
        region: Where it is.
        unseen: Its image.
        ignore_id: The id of positions without a label.

    Returns:
        None where nothing in the region has a label.
    """
    inside = region.box.cell_slices
    label, logits = unseen.label[inside], unseen.logits[inside]
    known = label != ignore_id
    if not known.any():
        return None
    predicted = logits.argmax(axis=-1).astype(np.uint8)
    doubted = known & (predicted != label)
    labelled, seen = _most_frequent_pair(label[doubted], predicted[doubted])
    return Reviewed(
        name,
        region,
        score=disbelief(logits[known], label[known]),
        share=float(doubted.sum() / known.sum()),
        labelled=labelled,
        seen=seen,
        label=label,
        predicted=predicted,
    )


def _most_frequent_pair(first: np.ndarray, second: np.ndarray) -> tuple[int | None, int | None]:
    if not first.size:
        return None, None
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    one, other = pairs[:, counts.argmax()]
    return int(one), int(other)


def disbelief(logits: np.ndarray, label: np.ndarray) -> float:
    """Return how much worse labels fit a model's prediction than it expects itself.

    The mean negative log-likelihood of the labels, less the mean entropy of the prediction, which
    is what it expects of labels that are drawn from it. Where a model is unsure, as at the edges of
    things, neither says much, and the difference stays near 0.

    Args:
        logits: float [N, C].
        label: int [N], class ids.

    Returns:
        In nats.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    likelihood = np.take_along_axis(log_p, label[:, None].astype(int), axis=-1)
    return float((np.exp(log_p) * log_p).sum(axis=-1).mean() - likelihood.mean())
