"""The command line: what is accepted, what is refused and how, and what goes where."""

import importlib.metadata
import json
import logging
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cereals_tf import __version__, cli, commands
from cereals_tf.campaign import estimate
from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.quiet import load_tensorflow
from cereals_tf.usage import COMMANDS

CEREALS = [sys.executable, "-c", "import sys; from cereals_tf.cli import main; sys.exit(main())"]
EVERY_COMMAND = list(COMMANDS)
ON_A_CAMPAIGN = ["step", "run", "status", "evaluate", "export", "report"]
TINY = ["--model=tiny_plugin:build", "--cost_model=tiny_plugin:build"]
NOISE = re.compile(
    r"tensorflow|cuda|oneDNN|absl|^[WEI]\d{4} |Warning", re.IGNORECASE | re.MULTILINE
)


def required(command, campaign, tmp_path):
    """Return what a command needs beside the campaign's folder."""
    more = {"run": ["--rounds=3"], "export": [tmp_path / "model"], "report": [tmp_path / "report"]}
    return [command, campaign, *more.get(command, [])]


@pytest.fixture
def started(tmp_path, begin):
    """A campaign without rounds."""
    return begin(tmp_path / "campaign")


@pytest.fixture
def own_data(tmp_path, toy_data):
    """A copy of the data set that a test may damage."""
    return Path(shutil.copytree(toy_data, tmp_path / "data"))


