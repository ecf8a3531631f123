"""The two models that a campaign's options describe."""

from pathlib import Path
from zipfile import BadZipFile

import keras

from cereals_tf.acquisition.scoring import Scorer
from cereals_tf.campaign.folder.campaign import COST, SEGMENTATION, Campaign, CommittedRound
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.build import build_cost_model, build_segmentation_model
from cereals_tf.models.weights import load_backbone_weights
from cereals_tf.trainers.targets import Target


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

    Raises:
        UserError: The file is missing or damaged, or a plug-in changed since it was written.
    """
    try:
        built.load_weights(path)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be loaded into the campaign's model: {reason}") from error
    return built


def _shared(options: Options) -> dict:
    return {
        "backbone": options.backbone,
        "width_multiplier": options.width_multiplier,
        "normalization": options.normalization,
        "precision": options.precision,
    }


def load_scorer(campaign: Campaign, done: CommittedRound) -> Scorer:
    """Load both models of a committed round to score images with them."""
    options = campaign.options
    segmentation = build_segmentation(options, len(campaign.data.classes))
    return Scorer(
        load_model(done.folder / SEGMENTATION, segmentation),
        load_model(done.folder / COST, build_cost(options)),
        options.information,
        options.committee,
    )
