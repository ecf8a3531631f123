"""Training input from real TFRecords: weights, targets, crops, order."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.annotated_image import AnnotatedImage
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.models.fcn8s import fcn8s
from cereals_tf.models.layers import ResizeToGrid
from cereals_tf.trainers import augment
from cereals_tf.trainers.fitting import cost_loss, segmentation_loss
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.receptive_field import crop_rule
from cereals_tf.trainers.samples import Sample, plan_samples
from cereals_tf.trainers.split import Split

L = keras.layers
LOSSES = {"segmentation": segmentation_loss(), "cost": cost_loss()}
TARGETS = list(LOSSES)


def _whole(box, height, width):
    return Box(0, 0, height, width)


def _training_data(reader, target, regions, train_on, crop_for=_whole, batch_size=1, **more):
    sizes = {entry.image_id: (entry.height, entry.width) for entry in reader.images}
    samples = {
        image_id: plan_samples(boxes, *sizes[image_id], train_on, crop_for)
        for image_id, boxes in regions.items()
    }
    return TrainingData(reader, target, regions, samples, batch_size, **more)


# Crops see what the whole image shows.


def _plugin(channels):
    """A small network of stride 8, wrapped as `cereals_tf.models.plugin` does."""
    image = keras.Input((None, None, 3))
    x = L.Conv2D(6, 5, strides=2, padding="same", activation="elu")(image / 255.0)
    x = L.Conv2D(6, 3, dilation_rate=2, padding="same", activation="elu")(x)
    skip = L.Conv2D(6, 3, strides=4, padding="same")(x)
    x = L.AveragePooling2D(3, strides=2, padding="same")(x)
    x = L.Conv2D(6, 3, strides=2, padding="same", activation="elu")(x)
    logits = L.Conv2D(channels, 1)(x + skip)
    return keras.Model(image, ResizeToGrid(8)([logits, image]))


BUILD = {
    "vgg16": lambda channels: fcn8s(channels, "vgg16", 0.03125, dropout=0.0),
    "mobilenet": lambda channels: fcn8s(channels, "mobilenet", 0.03125, dropout=0.0),
    "plugin": _plugin,
}
PLACES = ("start", "middle", "end")


def _interval(size, length, place):
    start = {"start": 0, "middle": (size - length) // 16 * 8, "end": (size - 1) // 8 * 8 - length}
    stop = size if place == "end" else start[place] + length
    return start[place], stop - start[place]


def _placed_regions(prefix, height, width, size, rows, columns):
    """One region per image, at each place along the two axes."""
    for row in rows:
        for column in columns:
            y, height_of = _interval(height, size[0], row)
            x, width_of = _interval(width, size[1], column)
            yield f"{prefix}_{row}_{column}", Box(y, x, height_of, width_of)


@pytest.fixture(scope="module")
def scattered(write_data, noise):
    """Data sets with labelled regions: one per image, and in the image `several` three.

    Long images for the deep networks, of which some reach 200 pixels around a region; sizes that
    32 divides, and odd ones.
    """
    long = {
        **dict(_placed_regions("even", 64, 640, (32, 32), ("start",), PLACES)),
        **dict(_placed_regions("odd", 43, 619, (16, 24), ("end",), PLACES)),
        **dict(_placed_regions("tall", 619, 43, (24, 16), ("middle",), ("end",))),
    }
    small = {
        **dict(_placed_regions("even", 96, 160, (24, 16), PLACES, PLACES)),
        **dict(_placed_regions("odd", 131, 187, (16, 24), PLACES, PLACES)),
    }
    several = {
        "long": [Box(0, 0, 24, 40), Box(16, 1000, 27, 32), Box(0, 1952, 43, 51)],
        "small": [Box(0, 0, 24, 16), Box(48, 184, 16, 32), Box(120, 384, 11, 19)],
    }
    sizes = {"even": (64, 640), "odd": (43, 619), "tall": (619, 43)}
    result = {}
    for name, regions in (("long", long), ("small", small)):
        if name == "small":
            sizes = {"even": (96, 160), "odd": (131, 187)}
        images = {
            image_id: noise(number, *sizes[image_id.partition("_")[0]])
            for number, image_id in enumerate(regions)
        }
        images["several"] = noise(99, *((43, 2003) if name == "long" else (131, 403)))
        data = write_data({"train": images, "val": {"a": noise(0, 16, 16)}})
        labelled = {**{i: [box] for i, box in regions.items()}, "several": several[name]}
        result[name] = Split(data, "train"), labelled
    return result


def _gradient_function(model, target):
    """Maps a batch to its loss and the gradients, in inference mode."""
    loss_of, weights = LOSSES[target], model.trainable_weights
    grid = [None, None, None]
    expected = ([*grid, 1], tf.float32) if target == "cost" else (grid, tf.int32)
    specs = [
        tf.TensorSpec(*spec) for spec in (([*grid, 3], tf.uint8), expected, (grid, tf.float32))
    ]

    @tf.function(input_signature=specs)
    def gradients(image, expected, weight):
        with tf.GradientTape() as tape:
            loss = loss_of(expected, model(image, training=False), sample_weight=weight)
        return loss, tape.gradient(loss, [variable.value for variable in weights])

    return lambda *batch: [np.asarray(part) for part in tf.nest.flatten(gradients(*batch))]


def _by_image(data, images):
    """Batches of an epoch by the image in which the batch's pixels are found."""
    found = {image_id: [] for image_id in data.samples}
    for batch in data.epochs([0]):
        pixels = batch[0].numpy()[0]
        (image_id,) = (
            image_id
            for image_id, samples in data.samples.items()
            if any(np.array_equal(pixels, _cut(images[image_id], s.crop)) for s in samples)
        )
        found[image_id].append(batch)
    return found


