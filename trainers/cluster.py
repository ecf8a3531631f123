"""The workers of a training on several machines, as the environment variable TF_CONFIG names them.

This module needs no TensorFlow.
"""

import json
import os
from dataclasses import dataclass

from cereals_tf.data_prep.errors import UserError

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["HOST0:PORT", "HOST1:PORT"]}, "task": {"type": "worker", "index": 0}}'
)
TRAINS = ("chief", "worker")
"""The kinds of tasks that train, in the order in which they are counted."""


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
        addresses: HOST:PORT of each of them; the first one is the chief.
        index: Which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int


def read_cluster() -> Cluster:
    """Read TF_CONFIG, as Kubeflow's TFJob, Vertex AI and others set it.

    Raises:
        UserError: It is not set, or does not say which worker of which workers this is.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        raise _wrong("is not set")
    try:
        content = json.loads(text)
        tasks = {kind: list(content["cluster"].get(kind, ())) for kind in TRAINS}
        kind, index = content["task"]["type"], int(content["task"]["index"])
        before = 0 if kind == TRAINS[0] else len(tasks[TRAINS[0]])
        there = 0 <= index < len(tasks.get(kind, ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _wrong(f"is {text[:200]}") from None
    if not there:
        raise _wrong(f"names this process {kind} {index}, which is none of {TRAINS} of its cluster")
    return Cluster(tuple(map(str, tasks["chief"] + tasks["worker"])), before + index)


def writes(strategy: str) -> bool:
    """Whether this process writes what the strategy of this name trains, and shows how it goes.

    Raises:
        UserError: See `read_cluster`.
    """
    return strategy != "multiworker" or read_cluster().index == 0


def _wrong(found: str) -> UserError:
    return UserError(
        f"--strategy=multiworker: the environment variable {VARIABLE} {found}; expected {EXAMPLE}"
    )
