"""The conclusion in words: what the last round gained, cost and chose, and what to do next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cereals_tf import next_command
from cereals_tf.acquisition.plugins import find_measure
from cereals_tf.campaign.bill import bills_of
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.savings import height_between
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.text import counted
from cereals_tf.report.sections.section import Section
from cereals_tf.report.statistics import annotated_by_image, annotated_train, class_pixels
from cereals_tf.report.tables import duration

NAMED = 3
"""Classes that a sentence names."""


class Advice(NamedTuple):
    """What can be done next, and the command to type."""

    words: str
    command: str


def conclusion_section(
    campaign: Campaign, rounds: Sequence[CommittedRound], baseline: Campaign | None = None
) -> Section:
    """Return the section that says in words what the others show in numbers."""
    data, regions = campaign.data, rounds[-1].regions
    metrics = [done.metrics for done in rounds]
    per_class = data.split("train").pixels_per_class
    available = np.array([per_class[name] for name in data.classes.names])
    random = [done.metrics for done in baseline.rounds()] if baseline else []
    sentences = {
        "Gained": gained(metrics),
        "Beside random": beside_random(metrics, random),
        "Cost": cost(metrics, len(regions)) + estimate(campaign.options, regions),
        "Chose": chose(regions, len(data.images["train"]))
        + classes(data.classes.names, _acquired(campaign, rounds), available),
        "To watch": to_watch(metrics, campaign.options_of(rounds[-1]).epochs),
    }
    content = {
        "sentences": {term: " ".join(words) for term, words in sentences.items() if words},
        "advice": advice(campaign, metrics, with_baseline=bool(baseline)),
    }
    return Section("conclusion", f"Round {rounds[-1].number} in words", "conclusion.html", content)


def gained(metrics: Sequence[Metrics]) -> list[str]:
    """Say what the last round did to mIoU on val and to the classes' IoU."""
    *before, last = metrics
    number, miou = len(before), last.miou
    if miou is None:
        return [f"mIoU on val is not defined after round {number}."]
    if not before:
        return [f"Round 0 starts at mIoU {miou:.3f} on val, which round 1 has to beat."]
    earlier = before[-1].miou
    if earlier is None:
        return [f"mIoU on val is {miou:.3f}; before, it was not defined."]
    change = round(miou, 3) - round(earlier, 3)
    if abs(change) < 0.0005:
        words = f"Round {number} left mIoU on val at {miou:.3f}"
    else:
        words = (
            f"Round {number} {'raised' if change > 0 else 'lowered'} mIoU on val by "
            f"{abs(change):.3f}, from {earlier:.3f} to {miou:.3f}"
        )
    best = _best(metrics)
    if best.round == number:
        words += ", the highest so far"
    else:
        words += f"; the highest is still {best.miou:.3f}, of round {best.round}"
    return [f"{words}.", *_changes(before[-1].iou_per_class, last.iou_per_class)]


def _best(metrics: Sequence[Metrics]) -> Metrics:
    """Return the first round with the highest mIoU; the last round if none is defined."""
    known = [done for done in metrics if done.miou is not None]
    return max(known, key=lambda done: round(done.miou or 0.0, 3), default=metrics[-1])


