"""What a campaign's first estimates miss, tried on the images that are labelled whole.

Regions are chosen where information is high and the cost estimated low, and so where the cost model
underestimates. By how much is not known before people have annotated such regions, but models that
have not seen a labelled image err there alike: they score it, regions are chosen in it by the rule
that is to choose the round's, and their estimates are held against the truth.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cereals_tf.acquisition.selection import Chosen, Price
from cereals_tf.campaign.annotators.oracle import annotate
from cereals_tf.campaign.bill import Bill, bill_of
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.regions import Annotated, costed
from cereals_tf.campaign.learning.folds import Folds
from cereals_tf.campaign.learning.scorer import quickest_scorer
from cereals_tf.campaign.learning.task import COST, SEGMENTATION, TASKS
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.choose import budget_of, select_scored
from cereals_tf.campaign.pool.files import price_in
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.pool.scoring import score_pool
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split

FOLDS = 2
IMAGES = 10
"""Images that a head has not seen tell something: by four, estimates got no better, see
docs/results.md."""
WIDER = 2
"""Times the share of the pool that the budget buys: a few regions alone would tell little."""
FEWEST = 20
"""Regions that are chosen at least, if there are so many."""


def foretells(options: Options, images: int) -> bool:
    """Return whether a campaign tries its first estimates on a number of labelled images.

    There are to be enough of them, heads on an encoder to train, as whole models would take too
    long, and clicks, whose truth is known in every part of an image, as that of seconds is not.
    """
    heads = all(task.encoder(options) != "trained" for task in TASKS)
    corrects = options.correct_bill and not options.draws_tiles
    return corrects and heads and options.predicts_crossings and images >= IMAGES


def folds_tried(images: int) -> int:
    """Return how many folds are trained for a number of labelled images: one, if that is enough."""
    return 1 if images >= FOLDS * IMAGES else FOLDS


def forecast(
    campaign: Campaign,
    pool: Pool,
    regions: Sequence[Annotated],
    labelled: Split,
    val: Split,
    scratch: Path,
) -> Bill | None:
    """Return the bill of regions of labelled images, chosen as those of the next round will be.

    Args:
        campaign: The campaign.
        pool: What the next round will choose from, and by which options.
        regions: What is annotated, and may be trained on.
        labelled: The train split with their labels.
        val: The val split.
        scratch: Folder for checkpoints and scores.

    Returns:
        None where nothing can be told, see `foretells`.
    """
    whole = _labelled_whole(pool, costed(regions, pool.options.cost_unit))
    if not foretells(pool.options, len(whole)):
        return None
    folds = Folds(campaign, "forecast", FOLDS, regions, labelled, val, scratch)
    scores = scratch / "scores"
    number = len(campaign.rounds())
    trained = list(islice(folds.heads(whole, SEGMENTATION, COST), folds_tried(len(whole))))
    with (
        folds.models.lent_alike(SEGMENTATION) as segmentation,
        folds.models.lent_alike(COST) as cost,
    ):
        heads = [segmentation, cost]
        scorer, reader = quickest_scorer(campaign, folds.models, heads, labelled)
        for unseen, found in trained:
            for head, one in zip(heads, found, strict=True):
                head.set_weights(one.get_weights())
            score_pool(_only(pool, reader, unseen), scorer, number, scores)
    tried = _only(pool, labelled, frozenset().union(*(unseen for unseen, _ in trained)))
    budget, unit = budget_of(pool.options, pool.images)
    budget *= WIDER * _pixels(tried) / _pixels(pool)
    chosen = _choose(tried, scores, price_in(unit, tried, scores), budget, number)
    return bill_of(annotate(labelled, chosen, {}, pool.options), pool.options)


def _labelled_whole(pool: Pool, regions: Sequence[Annotated]) -> frozenset[str]:
    whole = {image.image_id: Box(0, 0, image.height, image.width) for image in pool.images}
    regions_of_images = (done.region for done in regions)
    return frozenset(image_id for image_id, box in regions_of_images if whole.get(image_id) == box)


def _only(pool: Pool, reader: Split, image_ids: frozenset[str]) -> Pool:
    """Return a pool of some images, in which nothing is labelled."""
    others = {image.image_id for image in reader.images} - image_ids
    return Pool(pool.options, reader, {}, frozenset(others))


def _pixels(pool: Pool) -> int:
    """Return how many pixels its candidates have."""
    return sum(entry.height * entry.width for _, entry in pool.candidates.values())


def _choose(tried: Pool, scores: Path, price: Price, budget: float, number: int) -> list[Chosen]:
    """Choose as a round does, `FEWEST` regions at least if there are so many."""
    while True:
        selection = select_scored(tried, scores, price, budget, number)
        if len(selection.chosen) >= FEWEST or selection.next_price is None:
            return selection.chosen
        budget = max(2 * budget, selection.next_price)
