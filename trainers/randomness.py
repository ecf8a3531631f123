"""Random numbers that depend on a purpose, not on what was drawn before."""

import hashlib

import keras
import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^31) from numbers and names; other parts give an unrelated one."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def reseed(model: keras.Model, seed: int) -> None:
    """Set the state of all the model's random layers, so that their next draws depend on it alone.

    Call it outside of traced functions.

    Args:
        model: Any Keras model.
        seed: Any integer >= 0.
    """
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for index, state in enumerate(states):
        state.assign(np.random.SeedSequence([seed, index]).generate_state(2))
