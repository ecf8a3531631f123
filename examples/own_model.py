"""A segmentation model of your own in a campaign on drawn streets: python own_model.py OUT."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cereals_tf
from cereals_tf.data_prep.toy import write_toy

if TYPE_CHECKING:
    import keras


def small_net(classes: int) -> "keras.Model":
    """Return a model from images [B, H, W, 3] to logits [B, ceil(H/8), ceil(W/8), classes]."""
    import keras  # after cereals_tf, which keeps TensorFlow's log off the screen

    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(images, keras.layers.Conv2D(classes, 1)(x))


def main(out: str, images: int = 20, rounds: int = 3, epochs: int = 10) -> Path:
    """Draw streets, run a campaign with the model, and return the exported SavedModel."""
    folder = Path(out)
    write_toy(folder / "streets", train_images=images, val_images=5, height=64, width=96, seed=0)
    cereals_tf.prepare(folder / "streets", folder / "data", dataset="cityscapes")
    campaign = cereals_tf.Campaign.start(
        folder / "campaign",
        data=folder / "data",
        model="own_model:small_net",
        information="vote_entropy",
        region="16",
        epochs=epochs,
        learning_rate=0.003,
    )
    for metrics in campaign.run(rounds):
        print(f"round {metrics.round}: mIoU {metrics.miou:.3f}, {metrics.clicks} clicks")
    return campaign.export(folder / "model")


if __name__ == "__main__":
    print(main(sys.argv[1]))
