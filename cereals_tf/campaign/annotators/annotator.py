"""Annotators: those who turn a round's chosen regions into annotated ones.

There are two: the oracle (`oracle.py`), who answers at once, and people (`people.py`), for whom the
round waits.
"""

from collections.abc import Callable
from typing import Protocol

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.trainers.split import Split


class WaitingError(Exception):
    """A round waits for people."""


class Annotator(Protocol):
    """Annotates the regions of one round."""

    def annotate(self, choose: Callable[[], list[Chosen]]) -> list[Annotated]:
        """Annotate what `choose` chooses.

        Raises:
            WaitingError: The annotations are not complete.
            UserError: They cannot be used.
        """
        ...

    def labelled(self) -> Split:
        """Return the train split with what is annotated up to this round, its regions included.

        What it gives outside the annotated regions is not to be looked at.
        """
        ...
