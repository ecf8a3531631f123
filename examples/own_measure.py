"""An information measure of your own in a campaign on drawn streets: python own_measure.py OUT."""

import sys
from pathlib import Path
from typing import Any

import cereals_tf
from cereals_tf.data_prep.toy import write_toy


def gini_impurity(probabilities: Any) -> Any:
    """Return how often two draws from the mean distribution differ, [...], of [E, ..., C]."""
    from keras import ops  # after cereals_tf, which keeps TensorFlow's log off the screen

    return 1.0 - ops.sum(ops.mean(probabilities, axis=0) ** 2, axis=-1)


def main(
    out: str, images: int = 20, rounds: int = 3, epochs: int = 20, width: float = 0.125
) -> Path:
    """Draw streets, run a campaign with the measure, and return the page of its report."""
    folder = Path(out)
    write_toy(folder / "streets", train_images=images, val_images=5, height=64, width=96, seed=0)
    cereals_tf.prepare(folder / "streets", folder / "data", dataset="cityscapes")
    campaign = cereals_tf.Campaign.start(
        folder / "campaign",
        data=folder / "data",
        information="own_measure:gini_impurity",
        region="16",
        width_multiplier=width,
        epochs=epochs,
        learning_rate=0.001,
    )
    for metrics in campaign.run(rounds):
        print(f"round {metrics.round}: mIoU {metrics.miou:.3f}, {metrics.clicks} clicks")
    best = campaign.regions(1)[0].chosen
    print(f"first choice: {best.region.image_id} at {tuple(best.region.box)}, {best.score:.3f}")
    return campaign.report()


if __name__ == "__main__":
    print(main(sys.argv[1]))
