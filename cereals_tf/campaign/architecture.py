"""The two models that a campaign's options describe."""

from pathlib import Path

import keras

from cereals_tf.campaign.options import Options
from cereals_tf.models import build_cost_model, build_segmentation_model
from cereals_tf.models.weights import load_backbone_weights
from trainers.inputs import Target


def build_segmentation(options: Options, num_classes: int) -> keras.Model:
    """Build the segmentation model with random weights."""
    return build_segmentation_model(num_classes, model=options.model or None, **_shared(options))


def build_cost(options: Options) -> keras.Model:
    """Build the cost model with random weights."""
    return build_cost_model(model=options.cost_model or None, **_shared(options))


def initialise(model: keras.Model, options: Options, target: Target) -> None:
    """Load the backbone's initial weights where `--weights` gives some and no plug-in is used."""
    plugin = options.model if target == "segmentation" else options.cost_model
    if options.weights and not plugin:
        load_backbone_weights(model, options.weights, options.backbone, options.width_multiplier)


def load_model(path: Path, built: keras.Model) -> keras.Model:
    """Load a saved model's weights into the model that the options built.

    The architecture comes from the code, never from the file, so no code in the file is run.
    """
    built.load_weights(path)
    return built


def _shared(options: Options) -> dict:
    return {
        "backbone": options.backbone,
        "width_multiplier": options.width_multiplier,
        "normalization": options.normalization,
        "precision": options.precision,
    }
