"""Progress bars: the command line shows them, a program sees none unless it asks for them."""

from typing import Any

from tqdm import tqdm

_shown = False


def show_progress(shown: bool = True) -> None:
    """Show progress bars from now on in this process, or no longer."""
    global _shown
    _shown = shown


class Progress(tqdm):
    """A bar of tqdm, with its arguments; hidden where nobody asked for bars."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Make a bar, see `tqdm`."""
        super().__init__(*arguments, **named | {"disable": named.get("disable") or not _shown})
