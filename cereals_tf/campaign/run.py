"""Stepping a campaign from the outside: one round, or round after round."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tensorflow as tf

from cereals_tf.campaign.annotators.annotator import WaitingError
from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.waiting import why_it_stopped
from cereals_tf.campaign.learning.task import TASKS
from cereals_tf.campaign.pool.share import ALL, Share
from cereals_tf.campaign.round import PoolIsEmptyError, Round
from cereals_tf.data_prep.beam_extra import beam_imported
from cereals_tf.data_prep.damage import damage_named, refuse_damage
from cereals_tf.data_prep.text import counted
from cereals_tf.trainers.strategy import open_strategy
from cereals_tf.trainers.workers import Workers, open_workers

if TYPE_CHECKING:
    from cereals_tf.campaign.beam_scoring import BeamScoring

COMPLETE, INCOMPLETE = -1, -2
"""What the chief tells the workers at the end of a step; otherwise, the number of a task."""


def step_campaign(
    campaign: Campaign, strategy: str = "none", recipe: str = "", ask: bool = False
) -> CommittedRound | None:
    """Complete the next round, or the one that was interrupted.

    Equal options and data give equal rounds, whether interrupted or not: TensorFlow's operations
    are made deterministic. Another number of devices rounds otherwise, and normalises other parts
    of a batch.

    Args:
        campaign: The campaign.
        strategy: What trains the models, see `cereals_tf.trainers.strategy`.
        recipe: What this round is trained by in place of the campaign's; '': as it was begun.
        ask: Where people annotate, ask them for the regions of the round after it too.

    With the strategy `multiworker`, every worker does this step; they train together, and one of
    them, the chief, does all else.

    Returns:
        The round; None if the pool is empty or the round waits for people, see `why_it_stopped`.

    Raises:
        UserError: The campaign is busy, its data set changed or is damaged, or an option is wrong.
    """
    workers = open_workers(strategy, campaign.options.batch_size)
    devices = open_strategy(strategy, campaign.options.batch_size)
    if recipe:
        campaign.options.with_recipe(recipe)
    if not workers.lead:
        return _assist(campaign, workers)
    with at_work(campaign, ("train", "val")) as now, workers.losses_named(campaign.folder):
        try:
            done = Round(now, devices, recipe, workers).complete()
        except (PoolIsEmptyError, WaitingError):
            done = None
        if done and ask and campaign.options.annotator == "files":
            Round(now).ask()
        workers.told(COMPLETE if done else INCOMPLETE)
        return done


def _assist(campaign: Campaign, workers: Workers) -> CommittedRound | None:
    """Take part in the trainings of the chief's step until it ends."""
    tf.config.experimental.enable_op_determinism()
    with damage_named(campaign.data, "train", "val"), workers.losses_named(campaign.folder):
        while (told := workers.told()) >= 0:
            Round(campaign.reopened(), workers=workers).assist(TASKS[told])
    return campaign.round(None) if told == COMPLETE else None


def score_campaign(campaign: Campaign, share: Share = ALL, beam_options: str | None = None) -> int:
    """Score a share of the pool for the next round, which computes only what is missing then.

    Several processes can do so at a time, on other shares or the same, but not while one steps.

    Args:
        campaign: The campaign.
        share: The share.
        beam_options: Score the whole pool in a pipeline of Apache Beam, with these options of
            Beam's as on a command line; `share` has no say then. None: score without Beam.

    Returns:
        How many images the share has.

    Raises:
        UserError: The campaign is busy, its data set changed or is damaged, the next round has
            nothing to score, or Beam is missing, refuses its options or fails.
    """
    pipeline = None if beam_options is None else _beam_scoring(beam_options)
    Round(campaign).refuse_scoring()
    with at_work(campaign, ("train",), shared=True) as now:
        next_round = Round(now)
        next_round.refuse_scoring()  # a step may have ended just now
        return pipeline.score(next_round) if pipeline else next_round.score(share)


def _beam_scoring(options: str) -> "BeamScoring":
    with beam_imported():
        from cereals_tf.campaign.beam_scoring import BeamScoring

        return BeamScoring(options)


@contextmanager
def at_work(campaign: Campaign, splits: Sequence[str], shared: bool = False) -> Iterator[Campaign]:
    """Hold a campaign's lock, and name the damage in its data set if the block meets any.

    Gives the campaign as it is now: it may have been changed since it was opened.
    """
    refuse_damage(campaign.data, splits)
    tf.config.experimental.enable_op_determinism()
    with campaign.lock(shared):
        now = campaign.reopened()
        with damage_named(now.data, *splits):
            yield now


def run_campaign(
    campaign: Campaign,
    rounds: int,
    target: float,
    strategy: str = "none",
    on_round: Callable[[CommittedRound], object] = lambda done: None,
) -> str:
    """Step until so many rounds are complete, a target is met, or a step completes no round.

    Args:
        campaign: The campaign.
        rounds: Complete rounds to reach.
        target: The mIoU to reach.
        strategy: What trains the models, see `cereals_tf.trainers.strategy`.
        on_round: Called with each round that it completed.

    Returns:
        Why it stopped, for the user to read.
    """
    while True:
        complete = campaign.rounds()
        if complete and (complete[-1].metrics.miou or 0.0) >= target:
            return f"mIoU {complete[-1].metrics.miou:.3f} reaches the target {target:g}"
        if len(complete) >= rounds:
            return counted(len(complete), "round is complete", "rounds are complete")
        done = step_campaign(campaign, strategy)
        if done is None:
            return why_it_stopped(campaign)
        on_round(done)
