import json
import math
import subprocess
import sys

import pytest

from tests.bench.measure import ROOT, Ratio, Row, in_child, interleaved, machine

SMALL_MIB, LARGE_MIB = 20, 220


def allocate(mib: int) -> int:
    """Run by `in_child`."""
    return len(bytes(1) * (mib << 20)) >> 20


def allocate_in_child(mib: int) -> None:
    """Run by `in_child`: another process holds the memory, busy until that has been seen."""
    code = f"held = bytes(1) * ({mib} << 20); sum(range(20_000_000))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_run_in_turn_after_a_warm_up():
    calls = []
    seconds = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert calls == list("ab" * 4)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert all(time >= 0 for times in seconds.values() for time in times)


def test_ratios_are_formed_within_turns():
    """A turn twice as slow for both changes nothing."""
    assert Ratio.of([3.0, 6.0, 3.0], [1.0, 2.0, 1.0]) == Ratio(3.0, 3.0, 3.0)
    assert Ratio.of([1.0, 2.0, 9.0], [1.0, 1.0, 3.0]) == Ratio(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("ratio", "target", "met"),
    [
        (2.0, "<= 2.0", True),
        (2.1, "<= 2.0", False),
        (0.5, ">= 0.4", True),
        (0.3, ">= 0.4", False),
        (2.0, "", None),
        (None, "", None),
    ],
)
def test_a_target_is_met_or_missed(ratio, target, met):
    assert Row("a", "b", 1.0, "s", "c", ratio, target, "").met is met


def test_a_target_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="'about 2"):
        _ = Row("a", "b", 1.0, "s", "c", 1.0, "about 2.0", "").met


def test_a_child_returns_its_result_and_its_own_peak_memory():
    """The memory of the process that asks is not counted."""
    held = bytes(1) * (LARGE_MIB << 20)
    small = in_child("tests.test_bench:allocate", SMALL_MIB)
    large = in_child("tests.test_bench:allocate", LARGE_MIB)
    assert (small["result"], large["result"]) == (SMALL_MIB, LARGE_MIB)
    grown = large["peak_mib"] - small["peak_mib"]
    assert grown == pytest.approx(LARGE_MIB - SMALL_MIB, abs=10)
    assert small["peak_mib"] < LARGE_MIB <= len(held) >> 20
    assert small["seconds"] > 0


def test_the_memory_of_a_childs_child_is_counted():
    alone = in_child("tests.test_bench:allocate", 1)
    done = in_child("tests.test_bench:allocate_in_child", LARGE_MIB)
    assert done["peak_mib"] > alone["peak_mib"] + LARGE_MIB


def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"(?s)math:sqrt ended with 1.*ValueError"):
        in_child("math:sqrt", -1)


def test_a_child_has_the_variables_given():
    assert in_child("os:getenv", "CEREALS_BENCH", CEREALS_BENCH="7")["result"] == "7"


def test_the_machine_is_described():
    about = machine()
    assert about["cores"] >= 1
    assert about["memory_gib"] > 0
    assert about["versions"]["tensorflow"]


@pytest.mark.long
def test_a_quick_run_measures_everything(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only=data", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_bytes())
    assert content["quick"] is True
    assert list(content["groups"]) == ["data"]
    group = content["groups"]["data"]
    assert "skipped" not in group, group
    assert group["seconds"] > 0
    for row in group["rows"]:
        assert row["group"] == "data"
        assert row["floor"]
        assert row["what"].split(",")[0].split()[0] in done.stdout
        for number in (row["value"], row["ratio"]):
            assert math.isfinite(number)
            assert number > 0
    measured = [(row["what"], row["floor"]) for row in group["rows"]]
    assert len(set(measured)) == len(measured)
    assert {what.split(",")[0].split()[0] for what, _ in measured} == {"prepare", "read", "verify"}
    for suffix in ("png", "jpg"):
        assert sum(what.endswith(suffix) for what, _ in measured) == 10


@pytest.mark.long
def test_other_groups_run_to_their_end(tmp_path):
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only=model,selection,encoders"]
    done = subprocess.run([*command, f"--out={out}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    groups = json.loads(out.read_bytes())["groups"]
    assert set(groups) == {"model", "selection", "encoders"}
    for group in groups.values():
        assert group["rows"]
        assert all(math.isfinite(row["value"]) for row in group["rows"])


def test_an_unknown_group_is_refused(tmp_path):
    command = [sys.executable, "-m", "tests.bench", "--only=data,dta", f"--out={tmp_path / 'b'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "'dta'" in done.stderr
    assert not list(tmp_path.iterdir())
