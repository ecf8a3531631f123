"""Scoring the pool in a pipeline of Apache Beam, on this machine or on a cluster.

One element of the pipeline is the number of a share of the pool. What becomes of it are the same
files that scoring without Beam leaves in the campaign's folder, which all workers see.
"""

import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.pool.files import path_of
from cereals_tf.campaign.pool.share import Score, Share
from cereals_tf.campaign.round import Round
from cereals_tf.data_prep.beam_pipeline import Failures, TaskPipeline, watched
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.errors import StoppedError, UserError
from cereals_tf.data_prep.progress import Progress

IMAGES_PER_SHARE = 16
"""About so many: few, so that many workers have something to do and none is the last for long."""

LOG = "beam.log"
_LOADING = -1  # comes before all shares


class BeamScoring:
    """Scores the pool in a pipeline."""

    def __init__(self, options: str) -> None:
        """Make a pipeline with these options of Beam's, as on a command line.

        Raises:
            UserError: Beam does not know an option, or does not like its value.
        """
        self._pipeline = TaskPipeline(options)

    def score(self, scored: Round) -> int:
        """Score the pool of a round, of which this process shares the lock; call this once.

        Returns:
            How many images the pool has.

        Raises:
            UserError: A share cannot be scored, the first one, in order; or the pipeline failed.
        """
        scores = scored.scores.absolute()
        files = [path_of(scores, place.number) for place in scored.pool.candidates.values()]
        if not files:
            return 0
        notes = scores.parent / f"beam-{secrets.token_hex(4)}"
        notes.mkdir(parents=True)
        try:
            self._run(scored.campaign.folder.absolute(), files, notes)
        except StoppedError as error:
            raise UserError(str(error)) from None
        shutil.rmtree(notes)
        return len(files)

    def _run(self, campaign: Path, files: Sequence[Path], notes: Path) -> None:
        left = _missing(files)
        shares = -(-len(files) // IMAGES_PER_SHARE)
        failures = Failures(notes)
        work = "score" >> RunInference(ShareHandler(campaign, shares, failures))
        done = len(files) - len(left)
        bar = partial(Progress, desc="score", total=len(files), initial=done, unit="image")
        watch = partial(watched, left, _missing, len)
        self._pipeline.run(shares, work, notes / LOG, bar, watch)
        failures.raise_first()
        if missing := _missing(files):
            reason = (
                f"{missing[0]} is not there, expected CAMPAIGN on a file system that all workers "
                "share"
            )
            raise self._pipeline.stopped(reason, notes / LOG)


def _missing(files: Sequence[Path]) -> list[Path]:
    """Return the files, all of one folder, that are not there."""
    present = {path.name for path in files[0].parent.glob("*.npy")} if files else set()
    return [path for path in files if path.name not in present]


@dataclass(frozen=True)
class LoadedRound:
    """The models of the round before, in a worker process.

    Attributes:
        scored: The round in progress.
        score: Scores a share of its pool.
        turn: Held by the thread that scores, as the models have one stream of random numbers.
    """

    scored: Round
    score: Score
    turn: threading.Lock = field(default_factory=threading.Lock)


class ShareHandler(ModelHandler[int, PredictionResult, LoadedRound | None]):
    """Loads a campaign's models once in each worker process, and scores shares of its pool."""

    def __init__(self, campaign: Path, shares: int, failures: Failures) -> None:
        """Make a handler, which Beam copies to its workers.

        Args:
            campaign: The campaign's folder, as all workers see it.
            shares: How many there are.
            failures: Where a worker notes what a user can mend.
        """
        self._campaign = campaign
        self._shares = shares
        self._failures = failures

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Have Beam hand over one share at a time."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def load_model(self) -> LoadedRound | None:
        """Load the models; None if that failed and is noted, and no share is scored then."""
        tf.config.experimental.enable_op_determinism()
        with self._failures.noted(_LOADING):
            scored = Round(Campaign.open(self._campaign))
            kept = ExitStack()  # never closed: a worker scores with these models to its end
            return LoadedRound(scored, kept.enter_context(scored.scoring()))
        return None

    def run_inference(
        self,
        batch: Sequence[int],
        model: LoadedRound | None,
        inference_args: dict[str, Any] | None = None,
    ) -> list[PredictionResult]:
        """Score shares, unless loading or a share before them has failed.

        The campaign's lock is shared while a share is scored: a worker that is still at it after
        its pipeline was given up keeps `step` away, and does not touch a later round.

        Args:
            batch: Numbers of shares, from 0.
            model: What `load_model` gave.
            inference_args: Not used.

        Returns:
            For each share, how many images it has.
        """
        results = []
        for number in batch:
            if model is None or self._failures.any_before(number):
                continue
            campaign = model.scored.campaign
            with (
                self._failures.noted(number),
                model.turn,
                campaign.lock(shared=True),
                damage_named(campaign.data, "train"),
            ):
                model.scored.refuse_scoring()
                images = model.score(Share(number + 1, self._shares))
                results.append(PredictionResult(number, images))
        return results
