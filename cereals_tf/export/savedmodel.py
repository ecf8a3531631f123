"""Export of a round's models as one SavedModel that needs TensorFlow alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.fusion import Fusion, Scale
from cereals_tf.acquisition.plugins import find_fusion
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.data_prep import records
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.export.formats import Segment
from cereals_tf.export.source import Source
from cereals_tf.export.warmup import write_warmup
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.split import Split

MODEL_NAME = "cereals"

ENCODED = tf.TensorSpec([None], tf.string, "image_bytes")
DECODED = tf.TensorSpec([None, None, None, 3], tf.uint8, "image")

_CLASSES = tf.TensorSpec([None, None], tf.uint8)
_CONFIDENCE = tf.TensorSpec([], tf.float32)
_MAP = tf.TensorSpec([None, None], tf.float32)


def write(source: Source, folder: Path) -> Segment:
    """Write a SavedModel, and what TensorFlow Serving warms up with; see `Format.write`."""
    fusion = find_fusion(source.options.fusion, vars(source.options))
    _save(Served(source.scorer, source.campaign.image_size, fusion), folder)
    write_warmup(folder, MODEL_NAME, _warmup_requests(source))
    loaded: Any = tf.saved_model.load(str(folder))
    predict = loaded.signatures["predict"]

    def segment(image: np.ndarray) -> np.ndarray:
        return predict(tf.constant(image[None]))["classes"][0].numpy()

    return segment


@dataclass(frozen=True)
class Served:
    """What the exported model computes; each method is a signature of its name.

    The images of a call go through one after the other, so that memory holds the activations and
    the full-resolution logits of one image at a time, whatever the size of the call.

    Attributes:
        scorer: Holds both models.
        image_size: (height, width) that images are resized to; None: as they are.
        fusion: How information and cost become a score.
    """

    scorer: Scorer
    image_size: tuple[int, int] | None
    fusion: Fusion

    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segment encoded images of one size.

        Args:
            image_bytes: string [N], JPEG or PNG.

        Returns:
            `classes`, uint8 [N, H, W] class ids at the images' own size, and `confidence`,
            float32 [N], the mean over the pixels of the chosen classes' probabilities.
        """

        def segment(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._segment(records.decode_image(encoded))

        classes, confidence = _for_each(segment, image_bytes, (_CLASSES, _CONFIDENCE))
        return {"classes": classes, "confidence": confidence}

    def predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segment decoded images, uint8 [N, H, W, 3] in RGB; the rest as `serving_default`."""
        classes, confidence = _for_each(self._segment, image, (_CLASSES, _CONFIDENCE))
        return {"classes": classes, "confidence": confidence}

    def score(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Map what labels would tell and cost; the images of the call are the pool.

        Args:
            image_bytes: string [N], JPEG or PNG.

        Returns:
            `information`, `cost` in clicks, and `fused`, each float32 [N, h, w] at stride 8 of the
            campaign's image size; with a cost model of three maps also `crossings_left` and
            `crossings_top`, see `Scorer.named_maps`. Fusion scales information and cost by their
            smallest and largest values in the call.
        """

        def maps_of(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            image = records.resize_image(records.decode_image(encoded), self.image_size)
            maps = self.scorer.named_maps(image[None])
            return {name: values[0] for name, values in maps.items()}

        names = (*self.scorer.cost_names, "information")
        maps = _for_each(maps_of, image_bytes, dict.fromkeys(names, _MAP))
        information, cost = maps["information"], maps["cost"]
        scales = _range(information), _range(cost)
        return {**maps, "fused": self.fusion.score(information, cost, scales)}

    def _segment(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the classes, uint8 [H, W], and the confidence of an image, uint8 [H, W, 3]."""
        resized = records.resize_image(image, self.image_size)
        logits = self.scorer.segmentation(resized[None], training=False)
        logits = upsample_logits(logits, tf.shape(resized)[0], tf.shape(resized)[1])
        if self.image_size:
            logits = tf.image.resize(logits, tf.shape(image)[:2], method="bilinear")
        classes = tf.cast(tf.argmax(logits[0], axis=-1), tf.uint8)
        probability = tf.reduce_max(tf.nn.softmax(logits[0]), axis=-1)
        return classes, tf.reduce_mean(probability)


def _for_each(function: Callable, elements: tf.Tensor, output: Any) -> Any:
    return tf.map_fn(function, elements, fn_output_signature=output, parallel_iterations=1)


def _range(values: tf.Tensor) -> Scale:
    return Scale(tf.reduce_min(values), tf.reduce_max(values))


def _save(served: Served, folder: Path) -> None:
    """Save the signatures, and of the models only their variables: nothing of Keras is left."""
    module: Any = tf.Module()
    module.parameters = [variable.value for variable in served.scorer.variables]
    signatures = {
        "serving_default": tf.function(served.serving_default, input_signature=[ENCODED]),
        "score": tf.function(served.score, input_signature=[ENCODED]),
        "predict": tf.function(served.predict, input_signature=[DECODED]),
    }
    tf.saved_model.save(module, str(folder), signatures)


def _warmup_requests(source: Source) -> dict[str, dict[str, np.ndarray]]:
    """Return a request to every signature with an image."""
    image = _image_of(source.campaign)
    encoded = {str(ENCODED.name): np.array([image])}
    decoded = records.decode_image(image)
    return {
        "serving_default": encoded,
        "score": encoded,
        "predict": {str(DECODED.name): decoded.numpy()[None]},
    }


def _image_of(campaign: Campaign) -> bytes:
    """Return an encoded image: the first one of val, a black one where the data set is gone."""
    if not campaign.data_is_there:
        height, width = campaign.image_size or (8 * STRIDE, 8 * STRIDE)
        return tf.io.encode_png(tf.zeros([height, width, 3], tf.uint8)).numpy()
    with damage_named(campaign.data, "val"):
        (record,) = Split(campaign.data, "val").records().take(1)
    return record[records.IMAGE_ENCODED].numpy()
