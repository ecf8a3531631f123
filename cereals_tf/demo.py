"""`cereals demo`: the main job on drawn street scenes, by the very commands that a user types."""

from typing import Any

from cereals_tf import commands, next_command
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.data_prep.files import refuse_occupied
from cereals_tf.data_prep.remote import local_folder

ROUNDS = 3
SCENES: dict[str, Any] = {"train_images": 40, "val_images": 16}
OPTIONS = {
    "region": "32",
    "information": "entropy",
    "initial": "4images",
    "budget": "3images",
    "epochs": 6,
}
"""What the demo's campaign is started with; all else has its default."""


def demo(out: str = "cereals-demo") -> str | None:
    """Run the main job on drawn street scenes: data, campaign, report and export.

    Args:
        out: New folder for everything that the demo makes.

    Example:
        cereals demo
    """
    folder = local_folder(out)
    refuse_occupied(folder)
    streets, data, campaign, report, model = (
        str(folder / name) for name in ("streets", "data", "campaign", "report", "model")
    )
    commands.toy(streets, **SCENES)
    commands.prepare(streets, data, dataset="cityscapes")
    commands.start(campaign, data=data, no_estimate=True, **OPTIONS)
    commands.run(campaign, rounds=ROUNDS)
    commands.report(campaign, report)
    commands.export(campaign, model)
    print(f"report:  {report}/index.html")
    print(f"model:   {model} (a SavedModel, see docs/serving.md)")
    return next_command.after_step(Campaign.open(campaign))
