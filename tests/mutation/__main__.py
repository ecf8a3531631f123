"""Would the tests see a defect? Changes one place of a module after the other and runs its tests.

That is, those that run the line, the quickest first, until one fails. cosmic-ray makes the mutants,
in a copy of the package as it is installed: the working tree is left alone. What was found is kept
in a file, so that a run can be done in slices; a mutant of a module that has changed since is tried
anew. TensorFlow is imported once, and each mutant's tests run in a fork.
"""

import argparse
import difflib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import Coverage

ROOT = Path(__file__).parent.parent.parent
COPY = ROOT / "build" / "mutation"
FOUND = ROOT / "build" / "mutation.jsonl"
TARGETS = {
    "acquisition/fusion.py": ["cereals_tf/acquisition/test_fusion.py"],
    "acquisition/information.py": [
        "cereals_tf/acquisition/test_information.py",
        "cereals_tf/campaign/test_options.py",
    ],
    "acquisition/regions.py": ["cereals_tf/acquisition/test_regions.py"],
    "acquisition/selection.py": ["cereals_tf/acquisition/test_selection.py"],
    "acquisition/scorer.py": [
        "cereals_tf/acquisition/test_scorer.py",
        "cereals_tf/campaign/pool/test_choose.py::test_a_window_is_of_the_class_that_most_of_it_is_predicted_to_be",
    ],
    "acquisition/composition.py": [
        "cereals_tf/acquisition/test_selection.py",
        "cereals_tf/campaign/test_options.py",
        "cereals_tf/campaign/pool/test_choose.py",
    ],
    "acquisition/lots.py": ["cereals_tf/acquisition/test_lots.py"],
    "acquisition/monte_carlo.py": ["cereals_tf/acquisition/test_monte_carlo.py"],
    "acquisition/medoids.py": ["cereals_tf/acquisition/test_medoids.py"],
    "acquisition/ranks.py": ["cereals_tf/report/test_statistics.py::test_rank_correlation"],
    "acquisition/tiling.py": ["cereals_tf/acquisition/test_tiling.py"],
    "acquisition/plugins.py": ["cereals_tf/acquisition/test_plugins.py"],
    "data_prep/clicks.py": ["data_prep/test_clicks.py"],
    "trainers/inputs.py": [
        "trainers/test_inputs.py",
        "trainers/test_samples.py",
        "trainers/test_features.py::test_samples_have_features_for_images",
    ],
    "trainers/fitting.py": [
        "trainers/test_fitting.py",
        "trainers/test_strategy.py::test_two_devices_train_as_one_does_with_the_same_batches",
    ],
    "campaign/round.py": [
        "cereals_tf/campaign/test_round.py",
        "cereals_tf/campaign/pool/test_scoring.py::test_scores_are_for_rounds_that_are_still_to_choose",
        "cereals_tf/campaign/pool/test_scoring.py::test_an_empty_pool_has_no_scores",
        "cereals_tf/campaign/test_recipes.py::test_a_round_begun_by_one_recipe_is_trained_anew_by_another",
    ],
    "campaign/annotators/people.py": [
        "cereals_tf/campaign/test_reopen.py::test_a_second_drawing_counts_throughout",
        "cereals_tf/campaign/annotators/test_brought.py",
        "cereals_tf/campaign/test_add.py::test_labels_that_come_with_images_are_part_of_the_next_round",
        "cereals_tf/campaign/test_waiting_rounds.py",
    ],
}
"""Modules of the package, and the tests that must see what is wrong with them."""
OF_ALL = ["test_architecture.py::test_values_cannot_be_changed"]

