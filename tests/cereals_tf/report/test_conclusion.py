"""The conclusion in words, case by case, and against a campaign's own files."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.metrics import Metrics, Training
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.grid import Box
from cereals_tf.report.sections.conclusion import (
    advice,
    beside_random,
    chose,
    classes,
    conclusion_section,
    cost,
    estimate,
    gained,
    to_watch,
)


def rounds(*mious, clicks=100, share=2.0, ious=({},)):
    """Return metrics of rounds that each took as many clicks, 5 % of the pixels and 62 seconds."""
    return [
        Metrics(
            round=number,
            miou=miou,
            iou_per_class=ious[min(number, len(ious) - 1)],
            cost_mean_squared_error=1.0,
            regions=7 * (number + 1),
            pixels=100 * (number + 1),
            pixels_percent=5.0 * (number + 1),
            clicks=clicks * (number + 1),
            clicks_percent=None if share is None else share * (number + 1),
            training={"segmentation": Training(5, 3, [], []), "cost": Training(5, 5, [], [])},
            devices=1,
            seconds={"train_segmentation": 60.0, "score": 2.0},
            versions={},
        )
        for number, miou in enumerate(mious)
    ]


@pytest.mark.parametrize(
    "mious,words",
    [
        ([0.2], "Round 0 starts at mIoU 0.200 on val, which round 1 has to beat."),
        ([None], "mIoU on val is not defined after round 0."),
        ([0.2, None], "mIoU on val is not defined after round 1."),
        ([None, 0.2], "mIoU on val is 0.200; before, it was not defined."),
        (
            [0.2, 0.2345],
            "Round 1 raised mIoU on val by 0.034, from 0.200 to 0.234, the highest so far.",
        ),
        (
            [0.2, 0.3, 0.27],
            "Round 2 lowered mIoU on val by 0.030, from 0.300 to 0.270; the highest is still "
            "0.300, of round 1.",
        ),
        (
            [0.2, 0.20004],
            "Round 1 left mIoU on val at 0.200; the highest is still 0.200, of round 0.",
        ),
        (
            [0.3, 0.1, 0.2],
            "Round 2 raised mIoU on val by 0.100, from 0.100 to 0.200; the highest is still "
            "0.300, of round 0.",
        ),
    ],
)
def test_gain(mious, words):
    assert gained(rounds(*mious)) == [words]


def test_classes_that_rose_and_fell():
    before = {"road": 0.5, "sky": 0.4, "car": 0.1, "bus": None, "pole": 0.2, "person": 0.3}
    after = {"road": 0.6, "sky": 0.3, "car": 0.3, "bus": 0.1, "pole": 0.2001, "person": 0.301}
    words = gained(rounds(0.3, 0.32, ious=(before, after)))[1:]
    assert words == [
        "IoU rose for 3 of 5 classes: car (+0.200), road (+0.100) and person (+0.001).",
        "IoU fell for 1 of 5 classes: sky (-0.100).",
    ]
    names = [f"class {number}" for number in range(6)]
    words = gained(rounds(0.3, 0.4, ious=(dict.fromkeys(names, 0.3), dict.fromkeys(names, 0.4))))
    assert words[1].endswith("6 of 6 classes: " + words[1].split(": ")[1])
    assert words[1].count("class ") == 3 and words[1].endswith(" and 3 more.")


def test_beside_random_regions():
    """Of equal clicks; both curves begin at 0.2, so that the mean height is half of the last."""
    found = beside_random(rounds(0.2, 0.3), rounds(0.2, 0.26))
    assert found[0] == (
        "Random regions for the same budgets come to mIoU 0.260 after round 1, these to 0.300; at "
        "equal clicks these are 0.020 above in the mean."
    )
    unknown = beside_random(rounds(0.2, 0.2, share=None), rounds(0.2, 0.26, share=None))
    assert unknown[0].endswith("these to 0.200.")
    assert beside_random(rounds(0.2), rounds(0.2)) == []
    assert beside_random(rounds(0.2, 0.3), []) == []


def test_cost_of_the_first_round_is_its_own():
    (words,) = cost(rounds(0.2), 1)
    assert words == (
        "1 region with 5.0 % of the train pixels took 100 clicks (2.0 % of the train split's) and "
        "1 min 2 s of computing."
    )


@pytest.mark.parametrize(
    "mious,words",
    [
        ([0.2, 0.25], ["Per 1,000 clicks mIoU changed by +0.500."]),
        ([0.2, 0.25, 0.24], ["Per 1,000 clicks mIoU changed by -0.100, in round 1 by +0.500."]),
        (
            [0.2, 0.25, 0.24, 0.25],
            ["Per 1,000 clicks mIoU changed by +0.100, in rounds 1 to 2 by +0.200."],
        ),
        ([0.2, None], []),
        ([None, 0.2, 0.25], ["Per 1,000 clicks mIoU changed by +0.500."]),
    ],
)
def test_gain_per_click(mious, words):
    took, *per_click = cost(rounds(*mious), 7)
    assert per_click == words
    assert took.startswith("7 regions with 5.0 % of the train pixels took 100 clicks (2.0 %")


def test_cost_where_clicks_are_unknown_or_none():
    took, _ = cost(rounds(0.2, 0.3, share=None), 7)
    assert "took 100 clicks and 1 min" in took
    (took,) = cost(rounds(0.2, 0.3, clicks=0), 7)
    assert "took 0 clicks (2.0 %" in took


def region(cost=None, image_id="a", y=0, vertices=4, seconds=None):
    """Return an annotated region with 2 clicks besides its vertices."""
    chosen = Chosen(Region(image_id, Box(y, 0, 8, 8)), cost=cost)
    return Annotated(chosen, 64, RegionClicks(vertices, 2, 1), seconds)


def test_estimate_beside_what_was_billed():
    assert estimate(Options(), [region(3.0), region(6.0, vertices=8)]) == [
        "The cost model had expected 9 clicks, 56 % of the true 16."
    ]
    assert estimate(Options(), [region(), region(6.0, vertices=8)]) == [
        "The cost model had expected 6 clicks for 1 of them, 60 % of the true 10."
    ]
    assert estimate(Options(), [region()]) == []
    assert estimate(Options(cost="gt"), [region(3.0)]) == []


def test_estimate_of_what_people_needed():
    options = Options(annotator="files", cost_unit="seconds")
    assert estimate(options, [region(3.0), region(50.0, seconds=100.0)]) == [
        "People needed 1 min 40 s for 1 of 2 regions.",
        "The cost model had expected 50 seconds for 1 of them, 50 % of the true 100.",
    ]


def test_choice():
    chosen = [region(), region(y=8), region(image_id="b")]
    assert chose(chosen, 9) == ["3 regions in 2 of 9 images, at most 2 in one."]
    assert chose(chosen[:1], 1) == ["1 region in 1 of 1 image."]


def test_classes_of_the_choice():
    names = ("road", "sky", "car", "bus", "pole")
    acquired, available = np.array([50, 30, 15, 5, 0]), np.array([30, 60, 8, 1, 1])
    assert classes(names, acquired, available) == [
        "Of the new pixels: road 50 %, sky 30 %, car 15 % and 1 more.",
        "Compared with all of train, most over its share is road (+20.0 points), most under it sky "
        "(-30.0 points).",
    ]
    assert classes(names, acquired, 0 * available)[1:] == []
    assert classes(names, 0 * acquired, available) == []


def test_what_to_watch():
    assert to_watch(rounds(0.2, 0.3), 9) == []
    assert to_watch(rounds(0.3, 0.2, 0.2), 9) == []
    assert to_watch(rounds(0.3, 0.2, 0.2, 0.25), 9) == [
        "mIoU has not risen above that of round 0 for 3 rounds."
    ]
    assert to_watch(rounds(0.3, ious=({"road": 0.0, "sky": None, "car": 0.1},)), 9) == [
        "Not found at all on val: road."
    ]
    assert to_watch(rounds(0.3), 5) == [
        "The cost model was best in the last epoch allowed, 5: a campaign with more epochs may "
        "learn more from the same regions."
    ]


def test_advice_can_be_typed(campaign, cereals, tmp_path):
    """The folder's name needs quotes; of two rounds the first is the better one."""
    step, export, compare = advice(campaign, rounds(0.3, 0.2))
    assert shlex.split(compare.command)[1:] == ["report", str(campaign.folder), "--baseline"]
    assert compare.words.endswith("in at most 1 min 2 s")
    assert advice(campaign, rounds(0.3, 0.2), with_baseline=True) == [step, export]
    assert step.words == "Annotate more, in round 2"
    assert shlex.split(step.command) == ["cereals", "step", str(campaign.folder)]
    assert export.words == "Use the model of round 0, which has the highest mIoU"
    *words, out, number = shlex.split(export.command)
    assert words == ["cereals", "export", str(campaign.folder)]
    assert (out, number) == (f"{campaign.folder}-model-000", "--round=0")
    status, _, err = cereals(*words[1:], tmp_path / "model", number)
    assert status == 0 and (tmp_path / "model").is_dir(), err


