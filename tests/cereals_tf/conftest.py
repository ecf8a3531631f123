"""A tiny prepared data set, a tiny plug-in model, and campaigns with both."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from cereals_tf import cli
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy

PLUGIN = '''
"""Models small enough for tests; the first has all that a round must carry over."""

import keras


def build(channels):
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 8, strides=8, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.5),
            keras.layers.Conv2D(channels, 1),
        ]
    )


def build_certain(channels):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(channels, 8, strides=8)]
    return keras.Sequential([keras.Input((None, None, 3)), *layers])
'''
OPTIONS = {
    "model": "tiny_plugin:build",
    "cost_model": "tiny_plugin:build",
    "region": "16",
    "initial": "1images",
    "budget": "20%",
    "epochs": 2,
    "min_steps": 1,
    "learning_rate": 0.01,
    "image_size": "60x90",
}

UNKNOWN = {"cost_rank_correlation_pool": None}
"""What metrics.json lacks where people annotate, whom nobody tells the truth of the pool."""


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """Four train and two val scenes of 64x96, prepared."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder / "streets", train_images=4, val_images=2, height=64, width=96, seed=1)
    prepare(folder / "streets", folder / "data", "cityscapes")
    return folder / "data"


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory) -> Path:
    """Holds tiny_plugin.py; importable here, and in processes that run there."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "tiny_plugin.py").write_text(PLUGIN)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture(scope="session")
def begin(toy_data, plugin_folder):
    """Starts a campaign of tiny models on images of 60x90, which 8 does not divide."""

    def start(folder: Path, data: Path = toy_data, **options) -> Campaign:
        return start_campaign(folder, data, Options.of(**OPTIONS | options))

    return start


@pytest.fixture(scope="session")
def three_rounds(tmp_path_factory, begin) -> Campaign:
    """A finished campaign of three rounds, by which others are measured. Not to be changed."""
    campaign = begin(tmp_path_factory.mktemp("three") / "campaign")
    run_campaign(campaign, 3, 1.0)
    return campaign


@pytest.fixture
def first_round(tmp_path, three_rounds):
    """Copies that campaign as it was after round 0, or after more, its options changed as given."""

    def copy(folder: Path = tmp_path / "campaign", rounds: int = 1, **options) -> Campaign:
        for done in three_rounds.rounds()[:rounds]:
            shutil.copytree(done.folder, folder / "rounds" / done.folder.name)
        content = json.loads((three_rounds.folder / "campaign.json").read_text())
        content["options"] |= options
        content["data"] = str(three_rounds.data_folder)
        (folder / "campaign.json").write_text(json.dumps(content))
        return Campaign.open(folder)

    return copy


@pytest.fixture(scope="session")
def snapshot():
    """Reads all of a folder: names, and the bytes of files."""

    def read(folder: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }

    return read


@pytest.fixture
def cereals(capsys):
    """Runs a command line in this process; returns its status, stdout and stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def following():
    """Reads the command line that comes next, as a shell would, off what a command said."""

    def read(said: str) -> list[str]:
        last = said.splitlines()[-1]
        assert last.startswith("next: cereals "), said
        return shlex.split(last)[2:]

    return read


@pytest.fixture
def refused(cereals, tmp_path, snapshot):
    """Checks that a command line is refused in one line and leaves `tmp_path` as it was.

    Returns what is said: the line, after a list of problems if there are several.
    """

    def run(*arguments) -> str:
        before = snapshot(tmp_path)
        status, out, err = cereals(*arguments)
        assert (status, out) == (2, "")
        assert err.endswith("\n")
        *listed, line = err.splitlines()
        assert line.startswith("cereals: error: ")
        assert all(problem.startswith("  ") for problem in listed), err
        assert snapshot(tmp_path) == before
        return err

    return run


@pytest.fixture(scope="session")
def outcome():
    """Reads what a round gave: regions.csv, and metrics.json without times and options."""

    def read(folder: Path) -> tuple[str, dict]:
        metrics = json.loads((folder / "metrics.json").read_text())
        del metrics["seconds"], metrics["options"]
        return (folder / "regions.csv").read_text(), metrics

    return read
