"""Where a round stands that waits for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.rows import RegionName
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.text import counted


@dataclass(frozen=True)
class Waiting:
    """A round's request, and how much of it is in.

    Attributes:
        folder: The campaign's folder.
        round: The round's number.
        request: The regions that people are asked for, by number.
        annotated: Numbers of those that are annotated.
        skipped: Numbers of those that are skipped.
        redraws: Regions of earlier rounds that some, by number, draw again.
    """

    folder: Path
    round: int
    request: Sequence[Chosen]
    annotated: frozenset[int]
    skipped: frozenset[int]
    redraws: Mapping[int, RegionName] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The numbers of the regions that are neither annotated nor skipped."""
        known = self.annotated | self.skipped
        return [number for number in range(len(self.request)) if number not in known]

    def summary(self) -> dict[str, int]:
        """Return the counts, for `status --json`."""
        return {
            "regions": len(self.request),
            "annotated": len(self.annotated),
            "skipped": len(self.skipped),
        }

    def again_text(self) -> str:
        """Say which regions of earlier rounds are drawn again, by their numbers."""
        return ", ".join(f"{number} (region {name})" for number, name in self.redraws.items())

    def text(self) -> str:
        """Say in one line what there is."""
        total, missing = len(self.request), len(self.missing)
        regions = counted(total, "region")
        known = f"{len(self.annotated)} annotated, {len(self.skipped)} skipped"
        if not missing:
            return f"round {self.round} has all its {regions} ({known})"
        if missing < total:
            return f"round {self.round} waits for {missing} of {regions} ({known})"
        images = counted(len({asked.region.image_id for asked in self.request}), "image")
        return f"round {self.round} waits for {regions} in {images}"


def refuse_not_waiting(campaign: Campaign) -> Waiting:
    """Return what the round in progress waits for.

    Raises:
        UserError: It does not wait, or the request or an annotation is damaged.
    """
    found = waiting(campaign)
    if found is None:
        raise UserError(
            f"{campaign.folder}: waits for no annotations, run: cereals step "
            f"{quote(str(campaign.folder))}"
        )
    return found


def waiting(campaign: Campaign) -> Waiting | None:
    """Return what the round in progress waits for, None if it does not wait.

    Raises:
        UserError: The request or an annotation is damaged.
    """
    request = campaign.request()
    if request is None:
        return None
    numbers = set(range(len(request)))
    skipped = numbers & campaign.annotations.skipped()
    annotated = numbers & campaign.annotations.numbers() - skipped
    return Waiting(
        campaign.folder,
        len(campaign.rounds()),
        request,
        frozenset(annotated),
        frozenset(skipped),
        campaign.redraws(),
    )


def why_it_stopped(campaign: Campaign) -> str:
    """Say why a step completed no round, for the user to read."""
    asked = waiting(campaign)
    return asked.text() if asked else "the pool is empty, there is nothing left to annotate"
