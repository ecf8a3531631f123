"""Calibration against a slow reference that sorts one prediction after the other."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.trainers.calibration import BINS, Calibration, binned, measure_calibration
from cereals_tf.trainers.split import Split


def slow(probabilities, class_ids, weights):
    counts, right, confidences = [0] * BINS, [0] * BINS, [0.0] * BINS
    for row, truth, weight in zip(probabilities, class_ids, weights, strict=True):
        if weight == 0:
            continue
        best = max(range(len(row)), key=lambda place: row[place])
        place = next(m for m in range(BINS) if row[best] <= np.float32(m + 1) / np.float32(BINS))
        counts[place] += 1
        right[place] += best == truth
        confidences[place] += float(row[best])
    return counts, right, confidences


@settings(max_examples=50)
@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 40),
    classes=st.integers(1, 5),
    sharpness=st.sampled_from([0.0, 1.0, 5.0, 200.0]),
)
def test_predictions_are_sorted_by_confidence(seed, count, classes, sharpness):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(count, classes))
    probabilities = tf.nn.softmax(tf.constant(logits, tf.float32)).numpy()
    class_ids = rng.integers(0, classes, count).astype(np.int32)
    weights = rng.integers(0, 2, count).astype(np.float32)
    found = binned(probabilities, class_ids, weights)
    expected = slow(probabilities, class_ids, weights)
    for part, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, reference, rtol=1e-9)
    total = sum(expected[0])
    measured = Calibration(*(part.numpy() for part in found))
    if not total:
        assert math.isnan(measured.expected_error) and math.isnan(measured.accuracy)
        return
    error = sum(n / total * abs(r / n - c / n) for n, r, c in zip(*expected, strict=True) if n)
    assert measured.expected_error == pytest.approx(error, abs=1e-12)
    assert measured.accuracy == pytest.approx(sum(expected[1]) / total)
    assert measured.confidence == pytest.approx(sum(expected[2]) / total)
    for place, number in enumerate(expected[0]):
        accuracy = measured.bin_accuracy[place]
        assert math.isnan(accuracy) if number == 0 else accuracy == expected[1][place] / number


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    """Of ten predictions with confidence 0.7, seven are right."""
    probabilities = np.tile(np.float32([0.7, 0.3]), (10, 1))
    found = binned(probabilities, np.int32([0] * 7 + [1] * 3), np.ones(10, np.float32))
    measured = Calibration(*(part.numpy() for part in found))
    assert measured.expected_error == pytest.approx(0, abs=1e-7)
    assert np.flatnonzero(measured.counts) == [10]


def test_a_split_is_measured_image_by_image(write_data, noise):
    """Whatever the batches, the bins are those of all positions together."""
    data = write_data({"train": {name: noise(place, 40, 56) for place, name in enumerate("abc")}})
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 8, 8)])
    model.layers[0].kernel.assign(0.003 * model.layers[0].kernel)
    reader = Split(data, "val")
    parts = [[], [], []]
    for record in reader.records():
        label = reader.label(record).numpy()[4::8, 4::8]
        logits = model(reader.image(record)[None])[0].numpy().reshape(-1, 3)
        parts[0].append(tf.nn.softmax(logits).numpy())
        parts[1].append(label.reshape(-1))
        parts[2].append(label.reshape(-1) != data.classes.ignore_id)
    counts, right, confidences = slow(*(np.concatenate(part) for part in parts))
    measured = measure_calibration(model, reader)
    np.testing.assert_array_equal(measured.counts, counts)
    np.testing.assert_array_equal(measured.right, right)
    np.testing.assert_allclose(measured.confidences, confidences, rtol=1e-5)
    assert sum(counts) > 50 and np.count_nonzero(counts) > 1
