"""A campaign with hostile names, and the report on it."""

import json

import pytest

from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.report import write_report

FOLDER = "<script>alert(1) & $\\frac$"
SKY = '<b onclick="x">$\\oops$ & sky'
OPTIONS = {
    "region": "16",
    "initial": "1images",
    "budget": "1images",
    "epochs": 1,
    "model": "tiny_plugin:build",
    "cost_model": "tiny_plugin:build",
}


@pytest.fixture(scope="session")
def campaign(tmp_path_factory, plugin_folder):
    """Two rounds on four street scenes, with a class and a folder of hostile names."""
    folder = tmp_path_factory.mktemp("report")
    write_toy(folder / "toy", 4, 2, 64, 96)
    prepare(folder / "toy", folder / "data", "cityscapes")
    path = folder / "data" / "dataset.json"
    path.write_text(path.read_text().replace('"sky"', json.dumps(SKY)))
    started = start_campaign(folder / FOLDER, folder / "data", Options.of(**OPTIONS))
    run_campaign(started, 2, 1.0)
    return started


@pytest.fixture(scope="session")
def page(campaign, tmp_path_factory):
    """The report's page; not to be changed."""
    return write_report(campaign, tmp_path_factory.mktemp("out") / "page")
