"""Conversion in a pipeline of Apache Beam gives what the plain conversion gives."""

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cereals_tf.data_prep import prepare as prepare_module
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.quiet import stderr_to

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="without Beam")

IN_MEMORY = ""
TWO_PROCESSES = (
    "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
)
TWO_THREADS = TWO_PROCESSES.replace("processing", "threading")
NO_CLUSTER = "--runner=FlinkRunner --flink_job_server_jar=/nowhere/server.jar"


def _contents(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_masks):
    """Six images of train and one of val."""
    names = [*(f"train/{number:02d}" for number in range(6)), "val/a"]
    return write_masks(tmp_path_factory.mktemp("beam") / "source", names)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Two images a shard: `source` has three shards of train and one of val."""
    monkeypatch.setattr(prepare_module, "IMAGES_PER_SHARD", 2)


@pytest.fixture
def downloads(monkeypatch):
    """What Beam would have downloaded."""
    urls = []
    monkeypatch.setattr("apache_beam.runners.portability.prism_runner.urlopen", urls.append)
    return urls


@pytest.fixture
def plain(source, tmp_path, small_shards):
    """What the plain conversion makes of `source`."""
    prepare(source, tmp_path / "plain", "masks")
    contents = _contents(tmp_path / "plain")
    shutil.rmtree(tmp_path / "plain")
    return contents


def _in_beam(source, out, options=IN_MEMORY, kind="masks"):
    prepare(source, out, kind, beam_options=options)


# The same bytes.


def test_a_pipeline_gives_the_same_bytes(source, tmp_path, plain, downloads):
    _in_beam(source, tmp_path / "out")
    assert not downloads
    assert len(plain) == 4 + 3
    assert _contents(tmp_path / "out") == plain
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.long
def test_worker_processes_give_the_same_bytes_and_no_noise(source, tmp_path, plain):
    """Relative paths too, which mean something else where a worker may run."""
    code = (
        "import sys\n"
        "from cereals_tf.cli import main\n"
        "from cereals_tf.data_prep.quiet import load_tensorflow\n"
        "load_tensorflow()\n"
        "from cereals_tf.data_prep import prepare\n"
        "prepare.IMAGES_PER_SHARD = 2\n"
        "sys.exit(main())"
    )
    arguments = ["prepare", os.path.relpath(source, tmp_path), "out", "--dataset=masks"]
    options = ["--runner=beam", f"--beam_options={TWO_PROCESSES}"]
    command = [sys.executable, "-c", code, *arguments, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert _contents(tmp_path / "out") == plain
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line]
    assert all(line.startswith(("prepare: ", "warning: ", "next: ")) for line in lines), done.stderr
    assert " 7/7 " in [line for line in lines if line.startswith("prepare: ")][-1]
    assert os.listdir(tmp_path) == ["out"]


def test_a_job_server_gives_the_same_bytes(source, tmp_path, plain):
    """What Flink and Spark are spoken to through, here with Beam's own runner behind it."""
    from apache_beam.runners.portability.local_job_service import LocalJobServicer

    (tmp_path / "staging").mkdir()
    server = LocalJobServicer(str(tmp_path / "staging"))
    endpoint = f"localhost:{server.start_grpc_server(0)}"
    try:
        options = f"--runner=PortableRunner --job_endpoint={endpoint} --environment_type=LOOPBACK"
        _in_beam(source, tmp_path / "out", options)
    finally:
        server.stop()
    assert _contents(tmp_path / "out") == plain


def _coco(folder: Path) -> Path:
    square = [1, 1, 4, 1, 4, 4]
    for split in ("train2017", "val2017"):
        (folder / split).mkdir(parents=True)
        for name in "abc":
            Image.new("RGB", (8, 6)).save(folder / split / f"{name}.png")
        content = {
            "images": [
                {"id": number, "file_name": f"{name}.png", "height": 6, "width": 8}
                for number, name in enumerate("abc")
            ],
            "categories": [{"id": 5, "name": "thing"}],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 5, "segmentation": [square]}
                for number in range(3)
            ],
        }
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", ["cityscapes", "coco"])
def test_sources_with_more_in_memory_give_the_same_bytes(tmp_path, cityscapes_source, kind):
    source = _coco(tmp_path / "source") if kind == "coco" else cityscapes_source
    prepare(source, tmp_path / "plain", kind)
    _in_beam(source, tmp_path / "out", kind=kind)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "plain")


# Damage, failures, interruptions.


@pytest.mark.parametrize("options", [IN_MEMORY, TWO_THREADS])
def test_the_first_damaged_file_is_reported_and_nothing_left(source, tmp_path, options):
    damaged = shutil.copytree(source, tmp_path / "source")
    for name in ("train/images/03.png", "train/images/04.png", "val/labels/a.png"):
        os.truncate(damaged / name, 60)
    messages = []
    for beam_options in (None, options):
        with pytest.raises(UserError) as caught:
            prepare(damaged, tmp_path / "new" / "out", "masks", {}, 1, beam_options)
        messages.append(str(caught.value))
        assert os.listdir(tmp_path) == ["source"]
    assert "train/images/03.png: cannot be decoded" in messages[0]
    assert messages[0] == messages[1]


