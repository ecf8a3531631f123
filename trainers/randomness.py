"""Random numbers that depend on a purpose, not on what was drawn before."""

import hashlib
from collections.abc import Iterator

import keras


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^31) from numbers and names; other parts give an unrelated one."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer of a model, so that its next draws follow the seed."""
    for number, generator in enumerate(_seed_generators(model)):
        generator.state.assign([derive_seed(seed, number), 0])


def _seed_generators(layer: keras.Layer) -> Iterator[keras.random.SeedGenerator]:
    for sublayer in layer._flatten_layers():
        yield from sublayer._seed_generators
