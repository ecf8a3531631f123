"""One round: choose regions, annotate them, train both models, evaluate, commit.

Every stage leaves a file in `working/`; a stage whose file is there is not done again, so a round
that was interrupted goes on where it stopped. Each stage draws from a seed of its own.
"""

import gc
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cereals_tf import __version__
from cereals_tf.acquisition.selection import Candidate
from cereals_tf.campaign.annotators.annotator import Annotator, cost_per_click, costed
from cereals_tf.campaign.annotators.oracle import Oracle
from cereals_tf.campaign.annotators.people import People
from cereals_tf.campaign.folder.campaign import (
    COST,
    METRICS,
    REGIONS,
    REQUEST,
    SEGMENTATION,
    AnnotatedRegion,
    Campaign,
    CommittedRound,
    read_json,
    read_regions,
    write_regions,
)
from cereals_tf.campaign.learning.evaluate import iou_summary
from cereals_tf.campaign.learning.events import training_events, write_round_events
from cereals_tf.campaign.learning.models import (
    build_cost,
    build_segmentation,
    initialise,
    load_model,
    load_scorer,
)
from cereals_tf.campaign.pool.choose import budget_of, choose_best, choose_initial
from cereals_tf.campaign.pool.files import price_in
from cereals_tf.campaign.pool.pool import Pool, regions_by_image
from cereals_tf.campaign.pool.scoring import score_pool
from cereals_tf.campaign.pool.shard import ALL, Score, Shard
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.cache import Cache
from cereals_tf.trainers.evaluation import READ_ANEW, CostEvaluator, SegmentationEvaluator
from cereals_tf.trainers.fitting import (
    FitOptions,
    FitState,
    Objective,
    cost_loss,
    fit,
    segmentation_loss,
)
from cereals_tf.trainers.inputs import TrainingData
from cereals_tf.trainers.randomness import derive_seed
from cereals_tf.trainers.receptive_field import CropFinder, Span
from cereals_tf.trainers.samples import STEP_PIXELS, CropFor, plan_samples
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.targets import Target

SCRATCH = "scratch"


class PoolIsEmptyError(Exception):
    """No candidate region is left in the pool."""


