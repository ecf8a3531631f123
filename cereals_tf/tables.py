"""What the commands print on the terminal."""

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from cereals_tf.campaign.folder.annotators import short_names
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.waiting import waiting
from cereals_tf.campaign.standing import standing
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.findings import findings
from cereals_tf.data_prep.text import counted

if TYPE_CHECKING:
    from cereals_tf.campaign.agreement import Agreement
    from cereals_tf.campaign.estimate import Estimate
    from cereals_tf.campaign.learning.quality import Evaluation
    from cereals_tf.campaign.review import Reviewed
    from cereals_tf.trainers.evaluation import Iou

_UNKNOWN = "n/a"
_WORST = 5
_LISTED = 10
_OF_LABELS = (
    "pixels_ignored",
    "pixels_per_class",
    "clicks",
    "clicks_ignored",
    "clicks_per_class",
    "polygon_iou_per_class",
)


def rounds_summary(campaign: Campaign) -> dict[str, Any]:
    """Return what `status --json` prints."""
    rounds, asked = _rows(campaign), waiting(campaign)
    return {
        "rounds": rounds,
        "waiting": asked is not None,
        **({"request": asked.summary()} if asked else {}),
        **(standing(campaign).to_json() if rounds else {}),
    }


def _rows(campaign: Campaign) -> list[dict[str, Any]]:
    rounds = []
    for done in campaign.rounds():
        metrics = done.metrics
        rounds.append(
            {
                "round": done.number,
                "miou": metrics.miou,
                "test_miou": metrics.test_miou,
                "pixels_percent": metrics.pixels_percent,
                "clicks_percent": metrics.clicks_percent,
                "bill_estimated": metrics.bill_estimated,
                "bill_true": metrics.bill_true,
                "cost_rank_correlation": metrics.cost_rank_correlation,
                "cost_rank_correlation_pool": metrics.cost_rank_correlation_pool,
                "cost_model_is_useless": metrics.cost_model_is_useless,
                "seconds": round(metrics.total_seconds, 1),
                "changed": changed_options(campaign, done.number),
            }
        )
    return rounds


def show_rounds(campaign: Campaign) -> None:
    """Print a line per committed round, where there is one."""
    summary = _rows(campaign)
    if not summary:
        return
    table = Table(title=str(campaign.folder), title_justify="left")
    tested = any(row["test_miou"] is not None for row in summary)
    mious = ("val", "test") if tested else ("mIoU",)
    for heading in ("round", *mious, "pixels %", "clicks %", "bill", "time"):
        table.add_column(heading, justify="right")
    for row in summary:
        table.add_row(
            str(row["round"]),
            *(format_iou(row[name]) for name in ("miou", "test_miou")[: len(mious)]),
            f"{row['pixels_percent']:.1f}",
            format_percent(row["clicks_percent"]),
            _bill(row),
            format_duration(row["seconds"]),
        )
    print_table(table)
    for number in range(len(summary) + 2):
        if changed := changed_words(campaign, number):
            print(f"from round {number} on: {changed}")
    if summary[-1]["cost_model_is_useless"]:
        print(
            f"{campaign.folder}: the cost model of round {summary[-1]['round']} predicts val no "
            "better than the mean of what is annotated: its estimates say nothing yet",
            file=sys.stderr,
        )


def _bill(row: Mapping[str, Any]) -> str:
    """Return a round's estimated over its true bill as it is shown."""
    known = row["bill_estimated"] is not None and row["bill_true"]
    return f"{row['bill_estimated'] / row['bill_true']:.2f}" if known else ""


def round_line(done: CommittedRound) -> str:
    """Return in a line what a round gave."""
    metrics = done.metrics
    shares = f"{metrics.pixels_percent:.1f} % of the pixels"
    if metrics.clicks_percent is not None:
        shares += f" and {metrics.clicks_percent:.1f} % of the clicks"
    spent = format_duration(metrics.total_seconds)
    return f"round {done.number}: mIoU {format_iou(metrics.miou)} with {shares}, in {spent}"


