"""Evaluation, against the official Cityscapes evaluator and slow references."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813
from cityscapesscripts.helpers.labels import id2label, trainId2label
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import click_map
from cereals_tf.trainers.evaluation import (
    CostEvaluator,
    SegmentationEvaluator,
    confusion_matrix,
    iou,
    upsample_logits,
)
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import masked_label

LABEL_IDS = np.array([trainId2label[i].id for i in range(19)], np.uint8)


def _official_ious(folder, pairs):
    """IoU of the 19 classes in order of train ids, from label ids (truth, prediction)."""
    args = copy.copy(official.args)
    args.evalInstLevelScore, args.evalLabels = False, []
    matrix = official.generateMatrix(args)
    for truth, predicted in pairs:
        for name, ids in (("truth", truth), ("predicted", predicted)):
            Image.fromarray(ids).save(folder / f"{name}.png")
        paths = str(folder / "predicted.png"), str(folder / "truth.png")
        official.evaluatePair(*paths, matrix, {}, {}, args)
    scores = {id2label[i].name: official.getIouScoreForLabel(i, matrix, args) for i in LABEL_IDS}
    return list(scores.values()), official.getScoreAverage(scores, args)


def _train_ids(label_ids):
    table = np.full(256, 255, np.uint8)
    table[LABEL_IDS] = np.arange(19)
    return table[label_ids]


@pytest.mark.parametrize(
    ("truths", "predictions"),
    [(range(34), range(19)), ([0, 4, 7, 8, 33], [0, 1, 5, 18]), ([7], [0]), ([7, 11], [2, 13])],
)
def test_iou_is_the_official_one(tmp_path, truths, predictions):
    rng = np.random.default_rng(0)
    pairs, total = [], np.zeros((19, 19), np.int64)
    for shape in ((20, 31), (33, 17)):
        truth = rng.choice(np.array(truths, np.uint8), shape)
        predicted = rng.choice(np.array(predictions, np.int32), shape)
        agreeing = (rng.random(shape) < 0.5) & (_train_ids(truth) != 255)
        predicted = np.where(
            agreeing & np.isin(_train_ids(truth), predictions), _train_ids(truth), predicted
        )
        pairs.append((truth, LABEL_IDS[predicted]))
        class_ids, weights = masked_label(tf.constant(_train_ids(truth)), tf.ones(shape), 255)
        total += confusion_matrix(class_ids, weights, tf.constant(predicted, tf.int32), 19).numpy()
    expected, mean = _official_ious(tmp_path, pairs)
    found = iou(total)
    np.testing.assert_allclose(found.per_class, expected, rtol=0, atol=1e-9)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    absent = set(range(19)) - set(predictions) - set(_train_ids(np.array(truths)))
    assert set(np.flatnonzero(np.isnan(found.per_class))) == absent


def test_no_class_at_all_has_no_mean():
    found = iou(np.zeros((3, 3), np.int64))
    assert found.mean is None
    assert np.isnan(found.per_class).all()


@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=25)
def test_confusion_matrix_counts_pairs_with_weight(classes, count, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, classes, (2, count), np.int32)
    weights = rng.choice([0.0, 0.5, 1.0], count).astype("float32")
    expected = np.zeros((classes, classes), int)
    for true, guess, weight in zip(truth, predicted, weights, strict=True):
        expected[true, guess] += weight > 0
    found = confusion_matrix(*map(tf.constant, (truth, weights, predicted)), classes)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == tf.int64


def _upsampled(logits, height, width):
    """Bilinear by a factor of 8 with half-pixel centres, edges repeated; one pixel at a time."""
    rows, columns, channels = logits.shape
    result = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            row, column = (y + 0.5) / 8 - 0.5, (x + 0.5) / 8 - 0.5
            for i in (int(np.floor(row)), int(np.floor(row)) + 1):
                for j in (int(np.floor(column)), int(np.floor(column)) + 1):
                    share = (1 - abs(row - i)) * (1 - abs(column - j))
                    nearest = min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)
                    result[y, x] += share * logits[nearest]
    return result


@pytest.mark.parametrize("size", [(16, 24), (17, 31), (1, 8), (40, 3)])
def test_logits_are_upsampled_bilinearly(size):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, *(-(-length // 8) for length in size), 3)).astype("float32")
    found = upsample_logits(tf.constant(logits), *size).numpy()
    assert found.shape == (2, *size, 3)
    for one, image in zip(found, logits, strict=True):
        np.testing.assert_allclose(one, _upsampled(image, *size), atol=1e-5)


def _network(channels):
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 9, strides=8, padding="same", activation="elu")(image / 99.0)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return keras.Model(image, keras.layers.Conv2D(channels, 1)(x))


@pytest.mark.parametrize(
    ("image_size", "own_size"), [(None, False), ((43, 77), False), ((43, 77), True)]
)
def test_reported_iou_of_a_split_is_the_official_one(
    toy_data, toy_source, tmp_path, image_size, own_size
):
    keras.utils.set_random_seed(3)
    model = _network(19)
    reader = Split(toy_data, "val", image_size)
    pairs = []
    for record in reader.records():
        image, label = reader.image(record).numpy(), reader.label(record).numpy()
        truth = np.append(LABEL_IDS, 0)[np.minimum(label, 19)]
        if image_size is None or own_size:
            image_id = record["image/id"].numpy().decode()
            path = toy_source / "gtFine/val/toyville" / f"{image_id}_gtFine_labelIds.png"
            truth = np.asarray(Image.open(path))
        logits = model(image[None], training=False).numpy()[0]
        full = _upsampled(logits, *image.shape[:2])
        if own_size:
            full = tf.image.resize(full, truth.shape).numpy()
        predicted = full.argmax(axis=-1)
        pairs.append((truth.astype(np.uint8), LABEL_IDS[predicted]))
    expected, mean = _official_ious(tmp_path, pairs)
    evaluator = SegmentationEvaluator(model, reader, full_resolution=True, own_size=own_size)
    confusions = evaluator.confusions("val")
    assert len(confusions) == 1 + own_size
    found = iou(confusions[-1])
    np.testing.assert_allclose(found.per_class, expected, rtol=0, atol=1e-9)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    np.testing.assert_array_equal(evaluator.confusion(), confusions[0])


def test_iou_at_stride_8_compares_the_centres_of_cells(write_data, noise):
    data = write_data(
        {"train": {"a": noise(0, 20, 30)}, "val": {"a": noise(1, 43, 77), "b": noise(2, 16, 24)}}
    )
    keras.utils.set_random_seed(3)
    model, reader = _network(3), Split(data, "val")
    expected = np.zeros((3, 3), int)
    for record in reader.records():
        image, label = reader.image(record).numpy(), reader.label(record).numpy()
        predicted = model(image[None], training=False).numpy()[0].argmax(axis=-1)
        for (i, j), guess in np.ndenumerate(predicted):
            true = label[min(8 * i + 4, len(label) - 1), min(8 * j + 4, len(label[0]) - 1)]
            if true != 9:
                expected[true, guess] += 1
    found = SegmentationEvaluator(model, reader, full_resolution=False).confusion()
    np.testing.assert_array_equal(found, expected)


def test_evaluators_follow_the_model_s_weights(write_data, noise):
    data = write_data({"train": {"a": noise(0, 20, 30)}})
    model = _network(3)
    evaluator = SegmentationEvaluator(model, Split(data, "val"), full_resolution=True)
    scores = []
    for wanted in range(3):
        model.layers[-1].set_weights([np.zeros((1, 1, 8, 3)), np.eye(3)[wanted]])
        scores.append(evaluator.confusion())
    for wanted, confusion in enumerate(scores):
        assert (confusion.sum(axis=0) > 0).tolist() == np.eye(3, dtype=bool)[wanted].tolist()


@pytest.mark.parametrize("image_size", [None, (43, 77)])
def test_cost_error_is_the_mean_over_all_positions(toy_data, image_size):
    keras.utils.set_random_seed(3)
    model, reader = _network(1), Split(toy_data, "val", image_size)
    errors = []
    for record in reader.records():
        image = reader.image(record).numpy()
        points = np.concatenate([p.points for p in records.polygons_of(record)])
        if image_size:
            points = points * [77 / 96, 43 / 64]
        clicks = click_map(points, *image.shape[:2])
        predicted = model(image[None], training=False).numpy()[0, ..., 0]
        errors.append(np.square(predicted - clicks).ravel())
    assert len(errors) == 3
    found = CostEvaluator(model, reader).mean_squared_error()
    assert found == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