# What may be typed.


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("stepp CAMPAIGN", "stepp: no such command, did you mean step?"),
        ("--verbose", "--verbose: no such command"),
        ("-- status CAMPAIGN", "--: no such command"),
        ("nonsense --help", "--command=nonsense: expected one of toy, prepare"),
        ("help nonsense", "--command=nonsense: expected one of toy, prepare"),
        ("completion fish", "--shell=fish: expected one of bash, zsh"),
        ("toy OUT --depth=3", "--depth: no such option of toy"),
        ("toy OUT --sed=3", "--sed: no such option of toy, did you mean --seed?"),
        ("toy OUT --see=3", "did you mean --seed?"),
        ("toy OUT -s=3", "--s: no such option"),
        ("toy OUT --noseed", "--noseed: no such option"),
        ("toy OUT -- --trace", "--: no such option"),
        ("toy OUT --seed=3 --seed=3", "--seed: given twice"),
        ("start OUT --data=DATA --image-size=64 --image_size=64", "--image_size: given twice"),
        ("toy OUT more", "more: toy takes no such argument"),
        ("toy OUT --out=OUT", "OUT: toy takes no such argument"),
        ("toy", "toy: OUT is missing"),
        ("toy ", "toy: OUT is empty"),
        ("toy --out", "--out: expected a value"),
        ("toy OUT --seed", "--seed: expected a value"),
        ("toy OUT --seed --height=64", "--seed: expected a value"),
        ("start", "start: CAMPAIGN is missing"),
        ("start OUT", "start: --data is missing"),
        ("prepare OUT", "prepare: OUT is missing"),
        ("prepare OUT OUT2", "prepare: --dataset is missing"),
        ("run CAMPAIGN", "run: --rounds is missing"),
        ("run CAMPAIGN --rounds=two", "--rounds=two: expected a whole number"),
        ("run CAMPAIGN --rounds=2.5", "--rounds=2.5: expected a whole number"),
        ("run CAMPAIGN --rounds=0", "--rounds=0: expected a number at least 1"),
        (
            "run CAMPAIGN --rounds=1 --target=1.5",
            "--target=1.5: expected a number above 0, at most 1",
        ),
        ("run CAMPAIGN --rounds=1 --target=half", "--target=half: expected a number"),
        ("status CAMPAIGN --json=maybe", "--json=maybe: expected true or false"),
        ("status CAMPAIGN --json maybe", "maybe: status takes no such argument"),
        ("status --json", "status: CAMPAIGN is missing"),
        ("toy OUT --height=8", "height"),
        ("toy OUT --train_images=-1", "train_images"),
        ("inspect OUT", "OUT: not a prepared data set"),
        ("prepare OUT OUT2 --dataset=kitti", "kitti"),
    ],
)
def test_what_cannot_be_understood_is_refused(refused, tmp_path, monkeypatch, line, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(*line.split(" "))


def test_a_value_may_follow_its_option_and_options_come_first():
    job = cli.parse(["toy", "--seed", "3", "--train-images", "-5", "somewhere"])
    assert job.function is commands.toy
    assert job.arguments == {"out": "somewhere", "seed": 3, "train_images": -5}
    for line in (
        "status --json camp",
        "status camp --json",
        "status --json=yes camp",
        "status --json true camp",
        "status camp --json True",
    ):
        assert cli.parse(line.split()).arguments == {"campaign": "camp", "json": True}
    assert cli.parse(["status", "camp", "--json", "false"]).arguments["json"] is False


def test_every_option_of_a_campaign_can_be_typed():
    job = cli.parse(["start", "camp", "--data=data"])
    assert job.arguments == {"campaign": "camp", "data": "data"}
    defaults = Options().to_json()
    typed = [f"--{name}={value}" for name, value in defaults.items()]
    job = cli.parse(["start", "camp", "--data=data", *typed])
    assert job.arguments == {"campaign": "camp", "data": "data", **defaults}
    for name, value in defaults.items():
        assert type(job.arguments[name]) is type(value), name


@pytest.mark.long
def test_a_start_without_options_is_one_with_the_defaults(cereals, tmp_path, toy_data):
    assert cereals("start", tmp_path / "campaign", f"--data={toy_data}")[0] == 0
    chosen = Campaign.open(tmp_path / "campaign").options
    assert chosen.to_json() == Options.chosen(region="8").to_json()


@pytest.mark.long
def test_a_large_data_set_is_tried_as_soon_as_it_is_prepared(cereals, tmp_path, monkeypatch):
    size = ["--train_images=2", "--val_images=2", "--height=64", "--width=96"]
    assert cereals("toy", tmp_path / "streets", *size)[0] == 0
    for name, large, told in (("small", 10**8, False), ("large", 2 * 64 * 96 - 1, True)):
        monkeypatch.setattr(estimate, "LARGE_TRAIN", large)
        prepare = ("prepare", tmp_path / "streets", tmp_path / name, "--dataset=cityscapes")
        status, _, said = cereals(*prepare)
        assert status == 0
        expected = f"{tmp_path / name}: with the defaults of start at most "
        assert any(line.startswith(expected) for line in said.splitlines()) == told
    assert {path.name for path in tmp_path.iterdir()} == {"streets", "small", "large"}


def test_names_that_look_like_numbers_stay_names(cereals, tmp_path, monkeypatch, plugin_folder):
    monkeypatch.chdir(tmp_path)
    size = ["--train_images=2", "--val_images=1", "--height=64", "--width=64"]
    names = ["2018_07", "1e3", "1,2", "007"]
    assert cereals("toy", names[0], *size)[0] == 0
    assert cereals("prepare", names[0], names[1], "--dataset=cityscapes")[0] == 0
    status, _, err = cereals("start", names[2], "--data", names[1], "--budget=50%", *TINY)
    assert status == 0, err
    shutil.copytree(names[2], names[3])
    status, out, _ = cereals("status", names[3], "--json")
    assert (status, json.loads(out)) == (0, {"rounds": [], "waiting": False})
    assert {path.name for path in tmp_path.iterdir()} == set(names)


# Help.


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_a_command_and_a_flag(cereals, flag):
    assert cereals() == cereals(flag) == cereals("help")
    for line in ([flag, "start"], ["start", flag], ["start", "campaign", flag]):
        assert cereals(*line) == cereals("help", "start")
    status, out, err = cereals("help", "start")
    assert (status, err) == (0, "") and out.startswith("cereals start CAMPAIGN --data=DATA")


def test_versions_in_one_line(cereals):
    status, out, err = cereals("--version")
    assert (status, err) == (0, "")
    keras = importlib.metadata.version("keras")
    assert re.fullmatch(
        rf"cereals {re.escape(__version__)}, TensorFlow 2\.\d+.*, Keras {keras}\n", out
    )
    assert cereals("version") == (status, out, err)


def test_help_and_status_do_not_import_tensorflow(three_rounds):
    program = (
        "import sys; from cereals_tf.cli import main\n"
        f"for name in {EVERY_COMMAND}: assert main([name, '--help']) == 0\n"
        "assert main(['--version']) == main(['completion', 'bash']) == 0\n"
        f"assert main(['status', {str(three_rounds.folder)!r}]) == 0\n"
        f"assert main(['inspect', {str(three_rounds.data_folder)!r}]) == 0\n"
        "assert main(['step', 'nowhere']) == main(['stepp']) == 2\n"
        "found = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Options without effect.


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("start OUT --data=DATA --alpha=0.5", "--alpha: has an effect only with --fusion=convex"),
        ("start OUT --data=DATA --alpha=0.75 --fusion=ratio", "--alpha: has an effect only with"),
        ("start OUT --data=DATA --committee=20", "--committee: has an effect only with --infor"),
        ("start OUT --data=DATA --model=a:b --backbone=vgg16", "--backbone: has an effect only"),
        ("start OUT --data=DATA --model=a:b --weights=w.h5", "--weights: has an effect only"),
        ("start OUT --data=DATA --model=a:b --width_multiplier=1", "--width_multiplier: has an"),
        ("start OUT --data=DATA --model=a:b --normalization=none", "--normalization: has an"),
        ("start OUT --data=DATA --region=image --max_overlap=0.5", "--max_overlap: has an effect"),
        ("prepare IN OUT --dataset=masks --beam_options=--x=y", "only with --runner=beam"),
        ("prepare IN OUT --dataset=masks --runner=beam --workers=2", "only with --runner=local"),
        ("score OUT --runner=beam --shard=1/2", "--shard: has an effect only with --runner=local"),
        ("score OUT --beam_options=--x=y", "--beam_options: has an effect only with --runner=beam"),
        ("tasks OUT TASKS --token=secret", "--token: has an effect only with --url"),
        ("tasks OUT TASKS --project=3", "--project: has an effect only with --url"),
        (
            "collect OUT IN --url=http://host",
            "--url: has an effect only with a --format whose tool has servers",
        ),
        ("reproduce OUT --data=DATA --fusions= --costs=gt", "--costs: has an effect only with"),
    ],
)
def test_options_without_effect_are_refused(refused, tmp_path, monkeypatch, line, named):
    monkeypatch.chdir(tmp_path)
    message = refused(*line.split(" "))
    assert named in message and "secret" not in message


