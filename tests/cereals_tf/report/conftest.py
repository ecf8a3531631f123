"""A campaign with hostile names, and the report on it."""

import json
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.run import run_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.report import write_report
from cereals_tf.report.views import acquisition_step

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


@pytest.fixture(scope="session")
def sky():
    """The class whose name is hostile."""
    return SKY


@pytest.fixture(scope="session")
def step(campaign):
    """What round 1 saw on its images."""
    return acquisition_step(campaign, 1, 3)


@pytest.fixture
def copied(campaign, tmp_path):
    """Return a function that copies the campaign with other options."""

    def copy(**options):
        folder = shutil.copytree(campaign.folder, tmp_path / "copy")
        path = folder / "campaign.json"
        content = json.loads(path.read_text())
        content["options"].update(options)
        path.write_text(json.dumps(content))
        return Campaign.open(folder)

    return copy


@dataclass
class Cell:
    """A cell of a table: its text, without the unit that stands in a heading."""

    scope: str | None
    text: str = ""
    unit: str = ""


class Page(HTMLParser):
    """Collects tags with attributes, text, headings, and the cells of tables by their ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.text, self.headings, self.tables = [], "", [], {}
        self._rows = self._cell = None
        self._in_unit = False
        self.feed(path.read_text())

    def attributes(self, name):
        """Return all values of an attribute."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def cells(self, table):
        """Return the text of a table's cells, row by row."""
        return [[cell.text for cell in row] for row in self.tables[table]]

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._in_unit = attributes.get("class") == "unit"
        if tag == "table":
            self._rows = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = Cell(attributes.get("scope"))
            self._rows[-1].append(self._cell)
        elif tag in ("h1", "h2", "h3"):
            self.headings.append([int(tag[1]), ""])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None
        self._in_unit = False

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1][0] in ("h1", "h2", "h3") and data.strip():
            self.headings[-1][1] += data
        if self._cell and self._in_unit:
            self._cell.unit += data.strip()
        elif self._cell:
            self._cell.text += data.strip()


@pytest.fixture(scope="session")
def read_page():
    """Parses a page."""
    return Page


@pytest.fixture(scope="session")
def slow_rank_correlation():
    """Spearman's rank correlation, by counting."""

    def ranks(values):
        return [sum(v < w for v in values) + sum(v == w for v in values) / 2 for w in values]

    def deviations(values):
        return [value - sum(values) / len(values) for value in values]

    def correlation(first, second):
        a, b = deviations(ranks(first)), deviations(ranks(second))
        norm = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
        return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else None

    return correlation
