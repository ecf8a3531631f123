"""What a grid shows, in words: which cells lead and by how much, what they save, what to watch."""

from collections.abc import Mapping

from cereals_tf.reproduce.comparison import Cells, leads_at_equal_clicks
from cereals_tf.reproduce.grid import BASELINES, NONE, Cell
from cereals_tf.reproduce.outcomes import Spread, savings_of
from cereals_tf.reproduce.table import interval_text

NAMED = 5
"""Cells that a sentence names."""
FEW_SEEDS = 5
AGAINST = {
    "random_grid": "fair random regions (random_grid)",
    "random": "random windows (random)",
    NONE: "the same measure without fusion",
}


def conclusion(cells: Cells, missing: int) -> dict[str, list[str]]:
    """Return sentences on a grid by what they are on.

    Args:
        cells: The outcomes of each cell.
        missing: How many of the grid's campaigns are not complete.
    """
    found = {cell: leads_at_equal_clicks(cell, cells) for cell in cells}
    sentences = {}
    baseline = next((name for name in BASELINES if _of(found, name)), None)
    if baseline:
        sentences["Regions"] = compared(_of(found, baseline), baseline)
    if fused := _of(found, NONE):
        sentences["Fusion"] = compared(fused, NONE)
    sentences["Saved"] = saved(cells)
    sentences["To watch"] = to_watch(found, cells, missing)
    return {term: words for term, words in sentences.items() if words}


def _of(found: Mapping[Cell, Mapping[str, Spread]], other: str) -> dict[Cell, Spread]:
    """Return the leads over another cell that there are, the largest first."""
    there = {cell: leads[other] for cell, leads in found.items() if leads[other].mean is not None}
    return dict(sorted(there.items(), key=lambda item: -(item[1].mean or 0)))


def compared(leads: Mapping[Cell, Spread], other: str) -> list[str]:
    """Say which cells lead over what they are compared with, which are behind, and which neither.

    Args:
        leads: Leads at equal clicks, the largest first.
        other: What over, one of `AGAINST`.
    """
    words = f"Mean height of mIoU over clicks above {AGAINST[other]}, seed by seed."
    certain = {cell: lead for cell, lead in leads.items() if lead.interval is not None}
    if not certain:
        (best, highest), *_ = leads.items()
        return [words, f"Highest: {_named({best: highest})}; one seed tells no interval."]
    ahead = {cell: lead for cell, lead in certain.items() if sign(lead) > 0}
    behind = {cell: lead for cell, lead in certain.items() if sign(lead) < 0}
    words_of = {"above zero": ahead, "below zero": dict(reversed(behind.items()))}
    sentences = [
        f"With the 95 % interval {where}: {_named(part)}."
        for where, part in words_of.items()
        if part
    ]
    neither = len(certain) - len(ahead) - len(behind)
    if neither == len(certain):
        (best, highest), *_ = certain.items()
        sentences.append(
            f"No interval leaves zero out, of {len(certain)}; highest: {_named({best: highest})}."
        )
    elif neither:
        sentences.append(f"The intervals of {neither} of {len(certain)} cells hold zero.")
    return [words, *sentences]


def sign(lead: Spread) -> int:
    """Return 1 or -1 if a lead's interval is above or below zero, 0 if it holds it."""
    if lead.mean is None or lead.interval is None or abs(lead.mean) <= lead.interval:
        return 0
    return 1 if lead.mean > 0 else -1


def _named(leads: Mapping[Cell, Spread]) -> str:
    named = [f"{cell.title} ({interval_text(lead)})" for cell, lead in leads.items()]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    return "; ".join([*named[:NAMED], *more])


def saved(cells: Cells) -> list[str]:
    """Say which cell comes close to the reference with the fewest clicks, beside the baseline."""
    for name, share in (("c95", 95), ("c90", 90)):
        spreads = {cell: savings_of(found)[name] for cell, found in cells.items()}
        reached = {
            cell: spread
            for cell, spread in spreads.items()
            if spread.mean is not None and spread.count == spread.repeats
        }
        if not reached:
            continue
        best = min(reached, key=lambda cell: reached[cell].mean or 0)
        words = (
            f"Of the cells that come to {share} % of the reference's mIoU with all seeds, "
            f"{best.title} takes the fewest clicks, {reached[best].mean:.1f} % of all"
        )
        beside = [
            f"{cell.title} {_percent(spreads[cell])}"
            for cell in cells
            if cell.size == best.size and cell != best and _is_beside(cell, best)
        ]
        return [f"{words}; {'; '.join(beside)}." if beside else f"{words}."]
    if any(savings_of(found)["c90"].repeats for found in cells.values()):
        return ["No cell reaches 90 % of the reference's mIoU with all of its seeds."]
    return []


def _is_beside(cell: Cell, best: Cell) -> bool:
    return cell.fusion.kind == NONE and cell.information in (best.information, *BASELINES)


def _percent(spread: Spread) -> str:
    if spread.mean is None:
        return "never"
    of = "" if spread.count == spread.repeats else f" ({spread.count} of {spread.repeats} seeds)"
    return f"{spread.mean:.1f} %{of}"


def to_watch(found: Mapping[Cell, Mapping[str, Spread]], cells: Cells, missing: int) -> list[str]:
    """Say what limits the conclusion: campaigns that are missing, few seeds, many intervals."""
    words = []
    if missing:
        words.append(f"{missing} campaigns are not complete: numbers will change.")
    seeds = min(map(len, cells.values()), default=0)
    if seeds == 1:
        words.append("One seed tells little.")
    elif seeds < FEW_SEEDS:
        words.append(f"{seeds} seeds tell little: intervals are wide.")
    intervals = sum(
        lead.interval is not None for leads in found.values() for lead in leads.values()
    )
    if intervals >= 20:
        words.append(
            f"Of {intervals} intervals about {intervals / 20:.0f} leave the true value out by "
            "chance alone: small leads of single cells are to be seen again."
        )
    return words
