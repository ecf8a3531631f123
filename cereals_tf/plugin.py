"""Functions of the user's own, `package.module:function`."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from cereals_tf.data_prep.errors import UserError


def load_function(spec: str, option: str) -> Callable[..., Any]:
    """Import the function that a specification `package.module:function` names.

    The current directory is importable, as it is for `python -m`.

    Args:
        spec: `package.module:function`.
        option: Where it was given, as `--model`, for messages.

    Raises:
        UserError: the specification is malformed, the module is missing or fails to import, or
            it has no such function.
    """
    option = f"{option}={spec}"
    module_name, colon, function_name = spec.partition(":")
    parts = [*module_name.split("."), function_name]
    if not colon or not all(part.isidentifier() for part in parts):
        raise UserError(f"{option}: expected package.module:function")
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_parent(error.name, module_name):
            raise UserError(
                f"{option}: found no module {error.name!r}; looked in {os.getcwd()} and in the "
                "installed packages"
            ) from error
        raise UserError(
            f"{option}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, function_name):
        raise UserError(f"{option}: module {module_name} has no function {function_name!r}")
    found = getattr(module, function_name)
    if not callable(found):
        raise UserError(
            f"{option}: expected a function, found {function_name!r} of type {type(found).__name__}"
        )
    return found


def words(name: str) -> str:
    """Return the name of a registry's entry or of a function in words."""
    return name.rpartition(":")[2].replace("_", " ")


def _is_parent(missing: str | None, module_name: str) -> bool:
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")