def test_options_with_an_effect_are_not(cereals, tmp_path):
    for line in ("--fusion=convex --alpha=0.5", "--information=bald --committee=3", "--alpha=0.75"):
        status, _, err = cereals("start", tmp_path / "out", "--data=nowhere", *line.split())
        assert status == 2 and ("not a prepared data set" in err) == (line != "--alpha=0.75")


# Options against the data.


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("--alpha=1.5", "expected a number from 0 to 1"),
        ("--alpha=-0.1", "expected"),
        ("--alpha=nan", "expected"),
        ("--alpha=half", "expected a number"),
        ("--region=72", "larger than the image"),
        ("--region=8x104", "larger than the image"),
        ("--region=12", "multiples of 8"),
        ("--region=big", "expected"),
        ("--budget=5", "expected a number with 'images'"),
        (
            "--budget=1%",
            "pixels do not pay for one region of images of 64x96 pixels, which takes 256",
        ),
        ("--budget=101%", "at most 100%"),
        ("--initial=5images", "the train split has 4 images"),
        ("--initial=200regions", "regions fit"),
        ("--initial=3clicks", "expected"),
        ("--committee=1", "expected a number from 2 to 255"),
        ("--committee=many", "expected a whole number"),
        ("--model=nowhere:build", "found no module 'nowhere'"),
        ("--model=tiny_plugin:missing", "has no function 'missing'"),
        ("--model=tiny_plugin", "expected package.module:function"),
        ("--cost_model=nowhere:build", "found no module 'nowhere'"),
        ("--weights=nowhere.h5", "no such file"),
        ("--warm_start=maybe", "expected true or false"),
        ("--warm_start=", "expected true or false"),
        ("--information=variance", "expected one of entropy, vote_entropy"),
        ("--backbone=resnet", "expected one of vgg16, mobilenet"),
        ("--seed=-1", "expected a number at least 0"),
        ("--seed=1e3", "expected a whole number"),
        ("--image_size=4x4", "expected sides of at least 8 pixels"),
        ("--data=nowhere", "not a prepared data set"),
    ],
)
def test_a_start_with_a_wrong_option_is_refused(
    refused, tmp_path, toy_data, monkeypatch, plugin_folder, option, found
):
    monkeypatch.chdir(tmp_path)
    name = option.split("=")[0]
    line = {
        "--data": f"--data={toy_data}",
        "--model": TINY[0],
        "--cost_model": TINY[1],
        "--region": "--region=16",
        "--budget": "--budget=10%",
    }
    if name == "--weights":
        del line["--model"]
    message = refused("start", "campaign", *(line | {name: option}).values())
    assert found in message
    assert option.removeprefix("--data=").removeprefix("--cost_") in message


