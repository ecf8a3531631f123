"""Several processes train as the devices of one do, and end together."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

import keras
import numpy as np
import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.start import start_campaign
from cereals_tf.models.encoder import build_encoder

MIRRORED = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
virtual = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop())
tf.config.set_logical_device_configuration(cpu, virtual)
from cereals_tf import cli
cli.console()
"""
WORKER = """
import os, signal, sys
from cereals_tf import cli
from cereals_tf.data_prep.quiet import load_tensorflow
if sys.argv.pop() == "dies":
    load_tensorflow()
    from cereals_tf.trainers.together import JointTraining
    train, epochs = JointTraining.epoch, []
    def epoch(self, steps, on_step):
        epochs.append(self)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(self, steps, on_step)
    JointTraining.epoch = epoch
cli.console()
"""
TINY = {"region": "16", "initial": "1images", "epochs": 2, "min_steps": 2, "image_size": "60x90"}
ENCODER = {"backbone": "mobilenet", "width_multiplier": 0.03}
SECONDS = 900


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def step(plugin_folder):
    """Runs `cereals step` in processes that are killed if they hang; returns what each gave."""
    started = []

    def run(*commands):
        processes = []
        for code, arguments, environment in commands:
            own = {"TF_NUM_INTRAOP_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1", **environment}
            process = subprocess.Popen(
                [sys.executable, "-c", code, "step", *map(str, arguments)],
                cwd=plugin_folder,
                env={**os.environ, **own},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
        started.extend(processes)
        said = [process.communicate(timeout=SECONDS) for process in processes]
        return [(each.returncode, *texts) for each, texts in zip(processes, said, strict=True)]

    yield run
    for process in started:
        process.kill()


def workers(folder, count, dies=None, options=()):
    """Return the command lines of so many workers, of which one may die."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(count)]}
    for index in range(count):
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        end = "dies" if index == dies else "lives"
        arguments = (folder, "--strategy=multiworker", *options, end)
        yield WORKER, arguments, {"TF_CONFIG": json.dumps(tf_config)}


def compare(weights_of, found, expected, tolerance):
    """Compare the first rounds of two campaigns."""
    metrics, others = found.round(0).metrics, expected.round(0).metrics
    assert metrics.devices == others.devices
    for name, training in metrics.training.items():
        np.testing.assert_allclose(training.losses, others.training[name].losses, rtol=1e-6)
        np.testing.assert_allclose(
            training.val_metrics, others.training[name].val_metrics, rtol=1e-6
        )
    pairs = zip(
        weights_of(found, found.round(0)), weights_of(expected, expected.round(0)), strict=True
    )
    for array, other in pairs:
        np.testing.assert_allclose(array, other, rtol=0, atol=tolerance)


def test_two_workers_do_what_two_devices_do(tmp_path, begin, step, weights_of):
    found, expected = (begin(tmp_path / name, batch_size=2) for name in ("found", "expected"))
    mirrored = MIRRORED, (expected.folder, "--strategy=mirrored", 2), {}
    (chief, worker, one) = step(*workers(found.folder, 2), mirrored)
    assert one[0] == chief[0] == worker[0] == 0, chief[2] + worker[2] + one[2]
    assert worker[1:] == ("", "")
    assert "waits until all 2 workers are there" in chief[2]
    compare(weights_of, found, expected, tolerance=0)
    assert not (found.folder / "working").exists()


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("recipe", ["paper", "fast", "best"])
def test_recipes_are_trained_alike(tmp_path, toy_data, step, weights_of, recipe, count):
    chosen = TINY | {"recipe": recipe, "batch_size": count}
    if recipe == "paper":
        chosen["width_multiplier"] = 0.03
    else:
        path = tmp_path / "thin.weights.h5"
        keras.utils.set_random_seed(1)
        build_encoder(**ENCODER, rounded=False).save_weights(path)
        chosen |= ENCODER | {"weights": str(path)}
    campaigns = []
    for name in ("found", "expected"):
        data = shutil.copytree(toy_data, tmp_path / f"data-{name}")
        campaigns.append(start_campaign(tmp_path / name, data, Options.chosen(**chosen)))
    found, expected = campaigns
    (one,) = step((MIRRORED, (expected.folder, "--strategy=mirrored", count), {}))
    ends = step(*workers(found.folder, count))
    assert [status for status, *_ in (one, *ends)] == [0] * (count + 1), (one, *ends)
    compare(weights_of, found, expected, tolerance=0 if count == 2 else 1e-6)


@pytest.mark.long
@pytest.mark.parametrize("dies", [0, 2])
def test_a_killed_worker_ends_all_and_the_same_command_goes_on(
    tmp_path, begin, step, weights_of, dies
):
    found, expected = (
        begin(tmp_path / name, batch_size=4, epochs=4) for name in ("found", "expected")
    )
    assert all(status == 0 for status, *_ in step(*workers(expected.folder, 4)))
    ends = step(*workers(found.folder, 4, dies))
    assert ends.pop(dies)[0] == -9
    for status, _, err in ends:
        assert status == 2
        (line,) = [line for line in err.splitlines() if "error" in line]
        assert re.search("worker.* ended or cannot be reached", line), err
    assert not found.rounds()
    assert all(status == 0 for status, *_ in step(*workers(found.folder, 4)))
    compare(weights_of, Campaign.open(found.folder), expected, tolerance=0)
