"""What is exported: a round's models, and the val images that they are tried on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.scorer import load_scorer
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.data_prep.mapping import mapped
from cereals_tf.export.formats import Format
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.split import Split

Size = tuple[int, int]


@dataclass(frozen=True)
class Source:
    """A round's models for export.

    Attributes:
        campaign: The campaign.
        done: The round.
        scorer: Holds both models.
        format: The format's name.
        size: (height, width) of the images that the file takes; None: any.
        quantize: How weights and activations are quantised; `none`.
    """

    campaign: Campaign
    done: CommittedRound
    scorer: Scorer
    format: str
    size: Size | None
    quantize: str

    @property
    def options(self) -> Options:
        """The round's options."""
        return self.campaign.options_of(self.done)

    def trial_images(self, count: int) -> Iterator[np.ndarray]:
        """Yield what a file is compared with Keras on: `val_images`, or one of noise without any.

        Raises:
            UserError: A shard is damaged.
        """
        if self.campaign.data_is_there:
            yield from self.val_images(count)
        else:
            height, width = self.size or self.campaign.image_size or (8 * STRIDE, 8 * STRIDE)
            yield np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def val_images(self, count: int) -> Iterator[np.ndarray]:
        """Yield val images, at most `count`, spread evenly, as the file takes them.

        Yields:
            uint8 [H, W, 3].

        Raises:
            UserError: The data set is gone, or a shard is damaged.
        """
        split = Split(self.campaign.data, "val", self.size)
        ids = [entry.image_id for entry in split.images]
        spread = ids[:: -(-len(ids) // count)]
        with damage_named(self.campaign.data, "val"):
            yield from mapped(split.records(spread), split.image).as_numpy_iterator()

    def keras_classes(self, image: np.ndarray) -> np.ndarray:
        """Return the classes that the Keras model sees in an image, uint8 [H, W]."""
        (height, width, _), resized = image.shape, self.campaign.image_size
        own = height, width
        seen = records.resize_image(tf.constant(image), resized)
        logits = self.scorer.segmentation(seen[None], training=False)
        logits = upsample_logits(logits, *(resized or own))
        if resized:
            logits = tf.image.resize(logits, own, method="bilinear")
        return tf.cast(tf.argmax(logits[0], axis=-1), tf.uint8).numpy()


def open_source(
    campaign: Campaign, done: CommittedRound, chosen: Format, quantize: str, size: Size | None
) -> Source:
    """Load a round's models for a format; all but SavedModel compute in float32.

    Raises:
        UserError: A model is missing or damaged; or the format takes images of one size, and it is
            not clear which, or the data set that would say it is gone.
    """
    if chosen.name != "savedmodel":
        precise = campaign.first_options.but(precision="float32")
        campaign = replace(campaign, first_options=precise)
    if not chosen.any_size:
        size = size or campaign.image_size or size_of_all(campaign.data, chosen)
    scorer = load_scorer(campaign, done)
    return Source(campaign, done, scorer, chosen.name, size, quantize)


def size_of_all(data: PreparedData, chosen: Format) -> Size:
    """Return the (height, width) of all val images.

    Raises:
        UserError: They have several.
    """
    sizes = {(entry.height, entry.width) for entry in data.images["val"]}
    if len(sizes) > 1:
        raise UserError(
            f"--format={chosen.name}: takes images of one size, and val has {len(sizes)}; expected "
            "--size=HEIGHTxWIDTH"
        )
    return sizes.pop()
