"""The information and the cost of every position of an image, as one TensorFlow graph."""

import keras
import tensorflow as tf

from cereals_tf.acquisition.information import MEASURES, RANDOM
from cereals_tf.acquisition.monte_carlo import committee, has_dropout
from data_prep.errors import UserError
from trainers.randomness import reseed


class Scorer:
    """Maps images to their information map and their cost map.

    Args:
        segmentation: Maps images [B, H, W, 3] to logits [B, h, w, C] at stride 8.
        cost: Maps images to clicks [B, h, w, 1] at stride 8.
        information: Name of the measure, one of `MEASURES` or `random`.
        members: Monte-Carlo dropout passes, where the measure needs a committee.

    Raises:
        UserError: The measure needs a committee, but the model has no dropout.
    """

    def __init__(
        self, segmentation: keras.Model, cost: keras.Model, information: str, members: int
    ) -> None:
        self.segmentation = segmentation
        self.cost = cost
        self._measure = None if information == RANDOM else MEASURES[information]
        self._random = keras.random.SeedGenerator(0)
        self._committee = None
        if self._measure and self._measure.needs_committee:
            if not has_dropout(segmentation):
                raise UserError(
                    f"--information={information}: needs a model with dropout, --model has none"
                )
            self._committee = committee(segmentation, members)
        self.maps = tf.function(self.compute_maps, reduce_retracing=True)

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that the maps are computed from: weights and the states of random numbers."""
        return [*self.segmentation.variables, *self.cost.variables, self._random.state]

    def compute_maps(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute the maps of images of one size; `maps` is the same as a compiled graph.

        Args:
            images: uint8 [B, H, W, 3].

        Returns:
            Information (nats or, by measure, a number in [0, 1]) and predicted clicks (at least 0),
            both float32 [B, ceil(H/8), ceil(W/8)].
        """
        predicted = tf.cast(self.cost(images, training=False)[..., 0], tf.float32)
        cost = tf.nn.relu(predicted)
        if self._measure is None:
            return keras.random.uniform(tf.shape(cost), seed=self._random), cost
        if self._committee:
            logits = self._committee(images)
        else:
            logits = self.segmentation(images, training=False)[None]
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
        return self._measure.function(probabilities), cost

    def reseed(self, seed: int) -> None:
        """Let the committee's next draws follow from a seed."""
        reseed(self.segmentation, seed)
