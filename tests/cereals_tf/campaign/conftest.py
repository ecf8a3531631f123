"""People whom the ground truth plays, ways to look at a campaign's models, and to kill a step."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import pytest

from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.models.encoder import build_encoder
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


def kill_at_write(folder, number):
    """Kill before the n-th time that something is opened to be written, renamed, removed or made
    in a folder."""
    writes = []

    def watch(event, args):
        if event == "open":
            changes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
        if changes and any(str(path).startswith(folder) for path in args[:2]):
            writes.append(event)
            if len(writes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


for line in sys.stdin:
    child = os.fork()
    if not child:
        signal.alarm(300)
        kill, arguments = json.loads(line)
        if "folder" in kill:
            kill_at_write(**kill)
        else:
            kill_at(**kill)
        os._exit(cli.main(arguments))
    print(os.waitpid(child, 0)[1], flush=True)
'''
"""TensorFlow is imported once, which is slow, and used only after the fork."""


@pytest.fixture(scope="session")
def dying(plugin_folder):
    """Runs a command line in a process that is killed where it is said; returns its end."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=plugin_folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stdin and driver.stdout
        said, heard = driver.stdin, driver.stdout

        def run(kill, *arguments) -> int:
            said.write(json.dumps([kill, [str(part) for part in arguments]]) + "\n")
            said.flush()
            return int(heard.readline())

        yield run


@pytest.fixture
def step_and_die(dying):
    """Runs `cereals step`, or another command, in processes that are killed; returns their ends."""

    def run(campaign, kill, *arguments):
        where = {name: getattr(kill, name) for name in ("module", "name", "call", "finishes")}
        return dying(where, *(arguments or ("step", campaign.folder)))

    return run


@pytest.fixture
def killed_at_every_write(dying):
    """Runs a command line again and again, killed before its first write in a folder, its second
    and so on, until it ends by itself; gives control back after each kill."""

    def run(folder, *arguments):
        for number in itertools.count(1):
            status = dying({"folder": str(folder), "number": number}, *arguments)
            if not os.WIFSIGNALED(status):
                assert number > 1, (arguments, status)
                return
            assert os.WTERMSIG(status) == signal.SIGKILL
            yield number

    return run


@pytest.fixture(scope="session")
def thin(tmp_path_factory):
    """Options of a campaign on a MobileNet of width 0.03, sooner built than the default encoder."""
    path, width = tmp_path_factory.mktemp("weights") / "thin.weights.h5", 0.03
    keras.utils.set_random_seed(1)
    build_encoder("mobilenet", width, rounded=False).save_weights(path)
    return {
        "backbone": "mobilenet",
        "weights": str(path),
        "width_multiplier": width,
        "image_size": "60x90",
        "region": "16",
        "fusion": "ratio",
        "epochs": 2,
        "min_steps": 2,
        "batch_size": 2,
    }


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
