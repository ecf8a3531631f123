"""Cross-validation: heads, each of which has not seen what is annotated in some of the images."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import Task
from cereals_tf.campaign.learning.training import Training
from cereals_tf.data_prep.progress import within
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.split import Split


@dataclass(frozen=True)
class Folds:
    """Deals images into folds, and trains heads for each on the regions of all other images.

    The heads stand on the frozen encoder, whatever the campaign tunes, and are trained as `fast`
    trains them.

    Attributes:
        campaign: A campaign that keeps an encoder.
        purpose: What for, a word that the user sees, and from which and the seed the deal follows.
        count: How many folds, at least 2.
        regions: All that may be trained on.
        labelled: The train split with their labels.
        val: The val split.
        scratch: Folder for checkpoints.
    """

    campaign: Campaign
    purpose: str
    count: int
    regions: Sequence[Annotated]
    labelled: Split
    val: Split
    scratch: Path

    @property
    def models(self) -> Models:
        """What builds the heads."""
        own = Models.of(self.campaign)
        return replace(own, options=own.options.but(encoder="frozen", warm_start=False))

    def heads(
        self, image_ids: Collection[str], *tasks: Task
    ) -> Iterator[tuple[frozenset[str], list[keras.Model]]]:
        """Yield the images of each fold, and the heads of tasks that have not seen them.

        Args:
            image_ids: The images to deal. In none of the folds are others: all are trained on them.
            tasks: The tasks.
        """
        number, dealt = len(self.campaign.rounds()), sorted(image_ids)
        generator = np.random.default_rng(
            derive_seed(self.campaign.options.seed, number, self.purpose)
        )
        fold_of = dict(zip(dealt, generator.permutation(len(dealt)) % self.count, strict=True))
        for fold in range(self.count):
            left_out = frozenset(image_id for image_id in dealt if fold_of[image_id] == fold)
            training = Training(
                campaign=self.campaign,
                models=self.models,
                number=number,
                before=None,
                regions=[done for done in self.regions if done.region.image_id not in left_out],
                labelled=self.labelled,
                val=self.val,
                strategy=tf.distribute.get_strategy(),
                scratch=self.scratch / str(fold),
                recorded=False,
            )
            if left_out and training.regions:
                with within(f"{self.purpose}, fold {fold + 1} of {self.count}"):
                    heads = [training.head(task) for task in tasks]
                yield left_out, heads
