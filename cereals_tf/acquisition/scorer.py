"""The information and the cost of images, per position and per window, as one TensorFlow graph."""

from typing import Any

import keras
import tensorflow as tf

from cereals_tf.acquisition.monte_carlo import committee, has_dropout
from cereals_tf.acquisition.plugins import find_measure
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import cells
from cereals_tf.trainers.randomness import reseed

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8)
_UNLABELLED = tf.TensorSpec([None, None, None], tf.bool)
_REGION = tf.TensorSpec([2], tf.int32)


class Scorer:
    """Maps images to their information map and their cost map, or to the sums over all windows.

    Both graphs are traced once, for images of any number and size: what they compute does not
    depend on what was scored before. Where the models take the features of an encoder, these stand
    for the images, a tuple of three maps.

    Args:
        segmentation: Maps images [B, H, W, 3], or features, to logits [B, h, w, C] at stride 8.
        cost: Maps the same to clicks [B, h, w, 1] at stride 8; or to three maps, [B, h, w, 3]:
            vertices in each cell, crossings of its left edge, crossings of its top edge. Where the
            cost model predicts void, that is one map more, the last.
        information: Name of the measure, see `find_measure`.
        members: Monte-Carlo dropout passes, where the measure needs a committee.
        predicts: Whether windows have predicted classes.
        void: Whether the cost model's last map is the probability that a position is void. What
            void can tell is nothing: information is multiplied by 1 less it.

    Raises:
        UserError: There is no such measure, or it needs a committee, but the model has no dropout.
    """

    def __init__(
        self,
        segmentation: keras.Model,
        cost: keras.Model,
        information: str,
        members: int,
        predicts: bool = False,
        void: bool = False,
    ) -> None:
        self.segmentation = segmentation
        self.cost = cost
        self._predicts = predicts
        self._void = void
        self.measure = find_measure(information, segmentation.output_shape[-1])
        self._random = keras.random.SeedGenerator(0)
        self._committee = None
        if self.measure.needs_committee:
            if not has_dropout(segmentation):
                raise UserError(
                    f"--information={information}: needs a model with dropout, --model has none"
                )
            self._committee = committee(segmentation, members)
        seen = _IMAGES
        if len(segmentation.inputs) > 1:
            seen = tuple(tf.TensorSpec(given.shape, given.dtype) for given in segmentation.inputs)
        # A measure of the user's own may have `if` and loops of tensors; nothing else has.
        self._measured = tf.function(self.measure.function, autograph=True)
        self.maps = tf.function(self.compute_maps, input_signature=[seen], autograph=False)
        self.windows = tf.function(
            self.compute_windows,
            input_signature=[seen, _UNLABELLED, _REGION],
            autograph=False,
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that the maps are computed from: weights and the states of random numbers."""
        return [*self.segmentation.variables, *self.cost.variables, self._random.state]

    @property
    def cost_names(self) -> tuple[str, ...]:
        """The names of the cost model's maps, see `named_maps`."""
        count = self.cost.output_shape[-1] - self._void
        return ("cost", "crossings_left", "crossings_top")[:count]

    @property
    def draws(self) -> bool:
        """Whether the information depends on random draws, those of a committee."""
        return self._committee is not None

    def compute_maps(self, images: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute the maps of images of one size; `maps` is the same as a compiled graph.

        Args:
            images: uint8 [B, H, W, 3].

        Returns:
            Information in the measure's unit (random numbers where it is one of windows) and
            predicted clicks (at least 0), both float32 [B, ceil(H/8), ceil(W/8)].
        """
        maps = self.named_maps(images)
        return maps["information"], maps["cost"]

    def named_maps(self, images: Any, with_information: bool = True) -> dict[str, tf.Tensor]:
        """Compute all maps of images of one size.

        Args:
            images: uint8 [B, H, W, 3].
            with_information: Whether `information` is among them.

        Returns:
            float32 [B, ceil(H/8), ceil(W/8)] each: `information` and `cost`, see `compute_maps`;
            and where the cost model has three maps, `cost` is the vertices' alone, and
            `crossings_left` and `crossings_top` are the clicks where polygons cross the left and
            the top edge of each cell.
        """
        costs, void = self._costs(images)
        maps = dict(zip(self.cost_names, tf.unstack(costs, axis=-1), strict=True))
        if with_information and self.measure.of_windows:
            maps["information"] = keras.random.uniform(tf.shape(maps["cost"]), seed=self._random)
        elif with_information:
            maps["information"] = self._information(self._logits(images), void)
        return maps

    def compute_windows(
        self, images: Any, unlabelled: tf.Tensor, region: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Sum the maps of images of one size over windows anywhere; `windows` is the graph.

        Args:
            images: uint8 [B, H, W, 3].
            unlabelled: bool [B, ceil(H/8), ceil(W/8)], the positions to sum over.
            region: int32 [2], height and width of the windows in pixels, each a multiple of 8 or
                the image's.

        Returns:
            Of each placement of a window, see `regions.window_sums`, float32 [B, rows, columns]:
            `information`, where the measure is not one of windows; `cost_estimated`, predicted
            clicks; `classes`, where the scorer predicts, the class that most of its unlabelled
            positions are predicted to be, of equals the lowest. NaN or infinite throughout an image
            whose map is so at an unlabelled position.
        """

        def sums(maps: list[tf.Tensor]) -> tf.Tensor:
            return exact_window_sums(tf.stack(maps, axis=1), unlabelled[:, None], cells(region))

        costs, void = self._costs(images)
        maps = {"cost_estimated": costs[:, :, :, 0]}
        predicted = []
        if self._predicts or not self.measure.of_windows:
            logits = self._logits(images)
            if not self.measure.of_windows:
                maps["information"] = self._information(logits, void)
            if self._predicts:
                predicted = self._predicted(logits)
        windows = dict(zip(maps, tf.unstack(sums(list(maps.values())), axis=1), strict=True))
        if costs.shape[-1] != 1:
            windows["cost_estimated"] += _crossings(costs, unlabelled, cells(region))
        if self._predicts:
            windows["classes"] = tf.argmax(sums(predicted), axis=1)
        return {name: tf.cast(values, tf.float32) for name, values in windows.items()}

    def reseed(self, seed: int) -> None:
        """Let the committee's next draws follow from a seed."""
        reseed(self.segmentation, seed)

    def _logits(self, images: Any) -> tf.Tensor:
        """Return the members' logits, float32 [E, B, h, w, C]."""
        if self._committee:
            logits = self._committee(images)
        else:
            logits = tf.expand_dims(self.segmentation(images, training=False), 0)
        return tf.cast(logits, tf.float32)

    def _information(self, logits: tf.Tensor, void: tf.Tensor | None) -> tf.Tensor:
        accepted = self.measure.accepts_logits
        information = self._measured(logits if accepted else tf.nn.softmax(logits))
        return information if void is None else information * (1 - void)

    def _predicted(self, logits: tf.Tensor) -> list[tf.Tensor]:
        """Return where each class is predicted, float32 [B, h, w], given the members' logits."""
        predicted = tf.argmax(tf.reduce_mean(tf.nn.softmax(logits), axis=0), axis=-1)
        return tf.unstack(tf.one_hot(predicted, self.segmentation.output_shape[-1]), axis=-1)

    def _costs(self, images: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the maps of clicks, float32 [B, h, w, 1 or 3], and that of void, if there is one.

        Void is float32 [B, h, w] in [0, 1].
        """
        maps = tf.nn.relu(tf.cast(self.cost(images, training=False), tf.float32))
        if not self._void:
            return maps, None
        return maps[:, :, :, :-1], tf.minimum(maps[:, :, :, -1], 1.0)


def _crossings(costs: tf.Tensor, unlabelled: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Sum the crossings along the border of every dense window, at its unlabelled cells.

    Args:
        costs: float32 [B, h, w, 3], as a cost model gives them.
        unlabelled: bool [B, h, w].
        window: int32 [2], height and width of the windows in cells.

    Returns:
        float64 [B, h - window height + 1, w - window width + 1].
    """
    left, top = costs[:, :, :, 1], costs[:, :, :, 2]
    right = tf.pad(left[:, :, 1:], [[0, 0], [0, 0], [0, 1]])  # nothing crosses the image's border
    bottom = tf.pad(top[:, 1:], [[0, 0], [0, 1], [0, 0]])
    (height, width), valid = tf.unstack(window), unlabelled[:, None]
    rows = tf.shape(left)[1] - height + 1
    columns = tf.shape(left)[2] - width + 1
    sides = exact_window_sums(tf.stack([left, right], axis=1), valid, tf.stack([height, 1]))
    ends = exact_window_sums(tf.stack([top, bottom], axis=1), valid, tf.stack([1, width]))
    return (
        sides[:, 0, :, :columns]
        + sides[:, 1, :, width - 1 :]
        + ends[:, 0, :rows]
        + ends[:, 1, height - 1 :]
    )


def exact_window_sums(values: tf.Tensor, valid: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Return the sums of maps over all dense windows: `regions.window_sums` in TensorFlow.

    Each map's values are rounded to a power of two as they are there, so that every sum is exact,
    whatever the order of the additions.

    Args:
        values: float32 [B, P, h, w].
        valid: bool [B, 1, h, w], the cells to sum over.
        window: int32 [2], height and width of the windows in cells, each >= 1.

    Returns:
        float64 [B, P, h - window height + 1, w - window width + 1]; NaN throughout a map that
        has a valid value which is not finite.
    """
    values = tf.where(valid, tf.cast(values, tf.float64), 0.0)
    total = tf.reduce_sum(tf.abs(values), axis=(-2, -1), keepdims=True)
    exponent = tf.where(total > 0, 52 - _frexp_exponent(total), 0)
    whole = tf.math.rint(values * _power_of_two(exponent))
    integral = tf.cumsum(tf.cumsum(whole, axis=-2), axis=-1)
    integral = tf.pad(integral, [[0, 0], [0, 0], [1, 0], [1, 0]])
    bands = integral[:, :, window[0] :] - integral[:, :, : -window[0]]
    sums = bands[:, :, :, window[1] :] - bands[:, :, :, : -window[1]]
    return tf.where(tf.math.is_finite(total), sums * _power_of_two(-exponent), float("nan"))


def _frexp_exponent(values: tf.Tensor) -> tf.Tensor:
    """Return the least e with value < 2^e, int64, of normal float64 values above 0."""
    return tf.bitcast(values, tf.int64) // 2**52 - 1022


def _power_of_two(exponent: tf.Tensor) -> tf.Tensor:
    """Return 2^exponent exactly, float64, for int64 in [-1022, 1023]."""
    return tf.bitcast((exponent + 1023) * 2**52, tf.float64)
