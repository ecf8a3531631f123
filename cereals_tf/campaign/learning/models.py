"""A campaign's models: built with their first weights, and loaded as a round left them.

The encoder of a campaign that does not train it from scratch is kept once, in `encoder.keras`, and
a round keeps the heads that were trained on it. The architecture comes from the code, never from a
file, so that no code in a file is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import keras

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.task import COST, TASKS, Task
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.build import build_encoder, build_head, build_model
from cereals_tf.models.fcn8s import on_encoder
from cereals_tf.models.weights import load_backbone_weights

ENCODER = "encoder.keras"
"""The encoder's file in a campaign's folder."""


@dataclass(frozen=True)
class Models:
    """Builds and loads models of a campaign.

    Attributes:
        folder: The campaign's.
        options: Of the campaign, or of one of its rounds.
        classes: Of its data set.
    """

    folder: Path
    options: Options
    classes: Classes

    @classmethod
    def of(cls, campaign: Campaign, done: CommittedRound | None = None) -> "Models":
        """Return the models of a campaign's next round, or those of one that is complete."""
        options = campaign.options if done is None else campaign.options_of(done)
        return cls(campaign.folder, options, campaign.data.classes)

    @cached_property
    def encoder(self) -> keras.Model:
        """The frozen encoder.

        Raises:
            UserError: Its file is missing or damaged.
        """
        return self._encoder(rounded=True)

    @property
    def keeps_features(self) -> bool:
        """Whether a model is trained on features of the frozen encoder that are kept."""
        stands = any(task.encoder(self.options) != "trained" for task in TASKS)
        return stands and self.options.cache != "none"

    def takes_features(self, task: Task) -> bool:
        """Whether a task's model takes kept features in place of images."""
        return task.encoder(self.options) == "frozen" and self.keeps_features

    def build(self, task: Task) -> keras.Model:
        """Build what is trained for a task, with its first weights: a head, or a whole model."""
        model = self.random(task)
        if task.encoder(self.options) == "trained" and not task.plugin(self.options):
            load_weights(model, self.options)
        return model

    def load(self, task: Task, path: Path) -> keras.Model:
        """Load what was trained for a task: a head, or a whole model.

        Raises:
            UserError: The file is missing or damaged, or a plug-in changed since it was written.
        """
        model = self.random(task)
        with _damage_named(path):
            model.load_weights(path)
        return model

    def load_round(self, task: Task, done: CommittedRound) -> keras.Model:
        """Load what a committed round trained for a task; errors as in `load`."""
        return self.load(task, done.folder / task.file)

    def whole(self, task: Task, model: keras.Model) -> keras.Model:
        """Return the model that takes images, given what was built or loaded."""
        return on_encoder(self.encoder, model) if task.encoder(self.options) == "frozen" else model

    def random(self, task: Task) -> keras.Model:
        """Build what is trained for a task, with random weights in all that is trained."""
        model = self._linear(task)
        if task is COST and self.options.predicts_crossings:
            counts = keras.layers.Activation("softplus", dtype="float32", name="counts")
            return keras.Model(model.inputs, counts(model.output), name=model.name)
        return model

    def _linear(self, task: Task) -> keras.Model:
        """Build it with linear outputs."""
        kind = task.encoder(self.options)
        channels = task.channels(self.options, self.classes)
        architecture = _architecture(self.options)
        if kind == "trained":
            plugin = task.plugin(self.options) or None
            return build_model(task.name, channels, model=plugin, **architecture)
        encoder = self.encoder if kind == "frozen" else self._encoder(rounded=False)
        head = build_head(task.name, channels, encoder, **architecture)
        return head if kind == "frozen" else on_encoder(encoder, head)

    def _encoder(self, rounded: bool) -> keras.Model:
        encoder = random_encoder(self.options, rounded)
        path = self.folder / ENCODER
        with _damage_named(path):
            encoder.load_weights(path)
        return encoder


def random_encoder(options: Options, rounded: bool = True) -> keras.Model:
    """Build the encoder with random weights; it is frozen, or its batch normalisation is."""
    encoder = build_encoder(
        backbone=options.backbone,
        width_multiplier=options.width_multiplier,
        precision=options.precision,
        rounded=rounded,
    )
    if rounded:
        encoder.trainable = False
    else:
        for layer in encoder.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return encoder


def load_weights(model: keras.Model, options: Options) -> None:
    """Load pretrained weights into a model's backbone, see `load_backbone_weights`."""
    load_backbone_weights(
        model, options.source_of_weights, options.backbone, options.width_multiplier
    )


def _architecture(options: Options) -> dict:
    return {
        "backbone": options.backbone,
        "width_multiplier": options.width_multiplier,
        "normalization": options.normalizes,
        "precision": options.precision,
    }


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be loaded into the campaign's model: {reason}") from error
