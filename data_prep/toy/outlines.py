"""Outlines of what has no corners."""

from collections.abc import Sequence

import numpy as np


def blob(
    rng: np.random.Generator,
    centre: np.ndarray,
    radii: Sequence[float] | np.ndarray,
    ragged: float = 0.07,
) -> np.ndarray:
    """Returns a rounded outline, as of foliage, with a vertex each 4 pixels or so.

    Args:
        rng: Where every random choice comes from.
        centre: Its middle (x, y) in pixels.
        radii: Across and down, in pixels.
        ragged: Standard deviation of each vertex, as a share of the radii.
    """
    count = int(np.clip(2 * np.pi * np.mean(radii) / 4, 9, 44))
    angles = np.arange(count) * (2 * np.pi / count) + rng.uniform(-0.4, 0.4, count) / count
    waves = sum(
        rng.normal(0, 0.1 / order) * np.cos(order * angles + rng.uniform(0, 6))
        for order in (2, 3, 5)
    )
    reach = 1 + waves + rng.normal(0, ragged, count)
    return centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] * radii
