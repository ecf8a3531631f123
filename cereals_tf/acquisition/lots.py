"""Lots: numbers that are drawn for the windows of an image, each from its seed and place alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_ALL_BITS = 2**64 - 1


@dataclass(frozen=True)
class Lots:
    """The lots of one image: the outputs of SplitMix64 from a seed on, of which any is had at once.

    Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    Attributes:
        seed: from 0 to 2^64 - 1, one for each image and round.
    """

    seed: int

    def of(self, places: Any) -> Any:
        """Return the lots of windows, from 0 to 2^64 - 1.

        Args:
            places: the windows' places in the image's flattened grid: an int, or uint64 [...].
        """
        lots = (places + 1) * 0x9E3779B97F4A7C15 + self.seed & _ALL_BITS
        lots = (lots ^ lots >> 30) * 0xBF58476D1CE4E5B9 & _ALL_BITS
        lots = (lots ^ lots >> 27) * 0x94D049BB133111EB & _ALL_BITS
        return lots ^ lots >> 31

    def exponential(self, shape: tuple[int, int]) -> np.ndarray:
        """Return a number of the exponential distribution for each window, float32 above 0.

        Args:
            shape: of the grid of windows.
        """
        drawn = np.random.default_rng(self.seed).standard_exponential(shape, np.float32)
        return np.maximum(drawn, np.float32(2**-24))
