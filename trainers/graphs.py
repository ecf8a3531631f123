"""Graphs that a model keeps, so that they are traced once however often it is used."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import keras
import tensorflow as tf

Made = TypeVar("Made")


class _Kept:
    """What was made of a model; no container that Keras would look for layers in."""

    def __init__(self) -> None:
        self.made: dict[Hashable, Any] = {}


def kept(model: keras.Model, make: Callable[..., Made], *arguments: Hashable) -> Made:
    """Return `make(model, *arguments)`, the same one as long as the model lives."""
    made = vars(model).setdefault("_kept", _Kept()).made
    name = (make, *arguments)
    if name not in made:
        made[name] = make(model, *arguments)
    return made[name]


def signature_of(batches: tf.data.Dataset) -> tuple[Any, ...]:
    """Return what a function takes that is called with a dataset's elements, to be traced for."""
    parts: Any = batches.element_spec
    return (*parts,)
