"""The report on images without labels, which people annotate and take time for."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest

from cereals_tf.campaign.folder.annotations import RegionAnnotation
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.request import own_window
from cereals_tf.campaign.run import step_campaign
from cereals_tf.campaign.standing import standing
from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.report import write_report
from cereals_tf.report.panels import panels_of
from cereals_tf.report.sections.conclusion import advice, conclusion_section
from cereals_tf.report.statistics import annotated_by_image, annotated_train, class_pixels
from cereals_tf.report.tables import duration
from cereals_tf.report.views import acquisition_step
from cereals_tf.trainers.split import Split

ANNOTATORS = ("anna", "bob", "", "/home/carl/tasks")


@pytest.fixture(scope="module")
def truth(toy_data):
    """Maps image ids to the label and the polygons that the annotator knows."""
    return {
        record[records.IMAGE_ID].numpy().decode(): (
            records.decode_label(record[records.LABEL_ENCODED]).numpy(),
            records.polygons_of(record),
        )
        for record in Split(PreparedData.open(toy_data), "train").records()
    }


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, toy_data, begin, truth):
    """Two rounds on unlabelled images; of each round's first region the time is unknown."""
    folder = tmp_path_factory.mktemp("people")
    shutil.copytree(toy_data.parent / "streets", folder / "streets")
    shutil.rmtree(folder / "streets" / "gtFine" / "train")
    prepare(folder / "streets", folder / "data", "cityscapes")
    options = {"annotator": "files", "cost_unit": "seconds", "image_size": "", "region": "24"}
    campaign = begin(folder / "campaign", folder / "data", **options, initial="4regions")
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}
    for number in range(2):
        assert step_campaign(campaign) is None
        for place, asked in enumerate(campaign.request()):
            image_id, box = asked.region
            window = own_window(box, entries[image_id], None)
            label, polygons = truth[image_id]
            part = label[window.y :, window.x :][: window.height, : window.width]
            seconds = None if place == 0 else 2.0 + place
            campaign.annotations.write(
                RegionAnnotation(
                    place,
                    image_id,
                    window,
                    part,
                    polygons,
                    seconds,
                    annotator=ANNOTATORS[place % len(ANNOTATORS)],
                )
            )
        assert step_campaign(campaign).number == number
    return campaign


@pytest.fixture(scope="module")
def page(campaign, tmp_path_factory):
    return write_report(campaign, tmp_path_factory.mktemp("out") / "page")


def test_what_nobody_knows_is_not_there(campaign, page):
    page = re.sub(r'="data:[^"]*"', "", page.read_text())
    assert "n/a</td>" in page and "train clicks spent" not in page
    assert f"<strong>{campaign.round(1).metrics.clicks:,}</strong><span>clicks spent" in page
    assert "None" not in page and "nan" not in page and "over its share" not in page
    assert "Nobody labelled these images" in page
    assert "ground truth" not in page.lower()


def test_status_says_who_annotated(campaign):
    """By name; where a file or a folder is all that is known, people did."""
    found = Counter()
    for done in campaign.rounds():
        for place, _ in enumerate(done.regions):
            found[("anna", "bob", "people", "people")[place % 4]] += 1
    assert standing(campaign).annotators == found


def test_costs_are_compared_in_seconds(campaign, page, read_page):
    regions = [region for region in campaign.round(1).regions if region.seconds is not None]
    assert 1 < len(regions) == len(campaign.round(1).regions) - 1
    errors = [abs(region.chosen.cost - region.seconds) for region in regions]
    (cells,) = read_page(page).cells("cost-table")[2:]
    assert cells[:2] == ["1", str(len(regions))]
    assert cells[4] == "n/a"
    assert cells[5] == f"{np.mean([region.seconds for region in regions]):.2f}"
    assert cells[7:] == [f"{np.mean(errors):.2f}"]


def test_panels_show_what_people_drew(campaign, truth):
    step = acquisition_step(campaign, 1, 2)
    for view in step.views:
        drawn = np.zeros(view.label.shape, bool)
        for region in [*view.before, *view.new]:
            drawn[region.region.box.slices] = True
        expected = np.where(drawn, truth[view.image_id][0], campaign.data.classes.ignore_id)
        np.testing.assert_array_equal(view.label, expected)
    panels = panels_of(step, step.views[0])
    assert [panel.title for panel in panels] == [
        *("Annotated before", "Annotations", "Prediction", "Information: entropy"),
        *("Predicted cost", "Fused: product", "Newly selected"),
    ]
    assert "seconds per 8x8 px" in [panel.scale.unit for panel in panels if panel.scale]


def test_acquired_classes_are_those_that_people_drew(campaign, truth):
    regions = annotated_by_image(campaign.rounds())
    expected = np.zeros(len(campaign.data.classes), int)
    for image_id, parts in regions.items():
        inside = np.zeros(truth[image_id][0].shape, bool)
        for region in parts:
            inside[region.region.box.slices] = True
        label = truth[image_id][0][inside]
        expected += np.bincount(label[label < len(expected)], minlength=len(expected))
    found = class_pixels(annotated_train(campaign), regions, {})
    np.testing.assert_array_equal(found, expected)
    assert found.sum() > 0


def test_conclusion_says_what_people_are_asked_for(campaign, tmp_path):
    copied = Campaign.open(shutil.copytree(campaign.folder, tmp_path / "copy"))
    assert step_campaign(copied) is None
    first, _ = advice(copied, [done.metrics for done in copied.rounds()])
    assert first.words.startswith(f"Round 2 waits for {len(copied.request())} regions")
    assert first.command.startswith(f"cereals tasks {copied.folder} ")


def test_conclusion_says_what_people_needed(campaign):
    sentences = conclusion_section(campaign, campaign.rounds()).content["sentences"]
    regions = campaign.round(1).regions
    needed = duration(sum(region.seconds for region in regions if region.seconds is not None))
    expected = f"People needed {needed} for {len(regions) - 1} of {len(regions)} regions."
    assert expected in sentences["Cost"]
    assert "of the train split's" not in sentences["Cost"]
    assert "share" not in sentences["Chose"] and "Of the new pixels" in sentences["Chose"]