def _cut(image, box):
    return image[box.y : box.y + box.height, box.x : box.x + box.width]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", list(BUILD))
def test_crops_give_the_loss_and_gradients_of_whole_images(scattered, randomize, name, target):
    reader, regions = scattered["small" if name == "plugin" else "long"]
    keras.utils.set_random_seed(1)
    model = randomize(BUILD[name](3 if target == "segmentation" else 1))
    gradients = _gradient_function(model, target)
    images = {
        record["image/id"].numpy().decode(): reader.image(record).numpy()
        for record in reader.records()
    }
    crop_for = crop_rule(model)
    masks, crops = (
        _training_data(reader, target, regions, train_on, crop_for) for train_on in ("mask", "crop")
    )
    whole, cut = _by_image(masks, images), _by_image(crops, images)
    assert len(cut["several"]) > 1
    for image_id, ((image, expected, weight),) in whole.items():
        assert image.shape[1:] == images[image_id].shape
        assert sum(part.shape[1] * part.shape[2] for part, _, _ in cut[image_id]) < (
            image.shape[1] * image.shape[2]
        )
        reference = gradients(image, expected, weight)
        counts = [float(tf.reduce_sum(part)) for _, _, part in cut[image_id]]
        assert sum(counts) == float(tf.reduce_sum(weight)) > 0
        parts = [gradients(*batch) for batch in cut[image_id]]
        found = [np.average(values, axis=0, weights=counts) for values in zip(*parts, strict=True)]
        largest = max(np.abs(values).max() for values in reference[1:])
        assert largest > 1e-3
        assert np.mean([np.abs(values).max() > 1e-4 * largest for values in reference]) > 0.8
        for a, b in zip(found, reference, strict=True):
            np.testing.assert_allclose(
                a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max() + 1e-6 * largest, err_msg=image_id
            )


def test_a_region_counts_in_its_own_sample_only(six_samples):
    """Where crops overlap, each shows regions of the other."""
    data, regions = six_samples
    reader, image = Split(data, "train"), Box(0, 0, 40, 200)
    samples = {i: [Sample(image, box) for box in boxes] for i, boxes in regions.items()}
    weights = [
        weight.numpy()[0]
        for *_, weight in TrainingData(reader, "cost", regions, samples).epochs([0])
    ]
    expected = np.zeros((2, 5, 25))
    expected[0, :2, :2] = expected[1, 3:, 23:] = 1
    for one in expected:
        assert sum(np.array_equal(weight, one) for weight in weights) == 3


# What is not labelled has no influence.


