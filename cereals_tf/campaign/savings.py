"""p95 and c95: how much had to be annotated to come close to the fully annotated train split."""

from collections.abc import Sequence

from cereals_tf.campaign.state import Campaign

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


def savings(campaign: Campaign, reference: Campaign) -> dict[str, float | None]:
    """Return p95 (pixels) and c95 (clicks) in percent, against a reference campaign.

    None where the share is unknown, as it is of clicks on a train split without labels.

    The reference is a campaign of the same models on everything (`--initial=100%`); the best mIoU
    of its rounds counts.
    """
    full = max(done.metrics["miou"] or 0.0 for done in [reference.round(None), *reference.rounds()])
    rounds = campaign.rounds()
    mious = [done.metrics["miou"] or 0.0 for done in rounds]

    def reached(kind: str) -> float | None:
        shares = [done.metrics[f"{kind}_percent"] for done in rounds]
        return None if None in shares else share_at(TARGET_SHARE * full, mious, shares)

    return {"reference_miou": full, "p95": reached("pixels"), "c95": reached("clicks")}
