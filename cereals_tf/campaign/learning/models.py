"""A campaign's models: built with their first weights, and loaded as a round left them.

The encoder of a campaign that does not train it from scratch is kept once, in `encoder.keras`, and
a round keeps the heads that were trained on it. The architecture comes from the code, never from a
file, so that no code in a file is run.
"""

import hashlib
import warnings
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.learning.lending import lent
from cereals_tf.campaign.learning.task import COST, TASKS, Task
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.models.build import build_encoder, build_head, build_model, option_of
from cereals_tf.models.head import on_encoder
from cereals_tf.models.weights import load_backbone_weights
from cereals_tf.plugin import load_function

ENCODER = "encoder.keras"
"""The encoder's file in a campaign's folder."""


@dataclass(frozen=True)
class Encoder:
    """The encoder that a campaign keeps; what is read of it is read once.

    Attributes:
        folder: The campaign's.
        options: The campaign's.
    """

    folder: Path
    options: Options

    @cached_property
    def frozen(self) -> keras.Model:
        """The encoder as all heads share it.

        Raises:
            UserError: Its file is missing or damaged.
        """
        return _frozen(self._path, _changed(self._path), self.options)

    @cached_property
    def digest(self) -> str:
        """A digest of its weights; errors as in `frozen`."""
        digest = hashlib.sha256()
        for weight in self.frozen.get_weights():
            digest.update(np.ascontiguousarray(weight))
        return digest.hexdigest()

    def tuned(self) -> keras.Model:
        """Return a copy to be trained further; errors as in `frozen`."""
        return _encoder(self._path, self.options, rounded=False)

    @property
    def _path(self) -> Path:
        return self.folder / ENCODER


@lru_cache(maxsize=1)
def _frozen(path: Path, changed: tuple[int, ...], options: Options) -> keras.Model:
    """Return the frozen encoder that a file holds, the same one in round after round."""
    return _encoder(path, options, rounded=True)


def _changed(path: Path) -> tuple[int, ...]:
    """Return what is another once a file is."""
    with _damage_named(path):
        stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _encoder(path: Path, options: Options, rounded: bool) -> keras.Model:
    encoder = random_encoder(options, rounded)
    _load(encoder, path)
    return encoder


@dataclass(frozen=True)
class Models:
    """Builds and loads models of a campaign.

    Attributes:
        options: Of the campaign, or of one of its rounds.
        classes: Of its data set.
        kept: Its encoder, which models of other options share (`dataclasses.replace`).
    """

    options: Options
    classes: Classes
    kept: Encoder

    @classmethod
    def at(cls, folder: Path, options: Options, classes: Classes) -> "Models":
        """Return the models of a campaign's folder."""
        return cls(options, classes, Encoder(folder, options))

    @classmethod
    def of(cls, campaign: Campaign, done: CommittedRound | None = None) -> "Models":
        """Return the models of a campaign's next round, or those of one that is complete."""
        models = cls.at(campaign.folder, campaign.options, campaign.classes)
        return models if done is None else models.as_in(campaign, done)

    def as_in(self, campaign: Campaign, done: CommittedRound) -> "Models":
        """Return the models of another round of the campaign, which share the encoder."""
        return replace(self, options=campaign.options_of(done), classes=campaign.classes_of(done))

    @property
    def encoder(self) -> keras.Model:
        """The frozen encoder, see `Encoder.frozen`."""
        return self.kept.frozen

    @property
    def stand_on_encoder(self) -> bool:
        """Whether any model stands on the encoder that the campaign keeps."""
        return any(task.encoder(self.options) != "trained" for task in TASKS)

    @property
    def keeps_features(self) -> bool:
        """Whether a model is trained on features of the frozen encoder that are kept."""
        return self.stand_on_encoder and self.options.cache != "none"

    def seed(self, seed: int) -> None:
        """Set what random weights are drawn from.

        The encoder is loaded before, as to build it draws numbers too: a head's first weights are
        not to depend on whether another one was built before it.
        """
        if self.stand_on_encoder:
            _ = self.encoder
        keras.utils.set_random_seed(seed)

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
        _load(model, path)
        return model

    def load_round(self, task: Task, done: CommittedRound) -> keras.Model:
        """Load what a committed round trained for a task; errors as in `load`."""
        return self.load(task, done.folder / task.file)

    @contextmanager
    def lent(self, task: Task, path: Path) -> Iterator[keras.Model]:
        """Lend what `load` gives, where it is used in this block alone."""
        with self.lent_alike(task) as model:
            _load(model, path)
            yield model

    def lent_alike(self, task: Task) -> AbstractContextManager[keras.Model]:
        """Lend a model as `build` gives it, with any weights."""
        return lent(self._build(task), partial(self.random, task))

    def _build(self, task: Task) -> Hashable:
        """Return what a task's model depends on.

        A batch of one is traced as such. None for a head that other models are built on, which it
        would keep alive.
        """
        stands = task.encoder(self.options) != "trained"
        if stands and not all(map(self.takes_features, TASKS)):
            return None
        plugin = task.plugin(self.options)
        kind = load_function(plugin, option_of(task.name)) if plugin else task.encoder(self.options)
        about = kind, self.options.predicts_crossings, self.options.batch_size == 1
        channels = task.channels(self.options, self.classes)
        return (task.name, channels, *about, *_architecture(self.options).values())

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
        encoder = self.encoder if kind == "frozen" else self.kept.tuned()
        head = build_head(task.name, channels, encoder, **architecture)
        return head if kind == "frozen" else on_encoder(encoder, head)


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


def _load(model: keras.Model, path: Path) -> None:
    with _damage_named(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")  # as it is new
        model.load_weights(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be loaded into the campaign's model: {reason}") from error
