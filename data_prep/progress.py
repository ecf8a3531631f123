"""Progress bars and notes: the command line shows them, a program sees none unless it asks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_shown = False
_within = ""


def show_progress(shown: bool = True) -> None:
    """Show progress bars and notes from now on in this process, or no longer."""
    global _shown
    _shown = shown


@contextmanager
def within(work: str) -> Iterator[None]:
    """Name the work that the bars of a block are part of, before their own names."""
    global _within
    outer, _within = _within, f"{work}: "
    try:
        yield
    finally:
        _within = outer


class Progress(tqdm):
    """A bar of tqdm, with its arguments; hidden where nobody asked for bars."""

    def __init__(
        self, iterable: Any = None, desc: str | None = None, *arguments: Any, **named: Any
    ) -> None:
        """Make a bar, see `tqdm`."""
        hidden = named.pop("disable", False) or not _shown
        desc = desc and _within + desc
        super().__init__(iterable, desc, *arguments, disable=hidden, **named)


def note(text: str) -> None:
    """Write a line to stderr, above the bars; nowhere where nobody asked for bars."""
    if _shown:
        tqdm.write(text, file=sys.stderr)