def test_a_committee_of_a_model_without_dropout_is_refused(refused, tmp_path, toy_data):
    line = ["start", tmp_path / "campaign", f"--data={toy_data}", "--information=bald"]
    line += ["--model=tiny_plugin:build_certain", TINY[1], "--budget=10%"]
    assert "--information=bald: needs a model with dropout" in refused(*line)


def test_a_start_where_something_is_is_refused(refused, started, toy_data):
    assert "exists and is not empty" in refused("start", started.folder, f"--data={toy_data}")
    note = started.folder / "campaign.json"
    assert "exists and is not a folder" in refused("start", note, f"--data={toy_data}")
    inside = note / "campaign"
    refused("start", inside, f"--data={toy_data}", *TINY, "--budget=10%")


# Folders that are not what they should be.


@pytest.mark.parametrize("command", ON_A_CAMPAIGN)
def test_no_campaign(refused, tmp_path, command):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        line = required(command, tmp_path / name, tmp_path)
        assert f"{name}: not a campaign" in refused(*line)


BROKEN = {
    "empty": lambda text: "",
    "cut short": lambda text: text[: len(text) // 2],
    "not text": lambda text: "\udcff",
    "too deep": lambda text: "[" * 100_000,
    "a list": lambda text: "[]",
    "another version": lambda text: text.replace('"format_version": 1', '"format_version": 2'),
    "without a version": lambda text: text.replace("format_version", "version"),
    "an unknown option": lambda text: text.replace('"alpha"', '"alhpa"'),
    "an option of another type": lambda text: text.replace('"epochs": 2', '"epochs": "2"'),
    "an option against its rule": lambda text: text.replace('"epochs": 2', '"epochs": 0'),
    "without data": lambda text: text.replace('"data"', '"date"'),
    "data that is no path": lambda text: re.sub(r'"data": ".*?"', '"data": 7', text),
    "options that are a list": lambda text: re.sub(
        r'"options": \{.*?\}', '"options": []', text, flags=re.S
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_description_is_refused(refused, started, tmp_path, damage):
    path = started.folder / "campaign.json"
    broken = BROKEN[damage](path.read_text())
    assert broken != path.read_text()
    path.write_bytes(broken.encode("utf-8", "surrogateescape"))
    for command in ("status", "step"):
        assert str(path) in refused(*required(command, started.folder, tmp_path))


def append(data):
    with (data / "Split-train" / "data_tfrecord-00000-of-00001").open("ab") as shard:
        shard.write(b"\0")


def rewrite_description(data):
    path = data / "dataset.json"
    path.write_text(path.read_text() + "\n")


def rewrite_images(data):
    path = data / "images.csv"
    path.write_bytes(path.read_bytes() + b"\r\n")


CHANGES = {
    "a shard is longer": append,
    "a shard is gone": lambda data: next(data.glob("Split-val/*")).unlink(),
    "the description is edited": rewrite_description,
    "the list of images is edited": rewrite_images,
    "the folder is gone": shutil.rmtree,
    "the description is gone": lambda data: (data / "dataset.json").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_data_set_is_refused(refused, begin, cereals, tmp_path, own_data, change):
    campaign = begin(tmp_path / "campaign", own_data)
    CHANGES[change](own_data)
    message = refused("step", campaign.folder)
    assert str(own_data) in message
    assert cereals("status", campaign.folder)[0] == 0


def record_starts(shard):
    """Return where the records' data begin in a TFRecord file: length 8, checksum 4, data, 4."""
    starts, place, content = [], 0, shard.read_bytes()
    while place < len(content):
        starts.append(place + 12)
        place += 16 + struct.unpack_from("<Q", content, place)[0]
    return starts


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def test_a_damaged_record_stops_the_campaign_until_it_is_repaired(
    refused, cereals, first_round, three_rounds, tmp_path, own_data, outcome
):
    campaign = first_round()
    path = campaign.folder / "campaign.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"data": str(own_data)}))
    for split, number in (("train", 2), ("val", 0)):
        shard = next(own_data.glob(f"Split-{split}/*"))
        place = record_starts(shard)[number] + 500
        flip(shard, place)
        for line in (["step", campaign.folder], ["run", campaign.folder, "--rounds=2"]):
            message = refused(*line)
            assert f"{shard}: record {number} is damaged" in message
        status, _, err = cereals("inspect", own_data, "--verify")
        assert status == 2 and f"{shard}: record {number}" in err
        flip(shard, place)
    assert cereals("step", campaign.folder)[0] == 0
    assert outcome(campaign.round(1).folder) == outcome(three_rounds.round(1).folder)


@pytest.fixture
def read_only(started):
    started.folder.chmod(0o555)
    yield started
    started.folder.chmod(0o755)


def test_a_read_only_campaign_is_refused_even_for_root(refused, cereals, read_only, toy_data):
    assert "read-only" in refused("step", read_only.folder)
    assert "read-only" in refused("run", read_only.folder, "--rounds=1")
    inside = read_only.folder / "another"
    line = ["start", inside, f"--data={toy_data}", *TINY, "--budget=10%"]
    assert "read-only" in refused(*line)
    assert cereals("status", read_only.folder)[0] == 0


def test_a_round_that_does_not_exist_is_refused(refused, three_rounds, started, tmp_path):
    for command in ("evaluate", "export"):
        line = required(command, three_rounds.folder, tmp_path)
        assert "--round=7: complete are rounds 0 to 2" in refused(*line, "--round=7")
        assert "--round=-2" in refused(*line, "--round=-2")
        line = required(command, started.folder, tmp_path)
        assert "no round is complete" in refused(*line)


# What goes to stdout.


def test_status(cereals, three_rounds, started):
    status, out, err = cereals("status", three_rounds.folder)
    useless = three_rounds.rounds()[-1].metrics.cost_model_is_useless
    said, *others = err.splitlines()[::-1]
    assert (status, said) == (0, f"next: cereals step {three_rounds.folder}")
    assert ["the cost model of round 2 predicts val no better" in line for line in others] == (
        [True] * useless
    )
    for done in three_rounds.rounds():
        assert re.search(rf"│ +{done.number} │ +{done.metrics.miou:.3f} │", out)
    status, out, err = cereals("status", started.folder)
    assert (status, out) == (0, "")
    assert err.startswith(f"{started.folder}: no round is complete yet\nnext: cereals step ")


def only_json(text):
    assert text.count("\n") == 1 and text.endswith("\n")
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


def test_json_is_alone_on_stdout(cereals, three_rounds):
    status, out, err = cereals("status", three_rounds.folder, "--json")
    assert (status, err) == (0, "")
    content = only_json(out)
    assert content.keys() == {"rounds", "waiting", "stale", "annotators", "account"}
    assert (content["waiting"], content["stale"]) == (False, {})
    last = three_rounds.round(None).metrics
    assert content["annotators"] == {"ground truth": last.regions}
    assert content["account"]["clicks"] == last.clicks
    for found, done in zip(content["rounds"], three_rounds.rounds(), strict=True):
        metrics = done.metrics
        assert found == {
            "round": done.number,
            "miou": metrics.miou,
            "test_miou": metrics.test_miou,
            "pixels_percent": metrics.pixels_percent,
            "clicks_percent": metrics.clicks_percent,
            "bill_estimated": metrics.bill_estimated,
            "bill_true": metrics.bill_true,
            "cost_rank_correlation": metrics.cost_rank_correlation,
            "cost_rank_correlation_pool": metrics.cost_rank_correlation_pool,
            "cost_model_is_useless": metrics.cost_model_is_useless,
            "seconds": pytest.approx(metrics.total_seconds, abs=0.06),
            "changed": {},
        }

    for verify in ([], ["--verify"]):
        status, out, _ = cereals("inspect", three_rounds.data_folder, "--json", *verify)
        description = json.loads((three_rounds.data_folder / "dataset.json").read_text())
        found = only_json(out)
        assert found.pop("warnings")[0].startswith("no pixel of train shows: ")
        assert (status, found) == (0, description)

    for number, arguments in ((2, []), (1, ["--round=1"])):
        status, out, _ = cereals("evaluate", three_rounds.folder, "--json", *arguments)
        content, metrics = only_json(out), three_rounds.round(number).metrics
        assert (status, content["round"]) == (0, number)
        assert content["split"] == "val"
        assert content["miou_resized"] == pytest.approx(metrics.miou)
        assert content["iou_per_class"].keys() == metrics.iou_per_class.keys()


def test_tables_show_the_same(cereals, three_rounds):
    status, out, _ = cereals("evaluate", three_rounds.folder, "--round=0")
    assert status == 0
    assert re.search(rf"│ mean at 60x90 +│ +{three_rounds.round(0).metrics.miou:.3f} │", out)
    status, out, err = cereals("inspect", three_rounds.data_folder)
    assert status == 0
    for split, count in (("train", 4), ("val", 2)):
        assert re.search(rf"│ {split} +│ +{count} │ 64x96 │", out)
    assert err.startswith("warning: no pixel of train shows: ")
    assert err.splitlines()[-1].startswith("next: cereals start ")


# What comes next.


@pytest.mark.long
def test_what_comes_next_can_be_run_as_it_stands(
    cereals, following, tmp_path, monkeypatch, plugin_folder
):
    monkeypatch.chdir(tmp_path)
    line, ran = ["toy", "the streets"], []
    more = {
        "toy": ["--train_images=3", "--val_images=1", "--height=64", "--width=64"],
        "start": [*TINY, "--epochs=1", "--region=16", "--initial=1images", "--budget=100%"],
    }
    while ran[-1:] != ["export"]:
        ran.append(line[0])
        status, _, err = cereals(*line, *more.get(line[0], []))
        assert status == 0, err
        if line[0] == "run":
            rounds = re.findall(r"^round (\d): mIoU 0\.\d{3} with ", err, re.M)
            assert rounds == [str(number) for number in range(len(rounds))]
        line = following(err) if line[0] != "export" else []
    assert ran == ["toy", "prepare", "start", "run", "report", "export"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "the streets",
        "the streets-data",
        "the streets-campaign",
        f"the streets-campaign-model-00{rounds[-1]}",
    }


# Pipes that close.


@pytest.mark.parametrize("command", [["--help"], ["inspect", "--json"], ["inspect"], ["status"]])
def test_a_closed_pipe_ends_quietly(three_rounds, command):
    folder = {"inspect": [three_rounds.data_folder], "status": [three_rounds.folder]}
    line = [*CEREALS, command[0], *folder.get(command[0], []), *command[1:]]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(line, stdout=pipe, stderr=subprocess.PIPE, text=True)
    said = [text for text in done.stderr.splitlines() if not text.startswith("warning: ")]
    assert (done.returncode, said) == (128 + signal.SIGPIPE, [])


# Processes of their own.


def test_an_error_leaves_no_traceback(tmp_path):
    done = subprocess.run([*CEREALS, "step", tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"cereals: error: {tmp_path}: not a campaign, it has no campaign.json\n")


def test_tensorflow_keeps_its_warnings_to_itself():
    load_tensorflow()
    assert not logging.getLogger("tensorflow").isEnabledFor(logging.WARNING)


def test_a_step_goes_on_after_ctrl_c(begin, three_rounds, plugin_folder, tmp_path, outcome):
    campaign = begin(tmp_path / "campaign")
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    options = {"cwd": plugin_folder, "env": environment, "text": True}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*CEREALS, "step", campaign.folder], **options) as process:
        while not (campaign.working / "scratch" / "segmentation").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert err.endswith("cereals: stopped; the same command goes on from here\n")
    assert "Traceback" not in err and not NOISE.search(err), err
    assert (campaign.working / "regions.csv").exists() and campaign.rounds() == []

    done = subprocess.run([*CEREALS, "step", campaign.folder], **options)
    assert done.returncode == 0, done.stderr
    assert not NOISE.search(done.stderr), done.stderr
    assert re.search(r"│ +0 │ +0\.\d{3} │ +25\.0 │", done.stdout)
    assert outcome(campaign.round(0).folder) == outcome(three_rounds.round(0).folder)
