"""What TensorBoard shows of a campaign equals the campaign's own files, whatever happened to it."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cereals_tf.campaign.learning.events import GAP, MOST_PIXELS, side_by_side
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.campaign.run import step_campaign
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.trainers.evaluation import upsample_logits
from cereals_tf.trainers.split import Split

SCALARS = ("miou", "pixels_percent", "clicks", "clicks_percent", "cost_mean_squared_error")
CHOSEN = ("bill_estimated", "bill_true", "cost_rank_correlation", "cost_rank_correlation_pool")
"""What is known where a model chose the regions."""


class Kill(NamedTuple):
    """A place to die: the call of a function after or before which the process ends."""

    stage: str
    module: str
    name: str
    call: int
    finishes: bool


KILLS = [
    Kill(
        "between an epoch and its points",
        "cereals_tf.trainers.fitting",
        "write_atomically",
        1,
        True,
    ),
    Kill("the round is shown", "cereals_tf.campaign.round", "write_round_events", 1, True),
    Kill("just before the commit", "cereals_tf.campaign.folder.campaign", "sync_tree", 1, True),
]


def values(folder):
    """Return {tag: [(step, content)]} of all event files in a folder, in order."""
    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append((event.step, content))
    return found


def curve(column):
    return [(step, np.float32(value)) for step, value in enumerate(column, start=1)]


def check_round(campaign, number):
    """Compare the curves of a round's trainings with its metrics."""
    found = values(campaign.folder / "tensorboard" / f"round-{number:03d}")
    expected = {}
    for target, metric in (("segmentation", "mIoU"), ("cost", "MSE")):
        training = campaign.round(number).metrics.training[target]
        expected[f"{target}/loss"] = curve(training.losses)
        expected[f"{target}/val_{metric}"] = curve(training.val_metrics)
        rates = [campaign.options.learning_rate] * training.epochs
        expected[f"{target}/learning_rate"] = curve(rates)
    assert found == expected


def check_rounds(campaign, numbers):
    """Compare what is shown by round with the rounds' metrics."""
    found = values(campaign.folder / "tensorboard" / "rounds")
    for name in (*SCALARS, *CHOSEN):
        expected = [
            (number, np.float32(value))
            for number in numbers
            if (value := getattr(campaign.round(number).metrics, name)) is not None
        ]
        assert len(expected) == len([n for n in numbers if n or name in SCALARS])
        assert found.pop(f"rounds/{name}", []) == expected
    ids = [entry.image_id for entry in campaign.data.images["val"]]
    assert sorted(found) == sorted(f"val/{image_id}" for image_id in ids)
    for pictures in found.values():
        assert [step for step, _ in pictures] == list(numbers)


def test_curves_are_those_of_the_metrics(three_rounds):
    for number in range(3):
        check_round(three_rounds, number)
    check_rounds(three_rounds, range(3))


def test_pictures_are_image_truth_and_prediction(three_rounds):
    found = values(three_rounds.folder / "tensorboard" / "rounds")
    model = load_segmentation(three_rounds, three_rounds.round(2))
    reader = Split(three_rounds.data, "val", (60, 90))
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(three_rounds.data.classes)] = three_rounds.data.classes.palette
    for entry, record in zip(reader.images, reader.records(), strict=True):
        (step, (width, height, png)) = found[f"val/{entry.image_id}"][-1]
        assert (step, width, height) == (2, b"%d" % (3 * 90 + 2 * GAP), b"60")
        picture = tf.io.decode_png(png).numpy()
        image, truth, prediction = (
            picture[:, start : start + 90] for start in (0, 90 + GAP, 2 * (90 + GAP))
        )
        np.testing.assert_array_equal(image, reader.image(record))
        np.testing.assert_array_equal(truth, palette[reader.label(record)])
        logits = upsample_logits(model(reader.image(record)[None], training=False), 60, 90)
        agreement = (prediction == palette[np.argmax(logits[0], axis=-1)]).all(axis=-1)
        assert agreement.mean() > 0.999


@pytest.mark.long
def test_a_killed_round_shows_every_point_once(first_round, step_and_die):
    campaign = first_round()
    for kill in KILLS:
        step_and_die(campaign, kill)
    assert step_campaign(campaign).number == 1
    check_round(campaign, 1)
    check_rounds(campaign, [1])
    assert len(list((campaign.folder / "tensorboard" / "round-001").iterdir())) == 2


def test_a_round_without_tensorboard_is_the_same(first_round, three_rounds, outcome, capfd):
    campaign = first_round()
    (campaign.folder / "tensorboard").write_text("in the way")
    assert step_campaign(campaign).number == 1
    assert outcome(campaign.round(1).folder) == outcome(three_rounds.round(1).folder)
    assert (campaign.folder / "tensorboard").read_text() == "in the way"
    assert "not written for TensorBoard" in capfd.readouterr().err


@pytest.mark.parametrize("size", [(5, 9), (1, 3 * MOST_PIXELS), (1024, 2048), (700, 300)])
def test_large_images_are_scaled_down(size):
    rng = np.random.default_rng(0)
    classes = Classes(("a", "b"), ((10, 20, 30), (200, 100, 0)), 255)
    coarse = rng.choice(np.array([0, 1, 255], np.uint8), (-(-size[0] // 8), -(-size[1] // 8)))
    label = coarse.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    image = np.full((*size, 3), 77, np.uint8)
    picture = side_by_side(image, label, np.zeros(size, int), classes)
    scale = min(1, MOST_PIXELS / max(size))
    height, width = (max(1, round(length * scale)) for length in size)
    assert picture.shape == (height, 3 * width + 2 * GAP, 3)
    assert (picture[:, :width] == 77).all()
    assert (picture[:, -width:] == classes.palette[0]).all()
    truth = picture[:, width + GAP : 2 * width + GAP]
    colours = np.array([classes.palette[0], classes.palette[1], (0, 0, 0)], np.uint8)
    assert {tuple(row) for row in truth.reshape(-1, 3)} <= {tuple(row) for row in colours}
    by_pillow = Image.fromarray(colours[np.where(label == 255, 2, label)])
    shrunk = np.array(by_pillow.resize((width, height), Image.Resampling.NEAREST))
    assert (truth == shrunk).all(axis=-1).mean() > 0.9
