"""Recipes: heads on features that are computed once, and all layers tuned from them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cereals_tf.acquisition.medoids import k_means_medoids
from cereals_tf.acquisition.scorer import Scorer
from cereals_tf.campaign.bill import bills_so_far, correction
from cereals_tf.campaign.folder.campaign import OPTIONS_FILE, ROUND_FILES, Campaign
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.learning import lending
from cereals_tf.campaign.learning.coverage import choose_covering
from cereals_tf.campaign.learning.features import FOLDER, with_features
from cereals_tf.campaign.learning.models import ENCODER, Models
from cereals_tf.campaign.learning.quality import evaluate_round
from cereals_tf.campaign.learning.scorer import load_scorer, quickest_scorer
from cereals_tf.campaign.learning.task import COST, SEGMENTATION, TASKS
from cereals_tf.campaign.options import RECIPES, Options
from cereals_tf.campaign.pool.choose import initial_seed
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.pool.share import Share
from cereals_tf.campaign.run import run_campaign, score_campaign, step_campaign
from cereals_tf.campaign.start import start_campaign
from cereals_tf.data_prep.errors import UserError
from cereals_tf.trainers import features

TWO_THREADS = "--direct_num_workers=2 --direct_running_mode=multi_threading"


@pytest.fixture(scope="module")
def data(tmp_path_factory, toy_data):
    """A data set of its own, as features are kept in it."""
    return shutil.copytree(
        toy_data,
        tmp_path_factory.mktemp("recipes") / "data",
        ignore=shutil.ignore_patterns(FOLDER),
    )


@pytest.fixture(scope="module")
def start(data, thin):
    def begin(folder, **chosen) -> Campaign:
        few = {"initial": "1images", "budget": "20%"}
        return start_campaign(folder, data, Options.chosen(**thin | few | chosen))

    return begin


@pytest.fixture(scope="module")
def fast(tmp_path_factory, start):
    """Two rounds of fast by models that nobody used before, and one of best. Not to be changed."""
    lending._idle.clear()
    campaign = start(tmp_path_factory.mktemp("fast") / "campaign")
    run_campaign(campaign, 2, 1.0)
    step_campaign(campaign, recipe="best")
    return campaign


def test_a_round_keeps_heads_and_the_campaign_its_encoder(fast, data):
    for number in (0, 1):
        folder = fast.round(number).folder
        assert sorted(path.name for path in folder.iterdir()) == sorted(ROUND_FILES)
    models = Models.of(fast)
    for task in TASKS:
        head, encoder = models.load_round(task, fast.round(1)), models.encoder
        assert not {id(layer) for layer in encoder.layers} & {id(layer) for layer in head.layers}
    assert (fast.folder / ENCODER).is_file()
    (kept,) = (data / FOLDER).iterdir()
    assert kept.name.startswith("mobilenet-")
    assert {path.name.split("-")[0] for path in kept.iterdir()} == {"train", "val"}


@pytest.mark.long
def test_heads_that_were_used_before_give_the_same(tmp_path, fast, start, outcome, weights_of):
    again = start(tmp_path / "again")
    run_campaign(again, 2, 1.0)
    assert len(lending._idle) == 2
    first, second = (campaign.round(1) for campaign in (fast, again))
    assert outcome(first.folder) == outcome(second.folder)
    assert all(map(np.array_equal, weights_of(fast, first), weights_of(again, second)))


def test_what_is_promised_of_chosen_regions_is_corrected(fast):
    for number, factor in ((1, 1.0), (2, correction(bills_so_far([fast.round(1).metrics])))):
        assert fast.round(number).metrics.bill_factor == factor
        for region in fast.round(number).regions:
            by_model = region.chosen.information / region.chosen.score - fast.options.region_clicks
            assert region.chosen.cost == pytest.approx(factor * by_model, rel=1e-4, abs=1e-4)


def test_features_score_the_pool_as_images_do(fast):
    train = open_split(fast, "train")
    models = Models.of(fast)
    trained = [models.load_round(task, fast.round(1)) for task in TASKS]
    heads, seen = quickest_scorer(fast, models, trained, train)
    whole = load_scorer(fast, fast.round(1))
    assert isinstance(heads, Scorer)
    assert len(heads.segmentation.inputs) == 3
    for maps, record in seen.examples(lambda record: (record,)):
        batch = tuple(part[None] for part in maps)
        for found, expected in zip(
            heads.maps(batch), whole.maps(train.image(record)[None]), strict=True
        ):
            assert found.shape == (1, 8, 12)
            np.testing.assert_allclose(found, expected, atol=2e-2)


def test_the_encoder_stays_as_it_is(fast):
    """Heads are trained, and the encoder of a tuned round is not that of the campaign."""
    models = Models.of(fast)
    assert not models.encoder.trainable_variables
    before, after = (models.load_round(SEGMENTATION, fast.round(n)) for n in (0, 1))
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(before.get_weights(), after.get_weights(), strict=True)
    )
    tuned = Models.of(fast, fast.round(2)).load_round(SEGMENTATION, fast.round(2))
    own, shared = tuned.get_layer("encoder"), models.encoder
    kernels = [
        np.abs(own.get_layer(name).get_weights()[0] - shared.get_layer(name).get_weights()[0]).max()
        for name in ("conv1", "conv_pw_13")
    ]
    assert min(kernels) > 0
    means = (own.get_layer("conv1_bn"), shared.get_layer("conv1_bn"))
    np.testing.assert_array_equal(*(layer.moving_mean.numpy() for layer in means))


def test_a_round_of_another_recipe_says_so(fast):
    done = fast.round(2)
    assert done.own_options["recipe"] == "best"
    assert done.own_options["encoder"] == "tuned"
    options = fast.options_of(done)
    assert options == fast.options.but(**done.own_options)
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(
        [*ROUND_FILES, OPTIONS_FILE]
    )
    for number in range(3):
        quality = evaluate_round(fast, fast.round(number))
        assert quality.miou_resized == pytest.approx(fast.round(number).metrics.miou, abs=2e-3)


@pytest.mark.long
def test_features_are_shared_or_kept_elsewhere(start, fast, data, tmp_path):
    """They are the same wherever they lie; nothing is computed that is there."""
    (kept,) = (data / FOLDER).iterdir()
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    elsewhere = f"{tmp_path}/elsewhere"
    for cache, folder in (("auto", data), (elsewhere, tmp_path), ("disk", tmp_path / "disk")):
        campaign = start(tmp_path / cache.strip("/").replace("/", "-"), cache=cache)
        split = with_features(campaign, open_split(campaign, "val"), Models.of(campaign))
        split.features.compute()
        assert folder in split.features.folder.parents
        expected = with_features(fast, open_split(fast, "val"), Models.of(fast))
        for found, wanted in zip(seen_of(split), seen_of(expected), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


@pytest.mark.long
def test_shares_of_the_pool_compute_their_own_features(fast, tmp_path, monkeypatch):
    """Also in a pipeline of Beam, with the same scores."""
    pytest.importorskip("apache_beam")
    from cereals_tf.campaign import beam_scoring

    monkeypatch.setattr(beam_scoring, "IMAGES_PER_SHARE", 1)
    monkeypatch.setattr(features, "IMAGES_PER_FILE", 1)
    scores, kept = [], []
    for name, how in (("alone", {}), ("beamed", {"beam_options": TWO_THREADS})):
        folder = tmp_path / name
        shutil.copytree(fast.folder / "rounds" / "000", folder / "rounds" / "000")
        shutil.copy(fast.folder / ENCODER, folder)
        content = json.loads((fast.folder / "campaign.json").read_text())
        one_by_one = {"information": "vote_entropy", "committee": 2}
        content["options"] |= one_by_one | {"cache": f"{tmp_path}/features-{name}"}
        content["data"] = str(fast.data_folder)
        (folder / "campaign.json").write_text(json.dumps(content))
        campaign = Campaign.open(folder)
        score_campaign(campaign, Share(1, 3))
        (own,) = Path(content["options"]["cache"]).iterdir()
        assert len(list(own.iterdir())) == 1
        score_campaign(campaign, **how)
        kept.append({path.name: path.read_bytes() for path in own.iterdir()})
        files = (campaign.working / "scratch" / "scores").iterdir()
        scores.append({path.name: path.read_bytes() for path in files})
    assert scores[0] == scores[1]
    assert kept[0] == kept[1]
    assert len(kept[0]) == len(scores[0]) > 1


def seen_of(split):
    return [part.numpy() for maps, _ in split.examples(lambda record: (record,)) for part in maps]


@pytest.mark.long
def test_a_round_whose_features_are_kept_nowhere(start, fast, tmp_path):
    campaign = start(tmp_path / "campaign", cache="none")
    done, expected = step_campaign(campaign), fast.round(0)
    assert done.regions == expected.regions
    losses = [one.metrics.training["segmentation"].losses for one in (done, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert not (campaign.folder / FOLDER).exists()


def test_a_recipe_that_the_campaign_cannot_have(begin, fast, tmp_path):
    paper = begin(tmp_path / "paper")
    with pytest.raises(UserError, match=r"--recipe=best: .* this campaign's encoder is trained"):
        step_campaign(paper, recipe="best")
    assert not paper.working.exists()
    with pytest.raises(UserError, match="--recipe=paper"):
        fast.options.with_recipe("paper")


def test_a_round_begun_by_one_recipe_is_trained_anew_by_another(start, fast, tmp_path):
    campaign = start(tmp_path / "campaign")
    shutil.copytree(fast.folder / "rounds" / "000", campaign.folder / "rounds" / "000")
    shutil.copytree(fast.folder / "rounds" / "002", campaign.working)
    shutil.copy(fast.folder / "rounds" / "001" / "regions.csv", campaign.working / "regions.csv")
    (campaign.working / "scratch" / "segmentation").mkdir(parents=True)
    (campaign.working / "scratch" / "segmentation" / "state.json").write_text("of the other")
    done = step_campaign(campaign, recipe="fast")
    assert done.own_options == {}
    assert done.regions == fast.round(1).regions
    losses = [one.metrics.training["segmentation"].losses for one in (done, fast.round(1))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_first_weights_do_not_depend_on_what_was_built_before(fast):
    """So that a round which was killed between its trainings ends as one that was not."""

    def drawn(models):
        models.seed(4)
        return models.build(COST).get_weights()

    used = Models.of(fast)
    used.build(SEGMENTATION)
    for one, other in zip(drawn(used), drawn(Models.of(fast)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_warm_start_after_a_tuned_round_begins_with_its_head(fast, tmp_path):
    folder = shutil.copytree(fast.folder, tmp_path / "campaign")
    content = json.loads((folder / "campaign.json").read_text())
    unmoving = {"warm_start": True, "learning_rate": 1e-12, "epochs": 1}
    content["options"] |= unmoving
    (folder / "campaign.json").write_text(json.dumps(content))
    campaign = Campaign.open(folder)
    done = step_campaign(campaign)
    tuned = Models.of(campaign, fast.round(2)).load_round(SEGMENTATION, fast.round(2))
    head = Models.of(campaign).load_round(SEGMENTATION, done)
    for name in ("fc6", "fc7", "score_stride8"):
        found, expected = (part.get_layer(name) for part in (head, tuned.get_layer(head.name)))
        np.testing.assert_allclose(*(layer.kernel for layer in (found, expected)), atol=1e-9)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"weights": "none"}, "--weights=none: --encoder=frozen needs weights"),
        ({"train_on": "crop"}, "--train_on=crop"),
        ({"cache": "memory"}, "--cache=memory: the features of --encoder=frozen are kept on disk"),
        ({"recipe": "paper", "cache": "a/b"}, "--cache=a/b: a folder is for the features"),
        ({"augment": True}, "--augment: has an effect only with models that learn from images"),
    ],
)
def test_options_that_a_frozen_encoder_cannot_have(chosen, message):
    with pytest.raises(UserError, match=message):
        Options.chosen(**chosen)


def test_any_option_overrides_a_recipe():
    for name, values in RECIPES.items():
        options = Options.chosen(recipe=name, seed=7).to_json()
        assert options["recipe"] == name
        assert {key: options[key] for key in values} == values
    assert Options.chosen(recipe="fast", batch_size=3).batch_size == 3
    assert Options.chosen().recipe == "fast"
    assert Options.chosen(model="own:model").recipe == "paper"


def test_a_damaged_encoder_is_named(start, tmp_path):
    campaign = start(tmp_path / "campaign")
    (campaign.folder / ENCODER).write_bytes(b"no model")
    with pytest.raises(UserError, match=r"encoder\.keras: cannot be loaded"):
        step_campaign(campaign)


def test_kept_features_have_the_splits_sizes(fast):
    for name in ("train", "val"):
        split = open_split(fast, name)
        seen = with_features(fast, split, Models.of(fast))
        for maps, _ in seen.examples(lambda record: (record,)):
            assert [tuple(part.shape) for part in maps] == [(8, 12, 8), (4, 6, 16), (2, 3, 32)]


def test_a_round_0_for_coverage_takes_an_image_of_each_kind(start, data, tmp_path):
    """However features are kept, and as the medoids of the encoder's means say."""
    found = []
    for cache in ("auto", "none"):
        campaign = start(
            tmp_path / cache, cache=cache, initial="2images", initial_by="coverage", seed=3
        )
        train, models = open_split(campaign, "train"), Models.of(campaign)
        pool = Pool(campaign.options, train, {})
        found.append(choose_covering(campaign, models, pool))
        vectors = [
            models.encoder(train.image(record)[None])[-1].numpy()[0].mean(axis=(0, 1))
            for record in train.records()
        ]
        places = k_means_medoids(np.float32(vectors), 2, initial_seed(pool))
        expected = [train.images[place].image_id for place in places]
        assert [chosen.region.image_id for chosen in found[-1]] == expected
    assert found[0] == found[1]
    with pytest.raises(UserError, match="--initial_by=coverage"):
        Options.chosen(initial="4regions", initial_by="coverage")