def estimate_lines(found: "Estimate") -> list[str]:
    """Return in lines what a campaign will take."""
    first, later = format_duration(found.first), format_duration(found.later)
    memory = tqdm.format_sizeof(found.memory, "B")
    disk = f", {tqdm.format_sizeof(found.disk, 'B')} of features on disk" if found.disk else ""
    lines = [f"at most {first} for round 0 and {later} for a later one, {memory} of memory{disk}"]
    return [*lines, *([f"shorter with {', '.join(found.hints)}"] if found.hints else [])]


def changed_lines(campaign: Campaign, number: int) -> list[str]:
    """Return in lines what of a campaign's options is another from a round on."""
    changed = changed_words(campaign, number)
    lines = [f"from round {number} on: {changed}" if changed else "all options are as they were"]
    begun = number > len(campaign.rounds())
    return [*lines, *([f"round {number - 1} goes on as it began"] if begun else [])]


def changed_options(campaign: Campaign, number: int) -> dict[str, Any]:
    """Return the options of the campaign that are others from a round on, in written forms."""
    return campaign.options_at(number).differences(campaign.options_at(number - 1))


def exclusion_line(campaign: Campaign, images: Sequence[str], undone: bool) -> str:
    """Return in a line what became of images that were excluded, or of which that was undone."""
    if not images:
        return "they are excluded already"
    shown = ", ".join(images[:_LISTED]) + f" and {len(images) - _LISTED} more" * (
        len(images) > _LISTED
    )
    verb = "may be proposed again" if undone else "excluded"
    left = counted(len(campaign.excluded_at(campaign.to_choose)), "image is", "images are")
    return f"{verb} from round {campaign.to_choose} on: {shown}; {left} excluded"


def asked_in(campaign: Campaign, images: Collection[str]) -> str:
    """Return the numbers, joined by commas, of regions in images that people still have to draw."""
    asked = waiting(campaign)
    if asked is None:
        return ""
    inside = [n for n in asked.missing if asked.request[n].region.image_id in images]
    return ",".join(map(str, inside))


def changed_words(campaign: Campaign, number: int) -> str:
    """Return what is otherwise from a round on, '' if nothing is."""
    before = campaign.options_at(number - 1).to_json()
    changed = changed_options(campaign, number)
    words = [f"--{name}={form} (was {before[name]})" for name, form in changed.items()]
    of_round = [change for change in campaign.changes if change.round == number]
    words += [f"the images of {name} more" for change in of_round for name in change.added]
    words += [f"the class {name!r} more" for change in of_round for name in change.classes]
    out, now = campaign.excluded_at(number - 1), campaign.excluded_at(number)
    gone = {image_id for image_id, never in now.items() if out.get(image_id) is not never}
    brief = {image_id for change in of_round for image_id in change.excluded} - out.keys()
    included = {image_id for change in of_round for image_id in change.included}
    back = included - now.keys() - brief
    words += [f"without {counted(len(gone), 'image')}"] if gone else []
    words += [f"{counted(len(back), 'image')} again"] if back else []
    return ", ".join(words)


def show_standing(campaign: Campaign) -> None:
    """Print who annotated, what was spent, and what of the rounds is out of date."""
    found = standing(campaign)
    if not found.annotators:
        return
    by = ", ".join(f"{count:,} by {name}" for name, count in found.annotators.items())
    account, unit = found.account, campaign.options.cost_unit
    spent = [counted(account.clicks, "click")]
    if account.seconds is not None:
        spent.append(f"{format_duration(account.seconds)} of drawing")
    if account.estimated is not None and account.true is not None:
        spent.append(
            f"{account.true:,.0f} {unit} for regions that were expected to take "
            f"{account.estimated:,.0f}"
        )
    print(f"regions: {by}; spent: {', '.join(spent)}")
    for number, reasons in found.stale.items():
        print(f"round {number} {'; '.join(reasons)}")