class Round:
    """The round in progress of a campaign, of which this process holds the lock.

    Args:
        campaign: The campaign.
        strategy: Trains the models, see `cereals_tf.trainers.strategy`; None: on one device.
    """

    def __init__(self, campaign: Campaign, strategy: tf.distribute.Strategy | None = None) -> None:
        self.campaign = campaign
        self.strategy = strategy or tf.distribute.get_strategy()
        self.options = campaign.options
        self.rounds = campaign.rounds()
        self.number = len(self.rounds)
        self.folder = campaign.working
        self.train = Split(campaign.data, "train", campaign.image_size)
        self.val = Split(campaign.data, "val", campaign.image_size)
        self.annotator = self._annotator()

    def complete(self) -> CommittedRound:
        """Do every stage that is not done yet, and commit the round.

        Raises:
            PoolIsEmptyError: There is nothing left to annotate.
            WaitingError: People have not annotated all of its regions yet.
            UserError: A stage met what the user can mend.
        """
        self.folder.mkdir(exist_ok=True)
        self._stage(REGIONS, self._annotate)
        self._stage(SEGMENTATION, self._train_segmentation)
        self._stage(COST, self._train_cost)
        self._stage(METRICS, self._evaluate)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return self.campaign.commit()

    def score(self, shard: Shard) -> int:
        """Score a share of the pool ahead of `complete`, which then computes what is missing.

        Returns:
            How many images the share has.
        """
        return self.scoring()(shard) if self.pool.candidates else 0

    def scoring(self) -> Score:
        """Load the models of the round before, and return what scores this round's pool."""
        scorer = load_scorer(self.campaign, self.rounds[-1])
        return partial(score_pool, self.pool, scorer, self.number, self.scores)

    def refuse_scoring(self) -> None:
        """Raise UserError if no regions of this round are still to be chosen by score."""
        if self.number == 0:
            raise UserError(
                f"{self.campaign.folder}: round 0 is drawn at random, there is nothing to score; "
                "run: cereals step"
            )
        complete = len(self.campaign.rounds()) > self.number
        if complete or any((self.folder / name).exists() for name in (REQUEST, REGIONS)):
            raise UserError(
                f"{self.campaign.folder}: the regions of round {self.number} are chosen already; "
                "run: cereals step"
            )

    @cached_property
    def pool(self) -> Pool:
        """The train split as this round finds it."""
        taken = ([*done.regions, *done.skipped] for done in self.rounds)
        return Pool(self.options, self.train, regions_by_image(chain.from_iterable(taken)))

    @property
    def scores(self) -> Path:
        """The folder of the pool's scores."""
        return self._scratch / "scores"

    def _stage(self, product: str, work: Callable[[], None]) -> None:
        if not (self.folder / product).exists():
            self._scratch.mkdir(exist_ok=True)
            work()

    @property
    def _scratch(self) -> Path:
        return self.folder / SCRATCH

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the time that a stage takes to what it took before it was interrupted."""
        started = time.monotonic()
        yield
        seconds = self._seconds()
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - started, 3)
        write_atomically(self._scratch / "seconds.json", json.dumps(seconds).encode())

    def _seconds(self) -> dict[str, float]:
        path = self._scratch / "seconds.json"
        return read_json(path) if path.exists() else {}

    def _annotator(self) -> Annotator:
        if self.options.annotator == "files":
            return People(self.campaign, self.rounds, self.train)
        return Oracle(self.rounds, self.train)

    def _annotate(self) -> None:
        write_regions(self.folder / REGIONS, self.annotator.annotate(self._choose))

    def _choose(self) -> list[Candidate]:
        candidates = choose_initial(self.pool) if self.number == 0 else self._choose_best()
        if not candidates:
            shutil.rmtree(self.folder)
            raise PoolIsEmptyError
        return candidates

    def _choose_best(self) -> list[Candidate]:
        with self._timed("score"):
            self.scoring()(ALL)
        with self._timed("select"):
            budget, unit = budget_of(self.options, self.train.images)
            price = price_in(unit, self.pool, self.scores)
            return choose_best(self.pool, self.scores, price, budget)

    @cached_property
    def _labelled(self) -> Split:
        return self.annotator.labelled()

    @property
    def _regions(self) -> list[AnnotatedRegion]:
        """All that is annotated, once the regions of this round are."""
        before = [region for done in self.rounds for region in done.regions]
        return before + read_regions(self.folder / REGIONS)

    def _cost_evaluator(self, model: keras.Model, cache: Cache = READ_ANEW) -> CostEvaluator:
        per_click = cost_per_click(self.options, self._regions)
        return CostEvaluator(model, self.val, cache, per_click)

    def _build_segmentation(self) -> keras.Model:
        return build_segmentation(self.options, len(self.campaign.data.classes))

    def _build_cost(self) -> keras.Model:
        return build_cost(self.options)

    @property
    def _cache(self) -> Cache:
        return Cache(self.options.cache, self._scratch / "cache")

    def _train_segmentation(self) -> None:
        def objective(model: keras.Model) -> Objective:
            evaluator = SegmentationEvaluator(model, self.val, False, self._cache)
            return Objective(
                name="segmentation",
                loss=segmentation_loss(),
                metric_name="mIoU",
                measure=lambda: evaluator.iou().mean or 0.0,
                higher_is_better=True,
            )

        self._fit("segmentation", objective, self._build_segmentation, SEGMENTATION)

    def _train_cost(self) -> None:
        def objective(model: keras.Model) -> Objective:
            return Objective(
                name="cost",
                loss=cost_loss(),
                metric_name="MSE",
                measure=self._cost_evaluator(model, self._cache).mean_squared_error,
                higher_is_better=False,
            )

        self._fit("cost", objective, self._build_cost, COST)

    def _fit(
        self,
        target: Target,
        objective: Callable[[keras.Model], Objective],
        build: Callable[[], keras.Model],
        product: str,
    ) -> None:
        seed = derive_seed(self.options.seed, self.number, f"train {target}")
        keras.utils.set_random_seed(seed)
        with self.strategy.scope():
            model = build()
            if self.options.warm_start and self.rounds:
                load_model(self.rounds[-1].folder / product, model)
            else:
                initialise(model, self.options, target)
        options = FitOptions(self.options.epochs, self.options.patience, self.options.learning_rate)
        with self._timed(f"train_{target}"):
            data = self._training_data(target, model)
            folder = self._scratch / target
            goal = objective(model)
            with training_events(self.campaign, self.number, target, goal.metric_name) as on_epoch:
                fit(model, goal, data.epoch, data.steps, options, seed, folder, on_epoch)
            _save_without_optimizer(model, build(), self.folder / product)
        shutil.rmtree(self._cache.folder, ignore_errors=True)
        del model, data  # they refer to each other, and to the samples in memory
        gc.collect()

    def _training_data(self, target: Target, model: keras.Model) -> TrainingData:
        known = costed(self.options, self._regions) if target == "cost" else self._regions
        regions: dict[str, list[Box]] = {}
        for region in known:
            regions.setdefault(region.image_id, []).append(region.box)
        sizes = {entry.image_id: (entry.height, entry.width) for entry in self.train.images}
        crop_of = crop_rule(model)
        samples = {
            image_id: plan_samples(
                boxes, *sizes[image_id], self.options.train_on, crop_of, STEP_PIXELS
            )
            for image_id, boxes in sorted(regions.items())
        }
        batch_size = self.options.batch_size
        return TrainingData(self._labelled, target, regions, samples, batch_size, self._cache)

    def _evaluate(self) -> None:
        with self._timed("evaluate"):
            segmentation = load_model(self.folder / SEGMENTATION, self._build_segmentation())
            cost = load_model(self.folder / COST, self._build_cost())
            iou = SegmentationEvaluator(segmentation, self.val, full_resolution=True).iou(
                "evaluate"
            )
            cost_error = self._cost_evaluator(cost).mean_squared_error()
        metrics = {
            "round": self.number,
            **iou_summary(iou, self.campaign.data.classes.names),
            "cost_mean_squared_error": cost_error,
            **self._annotated(),
            "training": {
                name: _training_summary(self._scratch / name, name == "segmentation")
                for name in ("segmentation", "cost")
            },
            "devices": self.strategy.num_replicas_in_sync,
            "seconds": self._seconds(),
            "versions": {
                "cereals_tf": __version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
        }
        write_round_events(self.campaign, metrics, segmentation, self.val)
        write_atomically(self.folder / METRICS, (json.dumps(metrics, indent=1) + "\n").encode())

    def _annotated(self) -> dict[str, Any]:
        """Return what is annotated after this round, as counts and as shares of the train split.

        The share of the clicks is None where nobody knows how many there are.
        """
        regions, known = self._regions, self.campaign.data.labelled("train")
        pixels = sum(region.pixels for region in regions)
        clicks = sum(region.clicks(self.options.clicks) for region in regions)
        all_pixels = sum(entry.height * entry.width for entry in self.train.images)
        all_clicks = sum(entry.clicks for entry in self.train.images)
        return {
            "regions": len(regions),
            "pixels": pixels,
            "pixels_percent": 100 * pixels / all_pixels,
            "clicks": clicks,
            "clicks_percent": 100 * clicks / max(1, all_clicks) if known else None,
        }


def crop_rule(model: keras.Model) -> CropFor:
    """Return what finds the part of an image that the model's outputs in a box depend on."""
    finder = CropFinder(model)

    def crop_of(box: Box, height: int, width: int) -> Box:
        rows, columns = (Span(part.start, part.stop) for part in box.cell_slices)
        top, bottom, left, right = finder.crop(rows, columns, height, width)
        return Box(top, left, bottom - top, right - left)

    return crop_of


def _save_without_optimizer(model: keras.Model, fresh: keras.Model, path: Path) -> None:
    """Save a trained model's weights in a fresh model, as the optimizer's state is not kept."""
    fresh.set_weights(model.get_weights())
    unfinished = path.with_name(f"unfinished-{path.name}")
    fresh.save(unfinished)
    unfinished.replace(path)


def _training_summary(folder: Path, higher_is_better: bool) -> dict[str, Any]:
    state = FitState(**read_json(folder / "state.json"))
    return {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch(higher_is_better) + 1,
        "losses": state.losses,
        "val_metrics": state.metrics,
    }
