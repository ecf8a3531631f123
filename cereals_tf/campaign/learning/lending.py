"""Models that are used again, with other weights, for the graphs that they bring.

To build a model and trace its training, measuring and scoring takes seconds, and a round of few or
small images takes little else. So a process keeps those models that it used last for whoever needs
one that is built alike. The results are the same as without: of a plug-in model that is known where
all its layers are Keras's own, which keep nothing between two uses but what is set anew.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

MOST_WEIGHTS = 4_000_000
"""Larger models are not kept: they would fill the memory, and their steps outweigh the tracing."""
MOST_MODELS = 4
_idle: OrderedDict[Hashable, keras.Model] = OrderedDict()


@contextmanager
def lent(build: Hashable, make: Callable[[], keras.Model]) -> Iterator[keras.Model]:
    """Lend a model for as long as the block lasts; its weights are the borrower's to set.

    Args:
        build: All that the model's architecture depends on; None: it is not known, and the model is
            made anew.
        make: Makes the model, where none is idle that is built so.
    """
    idle = _idle.pop(build, None)
    model = make() if idle is None else idle
    yield model
    if build is not None and (idle is not None or can_be_lent(model)):
        _idle[build] = model
    if len(_idle) > MOST_MODELS:
        _idle.popitem(last=False)


def can_be_lent(model: keras.Model) -> bool:
    """Whether a model may be kept to be lent again."""
    return model.count_params() <= MOST_WEIGHTS and _is_of_known_layers(model)


def _is_of_known_layers(model: keras.Model) -> bool:
    return all(
        module.partition(".")[0] in ("keras", "cereals_tf") and name != "Lambda"
        for module, name in _classes(keras.saving.serialize_keras_object(model))
    )


def _classes(serialized: Any) -> Iterator[tuple[str, str]]:
    """Yield module and name of every class of what a serialised model is made of."""
    if isinstance(serialized, dict):
        if serialized.get("class_name", "__keras_tensor__") != "__keras_tensor__":
            yield serialized["module"] or "", serialized["class_name"]
        serialized = list(serialized.values())
    if isinstance(serialized, list | tuple):
        for part in serialized:
            yield from _classes(part)
