"""Prepared data sets in a real S3-compatible server on this machine: see `make test-io`."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

MISSING = [name for name in ("tensorflow_io", "moto") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.io,
    pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)}; see make test-io"),
]
CEREALS = Path(sys.executable).with_name("cereals")
BUCKET = "cereals"
PLUGIN = """
import keras


def build(channels):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(channels, 8, strides=8)]
    return keras.Sequential([keras.Input((None, None, 3)), *layers])
"""
TINY = [
    *("--model=tiny_plugin:build", "--cost_model=tiny_plugin:build", "--region=16"),
    *("--initial=1images", "--budget=20%", "--epochs=1"),
]


class Store(NamedTuple):
    """A server, and what reads and writes its one bucket without TensorFlow."""

    endpoint: str
    client: object

    def objects(self, folder: str) -> dict[str, bytes]:
        """Return the content of every object by its name below a folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{folder}/"
        )
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key.removeprefix(f"{folder}/"): self.content(key) for key in keys}

    def content(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def changed(self, key: str) -> datetime:
        """Return when an object was written."""
        return self.client.head_object(Bucket=BUCKET, Key=key)["LastModified"]

    def copy(self, source: str, target: str) -> None:
        for name, content in self.objects(source).items():
            self.put(f"{target}/{name}", content)


@pytest.fixture(scope="module")
def store():
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=BUCKET)
    yield Store(endpoint, client)
    server.stop()


@pytest.fixture(scope="module")
def environment(store, tmp_path_factory) -> dict[str, str]:
    plugin = tmp_path_factory.mktemp("plugin")
    (plugin / "tiny_plugin.py").write_text(PLUGIN)
    return os.environ | {
        "S3_ENDPOINT": store.endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(plugin),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }


