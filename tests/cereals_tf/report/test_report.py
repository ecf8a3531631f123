"""Reports against the campaign's own files, slow references and hostile names."""

import base64
import io
import json
import math
import os
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf import commands
from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated, write_regions
from cereals_tf.campaign.learning.task import SEGMENTATION
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.report import figures, write_report
from cereals_tf.report.panels import (
    AcquisitionStep,
    ImageView,
    acquisition_step,
    draw_panels,
    write_panels,
)
from cereals_tf.report.statistics import class_pixels, position_maps, rank_correlation
from cereals_tf.tables import format_duration
from cereals_tf.trainers.split import Split

SKY = '<b onclick="x">$\\oops$ & sky'
MAPS = ["Information: entropy", "Predicted cost", "True clicks", "Fused: product"]


@pytest.fixture(scope="module")
def step(campaign):
    return acquisition_step(campaign, 3)


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


class Page(HTMLParser):
    """Collects tags, attributes, text and the cells of each table by its id."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text, self.tables = [], [], "", {}
        self.headings = []
        self._rows = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs).get("id"), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self._rows = []

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1] == "h3" and data.strip():
            self.headings.append(data)
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data.strip()


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_page_holds_its_pictures_and_needs_nothing_else(page):
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "base"} & set(found.tags)
    assert not any(name == "href" or name.startswith("on") for name, _ in found.attributes)
    content = page.read_text()
    assert "http:" not in content and "https:" not in content and "url(" not in content
    sources = [value for name, value in found.attributes if name == "src"]
    files = snapshot(page.parent)
    names = ["curves", "training", "spending", "positions", "cost", "calibration"]
    names += ["step-001-1", "step-001-2", "step-001-3"]
    assert set(files) == {"index.html"} | {f"{name}.png" for name in names}
    assert found.tags.count("img") == len(sources) == len(files) - 1
    for source in sources:
        head, _, encoded = source.partition(",")
        assert head == "data:image/png;base64"
        picture = base64.b64decode(encoded, validate=True)
        assert picture in files.values()
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            assert min(image.size) > 300
            assert len(image.convert("L").getcolors()) > 2


def test_rounds_table_equals_the_metrics(campaign, page):
    heading, *rows = Page(page).tables["rounds"]
    assert len(rows) == 2
    regions = 0
    for number, cells in enumerate(rows):
        folder = campaign.folder / "rounds" / f"{number:03d}"
        metrics = json.loads((folder / "metrics.json").read_text())
        regions = metrics["regions"] - regions
        expected = {
            "round": str(number),
            "mIoU": f"{metrics['miou']:.3f}",
            "new regions": str(regions),
            "regions": str(metrics["regions"]),
            "pixels %": f"{metrics['pixels_percent']:.2f}",
            "clicks": f"{metrics['clicks']:,}",
            "clicks %": f"{metrics['clicks_percent']:.2f}",
            "time": format_duration(sum(metrics["seconds"].values())),
        }
        assert dict(zip(heading, cells, strict=True)) == expected


def test_iou_table_equals_the_metrics(campaign, page):
    rows = {row[0]: row[2:] for row in Page(page).tables["iou"]}
    for name in campaign.data.classes.names:
        by_round = [done.metrics.iou_per_class[name] for done in campaign.rounds()]
        assert rows[name] == ["-" if iou is None else f"{iou:.3f}" for iou in by_round]
    assert rows["mean"] == [f"{done.metrics.miou:.3f}" for done in campaign.rounds()]


def test_cost_table_equals_the_regions(campaign, page):
    (row,) = Page(page).tables["cost"][2:]
    regions = campaign.round(1).regions
    assert row[:2] == ["1", str(len(regions))]
    estimated = [region.chosen.cost for region in regions]
    assert row[2] == f"{sum(estimated) / len(regions):.2f}"
    for cells, kinds in ((row[3:6], ["vertices"]), (row[6:], ["vertices", "intersections"])):
        true = [sum(getattr(region.clicks, kind) for kind in kinds) for region in regions]
        errors = [abs(e - t) for e, t in zip(estimated, true, strict=True)]
        rank = slow_rank_correlation(estimated, true)
        expected = (sum(true), rank and rank * len(regions), sum(errors))
        assert cells == ["n/a" if x is None else f"{x / len(regions):.2f}" for x in expected]


def test_names_are_escaped(campaign, page):
    found = Page(page)
    assert "b" not in found.tags
    assert campaign.folder.name in found.text
    assert "<script>" in campaign.folder.name
    assert SKY in found.text


def slow_rank_correlation(first, second):
    def ranks(values):
        return [sum(v < w for v in values) + sum(v == w for v in values) / 2 for w in values]

    def deviations(values):
        return [value - sum(values) / len(values) for value in values]

    a, b = deviations(ranks(first)), deviations(ranks(second))
    norm = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else None


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 6), st.floats(-3, 3)), min_size=1, max_size=30))
def test_rank_correlation(pairs):
    first, second = (list(column) for column in zip(*pairs, strict=True))
    found = rank_correlation(np.array(first), np.array(second))
    assert found == pytest.approx(slow_rank_correlation(first, second), abs=1e-12)


def test_maps_are_those_that_chose_the_regions(campaign, step):
    """regions.csv keeps the sums over each region that the selection saw."""
    assert step.number == 1 and step.complete
    shown = [region for view in step.views for region in view.new]
    assert len(shown) == len(campaign.round(1).regions) > 10
    for view in step.views:
        assert not view.before
        for region in view.new:
            y, x, _, _ = region.region.box
            rows, columns = slice(y // 8, y // 8 + 2), slice(x // 8, None)
            for values, total in (
                (view.information, region.chosen.information),
                (view.cost, region.chosen.cost),
            ):
                assert values[rows, columns][:, :2].sum() == pytest.approx(total, rel=1e-4)


def test_views_show_the_images_with_the_most_new_regions_and_their_truth(campaign, step):
    chosen = [done.region.image_id for done in campaign.round(1).regions]
    most = sorted(set(chosen), key=lambda image_id: (-chosen.count(image_id), image_id))
    assert [view.image_id for view in step.views] == most[:3]
    view = step.views[0]
    reader = Split(campaign.data, "train")
    (record,) = reader.records([view.image_id])
    np.testing.assert_array_equal(view.image, reader.image(record))
    np.testing.assert_array_equal(view.label, reader.label(record))
    points = records.polygons_of(record)
    assert view.clicks.sum() == sum(len(polygon.points) for polygon in points)


def test_fused_map_is_scaled_over_the_unlabelled_positions_shown(step):
    first, second, _ = step.views
    labelled = Annotated(
        Chosen(Region(second.image_id, Box(0, 0, 64, 88))), 0, RegionClicks(0, 0, 0)
    )
    step = replace(step, views=[first, replace(second, before=[labelled])])
    information = np.append(first.information, second.information[:, 11])
    cost = np.append(first.cost, second.cost[:, 11])
    gain = (first.information - information.min()) / np.ptp(information)
    saving = 1 - (first.cost - cost.min()) / max(np.ptp(cost), 1e-9)
    np.testing.assert_allclose(step.fused(first), gain * saving, atol=1e-5)


def test_position_maps_lay_all_images_over_each_other():
    """Against loops over pixels; the second image is half as high and wide as the other two."""
    kinds = ("vertices", "corners")
    images = [ImageEntry(name, *size, 0) for name, *size in (("a", 30, 44), ("b", 16, 24))]
    images.append(ImageEntry("c", 30, 44, 0))
    regions = {
        "a": [Annotated(Chosen(Region("a", Box(0, 0, 30, 44))), 0, RegionClicks(7, 100, 5))],
        "b": [
            Annotated(Chosen(Region("b", Box(0, 8, 8, 8))), 0, RegionClicks(3, 100, 0)),
            Annotated(Chosen(Region("b", Box(8, 8, 8, 16))), 0, RegionClicks(4, 100, 2)),
        ],
    }
    share, clicks = position_maps(images, regions, kinds)
    inside_b = {(0, 1): 3, (1, 1): 3, (1, 2): 3}
    for y in range(4):
        for x in range(6):
            here = inside_b.get((y // 2, x // 2), 0)
            assert share[y, x] == pytest.approx((1 + (here > 0)) / 3)
            assert clicks[y, x] == pytest.approx((12 / 24 + here / 4) / 3)
    assert share.shape == clicks.shape == (4, 6)


def test_class_pixels_count_each_pixel_once(campaign):
    reader = Split(campaign.data, "train")
    boxes = {0: [(0, 0, 24, 40), (16, 8, 40, 40)], 2: [(8, 56, 56, 40)]}
    excluded = {0: [(8, 8, 16, 16)]}
    ids = [entry.image_id for entry in reader.images]

    def regions(chosen):
        return {
            ids[place]: [
                Annotated(Chosen(Region("", Box(*box))), 0, RegionClicks(0, 0, 0)) for box in part
            ]
            for place, part in chosen.items()
        }

    def pixels(part):
        return {
            (y, x)
            for top, left, height, width in part
            for y in range(top, top + height)
            for x in range(left, left + width)
        }

    expected = np.zeros(len(campaign.data.classes), int)
    for place, record in enumerate(reader.records()):
        label = reader.label(record).numpy()
        for y, x in pixels(boxes.get(place, [])) - pixels(excluded.get(place, [])):
            if label[y, x] != 255:
                expected[label[y, x]] += 1
    found = class_pixels(reader, regions(boxes), regions(excluded))
    np.testing.assert_array_equal(found, expected)


def test_a_second_report_replaces_the_first(copied, page):
    campaign = copied()
    report = shutil.copytree(page.parent, campaign.folder / "report")
    (report / "left over.txt").touch()
    (report / "index.html").write_text("old")
    before = sorted(os.listdir(campaign.folder))
    assert write_report(campaign, None) == report / "index.html"
    assert sorted(os.listdir(report)) == sorted(os.listdir(page.parent))
    assert snapshot(report)["curves.png"] == snapshot(page.parent)["curves.png"]
    assert "CEREALS" in (report / "index.html").read_text()
    assert sorted(os.listdir(campaign.folder)) == before


def test_a_report_that_fails_leaves_the_last_one(copied, campaign, tmp_path):
    broken = copied()
    report = broken.folder / "report"
    report.mkdir()
    (report / "index.html").write_text("old")
    data = shutil.copytree(campaign.data_folder, tmp_path / "data")
    (shard,) = (data / "Split-train").iterdir()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    before = sorted(os.listdir(broken.folder))
    with pytest.raises(UserError, match=shard.name):
        write_report(replace(broken, data_folder=data), None)
    assert snapshot(report) == {"index.html": b"old"}
    assert sorted(os.listdir(broken.folder)) == before


@pytest.mark.parametrize("kind", ["folder", "file", "own file", "own link"])
def test_what_is_there_stays(copied, tmp_path, kind):
    campaign = copied()
    out = tmp_path / "out" if "own" not in kind else campaign.folder / "report"
    if kind == "folder":
        out.mkdir()
        (out / "kept").write_text("mine")
    elif "file" in kind:
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path)
    before = sorted(os.walk(tmp_path))
    with pytest.raises(UserError, match=r"out|report"):
        write_report(campaign, None if "own" in kind else out)
    assert sorted(os.walk(tmp_path)) == before


def test_no_round_is_refused(copied):
    campaign = copied()
    shutil.rmtree(campaign.folder / "rounds")
    with pytest.raises(UserError, match="cereals step"):
        write_report(campaign, None)
    assert not (campaign.folder / "report").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"information": "bald", "committee": 2, "fusion": "ratio", "cost": "gt"},
        {"information": "random", "fusion": "none", "clicks": "vertices"},
        {"information": "margin", "fusion": "convex", "image_size": "60x90"},
    ],
)
def test_other_campaigns(copied, options):
    campaign = copied(**options)
    if "image_size" in options:
        for done in campaign.rounds():
            make_whole_images(campaign, done)
    is_random = options["information"] == "random"
    text = " ".join(Page(write_report(campaign, None)).text.split())
    assert ("Random acquisition has no information map" in text) == is_random
    assert ("by the ground truth" in text) == (options.get("cost") == "gt")


def make_whole_images(campaign, done):
    """Rewrite a round's regions as whole images of the campaign's image size."""
    height, width = campaign.image_size
    whole = Box(0, 0, height, width)
    by_image = {region.region.image_id: region for region in done.regions}
    regions = [
        replace(region, chosen=region.chosen._replace(region=Region(image_id, whole)))
        for image_id, region in by_image.items()
    ]
    write_regions(done.folder / "regions.csv", regions)


def test_round_0_alone_shows_what_the_next_round_will_see(copied):
    campaign = copied()
    shutil.rmtree(campaign.folder / "rounds" / "001")
    found = Page(write_report(campaign, None))
    assert "What round 1 will choose by" in found.text
    assert "Spearman" not in found.text
    (start,) = campaign.round(0).regions
    others = [entry.image_id for entry in campaign.data.images["train"]]
    others.remove(start.region.image_id)
    assert found.headings[:3] == others


def test_single_picture(campaign, tmp_path):
    image_id = campaign.round(0).regions[0].region.image_id
    write_panels(campaign, tmp_path / "one.png", number=1, image_id=image_id)
    with Image.open(tmp_path / "one.png") as image:
        image.load()
        assert image.width > 1500
    with pytest.raises(UserError, match="nowhere"):
        write_panels(campaign, tmp_path / "two.png", image_id="nowhere")
    with pytest.raises(UserError, match="rounds 0 to 1"):
        write_panels(campaign, tmp_path / "two.png", number=3)
    with pytest.raises(ValueError, match="number"):
        write_panels(campaign, tmp_path / "two.png", number=0)
    assert os.listdir(tmp_path) == ["one.png"]


@pytest.mark.parametrize("height,width", [(21, 13), (16, 100)])
def test_panels_of_any_size(campaign, height, width):
    rng = np.random.default_rng(0)
    cells = (-(-height // 8), -(-width // 8))
    label = rng.choice(np.array([0, 10, 255], np.uint8), (height, width))
    region = Annotated(Chosen(Region("a", Box(0, 0, 8, 8))), 64, RegionClicks(0, 0, 0))
    below, beside = Box(8, 0, 8, 8), Box(0, 8, 8, 8)
    view = ImageView(
        "a",
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        label,
        np.full((height, width), 13, np.uint8),
        rng.random(cells),
        np.zeros(cells),
        np.zeros(cells),
        [region],
        [replace(region, chosen=Chosen(Region("a", below if width == 13 else beside)))],
    )
    figure = draw_panels(AcquisitionStep(campaign, 1, True, [view]), view)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    names = ["road", figures.plain(SKY), "car", "no label", "labelled before"]
    assert legend == names
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Annotated before", "Ground truth", "Prediction", *MAPS, "Newly selected"]
    for axes in figure.axes:
        box = axes.get_position()
        shape = box.height * figure.get_figheight() / (box.width * figure.get_figwidth())
        assert shape == pytest.approx(height / width)
    with Image.open(io.BytesIO(figures.png(figure))) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
    palette = campaign.data.classes.palette
    assert {(0, 0, 0), palette[0], palette[10], palette[13]} <= colours


def test_panels_without_information_or_selection(step):
    unseen = replace(step.views[0], information=None)
    figure = draw_panels(replace(step, complete=False, views=[unseen]), unseen)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Annotated before", "Ground truth", "Prediction", *MAPS[1:3]]


def test_chosen_rounds_are_shown(campaign, tmp_path):
    text = Page(write_report(campaign, tmp_path / "out", rounds=[2, 1, 2])).text
    assert text.index("What round 1 chose") < text.index("What round 2 will choose by")
    assert text.count("What round") == 2
    assert {f"step-{place}-1.png" for place in ("001", "002")} < set(os.listdir(tmp_path / "out"))


@pytest.mark.parametrize("rounds", [[0], [1, 3]])
def test_rounds_that_are_not_there_are_refused(campaign, tmp_path, rounds):
    with pytest.raises(UserError, match=rf"--rounds={rounds[-1]}: expected 1 to 2"):
        write_report(campaign, tmp_path / "out", rounds=rounds)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("rounds", ["one", "1,", "1;2", "-1", "1.0"])
def test_misspelt_rounds_are_refused(campaign, tmp_path, rounds):
    with pytest.raises(UserError, match="--rounds="):
        commands.report(str(campaign.folder), str(tmp_path / "out"), rounds=rounds)
    assert not os.listdir(tmp_path)


def test_calibration_is_that_of_the_last_model(campaign, page):
    found = Page(page).text
    done = campaign.round(1)
    model = SEGMENTATION.load(campaign, done)
    confidences, right = [], []
    reader = Split(campaign.data, "val")
    for record in reader.records():
        logits = model(reader.image(record)[None], training=False).numpy()[0].astype(float)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
        label = reader.label(record).numpy()[4::8, 4::8]
        there = label != 255
        confidences.append(probabilities.max(axis=-1)[there])
        right.append((probabilities.argmax(axis=-1) == label)[there])
    confidences, right = np.concatenate(confidences), np.concatenate(right)
    bins = np.ceil(15 * confidences)
    error = sum(
        abs((right[bins == place] - confidences[bins == place]).sum()) for place in range(1, 16)
    )
    measures = [("Expected calibration error", error / len(right)), ("Accuracy", right.mean())]
    for term, value in [*measures, ("Mean confidence", confidences.mean())]:
        assert float(found.split(term)[1].split()[0]) == pytest.approx(value, abs=6e-4)


def test_curves_over_clicks_of_unknown_share_count_them():
    rounds = [
        SimpleNamespace(round=0, miou=0.2, pixels_percent=5.0, clicks_percent=6.0, clicks=60),
        SimpleNamespace(round=1, miou=0.3, pixels_percent=9.0, clicks_percent=None, clicks=80),
    ]
    figure = figures.learning_curves({"mine": rounds})
    (line,) = figure.axes[1].get_lines()
    np.testing.assert_allclose(line.get_xdata(), [60, 80])
    assert "%" not in figure.axes[1].get_xlabel()


def test_curves_of_several_campaigns_are_told_apart():
    rounds = [
        SimpleNamespace(round=r, miou=0.2 + 0.1 * r, pixels_percent=5.0 * r, clicks_percent=6.0 * r)
        for r in range(3)
    ]
    figure = figures.learning_curves({"mine": rounds, "other $": rounds[:2]})
    for chart in figure.axes:
        drawn = {line.get_label(): line for line in chart.get_lines()}
        assert list(drawn) == ["mine", r"other \$"]
        assert len({line.get_color() for line in drawn.values()}) == 2
        np.testing.assert_allclose(drawn["mine"].get_ydata(), [0.2, 0.3, 0.4])
        assert [text.get_text() for text in chart.get_legend().get_texts()] == list(drawn)
    assert figures.learning_curves({"mine": rounds}).axes[0].get_legend() is None
