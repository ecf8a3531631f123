"""TF_CONFIG as schedulers set it, and as docs/several-machines.md has it set."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.trainers.cluster import Cluster, read_cluster, writes

PAGE = (Path(__file__).parents[2] / "docs" / "several-machines.md").read_text()
VERTEX = {
    "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},
    "task": {"type": "worker", "index": 1, "trial": "4"},
    "job": "{}",
    "environment": "cloud",
}


def of(cluster, kind, index):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(VERTEX), Cluster(("a:1", "b:2", "c:3"), 2)),
        (of({"chief": ["a:1"], "worker": ["b:2"]}, "chief", 0), Cluster(("a:1", "b:2"), 0)),
        (of({"worker": ["a:1", "b:2"]}, "worker", "1"), Cluster(("a:1", "b:2"), 1)),
        (of({"worker": ["a:1"]}, "worker", 0), Cluster(("a:1",), 0)),
    ],
)
def test_workers_are_counted_from_the_chief(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    assert read_cluster() == expected
    assert writes("multiworker") == (expected.index == 0)
    assert writes("none") and writes("mirrored")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is not set"),
        ("{", "is {"),
        ("[]", r"is \[\]"),
        ('{"cluster": {"worker": ["a:1"]}}', "is {"),
        ('{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}', "is {"),
        (of({"worker": ["a:1"]}, "worker", 1), "worker 1, which is none"),
        (of({"worker": ["a:1"]}, "worker", -1), "worker -1, which is none"),
        (of({"worker": ["a:1"], "ps": ["b:2"]}, "ps", 0), "ps 0, which is none"),
        (of({"worker": ["a:1"]}, "evaluator", 0), "evaluator 0, which is none"),
    ],
)
def test_what_is_no_cluster_is_named(monkeypatch, text, found):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        UserError, match=f"multiworker: the environment variable TF_CONFIG .*{found}"
    ):
        read_cluster()


def run(script, tmp_path, **environment):
    """Run a script of the page, in which `cereals` prints its TF_CONFIG."""
    for name, text in {
        "cereals": 'echo "$TF_CONFIG"',
        "srun": 'shift; exec "$@"',
        "scontrol": "printf 'node7\\nnode9\\n'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = os.environ | environment | {"PATH": path}
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_slurm_numbers_the_tasks_of_all_nodes(tmp_path, monkeypatch):
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    said = run(
        script,
        tmp_path,
        SLURM_JOB_NODELIST="node[7,9]",
        SLURM_NTASKS_PER_NODE="2",
        SLURM_PROCID="2",
    )
    monkeypatch.setenv("TF_CONFIG", said)
    workers = ("node7:23456", "node7:23457", "node9:23456", "node9:23457")
    assert read_cluster() == Cluster(workers, 2)


def test_the_pods_of_a_job_are_numbered(tmp_path, monkeypatch):
    yaml = pytest.importorskip("yaml")
    operated, plain = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert yaml.safe_load(operated)["kind"] == "TFJob"
    service, job = yaml.safe_load_all(plain)
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    environment = {variable["name"]: variable["value"], "JOB_COMPLETION_INDEX": "3"}
    monkeypatch.setenv("TF_CONFIG", run(container["command"][-1], tmp_path, **environment))
    cluster = read_cluster()
    assert (len(cluster.addresses), cluster.index) == (job["spec"]["completions"], 3)
    assert cluster.addresses[3] == "cereals-3.cereals:2222"
