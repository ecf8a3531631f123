"""`python -m tests.bench.people DATA OUT`: what a budget in clicks buys where people annotate.

DATA is CamVid, prepared, whose labels and outlines stand for what people draw: each region of a
request gets them through the folder that `collect` fills, outlines whole, as they reach over the
frame. Recipe `fast` at 192x256 from 5 % of the images on, 3,000 clicks a round. Prints, per choice
and seed, the true clicks of each later round. What is done is in OUT and not done again.
"""

from collections.abc import Iterator
from pathlib import Path

from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep import records
from cereals_tf.trainers.split import Split
from tests.bench.seeded import start

BUDGET = 3000
ROUNDS = 4
CHOICES = (("24", "none"), ("24", "product"), ("96", "none"), ("96", "product"))


def opened(data: Path, folder: Path, region: str, fusion: str, seed: int) -> Campaign:
    """Return a campaign of people's, started if it is not there."""
    if (folder / "campaign.json").exists():
        return Campaign.open(folder)
    options = Options.chosen(
        image_size="192x256",
        region=region,
        fusion=fusion,
        initial="5%",
        budget=f"{BUDGET}clicks",
        annotator="files",
        seed=seed,
    )
    return start_campaign(folder, data, options)


def draw(campaign: Campaign) -> None:
    """Annotate what a campaign asks for as the data set's labels and outlines have it."""
    train = Split(campaign.data, "train")
    entries = {entry.image_id: entry for entry in train.images}
    for number, chosen in enumerate(campaign.request() or ()):
        image_id, box = chosen.region
        record = train.record(image_id)
        window = own_window(box, entries[image_id], campaign.image_size)
        label = records.decode_label(record[records.LABEL_ENCODED]).numpy()[window.slices]
        polygons = records.polygons_of(record)
        drawn = RegionAnnotation(number, image_id, window, label, polygons, seconds=None)
        campaign.annotations.write(drawn)


def bills(campaign: Campaign) -> Iterator[tuple[float, float]]:
    """Go on to the last round; yield what each later one was estimated to take, and took."""
    while len(campaign.rounds()) < ROUNDS:
        if not step_campaign(campaign):
            draw(campaign)
    for done in campaign.rounds()[1:]:
        metrics = done.metrics
        yield metrics.bill_estimated or 0.0, metrics.bill_true or 0.0


def show_bills(data: Path, out: Path, seeds: int) -> None:
    """Print a line for each choice and seed."""
    for seed in range(seeds):
        for region, fusion in CHOICES:
            name = f"{region}-{fusion}-{seed}"
            campaign = opened(data, out / name, region, fusion, seed)
            spent = (f"{true:.0f} ({plan / true:.2f})" for plan, true in bills(campaign))
            print(f"{name}: {', '.join(spent)}", flush=True)


if __name__ == "__main__":
    start("people", __doc__, show_bills)
