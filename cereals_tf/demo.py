"""The main job on drawn street scenes, start to finish, by the very commands that a user types."""

import sys
from pathlib import Path

from cereals_tf import commands
from data_prep.files import new_folder

ROUNDS = 4
OPTIONS = {
    "region": "32",
    "information": "entropy",
    "fusion": "ratio",
    "initial": "4images",
    "budget": "4images",
    "width_multiplier": 0.125,
    "learning_rate": 1e-3,
    "epochs": 20,
    "patience": 8,
}
"""What the demo's campaign is started with; all else has its default."""


def run_demo(out: Path) -> None:
    """Draw scenes, run a campaign on them, report on it and export its last model.

    Everything is in `out` afterwards, which appears only when all is done.

    Raises:
        UserError: `out` exists and is not empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    commands.toy(str(out / "streets"))
    commands.prepare(str(out / "streets"), str(out / "data"), dataset="cityscapes")
    commands.start(str(out / "campaign"), data=str(out / "data"), **OPTIONS)
    commands.run(str(out / "campaign"), rounds=ROUNDS)
    commands.report(str(out / "campaign"), str(out / "report"))
    commands.export(str(out / "campaign"), str(out / "model"))
    commands.status(str(out / "campaign"))
    print(f"report: {out / 'report' / 'index.html'}\nmodel:  {out / 'model'}")
