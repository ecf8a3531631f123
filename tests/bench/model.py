"""The models' passes: beside PyTorch and baal, and beside the machine's matrix product.

FCN8s on VGG-16 at width multiplier 0.25, one image of 512x1024. This project and the peers run in
processes of their own, one at a time and in turns. The peers live in an environment of their own,
`make bench-peers`; without it this project is measured alone.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.measure import ROOT, Ratio, Row, interleaved
from tests.bench.peer_process import Peer, Setting, peer

PEERS = ROOT / ".venv-peers"
FORMATS = ("contiguous", "channels_last")
STAGES = {"forward": "forward pass", "step": "training step"}
MEASURES = {"vote_entropy": "vote entropy", "bald": "BALD"}
FLOPS_OF_STAGE = {"forward": 1, "step": 3}
"""In forward passes; a training step also differentiates by the activations and by the weights."""
BAAL_WAYS = {
    "batch": "one batch of all members",
    "cache": "one by one, convolutions cached",
}
TARGET_OF_COMMITTEE = "<= 2.0"
AGREEMENT = 1e-4
"""Largest difference of the two networks' logits, as a share of the largest logit."""

REPEATS, REPEATS_OF_BAAL, REPEATS_WHEN_QUICK = 9, 3, 2

Seconds = dict[str, list[float]]


def rows(quick: bool) -> Iterator[Row]:
    """Measure; the quick form is one of float32, without the peers.

    Yields:
        Shares of the matrix product's rate, then ratios to the deterministic pass, to the other
        precision and to the peers.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if quick:
            setting = Setting(folder, 32, 64, 0.125, classes=5, members=2, product_size=256)
        else:
            setting = Setting(folder, 512, 1024, 0.25, classes=19, members=20, product_size=2048)
        ours = stack.enter_context(peer("tests.bench.peer_cereals", setting))
        network, peers = ours("network"), None
        if not quick and (PEERS / "installed").exists():
            python = str(PEERS / "bin" / "python")
            peers = stack.enter_context(peer("tests.bench.peer_torch", setting, python))
            yield _same_network(network, peers("compare"))
        elif not quick:
            print("model: no PyTorch and baal to compare with: make bench-peers", file=sys.stderr)
        precisions = ["float32", *(["mixed_bfloat16"] if _has_bfloat16() and not quick else [])]
        repeats = REPEATS_WHEN_QUICK if quick else REPEATS
        seconds = interleaved(_turn(ours, peers, precisions), repeats)
        yield from _alone(seconds, precisions, setting, network["flops"])
        if peers:
            yield from _beside_peers(seconds, precisions)
            yield from _beside_baal(ours, peers, _faster(seconds, "forward float32"), setting)


def _same_network(ours: dict[str, int], theirs: dict[str, float]) -> Row:
    """Say how far the peers' logits are from this project's with the same weights.

    Raises:
        RuntimeError: They are not the same network.
    """
    if ours["parameters"] != theirs["parameters"] or theirs["difference"] > AGREEMENT:
        raise RuntimeError(f"PyTorch's FCN8s is another network: {theirs}, not {ours}")
    return _row(
        "logits of PyTorch's network, same weights",
        theirs["difference"],
        "of the largest",
        note=f"largest difference; {ours['parameters']:,} parameters in both",
    )


def _turn(ours: Peer, peers: Peer | None, precisions: list[str]) -> dict[str, Callable[[], None]]:
    """Return what one turn runs, by name; what is compared stands side by side."""
    functions = {}
    for precision in precisions:
        for stage in ("product", *STAGES, *MEASURES):
            functions[f"{stage} {precision}"] = partial(ours, stage, precision)
            for memory in FORMATS if peers and stage in STAGES else ():
                run = partial(peers, stage, precision, memory)
                functions[f"{stage} {precision} {memory}"] = run
    return functions


def _alone(
    seconds: Seconds, precisions: list[str], setting: Setting, forward_flops: int
) -> Iterator[Row]:
    for precision in precisions:
        yield from _roofline(seconds, precision, forward_flops, setting.product_size)
    for precision in precisions:
        yield from _committee(seconds, precision, setting.members)
    for precision in precisions[1:]:
        for stage, name in STAGES.items():
            mixed, plain = seconds[f"{stage} {precision}"], seconds[f"{stage} float32"]
            yield _compared(f"{name}, {precision}", mixed, "float32", plain)


def _beside_peers(seconds: Seconds, precisions: list[str]) -> Iterator[Row]:
    for precision in precisions:
        for stage, name in STAGES.items():
            what = f"{stage} {precision}"
            memory = _faster(seconds, what)
            theirs = seconds[f"{what} {memory}"]
            yield _compared(f"{name}, {precision}", seconds[what], f"PyTorch, {memory}", theirs)


def _roofline(
    seconds: Seconds, precision: str, forward_flops: int, product_size: int
) -> Iterator[Row]:
    """Compare the rates of the passes with the matrix product's."""
    rate = [2 * product_size**3 / each / 1e9 for each in seconds[f"product {precision}"]]
    size = f"{product_size}x{product_size}"
    yield _row(f"matrix product, {precision}", statistics.median(rate), "GFLOP/s", note=size)
    for stage, name in STAGES.items():
        gigaflops = FLOPS_OF_STAGE[stage] * forward_flops / 1e9
        reached = [gigaflops / each for each in seconds[f"{stage} {precision}"]]
        share = Ratio.of(reached, rate)
        yield _row(
            f"{name}, {precision}",
            statistics.median(reached),
            "GFLOP/s",
            floor="matrix product",
            ratio=share.median,
            note=f"{share}; {gigaflops:.3g} GFLOP in convolutions",
        )


