"""How good the cost estimates of the acquired regions were."""

from collections.abc import Callable, Sequence

import numpy as np

from cereals_tf.campaign.folder.campaign import CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.options import Options
from cereals_tf.report import figures
from cereals_tf.report.pictures import Pictures
from cereals_tf.report.sections.section import Section
from cereals_tf.report.statistics import CostQuality, cost_quality
from cereals_tf.report.tables import Column, Table, decimal


def cost_section(
    options: Options, rounds: Sequence[CommittedRound], pictures: Pictures
) -> Section | None:
    """Return the section that compares estimated with true costs; None without any."""
    counted = _true_costs(options)
    estimated, true, rows = [], {label: [] for label in counted}, []
    for done in rounds:
        regions = [
            region
            for region in done.regions
            if region.chosen.cost is not None
            and all(cost_of(region) is not None for cost_of in counted.values())
        ]
        if not regions:
            continue
        here = np.array([region.chosen.cost for region in regions])
        estimated.append(here)
        metrics = done.metrics
        row = [
            str(done.number),
            f"{len(regions):,}",
            decimal(here.mean()),
            decimal(metrics.bill_ratio),
            decimal(metrics.cost_rank_correlation_pool),
        ]
        for label, cost_of in counted.items():
            costs = np.array([cost_of(region) for region in regions])
            true[label].append(costs)
            row += _quality_cells(cost_quality(here, costs))
        rows.append(row)
    if not rows:
        return None
    joined = {label: np.concatenate(parts) for label, parts in true.items()}
    scatter = figures.cost_scatter(np.concatenate(estimated), joined, options.cost_unit)
    content = {
        "charts": pictures.add(
            "cost",
            scatter,
            *(f"Estimated over true costs of the acquired regions: {label}" for label in joined),
        ),
        "table": _table(list(counted), rows, options.cost_unit),
        "from_ground_truth": options.cost == "gt",
        "unit": options.cost_unit,
    }
    return Section("cost", "How good the cost estimates were", "cost.html", content)


def _true_costs(options: Options) -> dict[str, Callable[[Annotated], float | None]]:
    """Return what the estimated cost of a region is compared with, by what it counts."""
    if options.cost_unit == "seconds":
        return {"all that people needed": lambda region: region.seconds}
    kinds = options.drawn_clicks
    return {
        "vertices": lambda region: int(region.clicks.of(("vertices",))),
        " + ".join(kinds): lambda region: int(region.clicks.of(kinds)),
    }


def _table(counted: Sequence[str], rows: Sequence[Sequence[str]], unit: str) -> Table:
    columns = [
        Column("round"),
        Column("regions", "number"),
        Column("mean estimate", unit),
        Column("bill", "estimated / true"),
        Column("rank in the pool", "Spearman, -1 to 1"),
    ]
    groups = [("", "", len(columns))]
    for label in counted:
        columns += [
            Column("mean", unit),
            Column("rank correlation", "Spearman, -1 to 1"),
            Column("mean abs. error", unit),
        ]
        groups.append((f"true: {label}", "", 3))
    return Table("cost-table", columns, rows, groups)


def _quality_cells(quality: CostQuality) -> list[str]:
    return [
        decimal(quality.mean_true),
        decimal(quality.rank_correlation),
        decimal(quality.mean_absolute_error),
    ]
