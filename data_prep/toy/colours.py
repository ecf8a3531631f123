"""Colours that are drawn from lists."""

from collections.abc import Sequence

import numpy as np

CAR_COLOURS = [
    (225, 225, 222), (205, 208, 210), (40, 42, 46), (66, 70, 76), (128, 132, 136), (158, 34, 32),
    (36, 62, 118), (70, 110, 150), (44, 74, 56), (196, 160, 58), (120, 84, 64), (92, 30, 44),
]  # fmt: skip


def pick(rng: np.random.Generator, choices: Sequence) -> np.ndarray:
    """Draws one colour of a list and varies it a little."""
    return np.array(choices[int(rng.integers(len(choices)))]) * rng.normal(1, 0.06) + rng.normal(
        0, 5, 3
    )
