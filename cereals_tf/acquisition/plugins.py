"""Measures and fusions by name: the registries' own, and the user's as `package.module:function`.

What a registry's entry says besides its function, a function of the user's own says by attributes
of the same names, as `doubt.needs_committee = True`. It is tried on small arrays when it is found,
as arrays and in a graph: a message at `start` is better than a failure after a training.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cereals_tf.acquisition.fusion import FUSIONS, Fusion
from cereals_tf.acquisition.information import MEASURES, Measure
from cereals_tf.data_prep.errors import UserError
from cereals_tf.plugin import load_function

_ROUNDING = 1e-5
_FORMS = {bool: "True or False", str: "a text", tuple: "a tuple of names"}


def find_measure(name: str, classes: int) -> Measure:
    """Return the measure that `--information` names.

    The user's own maps probabilities float32 [E, ..., classes] to information float32 [...] of 0 or
    more, as those of `MEASURES` do; `unit`, `needs_committee` and `accepts_logits` are its
    attributes. Without `needs_committee`, E is 1.

    Args:
        name: Of `MEASURES`, or `package.module:function`.
        classes: Number of classes.

    Raises:
        UserError: There is no such function, or it is no measure.
    """
    if name in MEASURES:
        return MEASURES[name]
    function = load_function(name, "--information")
    option = f"--information={name}"
    defaults = {"unit": "information", "needs_committee": False, "accepts_logits": False}
    measure = Measure(function, help=name, **_attributes(function, defaults, option))
    for shape in ((1, 2, 3), (2, 4, 2)):
        _try_measure(measure, shape, classes, option)
    return measure


def find_fusion(name: str, values: Mapping[str, Any]) -> Fusion:
    """Return the fusion that `--fusion` names.

    The user's own maps information and cost, float32 [...] each, to scores float32 [...], as those
    of `FUSIONS` do; `unit`, `scaled` and `parameters` are its attributes. It is called with NumPy
    arrays and, in the exported model, with tensors: operators and `keras.ops` take both.

    Args:
        name: Of `FUSIONS`, or `package.module:function`.
        values: A campaign's options by name, for the fusion's parameters.

    Raises:
        UserError: There is no such function, or it is no fusion.
    """
    if name in FUSIONS:
        return FUSIONS[name].with_parameters(values)
    function = load_function(name, "--fusion")
    option = f"--fusion={name}"
    defaults = {"unit": "score", "scaled": False, "parameters": ()}
    fusion = Fusion(function, help=name, **_attributes(function, defaults, option))
    for parameter in fusion.parameters:
        if parameter not in values:
            raise UserError(f"{option}: its parameter {parameter!r} is no option, as alpha is")
    fusion = fusion.with_parameters(values)
    _try_fusion(fusion, option)
    return fusion


def _attributes(
    function: Callable[..., Any], defaults: Mapping[str, Any], option: str
) -> dict[str, Any]:
    """Return what a function says of itself, the defaults where it says nothing."""
    found = {name: getattr(function, name, default) for name, default in defaults.items()}
    for name, default in defaults.items():
        if type(found[name]) is not type(default):
            raise UserError(
                f"{option}: its {name} is {found[name]!r}, expected {_FORMS[type(default)]}"
            )
    return found


def _try_measure(measure: Measure, shape: tuple[int, ...], classes: int, option: str) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (3 if measure.needs_committee else 1, *shape, classes))
    logits[:, 0, 0, 0] = 200 * np.eye(classes)[0]  # certain: the other classes have probability 0
    logits[:, 0, 0, 1] = 0
    logits = logits.astype(np.float32)
    probabilities = tf.nn.softmax(logits).numpy()
    in_graph = _in_graph(measure.function, tf.TensorSpec([len(logits), None, None, None, classes]))
    what = f"probabilities float32 {list(probabilities.shape)}"
    for function in (measure.function, in_graph):
        found = _called(function, [tf.constant(probabilities)], shape, what, option)
        if found.min() < -_ROUNDING:
            raise UserError(f"{option}: gives {found.min():g}, expected 0 or more for {what}")
    if measure.accepts_logits:
        of_logits = _called(in_graph, [tf.constant(logits)], shape, "logits", option)
        if not np.allclose(of_logits, found, _ROUNDING, _ROUNDING):
            raise UserError(
                f"{option}: gives other information for logits than for their softmax, expected "
                "the same, or no accepts_logits"
            )


def _try_fusion(fusion: Fusion, option: str) -> None:
    rng, shape = np.random.default_rng(0), (2, 3, 4)
    arrays = rng.random((2, *shape), np.float32) * (1 if fusion.scaled else 50)
    arrays[:, 0, 0, 0] = 0
    arrays[1, 0, 0, 1] = 0
    in_graph = _in_graph(fusion.function, *[tf.TensorSpec([None] * 3)] * 2)
    what = f"information and cost float32 {list(shape)}"
    tensors = list(map(tf.constant, arrays))
    of_arrays = _called(fusion.function, list(arrays), shape, f"{what}, NumPy arrays", option)
    of_tensors = _called(in_graph, tensors, shape, f"{what}, tensors", option)
    if not np.allclose(of_arrays, of_tensors, _ROUNDING, _ROUNDING):
        raise UserError(f"{option}: gives other scores for tensors than for NumPy arrays")


def _in_graph(function: Callable[..., Any], *signature: tf.TensorSpec) -> Callable[..., Any]:
    def call(*arguments: tf.Tensor) -> Any:
        return function(*arguments)

    return tf.function(call, input_signature=signature)


def _called(
    function: Callable[..., Any], arguments: list, shape: tuple[int, ...], what: str, option: str
) -> np.ndarray:
    """Call a function, and return what it gives if that is float32, of the shape and finite."""
    try:
        with np.errstate(all="ignore"):
            found = function(*arguments)
    except Exception as error:
        raise UserError(f"{option}: {what}: {_reason(error)}") from error
    text = type(found).__name__
    if isinstance(found, (np.ndarray, np.generic, tf.Tensor)):
        found = np.asarray(found)
        text = f"{found.dtype} {list(found.shape)}"
    if text != f"float32 {list(shape)}":
        raise UserError(f"{option}: expected float32 {list(shape)} of {what}, found {text}")
    if not np.isfinite(found).all():
        raise UserError(
            f"{option}: gives NaN or infinity for {what}, some of them 0, expected numbers"
        )
    return found


def _reason(error: Exception) -> str:
    """Return an error's type and first line, the last one where AutoGraph put its own before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    within = lines[0] == "in user code:"
    return lines[-1] if within else f"{type(error).__name__}: {lines[0]}"
