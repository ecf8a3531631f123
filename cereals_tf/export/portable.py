"""What exported files compute, in operations that every converter knows."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import tensorflow as tf

from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.quiet import stderr_to
from cereals_tf.export.source import Size, Source
from cereals_tf.models.layers import triangle_weights
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.keras_graph import layers_of

IMAGE = "image"
"""The name of every file's input."""
Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Portable:
    """The models on decoded images, a function for each file.

    Attributes:
        scorer: Holds both models.
        image_size: (height, width) that images are resized to; None: as they are.
        drops_casts: Whether the converter, or the runtime, takes casts to float16 and back for
            superfluous.
    """

    scorer: Scorer
    image_size: Size | None
    drops_casts: bool = False

    @classmethod
    def of(cls, source: Source) -> "Portable":
        """Return what is exported so."""
        return cls(source.scorer, source.campaign.image_size, source.format != "litert")

    @property
    def functions(self) -> dict[str, Function]:
        """What each file computes, by the file's name."""
        return {"model": self.segment, "score": self.score}

    def segment(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Segment images.

        Args:
            image: uint8 [N, H, W, 3], RGB.

        Returns:
            `classes`, uint8 [N, H, W], and `confidence`, float32 [N], the mean over the pixels of
            the chosen classes' probabilities.
        """
        seen = self._resized(image)
        with self._features_rounded():
            logits = self.scorer.segmentation(seen, training=False)
        logits = upsample_logits(logits, *_size(seen))
        if self.image_size:
            logits = tf.image.resize(logits, _size(image), method="bilinear")
        below_best = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        # The best class's softmax; all of them by runtimes' softmax can take longer than the model.
        probability = 1 / tf.reduce_sum(tf.exp(below_best), axis=-1)
        return {
            "classes": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8),
            "confidence": tf.reduce_mean(probability, axis=(1, 2)),
        }

    def score(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Map what labels would tell and cost, see `Scorer.named_maps`.

        Information that hangs on random draws, other runtimes cannot give.

        Args:
            image: uint8 [N, H, W, 3], RGB.

        Returns:
            float32 [N, h, w] each, at stride 8 of the campaign's image size.
        """
        drawn = self.scorer.draws or self.scorer.measure.of_windows
        with self._features_rounded():
            return self.scorer.named_maps(self._resized(image), with_information=not drawn)

    @contextmanager
    def _features_rounded(self) -> Iterator[None]:
        """Have features that heads take in float16 rounded by arithmetic, where casts are lost."""
        models = (self.scorer.segmentation, self.scorer.cost) if self.drops_casts else ()
        layers = {
            layer
            for model in models
            for layer in layers_of(model)
            if isinstance(layer, keras.layers.Identity) and layer.compute_dtype == "float16"
        }
        for layer in layers:
            layer.autocast, layer.call = False, half_precision
        try:
            yield
        finally:
            for layer in layers:
                layer.autocast = True
                del layer.call

    def _resized(self, image: tf.Tensor) -> tf.Tensor:
        """Do what `records.resize_image` does, as products with matrices."""
        if self.image_size is None or tuple(image.shape[1:3]) == self.image_size:
            return image
        (height, width), (rows, columns) = _size(image), self.image_size
        pixels = tf.cast(image, tf.float32)
        pixels = tf.einsum("ij,bjwc->biwc", triangle_weights(height, rows, "float32"), pixels)
        pixels = tf.einsum("ij,bhjc->bhic", triangle_weights(width, columns, "float32"), pixels)
        return tf.clip_by_value(tf.round(pixels), 0.0, 255.0)


def half_precision(values: tf.Tensor) -> tf.Tensor:
    """Round float32 values to the 11 significant bits that float16 has, and keep them float32.

    Veltkamp's splitting (Dekker, "A Floating-Point Technique for Extending the Available
    Precision", Numerische Mathematik 18, 1971): the nearest such value, of two equally near ones
    either.
    """
    scaled = values * (2.0**13 + 1)
    return scaled - (scaled - values)


def _size(images: tf.Tensor) -> tuple[Any, Any]:
    """Return height and width, as numbers where they are known."""
    shape = tf.shape(images)
    _, height, width, _ = images.shape
    return shape[1] if height is None else height, shape[2] if width is None else width


@contextmanager
def saved(source: Source, function: Function, shape: Sequence[int | None]) -> Iterator[Path]:
    """Save a function for a converter, as a SavedModel that vanishes when the block ends.

    Args:
        source: What is exported.
        function: Computes it.
        shape: Of the images, [N, H, W, 3]; None: any.
    """
    module: Any = tf.Module()
    module.parameters = [variable.value for variable in source.scorer.variables]
    images = tf.TensorSpec(shape, tf.uint8, IMAGE)
    signature = tf.function(function, input_signature=[images])
    with TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": signature})
        yield Path(folder)


@contextmanager
def converting(format: str) -> Iterator[None]:
    """Let nothing be seen of what a converter says but its failure.

    Raises:
        UserError: The converter failed.
    """
    try:
        with open(os.devnull, "w") as nowhere, stderr_to(nowhere):
            yield
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise UserError(f"--format={format}: cannot convert the models: {reason}") from error
