"""Two strategies on the same drawn streets, as two curves: python compare_strategies.py OUT."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import cereals_tf
from cereals_tf.data_prep.toy import write_toy

STRATEGIES = {
    "random": {"information": "random", "fusion": "none"},
    "entropy per click": {"information": "entropy", "fusion": "ratio"},
}


def main(
    out: str, images: int = 40, rounds: int = 4, epochs: int = 20, width: float = 0.125
) -> Path:
    """Run a campaign for each strategy, and return a picture of mIoU over clicks."""
    folder = Path(out)
    write_toy(folder / "streets", train_images=images, val_images=10, height=64, width=128, seed=0)
    cereals_tf.prepare(folder / "streets", folder / "data", dataset="cityscapes")
    figure = Figure(figsize=(7, 4.5))
    axes = figure.add_subplot(xlabel="annotated clicks, %", ylabel="mIoU on val")
    for name, strategy in STRATEGIES.items():
        shared = {
            "region": "16",
            "width_multiplier": width,
            "learning_rate": 1e-3,
            "epochs": epochs,
        }
        campaign = cereals_tf.Campaign.start(
            folder / name.replace(" ", "-"), data=folder / "data", **shared, **strategy
        )
        curve = campaign.run(rounds)
        axes.plot([m.clicks_percent for m in curve], [m.miou for m in curve], "o-", label=name)
    axes.legend()
    figure.savefig(folder / "curves.png", dpi=150)
    return folder / "curves.png"


if __name__ == "__main__":
    print(main(sys.argv[1]))