def test_advice_where_the_last_round_is_the_best(campaign):
    _, export, _ = advice(campaign, rounds(0.2, 0.3))
    assert export.words == "Use the model as it is"
    assert export.command.endswith("-model-001'")


def test_advice_when_everything_is_annotated(campaign):
    (only,) = advice(campaign, [replace(rounds(0.2)[0], pixels_percent=100.0)])
    assert shlex.split(only.command)[1] == "export"


def test_advice_for_a_round_that_has_begun(copied):
    campaign = copied()
    (campaign.folder / "working").mkdir()
    first, *_ = advice(campaign, rounds(0.2, 0.3))
    assert first.words == "Finish round 2, which has begun"


def test_conclusion_of_a_campaign(campaign):
    section = conclusion_section(campaign, campaign.rounds())
    assert list(section.content["sentences"]) == ["Gained", "Cost", "Chose", "To watch"]
    metrics = json.loads((campaign.folder / "rounds" / "001" / "metrics.json").read_text())
    assert f"{metrics['miou']:.3f}" in section.content["sentences"]["Gained"]
    last = campaign.round(1).regions
    assert section.content["sentences"]["Chose"].startswith(f"{len(last)} regions in ")
    start = conclusion_section(campaign, campaign.rounds()[:1])
    assert start.title == "Round 0 in words"
