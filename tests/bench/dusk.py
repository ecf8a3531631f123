"""`python -m tests.bench.dusk DATA OUT`: how a model's normalisation errs where light is another.

DATA is CamVid, prepared. FCN8s on VGG-16 of width 0.0625 learns from 36 random images at 192x256,
in batches of 1 and 4 with batch normalisation and of 1 with group normalisation. Prints, per seed,
the share of wrong pixels in the unlabelled images of the dusk video and the mIoU of all unlabelled
images. What is done is in OUT and not done again.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import SEGMENTATION
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep import records
from cereals_tf.trainers.evaluation import confusion_matrix, iou, upsample_logits
from cereals_tf.trainers.targets import masked_label
from tests.bench.seeded import start

DUSK = "0001TP"
WAYS = (("batch", 1), ("batch", 4), ("group", 1))


def trained(data: Path, folder: Path, normalization: str, batch_size: int, seed: int) -> Campaign:
    """Return a campaign whose round 0 is done."""
    options = Options.chosen(
        recipe="paper",
        image_size="192x256",
        region="24",
        initial="36images",
        width_multiplier=0.0625,
        normalization=normalization,
        batch_size=batch_size,
        learning_rate=1e-3,
        epochs=60,
        information="random",
        fusion="none",
        seed=seed,
    )
    is_there = (folder / "campaign.json").exists()
    campaign = Campaign.open(folder) if is_there else start_campaign(folder, data, options)
    if not campaign.rounds():
        step_campaign(campaign)
    return campaign


def errors(campaign: Campaign) -> tuple[float, float]:
    """Return the share of wrong pixels at dusk, and the mIoU of all that is not labelled."""
    first = campaign.rounds()[0]
    model = Models.of(campaign, first).load_round(SEGMENTATION, first)
    labelled = {done.region.image_id for done in first.regions}
    split, classes = open_split(campaign, "train"), campaign.classes
    confusions = {dusk: np.zeros((len(classes), len(classes)), np.int64) for dusk in (True, False)}
    for record in split.records():
        image_id = record[records.IMAGE_ID].numpy().decode()
        if image_id in labelled:
            continue
        label = split.label(record)
        logits = upsample_logits(model(split.image(record)[None], training=False), *label.shape)
        truth = masked_label(label, tf.ones(label.shape), classes.ignore_id)
        predicted = tf.argmax(logits[0], axis=-1, output_type=tf.int32)
        counts = confusion_matrix(*truth, predicted, len(classes)).numpy()
        confusions[image_id.startswith(DUSK)] += counts
    at_dusk = confusions[True]
    return 1 - np.trace(at_dusk) / at_dusk.sum(), iou(sum(confusions.values())).mean or 0.0


def show_errors(data: Path, out: Path, seeds: int) -> None:
    """Print a line for each seed and way."""
    for seed in range(1, seeds + 1):
        for normalization, batch_size in WAYS:
            name = f"{normalization}-{batch_size}-{seed}"
            campaign = trained(data, out / name, normalization, batch_size, seed)
            dusk, miou = errors(campaign)
            print(f"{name}: error at dusk {dusk:.3f}, mIoU of the pool {miou:.3f}", flush=True)


if __name__ == "__main__":
    start("dusk", __doc__, show_errors)
