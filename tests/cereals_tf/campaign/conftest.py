"""People whom the ground truth plays, ways to look at a campaign's models, and to kill a step."""

import json
import shutil
import subprocess
import sys

import pytest

from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.trainers.split import Split

DRIVER = '''
"""Runs a command line per line of stdin, in a process that kills itself at a given call."""

import importlib
import json
import os
import signal
import sys

from cereals_tf import cli
from cereals_tf.data_prep.quiet import load_tensorflow

load_tensorflow()
import cereals_tf.campaign.run


def kill_at(module, name, call, finishes):
    """Replace module.name by a function whose n-th call kills, before or after it did its work."""
    *path, name = name.split(".")
    owner = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        calls.append(args)
        if len(calls) < call:
            return original(*args, **kwargs)
        if finishes:
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


for line in sys.stdin:
    child = os.fork()
    if not child:
        signal.alarm(300)
        kill, arguments = json.loads(line)
        kill_at(**kill)
        os._exit(cli.main(arguments))
    print(os.waitpid(child, 0)[1], flush=True)
'''
"""TensorFlow is imported once, which is slow, and used only after the fork."""


@pytest.fixture
def step_and_die(plugin_folder):
    """Runs `cereals step`, or another command, in processes that are killed; returns their ends."""
    drivers = []

    def run(campaign, kill, *arguments):
        if not drivers:
            drivers.append(
                subprocess.Popen(
                    [sys.executable, "-c", DRIVER],
                    cwd=plugin_folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        where = {name: getattr(kill, name) for name in ("module", "name", "call", "finishes")}
        line = [str(part) for part in arguments or ("step", campaign.folder)]
        drivers[0].stdin.write(json.dumps([where, line]) + "\n")
        drivers[0].stdin.flush()
        return int(drivers[0].stdout.readline())

    yield run
    for driver in drivers:
        driver.communicate()


@pytest.fixture(scope="session")
def weights_of():
    """Reads the weights of both models of a committed round."""

    def read(campaign, done):
        return [
            weights
            for task in TASKS
            for weights in Models.of(campaign).load_round(task, done).get_weights()
        ]

    return read


@pytest.fixture(scope="session")
def unlabelled_data(tmp_path_factory, toy_data):
    """The data set `toy_data` of someone who has no labels of train."""
    folder = tmp_path_factory.mktemp("unlabelled")
    shutil.copytree(toy_data.parent / "streets", folder / "streets")
    shutil.rmtree(folder / "streets" / "gtFine" / "train")
    prepare(folder / "streets", folder / "data", "cityscapes")
    return folder / "data"


@pytest.fixture(scope="session")
def truth(toy_data):
    """Maps image ids to the label and the polygons of the train split."""
    found = {}
    for record in Split(PreparedData.open(toy_data), "train").records():
        label = records.decode_label(record[records.LABEL_ENCODED]).numpy()
        image_id = record[records.IMAGE_ID].numpy().decode()
        found[image_id] = (label, records.polygons_of(record))
    return found


@pytest.fixture(scope="session")
def draw(truth):
    """Annotates regions of a campaign's request, by number, as the ground truth has them."""

    def annotate(campaign, numbers=None, seconds=None):
        entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
        request = campaign.request()
        for number in range(len(request)) if numbers is None else numbers:
            image_id, box = request[number].region
            window = own_window(box, entries[image_id], campaign.image_size)
            label, polygons = truth[image_id]
            part = label[window.y :, window.x :][: window.height, : window.width]
            campaign.annotations.write(
                RegionAnnotation(number, image_id, window, part, polygons, seconds)
            )

    return annotate
