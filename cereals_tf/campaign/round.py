"""One round: choose regions, annotate them, train both models, evaluate, commit.

Every stage leaves a file in `working/`; a stage whose file is there is not done again, so a round
that was interrupted goes on where it stopped. Each stage draws from a seed of its own.
"""

import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cereals_tf import __version__
from cereals_tf.acquisition.regions import boxes_by_image
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.annotator import Annotator, WaitingError
from cereals_tf.campaign.annotators.oracle import Oracle
from cereals_tf.campaign.annotators.people import People, labelled_images
from cereals_tf.campaign.bill import Bill, bill_of, bills_so_far, correction
from cereals_tf.campaign.folder.campaign import (
    METRICS,
    OPTIONS_FILE,
    REGIONS,
    REQUEST,
    SCRATCH,
    Campaign,
    CommittedRound,
    regions_of,
)
from cereals_tf.campaign.folder.metrics import Metrics
from cereals_tf.campaign.folder.regions import (
    Annotated,
    cost_per_click,
    cost_per_pixel,
    cost_per_position,
    read_regions,
    trained_on,
    write_regions,
)
from cereals_tf.campaign.folder.splits import open_split
from cereals_tf.campaign.forecast import forecast
from cereals_tf.campaign.learning.coverage import choose_covering
from cereals_tf.campaign.learning.events import write_round_events
from cereals_tf.campaign.learning.features import as_taken
from cereals_tf.campaign.learning.models import Models
from cereals_tf.campaign.learning.quality import segmentation_qualities, training_summary
from cereals_tf.campaign.learning.scorer import quickest_scorer
from cereals_tf.campaign.learning.task import COST, SEGMENTATION, TASKS, Task
from cereals_tf.campaign.learning.training import Training
from cereals_tf.campaign.options import Options
from cereals_tf.campaign.pool.calibration import pool_rank_correlation
from cereals_tf.campaign.pool.choose import (
    budget_of,
    choose_drawn,
    choose_initial,
    choose_scored,
)
from cereals_tf.campaign.pool.files import price_in
from cereals_tf.campaign.pool.pool import Pool
from cereals_tf.campaign.pool.scoring import score_pool
from cereals_tf.campaign.pool.share import ALL, Score, Share
from cereals_tf.campaign.spent import spent
from cereals_tf.campaign.stopwatch import Stopwatch
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.progress import note, within
from cereals_tf.data_prep.sources.reading import read_object
from cereals_tf.trainers.evaluation import READ_ANEW, CostEvaluator
from cereals_tf.trainers.split import Split
from cereals_tf.trainers.workers import ALONE, Workers

CHOICE = "choice.json"
"""What was found when the regions were chosen: their factor, and a correlation over the pool."""


class PoolIsEmptyError(Exception):
    """No candidate region is left in the pool."""


