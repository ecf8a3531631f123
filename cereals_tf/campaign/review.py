"""Annotated regions whose labels look wrong: those that a model which has not seen them doubts."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from cereals_tf.data_prep.dataset import Classes

USUAL = 0.5
"""Chosen with labels that were spoilt on purpose, see docs/results.md."""


@dataclass(frozen=True, eq=False)
class Reviewed:
    """An annotated region, and how far a model that has not seen its labels doubts them.

    Attributes:
        name: The region's name.
        region: Where it is.
        disbelief: float64 [2, C], see `disbelief`.
        share: The share of its labelled positions where the model sees another class, 0 to 1.
        labelled: The class id that the model doubts most, at the most positions; None: none.
        seen: The class id that it sees there most often; None: none.
        label: uint8 [h, w], its train ids at stride 8.
        predicted: uint8 [h, w], what the model sees.
        score: See `scores`.
    """

    name: RegionName
    region: Region
    disbelief: np.ndarray
    share: float
    labelled: int | None
    seen: int | None
    label: np.ndarray
    predicted: np.ndarray
    score: float = 0.0


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
        classes = campaign.data.classes
        reviewed = [
            judged
            for unseen in found
            for name, done in unseen.regions.items()
            if (judged := judge(name, done.region, unseen, classes))
        ]
    found_scores = scores([each.disbelief for each in reviewed])
    scored = [
        replace(each, score=score) for each, score in zip(reviewed, found_scores, strict=True)
    ]
    return sorted(scored, key=lambda each: (-each.score, each.name))


def first_names(campaign: Campaign) -> dict[RegionName, Annotated]:
    """Return all that is annotated, each region once, by the name that it had first."""
    found: dict[Region, tuple[RegionName, Annotated]] = {}
    for done in campaign.rounds():
        for name, annotated in done.named.items():
            found.setdefault(annotated.region, (name, annotated))
    return dict(found.values())


def judge(name: RegionName, region: Region, unseen: Unseen, classes: Classes) -> Reviewed | None:
    """Hold a region's labels against what a model that has not seen them predicts.

    Args:
        name: The region's name.
        region: Where it is.
        unseen: Its image.
        classes: All classes; those that came after the model are not judged.

    Returns:
        None where nothing in the region has a label that can be judged.
    """
    inside = region.box.cell_slices
    label, logits = unseen.label[inside], unseen.logits[inside]
    known = (label != classes.ignore_id) & (label < logits.shape[-1])
    if not known.any():
        return None
    predicted = logits.argmax(axis=-1).astype(np.uint8)
    doubted = known & (predicted != label)
    labelled, seen = _most_frequent_pair(label[doubted], predicted[doubted])
    return Reviewed(
        name,
        region,
        disbelief=disbelief(logits[known], label[known], len(classes)),
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


def disbelief(logits: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how much worse labels fit a model's prediction than it expects itself, by class.

    At a position, the negative log-likelihood of its label, less the entropy of the prediction,
    which is what it expects of a label that is drawn from it. Where a model is unsure, as at the
    edges of things, neither says much, and the difference stays near 0.

    Args:
        logits: float [N, C].
        label: int [N], class ids.
        num_classes: C of what is returned; a model may know fewer.

    Returns:
        float64 [2, C]: by class of the labels, the sum over its positions, in nats, and their
        number.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    likelihood = np.take_along_axis(log_p, label[:, None].astype(int), axis=-1)[:, 0]
    values = (np.exp(log_p) * log_p).sum(axis=-1) - likelihood
    sums = np.bincount(label, values, minlength=num_classes)
    return np.stack([sums, np.bincount(label, minlength=num_classes)])


def scores(disbeliefs: Sequence[np.ndarray]) -> list[float]:
    """Return how much less than usual the labels of regions are believed.

    What is usual is the mean disbelief in labels of the class in all other regions: models doubt
    what is small or rare, however right it is. Northcutt et al., "Confident Learning: Estimating
    Uncertainty in Dataset Labels", 2021, judge confidence by class for the same reason. A share of
    it, `USUAL`, is taken off, as wrong labels are among the others too.

    Args:
        disbeliefs: float64 [2, C] each, see `disbelief`, each with one position or more.

    Returns:
        Means over the positions of each region, in nats.
    """
    if not disbeliefs:
        return []
    sums, counts = np.stack(disbeliefs, axis=1)
    others, number = sums.sum(axis=0) - sums, counts.sum(axis=0) - counts
    usual = np.divide(others, number, out=np.zeros_like(sums), where=number > 0)
    return ((sums - USUAL * usual * counts).sum(axis=1) / counts.sum(axis=1)).tolist()
