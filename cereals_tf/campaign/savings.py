"""What annotation gave: p95 and c95, and the height of one curve above another."""

from collections.abc import Sequence

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.metrics import Metrics

TARGET_SHARE = 0.95


def share_at(target: float, mious: Sequence[float], shares: Sequence[float]) -> float | None:
    """Return the annotated share at which the mIoU first reaches a target.

    METHOD's p95 and c95; between two rounds both run along a straight line.

    Args:
        target: The mIoU to reach.
        mious: mIoU after each round.
        shares: Annotated share after each round, in percent, ascending.

    Returns:
        Percent, or None if no round reaches the target.
    """
    for r, (miou, share) in enumerate(zip(mious, shares, strict=True)):
        if miou >= target:
            if r == 0:
                return share
            part = (target - mious[r - 1]) / (miou - mious[r - 1])
            return shares[r - 1] + part * (share - shares[r - 1])
    return None


def reached(reference_miou: float, rounds: Sequence[Metrics]) -> dict[str, float | None]:
    """Return p95 (pixels) and c95 (clicks) in percent.

    Args:
        reference_miou: mIoU of the same model on the whole train split.
        rounds: What each round gave.

    Returns:
        None where the target is not reached, or where the share is unknown, as it is of clicks on a
        train split without labels.
    """
    target = TARGET_SHARE * reference_miou
    return {
        "p95": share_of_rounds(target, rounds, [done.pixels_percent for done in rounds]),
        "c95": share_of_rounds(target, rounds, [done.clicks_percent for done in rounds]),
    }


def share_of_rounds(
    target: float, rounds: Sequence[Metrics], shares: Sequence[float | None]
) -> float | None:
    """Return `share_at` of rounds; None too where a share is unknown."""
    known = [share for share in shares if share is not None]
    mious = [done.miou or 0.0 for done in rounds]
    return share_at(target, mious, known) if len(known) == len(shares) else None


def savings(campaign: Campaign, reference: Campaign) -> dict[str, float | None]:
    """Return the reference's mIoU, and p95 and c95 of a campaign against it.

    The reference is a campaign of the same models on everything (`--initial=100%`); the best mIoU
    of its rounds counts.
    """
    full = max(done.metrics.miou or 0.0 for done in [reference.round(None), *reference.rounds()])
    rounds = [done.metrics for done in campaign.rounds()]
    return {"reference_miou": full, **reached(full, rounds)}


def height_between(rounds: Sequence[Metrics], others: Sequence[Metrics]) -> float | None:
    """Return the mean height between two curves of mIoU over clicks, where both are.

    That is the area between them over its width. Between rounds both run along straight lines.

    Args:
        rounds: What each round of one campaign gave.
        others: Likewise of the other one.

    Returns:
        None where clicks or mIoU are not known, or the curves share no width.
    """
    curves = [[(done.clicks_percent, done.miou) for done in part] for part in (rounds, others)]
    if any(None in point for curve in curves for point in curve):
        return None
    own, their = (np.array(curve, float) for curve in curves)
    first, last = max(own[0, 0], their[0, 0]), min(own[-1, 0], their[-1, 0])
    if not first < last:
        return None
    return mean_height(own, first, last) - mean_height(their, first, last)


def mean_height(curve: np.ndarray, first: float, last: float) -> float:
    """Return the mean height of a curve, float [N, 2], that is straight between its points."""
    inside = curve[(first < curve[:, 0]) & (curve[:, 0] < last), 0]
    places = np.concatenate([[first], inside, [last]])
    heights = np.interp(places, *curve.T)
    return float(np.diff(places) @ (heights[1:] + heights[:-1]) / 2 / (last - first))
