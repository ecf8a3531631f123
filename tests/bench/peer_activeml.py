"""scikit-activeml's selection, for the Python that has it."""

import time
from typing import Any

import numpy as np
from skactiveml.utils import simple_batch


def choose(path: str, count: int, repeats: int) -> dict[str, Any]:
    """Choose the `count` best of the scores in a file, several times.

    Returns:
        `chosen`: their places; `seconds`: the time of each turn.
    """
    scores = np.load(path)
    simple_batch(scores, random_state=0, batch_size=count)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        chosen = simple_batch(scores, random_state=0, batch_size=count)
        seconds.append(time.perf_counter() - begin)
    return {"chosen": np.ravel(chosen).tolist(), "seconds": seconds}