@pytest.fixture(scope="module")
def cereals(environment):
    """Runs a command; returns its output, and expects a status and nothing of an abort."""

    def run(*arguments: str | Path, status: int = 0, **changes: str) -> str:
        done = subprocess.run(
            [CEREALS, *arguments],
            env=environment | changes,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        if status == 2:
            error = done.stderr.strip().splitlines()[-1]
            assert error.startswith("cereals: error: ")
            assert "Traceback" not in done.stderr
            return error
        return done.stdout

    return run


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    from cereals_tf.data_prep.toy import write_toy

    folder = tmp_path_factory.mktemp("toy") / "streets"
    write_toy(folder, train_images=4, val_images=2, height=64, width=96, seed=1)
    return folder


@pytest.fixture(scope="module")
def local(streets) -> Path:
    from cereals_tf.data_prep.prepare import prepare

    data = streets.with_name("data")
    prepare(streets, data, "cityscapes")
    return data


@pytest.fixture(scope="module")
def remote(streets, cereals) -> str:
    data = f"s3://{BUCKET}/toy/data"
    cereals("prepare", streets, data, "--dataset=cityscapes")
    return data


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_data_set_in_a_bucket_has_the_bytes_of_a_local_one(local, remote, store):
    assert store.objects("toy/data") == contents(local)


def test_it_is_inspected_and_verified(local, remote, cereals):
    from cereals_tf.data_prep.dataset import PreparedData

    shown = json.loads(cereals("inspect", remote, "--verify", "--json"))
    assert shown["splits"] == PreparedData.open(local).description.to_json()["splits"]


def test_a_damaged_object_is_named(remote, store, cereals):
    store.copy("toy/data", "damaged")
    name = "Split-val/data_tfrecord-00000-of-00001"
    content = bytearray(store.content(f"damaged/{name}"))
    content[-100] ^= 1
    store.put(f"damaged/{name}", bytes(content))
    error = cereals("inspect", f"s3://{BUCKET}/damaged", "--verify", status=2)
    assert f"1 damaged: s3://{BUCKET}/damaged/{name}: record 1: " in error


def test_a_missing_object_is_named(remote, store, cereals):
    store.copy("toy/data", "incomplete")
    name = "Split-train/data_tfrecord-00000-of-00001"
    store.client.delete_object(Bucket=BUCKET, Key=f"incomplete/{name}")
    error = cereals("inspect", f"s3://{BUCKET}/incomplete", status=2)
    assert f"s3://{BUCKET}/incomplete/{name}: missing" in error


def test_a_campaign_reads_from_the_bucket_as_from_files(local, remote, tmp_path, cereals):
    for name, data in (("local", local), ("remote", remote)):
        cereals("start", tmp_path / name, f"--data={data}", *TINY)
        cereals("run", tmp_path / name, "--rounds=2")
    assert json.loads((tmp_path / "remote" / "campaign.json").read_text())["data"] == remote
    for number in ("000", "001"):
        chosen = [
            (tmp_path / name / "rounds" / number / "regions.csv").read_bytes()
            for name in ("local", "remote")
        ]
        assert chosen[0] == chosen[1]
    evaluated = json.loads(cereals("evaluate", tmp_path / "remote", "--json"))
    metrics = json.loads((tmp_path / "local" / "rounds" / "001" / "metrics.json").read_text())
    assert evaluated["miou"] == pytest.approx(metrics["miou"], abs=1e-6)
    cereals("report", tmp_path / "remote")
    cereals("export", tmp_path / "remote", tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()


def test_what_is_there_already_is_refused_and_kept(streets, store, cereals):
    store.put("others/notes.txt", b"theirs")
    out = f"s3://{BUCKET}/others"
    error = cereals("prepare", streets, out, "--dataset=cityscapes", status=2)
    assert f"{out}: exists and is not empty" in error
    assert store.objects("others") == {"notes.txt": b"theirs"}


def test_a_damaged_source_leaves_nothing_in_the_bucket(streets, store, tmp_path, cereals):
    shutil.copytree(streets, tmp_path / "streets")
    image = max((tmp_path / "streets" / "leftImg8bit").rglob("*.png"))
    image.write_bytes(image.read_bytes()[:1000])
    error = cereals(
        "prepare", tmp_path / "streets", f"s3://{BUCKET}/bad", "--dataset=cityscapes", status=2
    )
    assert image.name in error
    assert store.objects("bad") == {}


def test_a_killed_conversion_goes_on_where_it_was(store, environment, tmp_path, cereals):
    from cereals_tf.data_prep.prepare import prepare
    from cereals_tf.data_prep.toy import write_toy

    write_toy(tmp_path / "streets", train_images=220, val_images=1, height=64, width=64)
    out = f"s3://{BUCKET}/killed"
    line = ["prepare", tmp_path / "streets", out, "--dataset=cityscapes", "--workers=1"]
    first = "Split-train/data_tfrecord-00000-of-00003"
    notes = Path(environment["XDG_CACHE_HOME"], "cereals")
    with subprocess.Popen([CEREALS, *line], env=environment, stderr=subprocess.DEVNULL) as process:
        while not list(notes.glob(f"*/notes/{first}")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert "dataset.json" not in store.objects("killed")

    written = store.changed(f"killed/{first}")
    cereals(*line)
    assert store.changed(f"killed/{first}") == written
    prepare(tmp_path / "streets", tmp_path / "data", "cityscapes")
    assert store.objects("killed") == contents(tmp_path / "data")
    assert list(notes.iterdir()) == []


def test_a_data_set_that_is_not_there_is_named(cereals):
    data = f"s3://{BUCKET}/nothing"
    error = cereals("inspect", data, status=2)
    assert f"{data}: not a prepared data set, it has no dataset.json" in error


def test_a_bucket_that_is_not_there_is_named(streets, cereals):
    error = cereals("prepare", streets, "s3://nobucket/data", "--dataset=cityscapes", status=2)
    assert "s3://nobucket/data/schema.pbtxt: NotFound: NoSuchBucket: " in error


def test_wrong_credentials_are_named(cereals):
    with subprocess.Popen(
        [CEREALS.with_name("moto_server"), "-H", "127.0.0.1", "-p", "0"],
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "0"},  # so it looks at credentials
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            endpoint = next(
                line.split()[-1] for line in server.stderr if "Running on http://127" in line
            )
            error = cereals("inspect", f"s3://{BUCKET}/x", status=2, S3_ENDPOINT=endpoint)
        finally:
            server.kill()
    assert f"s3://{BUCKET}/x/dataset.json: PermissionDenied" in error


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [("http://127.0.0.1:9", "Connection refused"), ("127.0.0.1:9000", "expected http://HOST:PORT")],
)
def test_a_wrong_endpoint_is_named(cereals, endpoint, message):
    error = cereals("inspect", f"s3://{BUCKET}/x", status=2, S3_ENDPOINT=endpoint)
    assert f"S3_ENDPOINT={endpoint}: {message}" in error
