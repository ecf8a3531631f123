"""What the method saw of some images when it chose a round's regions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.fusion import Fusion, Scale
from cereals_tf.acquisition.information import Measure
from cereals_tf.acquisition.plugins import find_fusion, find_measure
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_scorer
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.scoring import image_maps
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.progress import Progress
from cereals_tf.report.statistics import annotated_by_image, annotated_train, unlabelled_cells
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import click_target


@dataclass(frozen=True)
class ImageView:
    """One image of the train split at an acquisition step.

    Attributes:
        image_id: The image's id.
        image: uint8 [H, W, 3].
        label: uint8 [H, W], ground-truth train ids; where the split has no labels, those that
            people drew up to now.
        prediction: uint8 [H, W], class ids that the model predicted before the step.
        information: float32 [h, w] by the campaign's measure; None where it is one of windows.
        cost: float32 [h, w], predicted clicks or seconds per stride-8 position.
        clicks: float32 [h, w], true clicks (polygon vertices) per position.
        before: The regions annotated before the step.
        new: The regions that the step selected.
    """

    image_id: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    information: np.ndarray | None
    cost: np.ndarray
    clicks: np.ndarray
    before: Sequence[Annotated]
    new: Sequence[Annotated]

    @property
    def unlabelled(self) -> np.ndarray:
        """Which positions were not labelled before the step, bool [h, w]."""
        return unlabelled_cells(self.before, *self.label.shape)


@dataclass(frozen=True)
class AcquisitionStep:
    """What a round's regions were chosen by, seen on some images.

    Attributes:
        campaign: The campaign.
        number: The round, at least 1; its models are those of the round before.
        complete: Whether the round's regions are known; if not, it is the round to come.
        views: The images.
    """

    campaign: Campaign
    number: int
    complete: bool
    views: Sequence[ImageView]

    @cached_property
    def options(self) -> Options:
        """The round's options."""
        return self.campaign.options_at(self.number)

    @cached_property
    def measure(self) -> Measure:
        """The round's information measure."""
        return find_measure(self.options.information, len(self.campaign.data.classes))

    @cached_property
    def fusion(self) -> Fusion:
        """The round's fusion."""
        return find_fusion(self.options.fusion, vars(self.options))

    def fusing_cost(self, view: ImageView) -> np.ndarray:
        """Return the click map that the round's fusion uses, float32 [h, w]."""
        return view.clicks if self.options.cost == "gt" else view.cost

    def fused(self, view: ImageView) -> np.ndarray | None:
        """Fuse an image's information and cost position by position, float32 [h, w].

        They are scaled over the unlabelled positions of all the views. The campaign itself fuses
        the sums over regions, scaled over the regions of the pool. None where the measure is one
        of windows.
        """
        if view.information is None:
            return None
        maps = [seen.information for seen in self.views]
        costs = [self.fusing_cost(seen) for seen in self.views]
        scales = self._scale(maps), self._scale(costs)
        cost = self.fusing_cost(view)
        return np.asarray(self.fusion.score(view.information, cost, scales))

    def _scale(self, maps: Sequence[np.ndarray | None]) -> Scale:
        """Return the smallest and the largest value at the unlabelled positions of all views."""
        parts = [
            values[view.unlabelled]
            for view, values in zip(self.views, maps, strict=True)
            if values is not None
        ]
        values = np.concatenate(parts)
        return Scale(float(values.min()), float(values.max())) if values.size else Scale(0.0, 0.0)


def acquisition_step(campaign: Campaign, number: int, count: int) -> AcquisitionStep:
    """Compute the maps by which a round's regions were chosen, for some images.

    Args:
        campaign: The campaign, with the rounds before that one committed.
        number: The round, at least 1.
        count: The most images to show: those with the most new regions, or, of a round to come,
            the first ones with candidates.

    Raises:
        UserError: The data set changed or is damaged.
    """
    before = [campaign.round(place) for place in range(number)]
    after = campaign.rounds()[number : number + 1]
    labelled, new = annotated_by_image(before), annotated_by_image(after)
    reader = (
        open_split(campaign, "train")
        if campaign.data.labelled("train")
        else annotated_train(campaign)
    )
    image_ids = _most_new(new, count) if after else _candidates(campaign, reader, labelled)[:count]
    with damage_named(campaign.data, "train"):
        views = {
            view.image_id: view
            for view in _views(campaign, before[-1], reader, image_ids, labelled, new)
        }
    return AcquisitionStep(
        campaign, number, bool(after), [views[image_id] for image_id in image_ids]
    )


def _most_new(new: dict[str, list[Annotated]], count: int) -> list[str]:
    numbers = Counter({image_id: len(new[image_id]) for image_id in sorted(new)})
    return [image_id for image_id, _ in numbers.most_common(count)]


def _candidates(
    campaign: Campaign, reader: Split, labelled: dict[str, list[Annotated]]
) -> list[str]:
    excluded = campaign.excluded
    return [
        entry.image_id
        for entry in reader.images
        if entry.image_id not in excluded
        and unlabelled_cells(labelled.get(entry.image_id, ()), entry.height, entry.width).any()
    ]


def _views(
    campaign: Campaign,
    previous: CommittedRound,
    reader: Split,
    image_ids: Sequence[str],
    labelled: dict[str, list[Annotated]],
    new: dict[str, list[Annotated]],
) -> Iterator[ImageView]:
    if not image_ids:
        return
    options = campaign.options_at(previous.number + 1)
    scorer = load_scorer(campaign, previous, options)
    bar = Progress(reader.records(image_ids), desc="maps", total=len(image_ids), unit="image")
    for record in bar:
        image_id = record[records.IMAGE_ID].numpy().decode()
        image, label = reader.image(record), reader.label(record)
        size = tf.unstack(tf.shape(label))
        number = previous.number + 1
        information, predicted = image_maps(options, scorer, image_id, image, number)
        logits = upsample_logits(scorer.segmentation(image[None], training=False), *size)
        yield ImageView(
            image_id=image_id,
            image=image.numpy(),
            label=label.numpy(),
            prediction=tf.argmax(logits[0], axis=-1).numpy().astype(np.uint8),
            information=None if scorer.measure.of_windows else information,
            cost=predicted,
            clicks=click_target(reader.points(record), *size).numpy(),
            before=labelled.get(image_id, []),
            new=new.get(image_id, []),
        )