def show_progress(campaign: Campaign) -> None:
    """Print where the round in progress stands, if there is one."""
    number, asked = len(campaign.rounds()), waiting(campaign)
    if asked:
        print(f"{campaign.folder}: {asked.text()}", file=sys.stderr)
    elif campaign.working.exists():
        print(f"{campaign.folder}: round {number} is unfinished", file=sys.stderr)
    elif not number:
        print(f"{campaign.folder}: no round is complete yet", file=sys.stderr)


def review_summary(
    campaign: Campaign, reviewed: Sequence["Reviewed"], agreed: "Agreement | None"
) -> dict[str, Any]:
    """Return what `review --json` prints."""
    regions = [review_row(campaign, each) for each in reviewed]
    if agreed is None:
        return {"regions": regions, "agreement": None}
    names = campaign.data.classes.names

    def ious(found: "Iou") -> dict[str, Any]:
        values = [None if math.isnan(value) else float(value) for value in found.per_class]
        return {"miou": found.mean, "iou_per_class": dict(zip(names, values, strict=True))}

    return {
        "regions": regions,
        "agreement": {
            "regions": {str(name): share for name, share in agreed.regions.items()},
            **ious(agreed.all),
            "annotators": {name: ious(found) for name, found in agreed.by_annotator.items()},
        },
    }


def show_agreement(campaign: Campaign, agreed: "Agreement") -> None:
    """Print how far annotators agree, by class and annotator, and where they do least."""
    regions = counted(len(agreed.regions), "region")
    title = f"{campaign.folder}: IoU between annotators, {regions} drawn twice"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    names = short_names(agreed.by_annotator)
    columns = {"all": agreed.all, **{names[by]: iou for by, iou in agreed.by_annotator.items()}}
    for heading in columns:
        table.add_column(heading, justify="right")
    for place, name in enumerate(campaign.data.classes.names):
        table.add_row(name, *(_iou_of_class(found, place) for found in columns.values()))
    table.add_section()
    table.add_row("mean", *(format_iou(found.mean) for found in columns.values()))
    print_table(table)
    worst = sorted(agreed.regions, key=lambda name: agreed.regions[name])[:_WORST]
    listed = ", ".join(f"{name} ({100 * agreed.regions[name]:.0f} %)" for name in worst)
    print(f"{campaign.folder}: they agree least in {listed}", file=sys.stderr)


def _iou_of_class(found: "Iou", place: int) -> str:
    value = found.per_class[place]
    return format_iou(None if math.isnan(value) else float(value))


def review_row(campaign: Campaign, each: "Reviewed") -> dict[str, Any]:
    """Return what is said of a reviewed region, by the columns of review.csv."""
    names = (*campaign.data.classes.names, None)
    y, x, height, width = each.region.box
    return {
        "region": str(each.name),
        "image_id": each.region.image_id,
        "y": y,
        "x": x,
        "height": height,
        "width": width,
        "score": round(each.score, 6),
        "share_seen_otherwise": round(each.share, 6),
        "labelled": names[-1 if each.labelled is None else each.labelled],
        "seen": names[-1 if each.seen is None else each.seen],
    }


def show_review(campaign: Campaign, reviewed: Sequence["Reviewed"]) -> None:
    """Print reviewed regions."""
    table = Table(title=f"{campaign.folder}: labels that are believed least", title_justify="left")
    for heading in ("region", "score", "seen otherwise %", "labelled", "seen", "image", "y, x"):
        left = heading in ("labelled", "seen", "image")
        table.add_column(heading, justify="left" if left else "right")
    for row in (review_row(campaign, each) for each in reviewed):
        table.add_row(
            row["region"],
            f"{row['score']:.2f}",
            f"{100 * row['share_seen_otherwise']:.0f}",
            row["labelled"] or "",
            row["seen"] or "",
            row["image_id"],
            f"{row['y']}, {row['x']}",
        )
    print_table(table)