def _changes(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[str]:
    changes = {
        name: round(iou - earlier, 3)
        for name, iou in after.items()
        if iou is not None and (earlier := before.get(name)) is not None
    }
    named = sorted(changes, key=lambda name: changes[name])
    fallen = [f"{name} ({changes[name]:+.3f})" for name in named if changes[name] < 0]
    risen = [f"{name} ({changes[name]:+.3f})" for name in reversed(named) if changes[name] > 0]
    return [
        f"IoU {verb} for {len(names)} of {len(changes)} classes: {_listed(names)}."
        for names, verb in ((risen, "rose"), (fallen, "fell"))
        if names
    ]


def _listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    *first, last = [*names[:NAMED], *more]
    return f"{', '.join(first)} and {last}" if first else last


def beside_random(metrics: Sequence[Metrics], random: Sequence[Metrics]) -> list[str]:
    """Say how far the campaign is ahead of random regions of its pool, of which it has round 0.

    Args:
        metrics: Of each round.
        random: Of each round of random regions for the same budgets, nothing if there are none.
    """
    last, others = metrics[-1], [done for done in random if done.round == metrics[-1].round]
    if not others or last.round == 0 or last.miou is None or others[0].miou is None:
        return []
    words = (
        f"Random regions for the same budgets come to mIoU {others[0].miou:.3f} after round "
        f"{last.round}, these to {last.miou:.3f}"
    )
    height = height_between(metrics, random[: last.round + 1])
    if height is not None:
        words += f"; at equal clicks these are {abs(height):.3f} {_side(height)} in the mean"
    return [f"{words}.", "That is one seed."]


def _side(height: float) -> str:
    return "above" if height > 0 else "below"


def cost(metrics: Sequence[Metrics], regions: int) -> list[str]:
    """Say what the last round took, and what its clicks gained beside those of earlier rounds."""
    *before, last = metrics
    clicks, pixels, share = last.clicks, last.pixels_percent, last.clicks_percent
    if before:
        clicks, pixels = clicks - before[-1].clicks, pixels - before[-1].pixels_percent
        earlier = before[-1].clicks_percent
        share = None if share is None or earlier is None else share - earlier
    of_clicks = "" if share is None else f" ({share:.1f} % of the train split's)"
    seconds = duration(last.total_seconds)
    words = (
        f"{counted(regions, 'region')} with {pixels:.1f} % of the train pixels took "
        f"{counted(clicks, 'click')}{of_clicks} and {seconds} of computing."
    )
    return [words, *_gain_per_click(metrics)]


def _gain_per_click(metrics: Sequence[Metrics]) -> list[str]:
    rates = [_rate(metrics[-2:]), _rate(metrics[:-1])]
    if rates[0] is None:
        return []
    words = f"Per 1,000 clicks mIoU changed by {rates[0]:+.3f}"
    if rates[1] is not None:
        earlier = "round 1" if len(metrics) == 3 else f"rounds 1 to {len(metrics) - 2}"
        words += f", in {earlier} by {rates[1]:+.3f}"
    return [f"{words}."]


def _rate(metrics: Sequence[Metrics]) -> float | None:
    """Return the mIoU gained per 1,000 clicks from the first to the last of some rounds."""
    if len(metrics) < 2 or metrics[0].miou is None or metrics[-1].miou is None:
        return None
    clicks = metrics[-1].clicks - metrics[0].clicks
    return 1000 * (metrics[-1].miou - metrics[0].miou) / clicks if clicks > 0 else None


def estimate(options: Options, regions: Sequence[Annotated]) -> list[str]:
    """Say what people needed, and what the cost model had expected of the regions it chose."""
    words, unit = [], options.cost_unit
    seconds = [region.seconds for region in regions if region.seconds is not None]
    if seconds:
        of_all = f"{len(seconds)} of {counted(len(regions), 'region')}"
        words.append(f"People needed {duration(sum(seconds))} for {of_all}.")
    known = bills_of(regions, options)
    expected, true = (sum(part) for part in zip((0, 0), *known, strict=True))
    if options.cost == "est" and true:
        of_those = "" if len(known) == len(regions) else f" for {len(known)} of them"
        words.append(
            f"The cost model had expected {expected:,.0f} {unit}{of_those}, "
            f"{100 * expected / true:.0f} % of the true {true:,.0f}."
        )
    return words


def chose(regions: Sequence[Annotated], images: int) -> list[str]:
    """Say in how many images the regions lie."""
    if not regions:
        return ["Nothing was annotated."]
    numbers = Counter(region.region.image_id for region in regions)
    words = f"{counted(len(regions), 'region')} in {len(numbers)} of {counted(images, 'image')}"
    most = max(numbers.values())
    return [f"{words}, at most {most} in one." if most > 1 else f"{words}."]


def _acquired(campaign: Campaign, rounds: Sequence[CommittedRound]) -> np.ndarray:
    """Count the pixels of each class that the last round acquired, int64 [C]."""
    new, before = annotated_by_image(rounds[-1:]), annotated_by_image(rounds[:-1])
    with damage_named(campaign.data, "train"):
        return class_pixels(annotated_train(campaign), new, before)


def classes(names: Sequence[str], acquired: np.ndarray, available: np.ndarray) -> list[str]:
    """Say which classes the new pixels are of, and which are more or fewer than in all of train.

    Args:
        names: Class names.
        acquired: int [C], new pixels of each class.
        available: int [C], pixels of each class in the train split; all 0 where nobody knows.
    """
    if not acquired.any():
        return []
    new = 100 * acquired / acquired.sum()
    most = np.argsort(-new, kind="stable")[: np.count_nonzero(new)]
    words = [f"Of the new pixels: {_listed([f'{names[c]} {new[c]:.0f} %' for c in most])}."]
    if available.any():
        surplus = new - 100 * available / available.sum()
        up, down = surplus.argmax(), surplus.argmin()
        words.append(
            f"Compared with all of train, most over its share is {names[up]} "
            f"({surplus[up]:+.1f} points), most under it {names[down]} "
            f"({surplus[down]:+.1f} points)."
        )
    return words


def to_watch(metrics: Sequence[Metrics], epochs: int) -> list[str]:
    """Say what may be wrong: classes never found, training cut short, rounds that gained nothing.

    Args:
        metrics: Of each round.
        epochs: The most that a training may take.
    """
    last, best = metrics[-1], _best(metrics)
    words, idle = [], last.round - best.round
    if idle > 2:
        words.append(f"mIoU has not risen above that of round {best.round} for {idle} rounds.")
    missed = [name for name, iou in last.iou_per_class.items() if iou == 0]
    if missed:
        words.append(f"Not found at all on val: {_listed(missed)}.")
    cut = [name for name, done in last.training.items() if done.best_epoch == epochs]
    if cut:
        models = f"{' and '.join(cut)} {'models were' if cut[1:] else 'model was'}"
        words.append(
            f"The {models} best in the last epoch allowed, {epochs}: a campaign with more epochs "
            "may learn more from the same regions."
        )
    return words


def advice(
    campaign: Campaign, metrics: Sequence[Metrics], with_baseline: bool = False
) -> list[Advice]:
    """Return what can be done next."""
    compare = [] if with_baseline else _comparison(campaign, metrics)
    return [*_next_round(campaign, metrics), *compare]


def _comparison(campaign: Campaign, metrics: Sequence[Metrics]) -> list[Advice]:
    """Return how to see what random regions would have given, where the oracle knows that."""
    options = campaign.options
    drawn = find_measure(options.information, len(campaign.classes)).of_windows
    if options.annotator != "oracle" or drawn or not metrics[1:]:
        return []
    took = duration(sum(done.total_seconds for done in metrics[1:]))
    command = next_command.command_line("report", campaign.folder, "--baseline")
    words = f"See what random regions of the same pool would have given, in at most {took}"
    return [Advice(words, command)]


def _next_round(campaign: Campaign, metrics: Sequence[Metrics]) -> list[Advice]:
    asked, best = waiting(campaign), _best(metrics).round
    step, export = next_command.after_step(campaign), next_command.after_report(campaign, best)
    if best == metrics[-1].round:
        use = Advice("Use the model as it is", export)
    else:
        use = Advice(f"Use the model of round {best}, which has the highest mIoU", export)
    if asked:
        return [Advice(asked.text().capitalize(), step), use]
    if campaign.working.exists():
        return [Advice(f"Finish round {len(metrics)}, which has begun", step), use]
    if metrics[-1].pixels_percent < 100:
        return [Advice(f"Annotate more, in round {len(metrics)}", step), use]
    return [use]
