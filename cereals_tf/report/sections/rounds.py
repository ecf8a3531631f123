"""What each round gave and took, and the IoU of each class."""

from collections.abc import Sequence

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.report import figures
from cereals_tf.report.pictures import Pictures
from cereals_tf.report.sections.section import Section
from cereals_tf.report.tables import UNKNOWN, Column, Shaded, Table, clock, decimal, duration
from cereals_tf.tables import format_iou


def rounds_section(campaign: Campaign, beside: Sequence[Campaign], pictures: Pictures) -> Section:
    """Return the section with a row per round, and the learning curves."""
    metrics = {
        shown.folder.resolve().name: [done.metrics for done in shown.rounds()]
        for shown in (campaign, *beside)
    }
    curves = pictures.add(
        "curves",
        figures.learning_curves(metrics),
        "mIoU after each round over annotated pixels",
        "mIoU after each round over annotated clicks",
    )
    content = {"table": _rounds_table(campaign.rounds()), "charts": curves}
    return Section("rounds", "Rounds", "rounds.html", content)


def _rounds_table(rounds: Sequence[CommittedRound]) -> Table:
    tested = any(done.metrics.test_miou is not None for done in rounds)
    columns = [
        Column("round"),
        Column("mIoU", "0 to 1"),
        *([Column("mIoU on test", "0 to 1")] if tested else []),
        Column("new regions", "number"),
        Column("regions", "number"),
        Column("pixels", "% of train"),
        Column("clicks", "number"),
        Column("clicks", "% of train"),
        Column("computing", "h:min:s"),
    ]
    rows = []
    for done in rounds:
        metrics = done.metrics
        rows.append(
            [
                str(done.number),
                format_iou(metrics.miou),
                *([format_iou(metrics.test_miou)] if tested else []),
                f"{len(done.regions):,}",
                f"{metrics.regions:,}",
                decimal(metrics.pixels_percent),
                f"{metrics.clicks:,}",
                decimal(metrics.clicks_percent),
                clock(metrics.total_seconds),
            ]
        )
    return Table("rounds-table", columns, rows)


def classes_section(data: PreparedData, rounds: Sequence[CommittedRound]) -> Section:
    """Return the section with a row per class: its share of the train pixels, its IoU by round."""
    train = data.split("train")
    none = "-" if train.labelled else UNKNOWN
    rows = []
    for name in data.classes.names:
        share = 100 * train.pixels_per_class[name] / train.pixels
        by_round = [done.metrics.iou_per_class.get(name) for done in rounds]
        rows.append([name, decimal(share) if share else none, *map(_shaded, by_round)])
    mean = ["mean", "", *(_shaded(done.metrics.miou) for done in rounds)]
    columns = [Column("class"), Column("share", "% of train")]
    columns += [Column(str(done.number)) for done in rounds]
    groups = [("", "", 2), ("IoU after round", "0 to 1", len(rounds))]
    table = Table("classes-table", columns, rows, groups, mean)
    return Section("classes", "IoU of each class", "classes.html", {"table": table})


def _shaded(iou: float | None) -> Shaded:
    return Shaded(format_iou(iou), iou or 0.0)


def headline(rounds: Sequence[CommittedRound]) -> list[tuple[str, str]]:
    """Return the numbers at the top of the page, each with what it counts."""
    last = rounds[-1].metrics
    seconds = sum(done.metrics.total_seconds for done in rounds)
    clicks = (f"{last.clicks:,}", "clicks spent")
    if last.clicks_percent is not None:
        clicks = (f"{last.clicks_percent:.1f} %", "of the train clicks spent")
    return [
        (format_iou(last.miou), f"mIoU after round {rounds[-1].number}"),
        (f"{last.pixels_percent:.1f} %", "of the train pixels annotated"),
        clicks,
        (f"{last.regions:,}", "regions"),
        (duration(seconds), "of computing"),
    ]