def _committee(seconds: Seconds, precision: str, members: int) -> Iterator[Row]:
    for stage, name in MEASURES.items():
        yield _compared(
            f"{name}, {members} members, {precision}",
            seconds[f"{stage} {precision}"],
            "one deterministic pass",
            seconds[f"forward {precision}"],
            target=TARGET_OF_COMMITTEE,
        )


def _beside_baal(ours: Peer, peers: Peer, memory: str, setting: Setting) -> Iterator[Row]:
    """Compare baal's committee, the faster of its two ways, with one pass and with ours."""
    functions = {way: partial(peers, "committee", way, memory) for way in BAAL_WAYS}
    functions["one"] = partial(peers, "forward", "float32", memory)
    functions["ours"] = partial(ours, "vote_entropy", "float32")
    seconds = interleaved(functions, REPEATS_OF_BAAL)
    way = min(BAAL_WAYS, key=lambda way: statistics.median(seconds[way]))
    name = f"{setting.members} members, float32"
    note = f"{memory}, {BAAL_WAYS[way]}"
    yield _compared(f"baal, {name}", seconds[way], "PyTorch's one pass", seconds["one"], note=note)
    yield _compared(f"vote entropy, {name}", seconds["ours"], "baal", seconds[way])


def _faster(seconds: Seconds, stage: str) -> str:
    """Return the memory format in which the peers' stage is faster."""
    return min(FORMATS, key=lambda memory: statistics.median(seconds[f"{stage} {memory}"]))


def _compared(
    what: str,
    seconds: list[float],
    floor: str,
    floor_seconds: list[float],
    target: str = "",
    note: str = "",
) -> Row:
    ratio = Ratio.of(seconds, floor_seconds)
    return _row(
        what,
        statistics.median(seconds) * 1e3,
        "ms",
        floor=f"{floor}, {statistics.median(floor_seconds) * 1e3:.4g} ms",
        ratio=ratio.median,
        target=target,
        note=f"{ratio}; {note}" if note else str(ratio),
    )


def _row(
    what: str,
    value: float,
    unit: str,
    floor: str = "",
    ratio: float | None = None,
    target: str = "",
    note: str = "",
) -> Row:
    return Row("model", what, value, unit, floor, ratio, target, note)


def _has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16; without that it is emulated, slowly."""
    return "bf16" in Path("/proc/cpuinfo").read_text()
