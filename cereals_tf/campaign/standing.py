"""Where a campaign stands: what of its rounds is out of date, and what was spent on them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cereals_tf.campaign.folder.annotators import is_place
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound, regions_of
from cereals_tf.campaign.folder.history import excluded_by

BY_ORACLE = "ground truth"
BROUGHT = "labels that were there"
BY_PEOPLE = "people"
ASSISTED = "and a model"


@dataclass(frozen=True)
class Account:
    """What was spent on regions, beside what models expected of those that they chose.

    Attributes:
        clicks: Billed for all regions.
        seconds: What people needed; None where nobody measured.
        estimated: What the regions of the rounds with an estimate were expected to take, in the
            unit of the campaign's costs; None where no model chose any.
        true: What these took; None likewise.
    """

    clicks: int
    seconds: float | None
    estimated: float | None
    true: float | None


@dataclass(frozen=True)
class Standing:
    """Where a campaign stands.

    Attributes:
        stale: By round, why its models or its numbers are not what they would be today.
        annotators: How many regions each annotator did, those who have no name by their kind.
        account: What was spent.
    """

    stale: dict[int, list[str]]
    annotators: dict[str, int]
    account: Account

    def to_json(self) -> dict[str, Any]:
        """Return it for `status --json`."""
        return asdict(self)


def standing(campaign: Campaign) -> Standing:
    """Return where a campaign stands; the data set is looked at if it is there."""
    rounds = campaign.rounds()
    stale = {done.number: reasons for done in rounds if (reasons := stale_because(campaign, done))}
    return Standing(stale, _annotators(campaign, rounds), _account(campaign, rounds))


def stale_because(campaign: Campaign, done: CommittedRound) -> list[str]:
    """Return why a round's models or numbers are not what they would be today, in words."""
    now = excluded_by(campaign.changes)
    before = campaign.excluded_at(done.number)
    regions = regions_of(campaign.rounds()[: done.number + 1])
    gone = {
        image_id
        for image_id in (region.region.image_id for region in regions)
        if now.get(image_id) and not before.get(image_id)
    }
    reasons = [f"trained on images that are excluded since: {len(gone)}"] if gone else []
    last = max((change.round for change in campaign.changes), default=0)
    if not any(change.added or change.classes for change in campaign.changes):
        return reasons
    if campaign.recorded_classes and (
        new := campaign.classes_at(last).names[len(campaign.classes_at(done.number)) :]
    ):
        reasons.append(f"does not know the classes added since: {', '.join(new)}")
    if campaign.data_is_there:
        then, today = campaign.data_at(done.number).images, campaign.data_at(last).images
        for split, verb in (("train", "chose from"), ("val", "was measured on")):
            had, has = len(then[split]), len(today[split])
            if had < has:
                reasons.append(f"{verb} {had} of the {has} images of {split}")
    return reasons


def _annotators(campaign: Campaign, rounds: Sequence[CommittedRound]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for done in rounds:
        if campaign.options.annotator == "oracle":
            counts[BY_ORACLE] += len(done.regions)
        else:
            counts.update(_people(done))
    return dict(counts.most_common())


def _people(done: CommittedRound) -> Iterator[str]:
    """Yield who annotated each region of a round."""
    annotators = done.annotations.annotators()
    for name, region in done.named.items():
        if name.number in annotators:
            annotator = annotators[name.number]
            who = BY_PEOPLE if is_place(annotator) else annotator or BY_PEOPLE
            yield f"{who} {ASSISTED}" if region.assisted else who
        else:
            yield BROUGHT


def _account(campaign: Campaign, rounds: Sequence[CommittedRound]) -> Account:
    regions = regions_of(rounds)
    seconds = [region.seconds for region in regions if region.seconds is not None]
    metrics = [done.metrics for done in rounds]
    known = [(one.bill_estimated, one.bill_true) for one in metrics]
    pairs = [
        (expected, took) for expected, took in known if expected is not None and took is not None
    ]
    return Account(
        sum(region.bill(campaign.options) for region in regions),
        sum(seconds) if seconds else None,
        sum(expected for expected, _ in pairs) if pairs else None,
        sum(took for _, took in pairs) if pairs else None,
    )
