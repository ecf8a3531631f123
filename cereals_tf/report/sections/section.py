"""What every section of the page has."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        anchor: Its id in the page.
        title: Its heading.
        template: The file in `templates/` that shows it.
        content: What that file needs.
    """

    anchor: str
    title: str
    template: str
    content: dict[str, Any]
