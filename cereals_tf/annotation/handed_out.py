"""Where the regions that a campaign waits for were handed out to, as far as it was noted."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cereals_tf.annotation.formats import FORMATS, format_of
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import refuse_read_only

NOTES = "handed_out.jsonl"
"""File in a campaign's folder that gets a line whenever tasks were written."""


@dataclass(frozen=True)
class HandOut:
    """Regions of a round that went to an annotation tool.

    Attributes:
        round: The round that waited.
        regions: Their numbers in its request.
        format: The tool's name.
        folder: The absolute path of the tasks' folder; '' where they went to a server.
        url: The server's address.
        project: Its project.
    """

    round: int
    regions: list[int]
    format: str
    folder: str = ""
    url: str = ""
    project: str = ""

    @property
    def result(self) -> tuple[list[Path], Mapping[str, str]]:
        """What `collect` takes, words and options, to get what is made of them."""
        if not self.folder:
            return [], {"format": self.format, "url": self.url, "project": self.project}
        folder = Path(self.folder)
        with suppress(ValueError):
            folder = folder.relative_to(Path.cwd())
        return [FORMATS[self.format].result(folder)], {"format": self.format}

    @property
    def is_there(self) -> bool:
        """Whether its folder still is where it was; a server is not asked."""
        return not self.folder or format_of(Path(self.folder)) == self.format


def note_hand_out(campaign: Campaign, made: HandOut) -> None:
    """Note that regions were handed out, if the campaign's folder can be written."""
    with suppress(OSError, UserError):
        refuse_read_only(campaign.folder)
        with (campaign.folder / NOTES).open("a") as file:
            file.write(f"\n{json.dumps(asdict(made))}")  # after a line that may be cut off


def last_hand_out(campaign: Campaign, round: int, missing: Collection[int]) -> HandOut | None:
    """Return the last tasks with a region that a round still waits for, None where none is known.

    Tasks are no longer known when their folder is gone.
    """
    wanted = {*missing}
    known = [
        made
        for made in _noted(campaign.folder / NOTES)
        if made.round == round and wanted & {*made.regions} and made.is_there
    ]
    return known[-1] if known else None


def _noted(path: Path) -> Iterator[HandOut]:
    """Give the notes of a file; a line that was cut off, or is of another version, is no note."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        with suppress(ValueError, TypeError):
            made = HandOut(**json.loads(line))
            if made.format in FORMATS:
                yield made
