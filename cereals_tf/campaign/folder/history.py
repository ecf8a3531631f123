"""What a campaign has otherwise from some round on: `changes` in campaign.json."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cereals_tf.data_prep.dataset import Classes


@dataclass(frozen=True)
class Change:
    """One change, by one command.

    Attributes:
        round: The first round that it counts for.
        options: Options that are others from then on, in their written forms.
        excluded: Images that are not proposed any more.
        untrained: Those of them whose regions are not trained on any more.
        included: Images that are as if they had never been excluded.
        unskipped: In these images what was skipped in rounds before this one may be proposed again;
            and what was skipped so far in the round that waits, if one does, is asked for again.
        added: What was added to the data set: the fingerprint of each addition by its folder.
        classes: Classes that were appended, each with its colour (red, green, blue), 0 to 255.
    """

    round: int
    options: Mapping[str, Any] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    included: tuple[str, ...] = ()
    unskipped: int = 0
    added: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Change":
        """Read a change.

        Raises:
            TypeError: It is of another form.
        """
        parts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        change = cls(**parts)
        if type(change.round) is not int or not isinstance(change.options, dict):
            raise TypeError("'changes', expected a list of them, each with its round")
        return change

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes; what is empty is left out."""
        content = {name: value for name, value in asdict(self).items() if name == "round" or value}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}


def options_of(changes: Iterable[Change]) -> dict[str, Any]:
    """Return the written forms of the options that some changes leave behind."""
    return {name: form for change in changes for name, form in change.options.items()}


def excluded_by(changes: Iterable[Change]) -> dict[str, bool]:
    """Return the images that some changes leave excluded; True: and no longer trained on."""
    found: dict[str, bool] = {}
    for change in changes:
        found |= {image_id: image_id in change.untrained for image_id in change.excluded}
        found = {
            image_id: never for image_id, never in found.items() if image_id not in change.included
        }
    return found


def included_by(changes: Iterable[Change]) -> dict[str, int]:
    """Return by image the first round whose skips in it count."""
    return {image_id: change.unskipped for change in changes for image_id in change.included}


def unskipped_by(changes: Iterable[Change], number: int) -> dict[str, int]:
    """Return by image which change, counted from 1, took back skips of a round that waits."""
    return {
        image_id: place
        for place, change in enumerate(changes, 1)
        if change.round == number + 1
        for image_id in change.included
    }


def added_by(changes: Iterable[Change]) -> dict[str, str]:
    """Return what some changes added to the data set, see `Change.added`."""
    return {name: part for change in changes for name, part in change.added.items()}


def extended_by(changes: Iterable[Change], classes: Classes) -> Classes:
    """Return the classes to which some changes appended others."""
    new = {name: colour for change in changes for name, colour in change.classes.items()}
    colours = [(red, green, blue) for red, green, blue in new.values()]
    return replace(classes, names=(*classes.names, *new), palette=(*classes.palette, *colours))
