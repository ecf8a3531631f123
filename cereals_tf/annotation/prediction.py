"""What the model of the round before sees: drawn for annotators, and held against their work."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from cereals_tf.annotation.doubts import unlike
from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.progress import Progress
from cereals_tf.trainers.evaluation import upsample_logits


class Predictor:
    """Predicts images of the train split with the model of a campaign's last complete round."""

    def __init__(self, campaign: Campaign) -> None:
        """Load the model.

        Raises:
            UserError: No round is complete, or its model is missing or damaged.
        """
        self._model = load_segmentation(campaign, campaign.round(None))
        self._reader = open_split(campaign, "train")

    def __call__(self, record: Mapping[str, tf.Tensor], entry: ImageEntry) -> np.ndarray:
        """Return the class of each pixel of an image, uint8 [H, W] of its original size."""
        image = self._reader.image(dict(record))
        logits = self._model(image[None], training=False)
        full = upsample_logits(logits, *image.numpy().shape[:2])
        classes = tf.cast(tf.argmax(full[0], axis=-1), tf.uint8)
        return records.resize_label(classes, (entry.height, entry.width)).numpy()


def unlike_prediction(campaign: Campaign, drawn: Sequence[RegionAnnotation]) -> Iterator[str]:
    """Say which classes are drawn in regions where the last model finds them nowhere.

    Only of classes that it knows how to find: some on val.
    """
    of_image: dict[str, list[RegionAnnotation]] = {}
    for annotation in drawn:
        of_image.setdefault(annotation.image_id, []).append(annotation)
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
    found_on_val = campaign.round(None).metrics.iou_per_class
    names = campaign.data.classes.names
    known = [number for number, name in enumerate(names) if found_on_val.get(name)]
    predict, reader = Predictor(campaign), open_split(campaign, "train")
    found = Progress(reader.records(list(of_image)), "compare", len(of_image), unit="image")
    with damage_named(campaign.data, "train"):
        for record in found:
            image_id = bytes(record[records.IMAGE_ID].numpy()).decode()
            predicted = predict(record, entries[image_id])
            for annotation in of_image[image_id]:
                part = predicted[annotation.window.slices]
                for number, share in unlike(annotation.label, part, known).items():
                    yield (
                        f"region {annotation.number}: {share:.3g} % of it is drawn as "
                        f"{names[number]}, which the prediction finds nowhere in it"
                    )
