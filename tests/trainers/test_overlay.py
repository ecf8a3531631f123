"""Labels and costs that stand before those of the records."""

from dataclasses import replace

import numpy as np
import pytest

from cereals_tf.data_prep import records
from cereals_tf.data_prep.annotated_image import encode_label
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.inputs import Overlay, Split, TrainingData
from cereals_tf.trainers.samples import plan_samples

SIZE = (30, 44)
WHOLE = Box(0, 0, *SIZE)


@pytest.fixture(scope="module")
def readers(write_data, noise):
    """The train split of three images, and the same with two of them drawn anew."""
    images = {name: noise(seed, *SIZE) for seed, name in enumerate("abc")}
    reader = Split(write_data({"train": images}), "train")
    rng = np.random.default_rng(7)
    labels = {name: rng.choice(np.array([0, 1, 2, 9], np.uint8), SIZE) for name in "ac"}
    costs = {name: rng.uniform(0, 9, (4, 6)).astype(np.float32) for name in "ca"}
    encoded = {name: encode_label(label) for name, label in labels.items()}
    return reader, replace(reader, overlay=Overlay(encoded, costs)), labels, costs


def test_an_overlay_stands_before_the_records(readers):
    reader, drawn, labels, costs = readers
    for record in drawn.records():
        image_id = record[records.IMAGE_ID].numpy().decode()
        own = (reader.label(record).numpy(), reader.cost(record, *SIZE).numpy())
        expected = (labels.get(image_id, own[0]), costs.get(image_id, own[1]))
        for found, value in zip(
            (drawn.label(record), drawn.cost(record, *SIZE)), expected, strict=True
        ):
            np.testing.assert_array_equal(found, value)
    assert own[1].any()


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
@pytest.mark.parametrize("target", ["segmentation", "cost"])
def test_training_sees_the_overlay(readers, tmp_path, target, cache):
    _, drawn, labels, costs = readers
    regions = {"a": [WHOLE], "c": [WHOLE]}
    samples = {name: plan_samples(regions[name], *SIZE, "mask", None) for name in regions}
    data = TrainingData(drawn, target, regions, samples, cache=Cache(cache, tmp_path / "cache"))
    expected = {
        "segmentation": [label[4::8, 4::8][:4, :6] for label in map(labels.get, "ac")],
        "cost": [costs[name][..., None] for name in "ac"],
    }[target]
    found = [value[0].numpy() for _, value, _ in data.epoch(3)]
    assert len(found) == 2
    for value in expected:
        rows, columns = value.shape[:2]
        value = np.where(value == 9, 0, value) if target == "segmentation" else value
        assert sum(np.array_equal(one[:rows, :columns], value) for one in found) == 1
