"""What is promised of the first chosen regions, by what labelled images tell."""

import shutil
from dataclasses import replace

import pytest

from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.campaign.bill import Bill, correction
from cereals_tf.campaign.folder.campaign import Campaign, regions_of
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.forecast import folds_tried, forecast
from cereals_tf.campaign.learning.folds import Folds
from cereals_tf.campaign.learning.scorer import quickest_scorer
from cereals_tf.campaign.learning.task import COST, SEGMENTATION
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import run_campaign, step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, thin):
    """Round 0 of fast: ten whole images of twelve. Not to be changed."""
    folder = tmp_path_factory.mktemp("forecast")
    write_toy(folder / "streets", train_images=12, val_images=1, height=64, width=96, seed=1)
    prepare(folder / "streets", folder / "data", "cityscapes")
    options = Options.chosen(**thin, initial="10images", budget="10%")
    campaign = start_campaign(folder / "campaign", folder / "data", options)
    step_campaign(campaign)
    return campaign


def foretold(campaign, scratch, **options) -> Bill | None:
    """Return what labelled images tell of round 1, if it chose by other options."""
    usual = Round(campaign)
    pool = replace(usual.pool, options=campaign.options.but(**options))
    regions, labelled = regions_of(campaign.rounds()), usual.annotator.labelled()
    return forecast(campaign, pool, regions, labelled, usual.val, scratch)


def test_whole_images_are_foretold_by_heads_that_have_not_seen_them(campaign, tmp_path):
    regions = regions_of(campaign.rounds())
    train, val = (open_split(campaign, name) for name in ("train", "val"))
    folds = Folds(campaign, "forecast", 2, regions, train, val, tmp_path / "folds")
    images = set(boxes_by_image(done.region for done in regions))
    estimated, seen = 0.0, set()
    for unseen, heads in folds.heads(images, SEGMENTATION, COST):
        scorer, reader = quickest_scorer(campaign, folds.models, heads, train)
        for (features,) in reader.examples(None, list(unseen)):
            batch = tuple(part[None] for part in features)
            maps = scorer.named_maps(batch, with_information=False)
            estimated += float(maps["cost"].numpy().sum())
            estimated += float(maps["crossings_left"][:, :, 0].numpy().sum())
            estimated += float(maps["crossings_top"][:, 0].numpy().sum())
        assert not seen & unseen
        seen |= unseen
    assert seen == images and len(images) == 10
    found = foretold(campaign, tmp_path / "forecast", region="image")
    assert found and found.true == sum(done.bill(campaign.options) for done in regions)
    assert found.estimated == pytest.approx(estimated, rel=1e-5)


def test_first_estimates_are_multiplied_by_the_root_of_what_was_missed(campaign, tmp_path):
    bill = foretold(campaign, tmp_path / "forecast")
    assert bill and bill.true != bill.estimated
    after = Campaign.open(shutil.copytree(campaign.folder, tmp_path / "campaign"))
    run_campaign(after, 2, 1.0)
    factor = after.round(1).metrics.bill_factor
    assert factor == correction([bill]) != 1.0
    for region in after.round(1).regions:
        by_model = region.chosen.information / region.chosen.score - after.options.region_clicks
        assert region.chosen.cost == pytest.approx(factor * by_model, rel=1e-4, abs=1e-4)


def test_nothing_is_foretold_where_nothing_can_be_tried(campaign, tmp_path):
    assert foretold(campaign, tmp_path, cost_maps="vertices") is None
    nine = regions_of(campaign.rounds())[:9]
    usual = Round(campaign)
    arguments = usual.annotator.labelled(), usual.val, tmp_path
    assert forecast(campaign, usual.pool, nine, *arguments) is None
    assert not list(tmp_path.iterdir())


def test_no_more_is_trained_than_tells_enough():
    assert [folds_tried(images) for images in (10, 19, 20, 300)] == [2, 2, 1, 1]