def _rewritten(data, folder, change):
    """Copy a prepared data set, its train records changed by `change(parsed record)`."""
    (shard,) = data.shards("train")
    (folder / "Split-train").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "Split-train" / shard.name)) as writer:
        for record in records.read_shards([shard]):
            writer.write(records.serialize(change(record)))
    for path in ("dataset.json", "images.csv"):
        (folder / path).write_bytes((data.folder / path).read_bytes())
    return Split(PreparedData(folder, data.description), "train")


def _with_other_annotation(record, kept, seed):
    """The record with other labels and vertices wherever the boolean [H, W] `kept` is False."""
    rng = np.random.default_rng(seed)
    label = records.decode_label(record["label/encoded"]).numpy()
    label = np.where(kept, label, rng.choice(np.array([0, 1, 2, 9], np.uint8), label.shape))
    places = np.argwhere(~kept)[:, ::-1]
    polygons = []
    for polygon in records.polygons_of(record):
        columns, rows = np.floor(polygon.points).astype(int).T
        moved = places[rng.integers(len(places), size=len(polygon.points))]
        polygons.append(
            Polygon(polygon.class_id, np.where(kept[rows, columns, None], polygon.points, moved))
        )
    return AnnotatedImage(
        image_id=record["image/id"].numpy().decode(),
        image_encoded=record["image/encoded"].numpy(),
        image_format="png",
        height=label.shape[0],
        width=label.shape[1],
        label_encoded=tf.io.encode_png(label[..., None]).numpy(),
        polygons=polygons,
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("train_on", ["mask", "crop"])
def test_annotation_outside_the_regions_changes_nothing(
    write_data, noise, tmp_path, target, train_on
):
    data = write_data({"train": {"a": noise(5, 131, 403)}, "val": {"b": noise(6, 16, 16)}})
    regions = {"a": [Box(0, 16, 24, 32), Box(112, 368, 19, 35)]}
    keras.utils.set_random_seed(1)
    model = _plugin(3 if target == "segmentation" else 1)
    gradients, crop_for = _gradient_function(model, target), crop_rule(model)
    inside = np.zeros((131, 403), bool)
    for y, x, rows, columns in regions["a"]:
        inside[y : y + rows, x : x + columns] = True

    def epoch(reader):
        return list(_training_data(reader, target, regions, train_on, crop_for).epochs([0]))

    expected = epoch(Split(data, "train"))
    changed = epoch(
        _rewritten(data, tmp_path / "o", lambda record: _with_other_annotation(record, inside, 1))
    )
    inverse = epoch(
        _rewritten(data, tmp_path / "i", lambda record: _with_other_annotation(record, ~inside, 1))
    )
    assert len(expected) == (1 if train_on == "mask" else 2)
    for batch, other, third in zip(expected, changed, inverse, strict=True):
        assert (batch[1].numpy() != other[1].numpy()).any()
        results = [gradients(*part) for part in (batch, other, third)]
        for a, b in zip(*results[:2], strict=True):
            np.testing.assert_array_equal(a, b)
        assert results[0][0] != results[2][0]


def test_segmentation_loss_is_the_mean_over_labelled_positions_that_are_not_ignored(
    write_data, noise
):
    image, mask = noise(7, 131, 187)
    data = write_data({"train": {"a": (image, mask)}, "val": {"b": noise(6, 16, 16)}})
    regions = {"a": [Box(0, 16, 24, 32), Box(96, 120, 35, 67)]}
    keras.utils.set_random_seed(1)
    model = _plugin(3)
    (batch,) = _training_data(Split(data, "train"), "segmentation", regions, "mask").epochs([0])
    logits = tf.Variable(model(image[None], training=False))
    with tf.GradientTape() as tape:
        loss = segmentation_loss()(batch[1], logits, sample_weight=batch[2])
    gradient = tape.gradient(loss, logits).numpy()[0]

    values, kept = [], np.zeros((17, 24), bool)
    for y, x, rows, columns in regions["a"]:
        for i in range(y // 8, -(-(y + rows) // 8)):
            for j in range(x // 8, -(-(x + columns) // 8)):
                class_id = mask[min(8 * i + 4, 130), min(8 * j + 4, 186)]
                if class_id != 9:
                    scores = logits.numpy()[0, i, j].astype(np.float64)
                    values.append(np.log(np.exp(scores).sum()) - scores[class_id])
                    kept[i, j] = True
    assert 0 < kept.sum() < sum(-(-b.height // 8) * -(-b.width // 8) for b in regions["a"])
    assert float(loss) == pytest.approx(np.mean(values), rel=1e-5)
    np.testing.assert_array_equal((gradient != 0).any(axis=-1), kept)


@pytest.mark.parametrize("target", TARGETS)
def test_augmented_samples_show_what_is_labelled_and_nothing_else(
    write_data, noise, monkeypatch, target
):
    """Views are flipped or not here; costs only where cells stay cells."""
    for name, value in (("SCALES", (1, 1)), ("CONTRASTS", (1, 1)), ("BRIGHTNESS", 0)):
        monkeypatch.setattr(augment, name, value)
    images = {"a": noise(1, 60, 96), "b": noise(2, 60, 90)}
    split = Split(write_data({"train": images, "val": {"v": noise(6, 16, 16)}}), "train")
    regions = {"a": [Box(0, 16, 24, 32), Box(40, 64, 20, 32)], "b": [Box(8, 0, 52, 24)]}

    def samples(seeds, changed):
        batches = _training_data(split, target, regions, "mask", augment=changed).epochs(seeds)
        for pixels, *rest in batches.as_numpy_iterator():
            ((image_id, step),) = (
                (image_id, step)
                for image_id, (image, _) in images.items()
                for step in (1, -1)
                if np.array_equal(pixels[0], image[:, ::step])
            )
            yield image_id, step, *(part[0] for part in rest)

    plain = {image_id: rest for image_id, _, *rest in samples([0], False)}
    views = list(samples(range(1, 9), True))
    for image_id, step, found, weight in views:
        expected, inside = (part[:, ::step] for part in plain[image_id])
        if target == "segmentation":
            label = np.full_like(images[image_id][1], 9)
            for box in regions[image_id]:
                label[box.slices] = images[image_id][1][box.slices]
            middle = [np.minimum(np.arange(4, size + 4, 8), size - 1) for size in label.shape]
            label = label[:, ::step][np.ix_(*middle)]
            expected, inside = np.where(label == 9, 0, label), label != 9
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(weight, inside)
    possible = {("a", 1), ("a", -1), ("b", 1), ("b", -1)}
    assert {view[:2] for view in views} == possible - ({("b", -1)} if target == "cost" else set())
    assert [view[:2] for view in samples([5], True)] == [view[:2] for view in views[8:10]]


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_without_any_label_has_no_loss_and_no_gradient(target):
    model = _plugin(3 if target == "segmentation" else 1)
    expected = np.zeros((1, 3, 5), "int32")
    if target == "cost":
        expected = np.zeros((1, 3, 5, 1), "float32")
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 35, 3), np.uint8)
    values = _gradient_function(model, target)(image, expected, np.zeros((1, 3, 5), "float32"))
    assert all((value == 0).all() for value in values)


# Order and batches.


def _order(data, *seeds):
    """A short name of each sample of some epochs, in order."""
    tf.random.set_seed(1)
    return [
        hashlib.sha256(pixels.tobytes()).hexdigest()[:8]
        for images, _, _ in data.epochs(seeds)
        for pixels in images.numpy()
    ]


@pytest.fixture(scope="module")
def six_samples(write_data, noise):
    """Data of three images of one size, and regions that make two crops of each."""
    images = {f"i{number}": noise(number, 40, 200) for number in range(3)}
    data = write_data({"train": images, "val": {"b": noise(6, 16, 16)}})
    boxes = [Box(0, 0, 16, 16), Box(24, 184, 16, 16)]
    return data, dict.fromkeys(images, boxes)


def _crop_of_48(core, height, width):
    length = max(48, core.width)
    return Box(0, min(core.x, width - length), height, length)


CHILD = """
import sys, hashlib, tensorflow as tf
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.samples import (Sample)
from cereals_tf.data_prep.grid import Box
reader = Split(PreparedData.open(sys.argv[1]), "train")
boxes = [Box(0, 0, 16, 16), Box(24, 184, 16, 16)]
samples = [Sample(Box(0, 0, 40, 48), boxes[0]), Sample(Box(0, 152, 40, 48), boxes[1])]
ids = [entry.image_id for entry in reader.images]
data = TrainingData(reader, "cost", dict.fromkeys(ids, boxes), dict.fromkeys(ids, samples))
tf.random.set_seed(1)
for images, _, _ in data.epochs([12]):
    print(hashlib.sha256(images.numpy()[0].tobytes()).hexdigest()[:8])
"""


def test_order_depends_on_the_seeds_and_every_sample_comes_once(six_samples):
    data, regions = six_samples

    def fresh(target="cost"):
        reader = Split(data, "train")
        return _training_data(reader, target, regions, "crop", _crop_of_48)

    first = fresh()
    assert first.steps == 6
    orders = {seed: _order(first, seed) for seed in (12, 13, 14)}
    assert all(len(set(order)) == 6 for order in orders.values())
    assert len({tuple(sorted(order)) for order in orders.values()}) == 1
    assert len({tuple(order) for order in orders.values()}) > 1
    assert _order(first, 12) == orders[12]
    assert _order(first, 13, 12, 13) == orders[13] + orders[12] + orders[13]
    assert _order(fresh(), 12) == orders[12]
    assert _order(fresh("segmentation"), 12) == orders[12]
    command = [sys.executable, "-c", CHILD, str(data.folder)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert child.stdout.split() == orders[12]


def test_too_few_samples_come_again_in_other_orders_until_the_steps_are_enough(six_samples):
    data, regions = six_samples

    def fresh(min_steps, batch_size=1):
        reader, more = Split(data, "train"), {"batch_size": batch_size, "min_steps": min_steps}
        return _training_data(reader, "cost", regions, "crop", _crop_of_48, **more)

    enough = fresh(6)
    assert enough.steps == 6 and _order(enough, 12) == _order(fresh(1), 12)
    again = fresh(15)
    assert again.steps == int(again.epochs([12]).cardinality()) == 15
    order = _order(again, 12)
    first, second, rest = order[:6], order[6:12], order[12:]
    assert sorted(first) == sorted(second) == sorted(_order(enough, 12))
    assert first != second and len(set(rest)) == 3
    assert _order(again, 12) == _order(fresh(15), 12) == order != _order(again, 13)
    assert _order(again, 13, 12) == _order(again, 13) + order
    assert [len(part[0]) for part in fresh(4, batch_size=4).epochs([12])] == [4] * 4
    assert _order(fresh(4, batch_size=4), 12) == _order(fresh(16), 12)


@pytest.mark.parametrize("target", TARGETS)
def test_batches_hold_several_samples_of_one_size(six_samples, target):
    data, regions = six_samples
    reader = Split(data, "train")
    singly = _training_data(reader, target, regions, "crop", _crop_of_48)
    batched = _training_data(reader, target, regions, "crop", _crop_of_48, batch_size=4)
    assert (batched.steps, batched.positions_per_step) == (2, 4 * 2 * 2)
    assert [len(part[0]) for part in batched.epochs([3])] == [4, 2]
    assert int(batched.epochs([3]).cardinality()) == 2
    for parts in zip(
        *(
            zip(*(map(np.asarray, batch) for batch in data.epochs([3])), strict=True)
            for data in (singly, batched)
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(*(np.concatenate(part) for part in parts))


def test_resized_images_of_any_size_form_batches(write_data, noise):
    images = {f"i{number}": noise(number, 40 + number, 70 - number) for number in range(3)}
    data = write_data({"train": images, "val": {"b": noise(6, 16, 16)}})
    reader = Split(data, "train", (36, 52))
    regions = {image_id: [Box(8, 16, 16, 36)] for image_id in images}
    batch = _training_data(reader, "segmentation", regions, "mask", batch_size=3)
    ((pixels, labels, weights),) = batch.epochs([0])
    assert (pixels.shape, labels.shape) == ((3, 36, 52, 3), (3, 5, 7))
    expected = np.zeros((5, 7))
    expected[1:3, 2:7] = 1
    for weight, label in zip(weights.numpy(), labels.numpy(), strict=True):
        assert ((weight == expected) | (label == 0)).all()
        assert (weight <= expected).all()