def show_savings(saved: dict[str, float | None]) -> None:
    """Print p95 and c95."""
    shares = [
        f"{name} {saved[name]:.1f} %" if saved[name] is not None else f"{name} n/a"
        for name in ("p95", "c95")
    ]
    print(f"against mIoU {saved['reference_miou']:.3f} of the reference: {', '.join(shares)}")


def show_iou(campaign: Campaign, number: int, quality: "Evaluation") -> None:
    """Print a round's IoU of each class and their mean."""
    title = f"{campaign.folder}, round {number}, {quality.split}"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in quality.iou_per_class.items():
        table.add_row(name, format_iou(value))
    table.add_section()
    table.add_row("mean", format_iou(quality.miou))
    if quality.miou_resized is not None:
        size = "{}x{}".format(*campaign.image_size or ())
        table.add_row(f"mean at {size}", format_iou(quality.miou_resized))
    print_table(table)


def dataset_summary(data: PreparedData) -> dict[str, Any]:
    """Return what `inspect --json` prints; null for what labels would say where there are none."""
    content = data.description.to_json()
    for split in content["splits"].values():
        if not split.get("labelled", True):
            split.update(dict.fromkeys(_OF_LABELS))
    return {**content, "warnings": findings(data)}


def show_dataset(data: PreparedData) -> None:
    """Print a data set's splits and classes, and what of it will hurt later."""
    table = Table(title=str(data.folder), title_justify="left")
    for heading in ("split", "images", "sizes", "shards", "ignored %", "clicks", "clicks/image"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for name, split in data.description.splits.items():
        of_labels = (
            f"{100 * split.pixels_ignored / split.pixels:.1f}",
            f"{split.clicks:,}",
            f"{split.clicks / split.images:.0f}",
        )
        table.add_row(
            name,
            f"{split.images:,}",
            _sizes(split.image_sizes),
            str(len(split.shards)),
            *(of_labels if split.labelled else (_UNKNOWN,) * len(of_labels)),
        )
    print_table(table)
    print_table(_class_table(data))
    for warning in findings(data):
        print(f"warning: {warning}", file=sys.stderr)


def _class_table(data: PreparedData) -> Table:
    table = Table(title="share of each split, %", title_justify="left")
    table.add_column("class")
    splits = data.description.splits
    for name in splits:
        table.add_column(f"{name} pixels", justify="right")
        table.add_column(f"{name} clicks", justify="right")
    table.add_column("polygon IoU", justify="right")
    for class_name in data.classes.names:
        cells = []
        for split in splits.values():
            for per_class, total in (
                (split.pixels_per_class, split.pixels),
                (split.clicks_per_class, split.clicks),
            ):
                count = per_class[class_name]
                shown = f"{100 * count / total:.2f}" if count else "-"
                cells.append(shown if split.labelled else _UNKNOWN)
        table.add_row(class_name, *cells, format_iou(data.polygon_iou_per_class[class_name]))
    return table


def _sizes(sizes: Mapping[str, int]) -> str:
    first = next(iter(sizes))
    return first if len(sizes) == 1 else f"{first} and {len(sizes) - 1} more"


def format_iou(value: float | None) -> str:
    """Return an mIoU or IoU as it is shown, `-` where it is not defined."""
    return "-" if value is None else f"{value:.3f}"


def format_percent(value: float | None) -> str:
    """Return a share as it is shown, `n/a` where it is unknown."""
    return _UNKNOWN if value is None else f"{value:.1f}"


def format_duration(seconds: float) -> str:
    """Return a time as it is shown: minutes:seconds, or hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def print_table(table: Table) -> None:
    """Print a table on stdout; what does not fit its column goes on in the next line."""
    for column in table.columns:
        column.overflow = "fold"
    _Screen(soft_wrap=False, markup=False, emoji=False).print(table)


def screen_width() -> int:
    """Return how many columns the terminal has, 80 where stdout is none."""
    return _Screen().width


class _Screen(Console):
    """Leaves a closed pipe to its caller."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
