"""The numbers that the method's authors report.

Mackowiak et al., "CEREALS - Cost-Effective REgion-based Active Learning for Semantic Segmentation",
BMVC 2018, supplementary material, Table 1: Cityscapes, FCN8s, mean of five repetitions.
"""

import json
from functools import cache
from pathlib import Path

from cereals_tf.reproduce.grid import NONE, Cell

_SIZES = ("image", "1/4", "1/8", "1/16")
_EQUATIONS = {"ratio": "eq3", "product": "eq4"}


@cache
def _table() -> dict:
    return json.loads(Path(__file__).with_name("paper_table1.json").read_bytes())


def paper_value(cell: Cell, name: str) -> float | None:
    """Return what Table 1 has in place of a cell.

    Args:
        cell: The cell; its region counts as a share of the image's width.
        name: `p95` or `c95`.

    Returns:
        Percent; None where Table 1 has no such cell, or `n/a`.
    """
    table = _table()
    if cell.fusion.kind == NONE:
        values = table["information_only"].get(cell.information, {}).get(name)
        known = values and cell.region in _SIZES
        return values[_SIZES.index(cell.region)] if known else None
    if name != "c95" or cell.information not in table["fused_c95"]:
        return None
    alpha = cell.fusion.alpha
    equation = _EQUATIONS.get(cell.fusion.kind, f"eq5_alpha{alpha}")
    return table["fused_c95"][cell.information].get(equation, {}).get(cell.cost)
