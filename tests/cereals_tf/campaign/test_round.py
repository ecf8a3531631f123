"""Whole rounds with models that learn nothing but do all else: what they leave, and what changes
what they give."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.campaign.folder.campaign import ROUND_FILES, regions_of
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.quality import evaluate_round
from cereals_tf.campaign.learning.scorer import load_scorer, load_segmentation
from cereals_tf.campaign.learning.task import COST, SEGMENTATION
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.draw import tiles_of
from cereals_tf.campaign.round import Round
from cereals_tf.campaign.run import step_campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import downscale_label

UNMOVING = 1e-12
"""A learning rate that leaves every weight as it is, but for rounding."""


def segmentation_of(campaign, number):
    return load_segmentation(campaign, campaign.round(number))


@pytest.fixture
def new_round(first_round):
    """Runs the next round of the campaign, usually round 1, with changed options."""

    def run(**options):
        campaign = first_round(**options)
        done = step_campaign(campaign)
        assert sorted(path.name for path in done.folder.iterdir()) == sorted(ROUND_FILES)
        return campaign

    return run


def test_rounds_are_all_that_is_left(three_rounds):
    folder = three_rounds.folder
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    found = {str(path) for path in files if path.parts[0] != "tensorboard"}
    rounds = {f"rounds/00{number}/{name}" for number in range(3) for name in ROUND_FILES}
    assert found == {"campaign.json", ".lock"} | rounds
    names = {path.name for path in folder.iterdir()}
    assert names == {"campaign.json", ".lock", "rounds", "tensorboard"}


def test_annotated_regions_share_no_pixel_and_cost_what_is_reported(three_rounds):
    images = Split(three_rounds.data, "train", (60, 90)).images
    painted = {entry.image_id: np.zeros((60, 90), int) for entry in images}
    vertices = sum(entry.clicks for entry in images)
    clicks = 0
    for done in three_rounds.rounds():
        spent = 0
        for region in done.regions:
            image_id, (y, x, height, width) = region.region
            part = painted[image_id][y : y + height, x : x + width]
            assert part.shape == (height, width) == ((60, 90) if done.number == 0 else (16, 16))
            part += 1
            assert region.pixels == height * width
            spent += region.pixels
            clicks += max(1, region.clicks.vertices + region.clicks.intersections)
        assert 0 < spent <= (60 * 90 if done.number == 0 else 0.2 * 4 * 60 * 90)
        pixels = sum(int(mask.sum()) for mask in painted.values())
        metrics = done.metrics
        assert (metrics.round, metrics.pixels, metrics.clicks) == (
            done.number,
            pixels,
            clicks,
        )
        assert metrics.pixels_percent == pytest.approx(100 * pixels / (4 * 60 * 90))
        assert metrics.clicks_percent == pytest.approx(100 * clicks / vertices)
        assert metrics.regions == len(
            [r for d in three_rounds.rounds()[: done.number + 1] for r in d.regions]
        )
    assert max(mask.max() for mask in painted.values()) == 1
    assert len({done.region.image_id for done in regions_of(three_rounds.rounds())}) > 1


def test_only_the_first_round_is_drawn_without_scores(three_rounds):
    drawn, *scored = (done.regions for done in three_rounds.rounds())
    assert {region.chosen[1:] for region in drawn} == {(None, None, None)}
    ranks = [done.metrics.cost_rank_correlation_pool for done in three_rounds.rounds()]
    assert ranks[0] is None and all(-1 <= rank <= 1 for rank in ranks[1:])
    for regions in scored:
        scores = [region.chosen.score for region in regions]
        assert scores == sorted(scores, reverse=True)
        assert all(each.chosen.information > 0 and each.chosen.cost >= 0 for each in regions)


def test_regions_are_scored_by_the_models_of_the_round_before(three_rounds):
    split = Split(three_rounds.data, "train", three_rounds.image_size)
    scorer = load_scorer(three_rounds, three_rounds.round(1))
    maps = {
        entry.image_id: [part[0].numpy() for part in scorer.maps(split.image(record)[None])]
        for entry, record in zip(split.images, split.records(), strict=True)
    }
    for region in three_rounds.round(2).regions:
        image_id, box = region.region
        information, cost = (part[box.cell_slices].sum() for part in maps[image_id])
        assert region.chosen.information == pytest.approx(information, rel=1e-4)
        assert region.chosen.cost == pytest.approx(cost, rel=1e-4)


def test_when_a_round_will_end_is_judged_by_the_last(first_round, cereals):
    """In a round of random tiles for people, who are waited for before anything is trained."""
    campaign = first_round(rounds=2, information="random_grid", annotator="files")
    for done, hours in zip(campaign.rounds(), (2, 5), strict=True):
        path = done.folder / "metrics.json"
        content = json.loads(path.read_text()) | {"seconds": {"evaluate": 3600.0 * hours}}
        path.write_text(json.dumps(content))
    begun = datetime.now() + timedelta(hours=5)
    said = cereals("step", campaign.folder)[2]
    passed = datetime.now() + timedelta(hours=5) - begun
    minutes = range(passed // timedelta(minutes=1) + 2)
    ends = [f"until about {begun + timedelta(minutes=each):%H:%M}," for each in minutes]
    assert "round 2 waits for" in said and any(end in said for end in ends)
    assert "until about" not in cereals("step", campaign.folder)[2]


def test_metrics_are_those_of_the_saved_model(three_rounds):
    for done in three_rounds.rounds():
        again = evaluate_round(three_rounds, done)
        assert again.miou_resized == pytest.approx(done.metrics.miou)
        assert again.miou == pytest.approx(done.metrics.miou, abs=0.05)
        known = [value for value in again.iou_per_class.values() if value is not None]
        assert again.miou == pytest.approx(np.mean(known))
        assert set(again.iou_per_class) == set(three_rounds.data.classes.names)
        assert done.metrics.devices == 1
        training = done.metrics.training
        assert {name: part.epochs for name, part in training.items()} == {
            "segmentation": 2,
            "cost": 2,
        }


def test_test_is_measured_beside_val_and_chooses_nothing(tmp_path, begin, three_rounds, cereals):
    rng = np.random.default_rng(2)
    for split in ("train", "val", "test"):
        for name in "ab":
            for part, shape, top in (("images", (60, 90, 3), 255), ("labels", (60, 90), 3)):
                path = tmp_path / "source" / split / part / f"{split}-{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, top, shape, np.uint8)).save(path)
    (tmp_path / "source" / "classes.json").write_text('{"names": ["x", "y", "z"]}')
    prepare(tmp_path / "source", tmp_path / "data", "masks")
    campaign = begin(tmp_path / "campaign", tmp_path / "data")
    metrics = step_campaign(campaign).metrics
    tested = evaluate_round(campaign, campaign.round(0), "test")
    assert metrics.test_miou == pytest.approx(tested.miou_resized)
    assert metrics.test_miou != metrics.miou
    assert metrics.on("test").miou == metrics.test_miou
    assert metrics.on("test").iou_per_class == metrics.test_iou_per_class
    assert metrics.on("val") == metrics
    _, shown, _ = cereals("status", campaign.folder)
    assert "val" in shown and f"{metrics.test_miou:.3f}" in shown
    assert three_rounds.round(0).metrics.test_miou is None


def test_another_seed_gives_another_campaign(tmp_path, begin, three_rounds, outcome):
    other = begin(tmp_path / "other", seed=1, initial="9regions", epochs=1)
    step_campaign(other)
    regions, metrics = outcome(other.round(0).folder)
    expected_regions, expected = outcome(three_rounds.round(0).folder)
    assert regions != expected_regions
    assert (
        metrics["training"]["segmentation"]["losses"][0]
        not in (expected["training"]["segmentation"]["losses"])
    )
    assert len(other.round(0).regions) == 9


@pytest.mark.parametrize("way", ["use", "ignore"])
def test_a_useless_cost_model_counts_unless_it_is_to_be_ignored(
    first_round, three_rounds, cereals, way
):
    """That of the round before; what earlier ones were does not matter."""
    campaign = first_round(rounds=2, useless_cost=way)
    for done, of_mean in zip(campaign.rounds(), (2.0, 0.5), strict=True):
        path = done.folder / "metrics.json"
        errors = {"cost_mean_squared_error": 1.0, "cost_mean_squared_error_of_mean": of_mean}
        path.write_text(json.dumps(json.loads(path.read_text()) | errors))
    said = cereals("step", campaign.folder)[2]
    done = campaign.round(2)
    if way == "use":
        assert done.regions == three_rounds.round(2).regions
        assert done.own_options == {}
        return
    assert "as the cost model of round 1 is useless" in said
    assert done.own_options == {"fusion": "none"}
    assert campaign.options_of(done).fusion == "none"
    for region in done.regions:
        assert region.chosen.score == pytest.approx(region.chosen.information)


def test_a_met_target_ends_the_run(first_round, cereals, snapshot):
    campaign = first_round()
    before = snapshot(campaign.folder)
    miou = campaign.round(0).metrics.miou
    status, _, err = cereals("run", campaign.folder, "--rounds=9", f"--target={miou}")
    assert status == 0 and "reaches the target" in err
    assert snapshot(campaign.folder) == before


def test_an_empty_pool_ends_the_run(tmp_path, begin, cereals, snapshot):
    campaign = begin(tmp_path / "all", initial="100%", epochs=1)
    status, _, err = cereals("run", campaign.folder, "--rounds=5")
    assert status == 0 and "the pool is empty" in err
    assert campaign.round(None).number == 0
    assert campaign.round(0).metrics.pixels_percent == 100
    assert not campaign.working.exists()
    before = snapshot(campaign.folder)
    status, _, err = cereals("step", campaign.folder)
    assert status == 0 and "the pool is empty" in err
    assert snapshot(campaign.folder) == before
    assert "unfinished" not in cereals("status", campaign.folder)[2]


def check_round(campaign):
    """Check what every finished round has, whatever its options."""
    metrics = campaign.round(None).metrics
    assert np.isfinite(metrics.training["segmentation"].losses).all()
    assert 0 <= metrics.miou <= 1
    clicks = sum(
        max(1, region.clicks.vertices + region.clicks.intersections)
        for region in regions_of(campaign.rounds())
    )
    assert metrics.clicks == clicks


@pytest.mark.long
def test_a_round_on_cut_outs_in_mixed_precision(new_round):
    options = {"train_on": "crop", "precision": "mixed_bfloat16", "information": "bald"}
    check_round(new_round(committee=3, epochs=1, **options))


def test_a_warm_start_begins_with_the_weights_of_the_round_before(new_round):
    options = {"information": "vote_entropy", "committee": 3, "fusion": "convex", "cost": "gt"}
    campaign = new_round(
        rounds=2, warm_start=True, learning_rate=UNMOVING, epochs=1, train_on="auto", **options
    )
    check_round(campaign)
    first, second = (segmentation_of(campaign, number) for number in (1, 2))
    for before, after in zip(first.trainable_variables, second.trainable_variables, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6, rtol=0)


def test_batches_and_a_budget_in_clicks(new_round):
    options = {"information": "random", "fusion": "none", "region": "24x8"}
    campaign = new_round(batch_size=2, budget="60clicks", epochs=1, **options)
    check_round(campaign)
    regions = campaign.round(1).regions
    clicks = sum(region.clicks.vertices + region.clicks.intersections for region in regions)
    assert 0 < clicks <= 60
    assert {done.region.box[2:] for done in regions} == {(24, 8)}
    assert all(0 <= done.chosen.score < 1 for done in regions)


def test_a_round_of_random_tiles(new_round):
    """What a tile costs is expected from the mean of what was annotated before."""
    campaign = new_round(information="random_grid", region="24x16", budget="60clicks", epochs=1)
    check_round(campaign)
    first, drawn = (done.regions for done in campaign.rounds())
    pool = Round(campaign).pool
    entries = {entry.image_id: entry for entry in pool.reader.images}
    for image_id, box in (each.region for each in drawn):
        assert box in tiles_of(pool, entries[image_id])
    assert 0 < sum(each.clicks_billed for each in drawn) <= 60
    clicks = sum(each.clicks.vertices + each.clicks.intersections for each in first)
    rate = clicks / sum(each.pixels for each in first)
    found = [each.chosen.cost for each in drawn]
    assert found == pytest.approx([rate * each.pixels for each in drawn])
    with pytest.raises(UserError, match="round 2 is drawn at random, there is nothing to score"):
        Round(campaign).refuse_scoring()


@pytest.mark.long
def test_initial_weights_are_those_of_a_file(tmp_path, begin, monkeypatch):
    options = {"model": "", "normalization": "none", "width_multiplier": 0.03125}
    options |= {"learning_rate": UNMOVING, "epochs": 1, "precision": "mixed_bfloat16"}
    source = Models.at(tmp_path, Options(**options), range(19)).random(SEGMENTATION)
    (tmp_path / "files").mkdir()
    source.save_weights(tmp_path / "files" / "vgg.weights.h5")
    monkeypatch.chdir(tmp_path / "files")
    campaign = begin(tmp_path / "campaign", weights="vgg.weights.h5", **options)
    monkeypatch.chdir(tmp_path)
    step_campaign(campaign)
    trained = segmentation_of(campaign, 0)
    for name in ("block1_conv1", "block5_conv3"):
        found, expected = (model.get_layer(name).get_weights() for model in (trained, source))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
    assert trained.get_layer("block1_conv1").kernel.shape[-1] == 8


@pytest.mark.long
def test_a_cost_model_on_mobilenet(tmp_path, begin):
    campaign = begin(
        tmp_path / "campaign",
        backbone="mobilenet",
        normalization="none",
        width_multiplier=0.03125,
        cost_model="",
        epochs=1,
    )
    step_campaign(campaign)
    built = Models.of(campaign).load_round(COST, campaign.round(0))
    assert any("DepthwiseConv2D" in type(layer).__name__ for layer in built.layers)
    assert campaign.round(0).metrics.cost_mean_squared_error > 0


def errors_of(campaign, number):
    """Return what each position adds to the losses of a round's two models, by image id.

    Two float64 [h, w]: cross-entropy, NaN where the label is ignored, and squared error of clicks.
    """
    split = Split(campaign.data, "train", campaign.image_size)
    classes_of = segmentation_of(campaign, number)
    clicks_of = Models.of(campaign).load_round(COST, campaign.round(number))
    errors = {}
    for entry, record in zip(split.images, split.records(), strict=True):
        image, label = split.image(record)[None], downscale_label(split.label(record)).numpy()
        known = label != campaign.data.classes.ignore_id
        logits = classes_of(image).numpy()[0].astype(float)
        of_label = np.take_along_axis(logits, np.where(known, label, 0)[..., None].astype(int), -1)
        entropy = np.log(np.exp(logits).sum(-1)) - of_label[..., 0]
        clicks = clicks_of(image).numpy()[0, ..., 0] - split.cost(record, 60, 90)[..., 0].numpy()
        errors[entry.image_id] = np.where(known, entropy, np.nan), clicks**2
    return errors


def mean_errors(errors, regions):
    """Return the means inside the regions: each image is a step, an epoch the mean of its steps."""
    means = []
    for image_id, boxes in boxes_by_image(region.region for region in regions).items():
        inside = np.zeros(errors[image_id][0].shape, bool)
        for y, x, height, width in boxes:
            inside[y // 8 : -(-(y + height) // 8), x // 8 : -(-(x + width) // 8)] = True
        means.append([np.nanmean(part[inside]) for part in errors[image_id]])
    return np.mean(means, axis=0)


def test_each_region_of_every_round_carries_weight_and_nothing_else_does(tmp_path, begin):
    models = {"model": "tiny_plugin:build_certain", "cost_model": "tiny_plugin:build_certain"}
    options = {"initial": "5regions", "budget": "8%", "learning_rate": UNMOVING, "epochs": 1}
    campaign = begin(tmp_path / "campaign", information="random", **models, **options)
    for number in range(2):
        step_campaign(campaign)
        training = campaign.round(number).metrics.training
        found = [training[name].losses[0] for name in ("segmentation", "cost")]
        errors, regions = errors_of(campaign, number), regions_of(campaign.rounds())
        np.testing.assert_allclose(found, mean_errors(errors, regions), rtol=1e-5)
        for left_out in range(len(regions)):
            others = regions[:left_out] + regions[left_out + 1 :]
            assert (abs(mean_errors(errors, others) / found - 1) > 1e-4).all()
    assert len({region.region.image_id for region in regions}) > 1


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another model"])
def test_a_damaged_model_is_refused_by_name(first_round, refused, damage):
    campaign = first_round()
    path = campaign.round(0).folder / "segmentation.keras"
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        (path.parent / "cost.keras").replace(path)
    with pytest.raises(UserError, match=r"segmentation\.keras: cannot be loaded"):
        evaluate_round(campaign, campaign.round(0))
    assert str(path) in refused("evaluate", campaign.folder)
