"""Stepping a campaign from the outside: one round, or round after round."""

import tensorflow as tf

from cereals_tf.campaign.round import PoolIsEmptyError, Round
from cereals_tf.campaign.state import Campaign, CommittedRound
from data_prep.records import damage_named, refuse_damage


def step_campaign(campaign: Campaign) -> CommittedRound | None:
    """Complete the next round, or the one that was interrupted.

    Equal options and data give equal rounds, whether interrupted or not: TensorFlow's operations
    are made deterministic.

    Returns:
        The round, or None if the pool is empty.

    Raises:
        UserError: The campaign is busy, its data set changed or is damaged, or an option is wrong.
    """
    data = campaign.data
    shards = [path for split in ("train", "val") for path in data.shards(split)]
    refuse_damage(shards)
    tf.config.experimental.enable_op_determinism()
    with campaign.lock(), damage_named(shards):
        try:
            return Round(campaign).complete()
        except PoolIsEmptyError:
            return None


def run_campaign(campaign: Campaign, rounds: int, target: float) -> str:
    """Step until `rounds` rounds are complete, the mIoU reaches `target`, or the pool is empty.

    Returns:
        Why it stopped, for the user to read.
    """
    while True:
        complete = campaign.rounds()
        if complete and (complete[-1].metrics["miou"] or 0.0) >= target:
            return f"mIoU {complete[-1].metrics['miou']:.3f} reaches the target {target:g}"
        if len(complete) >= rounds:
            return f"{len(complete)} rounds are complete"
        if step_campaign(campaign) is None:
            return "the pool is empty, there is nothing left to annotate"