class Round:
    """The round in progress of a campaign, of which this process holds the lock.

    Args:
        campaign: The campaign.
        strategy: Trains the models, see `trainers.strategy`; None: on one device.
        recipe: What the round is trained by in place of the campaign's; '': as it was begun.
        workers: Train the models together; the chief does all else.
    """

    def __init__(
        self,
        campaign: Campaign,
        strategy: tf.distribute.Strategy | None = None,
        recipe: str = "",
        workers: Workers = ALONE,
    ) -> None:
        self.campaign = campaign
        self._workers = workers
        self._recipe = recipe
        self.strategy = strategy or tf.distribute.get_strategy()
        self.rounds = campaign.rounds()
        self.number = len(self.rounds)
        self.folder = campaign.working
        self.train = open_split(campaign, "train")
        self.val = open_split(campaign, "val")
        people = campaign.options.annotator == "files"
        self.annotator: Annotator = (
            People(campaign, self.rounds, self.train)
            if people
            else Oracle(campaign.options, self.rounds, self.train)
        )
        self._clock = Stopwatch(self._scratch / "seconds.json")

    def complete(self) -> CommittedRound:
        """Do every stage that is not done yet, and commit the round.

        Raises:
            PoolIsEmptyError: There is nothing left to annotate.
            WaitingError: People have not annotated all of its regions yet.
            UserError: A stage met what the user can mend.
        """
        with within(f"round {self.number}"):
            self._announce()
            return self._complete()

    def _announce(self) -> None:
        """Say when the round will end if it takes as long as the one before."""
        if self.rounds and not self.folder.exists():
            seconds = self.rounds[-1].metrics.total_seconds
            end = datetime.now() + timedelta(seconds=seconds)
            note(f"round {self.number}: until about {end:%H:%M}, if it takes as long as the last")

    def _complete(self) -> CommittedRound:
        if self._recipe:
            self._train_by(self._recipe)
        self._stage(REGIONS, self._annotate)
        for task in TASKS:
            self._stage(task.file, partial(self._train, task))
        self._stage(METRICS, self._evaluate)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return self.campaign.commit()

    def ask(self) -> None:
        """Ask people for the regions of the round, if any are left to ask for.

        Raises:
            UserError: See `complete`.
        """
        with suppress(PoolIsEmptyError, WaitingError):
            self._stage(REGIONS, self._annotate)

    def score(self, share: Share) -> int:
        """Score a share of the pool ahead of `complete`, which then computes what is missing.

        Returns:
            How many images the share has.
        """
        if not self.pool.candidates:
            return 0
        with self.scoring() as score:
            return score(share)

    @contextmanager
    def scoring(self) -> Iterator[Score]:
        """Load the models of the round before, and give what scores this round's pool."""
        before = self.rounds[-1]
        models = self.models.as_in(self.campaign, before)
        with ExitStack() as lent:
            trained = [
                lent.enter_context(models.lent(task, before.folder / task.file)) for task in TASKS
            ]
            scorer, train = quickest_scorer(self.campaign, models, trained, self.train)
            pool = replace(self.pool, reader=train)
            yield partial(score_pool, pool, scorer, self.number, self.scores)

    def refuse_scoring(self) -> None:
        """Raise UserError if no regions of this round are still to be chosen by score."""
        if self.number == 0 or self.campaign.options.draws_tiles:
            raise UserError(
                f"{self.campaign.folder}: round {self.number} is drawn at random, there is nothing "
                "to score; run: cereals step"
            )
        if self.campaign.reopened() is not self.campaign:
            raise UserError(
                f"{self.campaign.folder}: was changed while it was being scored, the same command "
                "goes on with what it has now"
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
        annotated = [done.region for done in regions_of(self.rounds)]
        brought = [one.region for one in labelled_images(self.train)]
        taken = boxes_by_image([*annotated, *self.campaign.skipped(), *brought])
        return Pool(self._options, self.train, taken, frozenset(self.campaign.excluded))

    @cached_property
    def _options(self) -> Options:
        """The campaign's; by information alone, where the cost model before is not to count."""
        usual = self.campaign.options
        if not self.rounds or usual.useless_cost == "use" or usual.cost == "gt":
            return usual
        useless = self.rounds[-1].metrics.cost_model_is_useless
        return usual.but(fusion="none") if useless else usual

    @property
    def scores(self) -> Path:
        """The folder of the pool's scores."""
        return self._scratch / "scores"

    @property
    def _scratch(self) -> Path:
        return self.folder / SCRATCH

    def _train_by(self, recipe: str) -> None:
        """Give the round a recipe of its own; what was trained by another one is done again."""
        begun = CommittedRound(self.folder)
        usual = self.campaign.options
        own = self._options.with_recipe(recipe).differences(usual)
        if own == begun.own_options:
            return
        for product in (METRICS, *(task.file for task in TASKS)):
            (self.folder / product).unlink(missing_ok=True)
        for task in TASKS:
            for trained in self._scratch.glob(f"{task.name}*"):
                shutil.rmtree(trained)
        self._keep_options(own)

    def _keep_options(self, own: Mapping[str, Any]) -> None:
        """Keep the options that the round has in place of the campaign's."""
        self.folder.mkdir(exist_ok=True)
        write_atomically(self.folder / OPTIONS_FILE, (json.dumps(own, indent=1) + "\n").encode())

    def _stage(self, product: str, work: Callable[[], None]) -> None:
        if not (self.folder / product).exists():
            self._scratch.mkdir(parents=True, exist_ok=True)
            work()

    def _annotate(self) -> None:
        write_regions(self.folder / REGIONS, self.annotator.annotate(self._choose))

    def _choose(self) -> list[Chosen]:
        if self.number == 0:
            chosen = self._choose_initial()
        else:
            self._note_fallback()
            drawn = self.campaign.options.draws_tiles
            chosen = self._choose_drawn() if drawn else self._choose_scored()
        if not chosen:
            shutil.rmtree(self.folder)
            raise PoolIsEmptyError
        return chosen

    def _note_fallback(self) -> None:
        """Keep and say that the round chooses by information alone, where it does."""
        own = self._options.differences(self.campaign.options)
        if not own:
            return
        if not (self.folder / OPTIONS_FILE).exists():
            self._keep_options(own)
        note(
            f"round {self.number}: chooses by information alone, as the cost model of round "
            f"{self.number - 1} is useless (--useless_cost=ignore)"
        )

    def _choose_drawn(self) -> list[Chosen]:
        with self._clock.timed("select"):
            budget, unit = budget_of(self.campaign.options, self.pool.images)
            price = price_in(unit, self.pool, self.scores)
            cost = cost_per_pixel(regions_of(self.rounds), self.campaign.options)
            return choose_drawn(self.pool, price, budget, self.number, cost)

    def _choose_initial(self) -> list[Chosen]:
        if self.campaign.options.initial_by == "coverage":
            return choose_covering(self.campaign, self.models, self.pool)
        return choose_initial(self.pool)

    def _choose_scored(self) -> list[Chosen]:
        with self._clock.timed("score"), self.scoring() as score:
            score(ALL)
        factor = self._correction()
        with self._clock.timed("select"):
            budget, unit = budget_of(self.campaign.options, self.pool.images)
            price = price_in(unit, self.pool, self.scores)
            rank = None
            if self.campaign.options.annotator == "oracle":
                rank = pool_rank_correlation(self.pool, self.scores, self.number)
            found = json.dumps({"rank": rank, "factor": factor})
            write_atomically(self._scratch / CHOICE, found.encode())
            return choose_scored(self.pool, self.scores, price, budget, self.number, factor)

    def _correction(self) -> float:
        """Return what the estimates of the chosen are multiplied by."""
        if not self._options.correct_bill:
            return 1.0
        bills = bills_so_far([done.metrics for done in self.rounds])
        return correction(bills or self._forecast())

    def _forecast(self) -> list[Bill]:
        """Return what labelled images tell before there is a bill, see `forecast`."""
        scratch = self._scratch / "forecast"
        regions = trained_on(regions_of(self.rounds), self.campaign.excluded)
        labelled = self.annotator.labelled()
        with self._clock.timed("forecast"):
            bill = forecast(self.campaign, self.pool, regions, labelled, self.val, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        return [bill] if bill else []

    @cached_property
    def _regions(self) -> list[Annotated]:
        """All that is annotated, once the regions of this round are."""
        return regions_of(self.rounds) + read_regions(self.folder / REGIONS)

    @cached_property
    def _trained_on(self) -> list[Annotated]:
        """Those of them that the round's models are trained on."""
        return trained_on(self._regions, self.campaign.excluded)

    @cached_property
    def _training(self) -> Training:
        return Training(
            campaign=self.campaign,
            models=self.models,
            number=self.number,
            before=self.rounds[-1] if self.rounds else None,
            regions=self._trained_on,
            labelled=self.annotator.labelled(),
            val=self.val,
            strategy=self.strategy,
            scratch=self._scratch,
            workers=self._workers,
        )

    def _train(self, task: Task) -> None:
        self._workers.told(TASKS.index(task))
        with self._clock.timed(f"train_{task.name}"):
            self._training.train(task, self.folder / task.file)

    def assist(self, task: Task) -> None:
        """Train a task's model together with the chief, who completes the round."""
        with within(f"round {self.number}"):
            self._training.train(task, self.folder / task.file)

    @cached_property
    def models(self) -> Models:
        """The round's models."""
        return Models.of(self.campaign, CommittedRound(self.folder))

    def _loaded(self, task: Task) -> AbstractContextManager[keras.Model]:
        return self.models.lent(task, self.folder / task.file)

    def _found_choosing(self) -> dict[str, Any]:
        """Return what was found when the regions were chosen, if anything was."""
        path = self._scratch / CHOICE
        return read_object(path) if path.exists() else {}

    def _measured_on(self) -> list[Split]:
        """Return val, and test where that has labels; no choice is made by test."""
        data, test = self.campaign.data, "test"
        labelled = test in data.images and data.labelled(test)
        return [self.val, *([open_split(self.campaign, test)] if labelled else [])]

    def _evaluate(self) -> None:
        with self._loaded(SEGMENTATION) as trained:
            model, splits = as_taken(
                self.campaign, self.models, SEGMENTATION, trained, *self._measured_on()
            )
            metrics = self._measured(model, splits)
            write_round_events(self.campaign, metrics, model, splits[0])
        metrics.write(self.folder / METRICS)

    def _measured(self, segmentation: keras.Model, splits: Sequence[Split]) -> Metrics:
        campaign, regions = self.campaign, self._regions
        with self._clock.timed("evaluate"):
            quality, *tests = (segmentation_qualities(segmentation, part)[0] for part in splits)
            tested = tests[0] if tests else None
            unit = campaign.options.cost_unit
            per_click = cost_per_click(self._trained_on, unit)
            with self._loaded(COST) as trained:
                cost, (val,) = as_taken(campaign, self.models, COST, trained, self.val)
                errors = CostEvaluator(cost, val, READ_ANEW, per_click).errors()
        bill = bill_of(read_regions(self.folder / REGIONS), campaign.options)
        choice = self._found_choosing()
        return Metrics(
            round=self.number,
            **quality._asdict(),
            cost_mean_squared_error=errors.squared,
            cost_mean_squared_error_of_mean=errors.squared_of(
                cost_per_position(self._trained_on, unit)
            ),
            bill_estimated=bill.estimated if bill else None,
            bill_true=bill.true if bill else None,
            bill_factor=choice.get("factor", 1.0),
            cost_rank_correlation=bill.rank_correlation if bill else None,
            cost_rank_correlation_pool=choice.get("rank"),
            test_miou=tested.miou if tested else None,
            test_iou_per_class=tested.iou_per_class if tested else None,
            **spent(campaign, regions, self.train.images)._asdict(),
            training={task.name: training_summary(self._scratch, task) for task in TASKS},
            devices=self.strategy.num_replicas_in_sync * self._workers.count,
            seconds=self._clock.seconds,
            versions=_versions(),
            options=self.models.options.to_json(),
        )


def _versions() -> dict[str, str]:
    return {
        "cereals_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