def _interrupt_at(monkeypatch, number):
    """Have Ctrl-C typed when files have been replaced so many times."""
    replace = os.replace

    def counted(source, target):
        nonlocal number
        number -= 1
        if number < 0:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", counted)


def _states(unfinished: Path):
    """(inode, time of change) of the shards that are there with their notes."""
    paths = {path.relative_to(unfinished / "notes") for path in unfinished.glob("notes/Split-*/d*")}
    return {path: _state(unfinished / "data" / path) for path in paths}


def _state(path: Path):
    return path.stat().st_ino, path.stat().st_mtime_ns


@pytest.mark.parametrize(("first", "second"), [(None, IN_MEMORY), (IN_MEMORY, None)])
def test_either_goes_on_where_the_other_was_interrupted(
    source, tmp_path, plain, monkeypatch, first, second
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _interrupt_at(patch, 1 + 2 * 2)  # the fingerprint, two shards and their notes
        prepare(source, out, "masks", {}, 1, first)
    assert not out.exists()
    finished = _states(tmp_path / ".out.unfinished")
    assert len(finished) == 2
    prepare(source, out, "masks", {}, 1, second)
    assert _contents(out) == plain
    assert {path: _state(out / path) for path in finished} == finished
    assert os.listdir(tmp_path) == ["out"]


def test_a_pipeline_that_fails_is_reported_and_the_finished_shards_stay(
    source, tmp_path, plain, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _interrupt_at(patch, 3)
        prepare(source, out, "masks")
    finished = _states(tmp_path / ".out.unfinished")
    assert len(finished) == 1
    with pytest.raises(UserError, match=r"the pipeline failed: .*/nowhere/server\.jar") as caught:
        _in_beam(source, out, NO_CLUSTER)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / ".out.unfinished" / "notes" / "beam.log") in str(caught.value)
    assert _states(tmp_path / ".out.unfinished") == finished
    _in_beam(source, out)
    assert _contents(out) == plain


def test_workers_that_do_not_see_the_data_set_are_reported(source, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from apache_beam.runners.runner import PipelineResult, PipelineRunner\n"
        "class Elsewhere(PipelineRunner):\n"
        "    def run_pipeline(self, pipeline, options):\n"
        "        return Done('DONE')\n"
        "class Done(PipelineResult):\n"
        "    def wait_until_finish(self, duration=None):\n"
        "        return 'DONE'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="00000-of-00003 is not there, expected SOURCE and OUT on"):
        _in_beam(source, tmp_path / "out", "--runner=elsewhere.Elsewhere")


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--direct_num_wokers=2", "unrecognized arguments: --direct_num_wokers=2"),
        ("--runner DirectRunner fast", "unrecognized arguments: fast"),
        ("-x 3", "unrecognized arguments: -x 3"),
        ("--direct_num_workers", "argument --direct_num_workers: expected one argument"),
        ("--direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'"),
        ("--direct_running_mode=fast", "invalid choice: 'fast'"),
        ("--runner=FastRunner", "Unexpected pipeline runner: FastRunner"),
        ("--runner=nowhere.Runner", "nowhere"),
        ("--job_name='a", "No closing quotation"),
    ],
)
def test_options_that_beam_would_drop_or_fail_on_are_refused(source, tmp_path, options, message):
    with pytest.raises(UserError) as caught:
        _in_beam(source, tmp_path / "new" / "out", options)
    assert str(caught.value).startswith(f"--beam_options={options!r}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_without_beam_its_extra_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "cereals_tf.data_prep.beam", raising=False)
    with pytest.raises(UserError, match=r"pip install 'cereals-tf\[beam\]'"):
        _in_beam(source, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner=spark"], "--runner=spark: expected one of local, beam"),
        (["--beam_options=--streaming"], "--beam_options: has an effect only with --runner=beam"),
        (["--runner=beam", "--workers=2"], "--workers: has an effect only with --runner=local"),
    ],
)
def test_options_that_do_not_go_together_are_refused(source, tmp_path, capsys, options, message):
    from cereals_tf.cli import main

    assert main(["prepare", str(source), str(tmp_path / "out"), "--dataset=masks", *options]) == 2
    assert capsys.readouterr().err.startswith(f"cereals: error: {message}")
    assert os.listdir(tmp_path) == []


def test_stderr_goes_to_the_file_and_back(tmp_path, capfd):
    say = "import logging; logging.warning('from a child')"
    before = list(logging.getLogger().handlers)
    with (tmp_path / "log").open("w") as log, stderr_to(log) as screen:
        logging.getLogger("library").warning("logged")
        os.write(2, b"written\n")
        subprocess.run([sys.executable, "-c", say], check=True)
        print("shown", file=screen)
    print("after", file=sys.stderr)
    assert logging.getLogger().handlers == before
    assert capfd.readouterr().err == "shown\nafter\n"
    logged = (tmp_path / "log").read_text()
    assert all(text in logged for text in ("logged", "written", "from a child"))