_SUM, _ORDER = "(Add|Sub|Mul|Div|FloorDiv|Mod)", "(Eq|NotEq|Lt|LtE|Gt|GtE)"
OPERATORS = re.compile(
    rf"core/(ReplaceBinaryOperator_({_SUM}_{_SUM}|BitAnd_BitOr)"
    rf"|ReplaceComparisonOperator_({_ORDER}_{_ORDER}|Is_IsNot|IsNot_Is)"
    r"|(?!ReplaceBinaryOperator|ReplaceComparisonOperator).*)"
)
"""Those whose mutants are mistakes that somebody could make. A float shifted by bits fails at once,
whatever the tests are, and `int | None` is mostly an annotation."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        module: A key of `TARGETS`.
        operator: What is done, as cosmic-ray names it.
        occurrence: Where in the module, as cosmic-ray counts.
        digest: Of the module without the change.
        line: Where in the module.
    """

    module: str
    operator: str
    occurrence: int
    digest: str
    line: int

    def code(self, original: str) -> str | None:
        """Return the module with the change."""
        return mutate_code(original, get_operator(self.operator)(), self.occurrence)


def mutants_of(module: str) -> list[Mutant]:
    """Return all mutants of a module."""
    original = _path(module).read_text()
    digest = hashlib.sha256(original.encode()).hexdigest()[:12]
    nodes = list(ast_nodes(get_ast(original)))
    found = []
    for name in sorted(operator_names()):
        kind = get_operator(name)
        if not OPERATORS.fullmatch(name) or kind.arguments():
            continue
        places = [place for node in nodes for place in kind().mutation_positions(node)]
        for occurrence, ((line, _), _) in enumerate(places):
            found.append(Mutant(module, name, occurrence, digest, line))
    return found


@dataclass(frozen=True)
class Unchanged:
    """What the tests of a module do while it is as it should be.

    Attributes:
        seconds: How long they take.
        by_line: Those that run a line, the quickest first, or may do so in another process.
    """

    seconds: float
    by_line: dict[int, list[str]]


def unchanged(module: str) -> Unchanged:
    """Run the tests of a module without a change."""
    before, lines = time.monotonic(), _Lines(module)
    if _outcome(_targets(module), 3600, lines) != "survived":
        raise SystemExit(f"{module}: its tests fail, see {COPY / 'output'}")
    by_line = json.loads(lines.kept.read_text())
    return Unchanged(time.monotonic() - before, {int(line): by_line[line] for line in by_line})


class _Lines:
    """A plugin of pytest that keeps which tests run which lines of a module, the quickest first."""

    def __init__(self, module: str) -> None:
        self.kept = COPY / "lines.json"
        self._path = str(_path(module))
        self._coverage = Coverage(data_file=None, include=[self._path], config_file=False)
        self._seconds: Counter[str] = Counter()

    def pytest_sessionstart(self) -> None:
        self._coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        by_line = self._coverage.get_data().contexts_by_lineno(self._path)
        elsewhere = self._seconds.keys() - set().union(*by_line.values())  # in other processes
        found = {
            line: sorted({*tests, *elsewhere} - {""}, key=lambda test: self._seconds[test])
            for line, tests in by_line.items()
            if any(tests)
        }
        self.kept.write_text(json.dumps(found))


def outcome_of(mutant: Mutant, usual: Unchanged) -> str:
    """Run the tests of a mutant: killed, survived, or timeout, which is killed too."""
    path = _path(mutant.module)
    original = path.read_text()
    changed = mutant.code(original)
    if changed is None or changed == original:
        return "none"
    path.write_text(changed)
    try:
        tests = usual.by_line.get(mutant.line) or _targets(mutant.module)
        return _outcome(tests, 300 + 4 * usual.seconds)
    finally:
        path.write_text(original)


def _targets(module: str) -> list[str]:
    return [f"tests/{name}" for name in [*OF_ALL, *TARGETS[module]]]


