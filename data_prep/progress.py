"""Progress bars and notes: the command line shows them, a program sees none unless it asks."""

import sys
from typing import Any

from tqdm import tqdm

_shown = False


def show_progress(shown: bool = True) -> None:
    """Show progress bars and notes from now on in this process, or no longer."""
    global _shown
    _shown = shown


class Progress(tqdm):
    """A bar of tqdm, with its arguments; hidden where nobody asked for bars."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Make a bar, see `tqdm`."""
        super().__init__(*arguments, **named | {"disable": named.get("disable") or not _shown})


def note(text: str) -> None:
    """Write a line to stderr, above the bars; nowhere where nobody asked for bars."""
    if _shown:
        tqdm.write(text, file=sys.stderr)
