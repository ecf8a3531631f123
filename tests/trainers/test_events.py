"""Event files as TensorFlow reads them back, and what happens where they cannot be written."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.trainers.events import EventFile, epoch_writer
from cereals_tf.trainers.fitting import FitOptions, FitState, Objective, cost_loss, fit


def read(folder):
    """Return (file's place, tag, step, plugin, content) of every value in a folder, in order."""
    found = []
    for place, path in enumerate(sorted(folder.glob("events.out.tfevents.*"))):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                content = tf.make_ndarray(value.tensor)
                found.append((place, value.tag, event.step, plugin, content))
    return found


def points(folder):
    """Return the curves in a folder: {tag: [(step, value)]}."""
    curves = {}
    for _, tag, step, plugin, content in read(folder):
        assert plugin == "scalars"
        curves.setdefault(tag, []).append((step, float(content)))
    return curves


def expected(losses, metrics, rate):
    steps = range(1, len(metrics) + 1)
    columns = {"loss": losses, "val_MSE": metrics, "learning_rate": [rate] * len(metrics)}
    return {
        f"cost/{name}": [
            (step, float(np.float32(value))) for step, value in zip(steps, column, strict=True)
        ]
        for name, column in columns.items()
    }


def test_epochs_are_there_as_soon_as_they_are_over(tmp_path):
    state = FitState()
    with EventFile(tmp_path, "cost") as file:
        write = epoch_writer(file, "cost", "MSE", lambda epoch: 0.25)
        write(state)
        assert not points(tmp_path)
        for loss, metric in [(3.5, 7.1), (2.5, float("inf")), (0.1, 5.3)]:
            state.losses.append(loss)
            state.metrics.append(metric)
            write(state)
            assert points(tmp_path) == expected(state.losses, state.metrics, 0.25)


def test_a_training_that_goes_on_replaces_its_own_file_only(tmp_path):
    state = FitState([3.0, 2.0, 1.5], [4.0, 3.0, 2.5])
    with EventFile(tmp_path, "segmentation") as other:
        other.scalar("segmentation/loss", 1.0, 1)
    killed = EventFile(tmp_path, "cost")  # is never closed
    epoch_writer(killed, "cost", "MSE", lambda epoch: 0.1)(FitState([3.0, 2.0], [4.0, 3.0]))
    with EventFile(tmp_path, "cost") as file:
        write = epoch_writer(file, "cost", "MSE", lambda epoch: 0.1)
        write(state)
        write(FitState([*state.losses, 1.0], [*state.metrics, 2.0]))
    assert points(tmp_path) == {
        "segmentation/loss": [(1, 1.0)],
        **expected([3.0, 2.0, 1.5, 1.0], [4.0, 3.0, 2.5, 2.0], 0.1),
    }
    assert len(list(tmp_path.iterdir())) == 2


def test_pictures_come_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 12, 3)).astype(np.uint8)
    with EventFile(tmp_path, "000") as file:
        file.image("val/a <b>/..", pixels, 3)
    ((_, tag, step, plugin, content),) = read(tmp_path)
    assert (tag, step, plugin) == ("val/a <b>/..", 3, "images")
    assert list(content[:2]) == [b"12", b"7"]
    np.testing.assert_array_equal(tf.io.decode_png(content[2]), pixels)


def test_tensorboard_itself_reads_them(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pixels = np.zeros((4, 6, 3), np.uint8)
    with EventFile(tmp_path, "000") as file:
        file.scalar("rounds/miou", 0.5, 0)
        file.scalar("rounds/miou", 0.625, 1)
        file.image("val/a", pixels, 1)
    events = reader.EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["tensors"] == ["rounds/miou", "val/a"]
    found = events.Tensors("rounds/miou")
    assert [(point.step, tf.make_ndarray(point.tensor_proto)) for point in found] == [
        (0, 0.5),
        (1, 0.625),
    ]
    plugins = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in ("val/a",)}
    assert plugins == {"val/a": "images"}


def fitted(folder, on_epoch, metrics=(5.0, 4.0, 3.0, 2.0), epochs=4):
    """Train a model of one weight."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)])
    measure = iter(metrics).__next__
    objective = Objective("cost", cost_loss(), "MSE", measure, False)
    options = FitOptions(epochs, 9, 0.125)
    return fit(model, objective, batches, 1, options, 7, folder, on_epoch), model


def batches(seeds):
    images = np.random.default_rng(0).normal(size=(1, 1, 8, 8, 1)).astype("float32")
    images = np.repeat(images, len(seeds), axis=0)
    weights = np.ones((len(seeds), 1, 8, 8), "float32")
    return tf.data.Dataset.from_tensor_slices((images, images, weights))


def test_an_interrupted_training_shows_every_epoch_once(tmp_path):
    class InterruptionError(Exception):
        pass

    def interrupted():
        yield from (5.0, 4.0)
        raise InterruptionError

    def writer(file):
        return epoch_writer(file, "cost", "MSE", lambda epoch: 0.125)

    with pytest.raises(InterruptionError), EventFile(tmp_path / "events", "cost") as file:
        fitted(tmp_path / "checkpoints", writer(file), interrupted())
    assert len(points(tmp_path / "events")["cost/loss"]) == 2
    with EventFile(tmp_path / "events", "cost") as file:
        state, _ = fitted(tmp_path / "checkpoints", writer(file))
    assert state.epoch == 4
    assert points(tmp_path / "events") == expected(state.losses, state.metrics, 0.125)


def test_a_training_is_the_same_with_and_without_events(tmp_path):
    with EventFile(tmp_path / "events", "cost") as file:
        write = epoch_writer(file, "cost", "MSE", lambda epoch: 0.125)
        state, model = fitted(tmp_path / "shown", write)
    plain, other = fitted(tmp_path / "hidden", None)
    assert state == plain
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_cannot_be_written_is_said_once(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("mine")
    with EventFile(tmp_path / "tensorboard" / "round-000", "cost") as file:
        write = epoch_writer(file, "cost", "MSE", lambda epoch: 0.1)
        write(FitState([1.0], [2.0]))
        write(FitState([1.0, 2.0], [2.0, 3.0]))
        file.image("val/a", np.zeros((2, 2, 3), np.uint8), 0)
    err = capsys.readouterr().err
    assert err.count("not written for TensorBoard") == err.count("\n") == 1
    assert str(tmp_path / "tensorboard") in err
    assert (tmp_path / "tensorboard").read_text() == "mine"


def test_a_folder_that_is_removed_meanwhile_does_no_harm(tmp_path):
    with EventFile(tmp_path / "events", "cost") as file:
        write = epoch_writer(file, "cost", "MSE", lambda epoch: 0.1)
        write(FitState([1.0], [2.0]))
        for path in (tmp_path / "events").iterdir():
            path.unlink()
        (tmp_path / "events").rmdir()
        write(FitState([1.0, 2.0], [2.0, 3.0]))
        file.flush()