def _outcome(tests: list[str], seconds: float, *plugins: object) -> str:
    """Run tests in a fork."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os._exit(_run(tests, *plugins))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def _run(tests: list[str], *plugins: object) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    os.chdir(COPY)
    silent = os.open(COPY / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.path.insert(0, str(COPY))
    os.environ["PYTHONPATH"] = str(COPY)
    options = ["-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutation"]
    return pytest.main([*options, *tests], plugins)


def _path(module: str) -> Path:
    return COPY / "cereals_tf" / module


def _copy() -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(COPY)]
    subprocess.run(build, cwd=ROOT, check=True)
    shutil.copytree(ROOT / "tests", COPY / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", COPY)


def _preload() -> None:
    """Import what takes long, but nothing of ours."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    import hypothesis
    import keras
    import tensorflow

    assert all((keras, tensorflow))
    # An example that fails is enough, it need not be the smallest.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutation", derandomize=True, phases=phases, deadline=None)
    assert not any(name.partition(".")[0] == "cereals_tf" for name in sys.modules)


def _known() -> dict[Mutant, str]:
    if not FOUND.exists():
        return {}
    rows = map(json.loads, FOUND.read_text().splitlines())
    return {Mutant(**row["mutant"]): row["outcome"] for row in rows}


def _chosen(modules: list[str], count: int, seed: int) -> Iterator[Mutant]:
    """Draw so many mutants of each module, always the same ones; a larger number adds to them.

    One of each line comes first, as a path that is joined by `//` fails whatever the tests are, and
    there are many such.
    """
    for module in modules:
        every = mutants_of(module)
        met: Counter[int] = Counter()
        turns = {}
        for mutant in random.Random(f"{seed} {module}").sample(every, len(every)):
            turns[mutant] = met[mutant.line]
            met[mutant.line] += 1
        yield from sorted(turns, key=turns.__getitem__)[:count]


def _report(outcomes: dict[Mutant, str]) -> None:
    for module in dict.fromkeys(mutant.module for mutant in outcomes):
        of_module = {m: o for m, o in outcomes.items() if m.module == module and o != "none"}
        survivors = [mutant for mutant, outcome in of_module.items() if outcome == "survived"]
        print(f"{module}: {len(of_module) - len(survivors)} of {len(of_module)} killed")
        original = _path(module).read_text()
        for mutant in survivors:
            print(f"  survived: {mutant.operator} {mutant.occurrence}")
            changed = (mutant.code(original) or "").splitlines()
            for line in difflib.unified_diff(original.splitlines(), changed, n=0, lineterm=""):
                if not line.startswith(("---", "+++")):
                    print(f"    {line}")
    counted = [outcome for outcome in outcomes.values() if outcome != "none"]
    killed = sum(outcome != "survived" for outcome in counted)
    print(f"{killed} of {len(counted)} killed, {100 * killed / max(1, len(counted)):.1f} %")


def main() -> None:
    """Try the mutants that were not tried yet, and report on all that are chosen."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TARGETS), metavar="MODULE")
    parser.add_argument("--count", type=int, default=24, help="mutants of each module")
    parser.add_argument("--again", action="store_true", help="try those that survived anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after about so long")
    typed = parser.parse_args()
    started = time.monotonic()
    _copy()
    _preload()
    chosen, known = list(_chosen(typed.modules, typed.count, typed.seed)), _known()
    usual = cache(unchanged)
    with FOUND.open("a") as file:
        for mutant in chosen:
            if mutant in known and not (typed.again and known[mutant] == "survived"):
                continue
            if time.monotonic() - started > 60 * typed.minutes:
                break
            known[mutant] = outcome_of(mutant, usual(mutant.module))
            row = {"mutant": asdict(mutant), "outcome": known[mutant]}
            print(json.dumps(row), file=file, flush=True)
            print(f"{mutant.module} {mutant.operator} {mutant.occurrence}: {known[mutant]}")
    _report({mutant: known[mutant] for mutant in chosen if mutant in known})
    if left := sum(mutant not in known for mutant in chosen):
        print(f"{left} of {len(chosen)} are still to be tried: run the same again")


if __name__ == "__main__":
    main()
