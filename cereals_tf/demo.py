"""The main job on drawn street scenes, start to finish, by the very commands that a user types."""

from pathlib import Path

from cereals_tf import commands
from data_prep.files import refuse_occupied

ROUNDS = 4
SCENES = {"train_images": 40, "val_images": 16}
OPTIONS = {
    "region": "32",
    "information": "entropy",
    "fusion": "ratio",
    "initial": "4images",
    "budget": "3images",
    "width_multiplier": 0.125,
    "learning_rate": 1e-3,
    "epochs": 16,
    "patience": 6,
}
"""What the demo's campaign is started with; all else has its default."""


def run_demo(out: Path) -> None:
    """Draw scenes, run a campaign on them, report on it and export its last model.

    Args:
        out: New folder for the scenes, the data set, the campaign, the report and the model.

    Raises:
        UserError: `out` exists and is not empty.
    """
    refuse_occupied(out)
    commands.toy(str(out / "streets"), **SCENES)
    commands.prepare(str(out / "streets"), str(out / "data"), dataset="cityscapes")
    commands.start(str(out / "campaign"), data=str(out / "data"), **OPTIONS)
    commands.run(str(out / "campaign"), rounds=ROUNDS)
    commands.report(str(out / "campaign"), str(out / "report"))
    commands.export(str(out / "campaign"), str(out / "model"))
    commands.status(str(out / "campaign"))
    print(f"report:  {out / 'report' / 'index.html'}")
    print(f"model:   {out / 'model'} (a SavedModel, see docs/serving.md)")
    print(f"go on:   cereals step {out / 'campaign'}")
