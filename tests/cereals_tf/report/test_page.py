"""The report's page against the campaign's own files and hostile names."""

import base64
import io
import json
import os
import re
import shutil
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from cereals_tf import commands
from cereals_tf.acquisition.regions import Region
from cereals_tf.campaign.folder.regions import write_regions
from cereals_tf.campaign.learning.scorer import load_segmentation
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.report import write_report
from cereals_tf.trainers.split import Split


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_page_holds_its_pictures_and_needs_nothing_else(page, read_page):
    found = read_page(page)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, given in found.tags for name in given)
    content = page.read_text()
    assert "http:" not in content and "https:" not in content and "url(" not in content
    links = [link for link in found.attributes("href") if link.startswith("#")]
    assert {link[1:] for link in links} <= set(found.attributes("id"))
    sources = found.attributes("src") + found.attributes("href")
    sources = [source for source in sources if not source.startswith("#")]
    assert len(sources) == 12 + 2 + 3 * 7  # charts, maps of positions, panels of three images
    for source in sources:
        head, _, encoded = source.partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))) as image:
            image.load()
    names = ["curves", "training", "spending", "positions", "cost", "calibration"]
    names += ["step-001-1", "step-001-2", "step-001-3"]
    assert set(os.listdir(page.parent)) == {"index.html", *(f"{name}.png" for name in names)}
    for path in page.parent.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 1500
            assert len(image.convert("L").getcolors()) > 2


def test_contents_list_every_section_in_order(page, read_page):
    found = read_page(page)
    sections = [given["id"] for tag, given in found.tags if tag == "section"]
    links = [given["href"] for tag, given in found.tags if tag == "a"]
    assert len(sections) > 8 and links == [f"#{anchor}" for anchor in sections]


def test_page_can_be_listened_to(page, read_page):
    """Its language, headings without a gap, pictures with a description, tables with row names."""
    found = read_page(page)
    assert ("html", {"lang": "en"}) in found.tags
    levels = [level for level, _ in found.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in found.headings)
    for tag, given in found.tags:
        if tag == "img":
            assert given["alt"].strip()
        elif tag == "svg":
            assert given.get("aria-label", "").strip() or given.get("aria-hidden") == "true"
    for rows in found.tables.values():
        for row in rows:
            assert "col" in {cell.scope for cell in row} or row[0].scope in ("row", None)


def test_every_heading_of_a_table_has_its_unit(page, read_page):
    tables = read_page(page).tables
    assert set(tables) == {"rounds-table", "classes-table", "images-table", "cost-table"}
    for rows in tables.values():
        grouped = any(cell.unit for cell in rows[0] if cell.scope == "colgroup")
        (headings,) = [row for row in rows if row[0].scope == "col"]
        assert not headings[0].unit
        for cell in headings[1:]:
            assert cell.unit or (grouped and cell.text.isdigit())


def test_rounds_table_equals_the_metrics(campaign, page, read_page):
    heading, *rows = read_page(page).tables["rounds-table"]
    assert len(rows) == 2
    regions = 0
    for number, cells in enumerate(rows):
        folder = campaign.folder / "rounds" / f"{number:03d}"
        metrics = json.loads((folder / "metrics.json").read_text())
        regions = metrics["regions"] - regions
        seconds = round(sum(metrics["seconds"].values()))
        expected = {
            ("round", ""): str(number),
            ("mIoU", "0 to 1"): f"{metrics['miou']:.3f}",
            ("new regions", "number"): str(regions),
            ("regions", "number"): str(metrics["regions"]),
            ("pixels", "% of train"): f"{metrics['pixels_percent']:.2f}",
            ("clicks", "number"): f"{metrics['clicks']:,}",
            ("clicks", "% of train"): f"{metrics['clicks_percent']:.2f}",
            ("computing", "h:min:s"): str(timedelta(seconds=seconds)),
        }
        headings = [(cell.text, cell.unit) for cell in heading]
        assert dict(zip(headings, [cell.text for cell in cells], strict=True)) == expected


def test_classes_table_equals_the_metrics(campaign, page, read_page):
    rows = {row[0]: row[2:] for row in read_page(page).cells("classes-table")[1:]}
    for name in campaign.data.classes.names:
        by_round = [done.metrics.iou_per_class[name] for done in campaign.rounds()]
        assert rows[name] == ["-" if iou is None else f"{iou:.3f}" for iou in by_round]
    assert rows["mean"] == [f"{done.metrics.miou:.3f}" for done in campaign.rounds()]


def test_cost_table_equals_the_regions(campaign, page, read_page, slow_rank_correlation):
    (row,) = read_page(page).cells("cost-table")[2:]
    regions = campaign.round(1).regions
    assert row[:2] == ["1", str(len(regions))]
    estimated = [region.chosen.cost for region in regions]
    assert row[2] == f"{sum(estimated) / len(regions):.2f}"
    metrics = campaign.round(1).metrics
    assert row[3] == f"{metrics.bill_estimated / metrics.bill_true:.2f}"
    assert row[4] == f"{metrics.cost_rank_correlation_pool:.2f}"
    for cells, kinds in ((row[5:8], ["vertices"]), (row[8:], ["vertices", "intersections"])):
        true = [sum(getattr(region.clicks, kind) for kind in kinds) for region in regions]
        errors = [abs(e - t) for e, t in zip(estimated, true, strict=True)]
        rank = slow_rank_correlation(estimated, true)
        expected = (sum(true), rank and rank * len(regions), sum(errors))
        assert cells == ["n/a" if x is None else f"{x / len(regions):.2f}" for x in expected]


def test_names_are_escaped(campaign, page, read_page, sky):
    found = read_page(page)
    assert "b" not in {tag for tag, _ in found.tags}
    assert campaign.folder.name in found.text
    assert "<script>" in campaign.folder.name
    assert sky in found.text
    assert sky in [row[0] for row in found.cells("classes-table")]


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"information": "bald", "committee": 2, "fusion": "ratio", "cost": "gt"},
        {"information": "random", "fusion": "none", "clicks": "vertices"},
        {"information": "margin", "fusion": "convex", "image_size": "60x90"},
    ],
)
def test_other_campaigns(copied, read_page, options):
    campaign = copied(**options)
    if "image_size" in options:
        for done in campaign.rounds():
            make_whole_images(campaign, done)
    is_random = options["information"] == "random"
    text = " ".join(read_page(write_report(campaign, None)).text.split())
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


def test_round_0_alone_shows_what_the_next_round_will_see(copied, read_page):
    campaign = copied()
    shutil.rmtree(campaign.folder / "rounds" / "001")
    found = read_page(write_report(campaign, None))
    assert "What round 1 will choose by" in found.text
    assert "Spearman" not in found.text
    (start,) = campaign.round(0).regions
    others = [entry.image_id for entry in campaign.data.images["train"]]
    others.remove(start.region.image_id)
    assert [text for level, text in found.headings if level == 3][:3] == others


def test_chosen_rounds_are_shown(campaign, read_page, tmp_path):
    text = read_page(write_report(campaign, tmp_path / "out", rounds=[2, 1, 2])).text
    assert text.index("What round 1 chose") < text.index("What round 2 will choose by")
    assert text.count("What round") == 2 * 2  # and in the contents
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


def test_calibration_is_that_of_the_last_model(campaign, page, read_page):
    found = read_page(page).text
    done = campaign.round(1)
    model = load_segmentation(campaign, done)
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
        shown = re.search(rf"{term}, 0 to 1\s*(\d\.\d+)", found)[1]
        assert float(shown) == pytest.approx(value, abs=6e-4)
