"""A real Label Studio on this machine: see `make test-labelstudio`."""

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation.labelstudio_server import pull, push
from cereals_tf.annotation.labelstudio_server import server as server_at
from cereals_tf.annotation.tasks import ImageTask, RegionTask, request_id
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.problems import SourceLog

MISSING = [
    name for name in ("label_studio", "label_studio_sdk") if not importlib.util.find_spec(name)
]
TOKEN = "0123456789abcdef0123456789abcdef01234567"
CLASSES = Classes(("road", 'a "quoted" <class>'), ((128, 64, 128), (0, 0, 142)), 255)


def live(test):
    """Mark what needs the server, its SDK or both."""
    reason = f"without {', '.join(MISSING)}; see make test-labelstudio"
    return pytest.mark.labelstudio(pytest.mark.skipif(bool(MISSING), reason=reason)(test))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """The address of a running Label Studio, which knows one user, and calls nobody."""
    folder = tmp_path_factory.mktemp("labelstudio")
    port = free_port()
    command = [
        *(Path(sys.executable).with_name("label-studio"), "start", "--no-browser"),
        *("--data-dir", folder, "--internal-host", "127.0.0.1", "--port", port),
        *("--username", "annotator@example.org", "--password", "annotators-password"),
        *("--user-token", TOKEN, "--enable-legacy-api-token"),
    ]
    quiet = {
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "HOME": str(folder),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | quiet,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if answers(f"{url}/health"):
                break
            try:
                server.wait(timeout=0.25)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail((folder / "log").read_text()[-3000:])
        else:
            pytest.fail("Label Studio did not start")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def api(studio):
    """The server's programming interface, as an annotator's browser uses it."""
    from label_studio_sdk import LabelStudio

    return LabelStudio(base_url=studio, api_key=TOKEN)


def png(seed: int, height: int = 32, width: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def image_tasks(regions: list[tuple[str, int]], round: int = 0) -> list[ImageTask]:
    """Tasks of (image id, x) each, in the order of choice."""
    requested = [
        Chosen(Region(image_id, Box(8, x, 16, 16)), 9.0 - number, 3.5, 4.25)
        for number, (image_id, x) in enumerate(regions)
    ]
    request = request_id(requested)
    tasks = []
    for seed, image_id in enumerate(sorted({image_id for image_id, _ in regions})):
        entry = ImageEntry(image_id, 32, 48, 0)
        own = [
            RegionTask(round, request, entry, number, chosen, chosen.region.box, "clicks")
            for number, chosen in enumerate(requested)
            if chosen.region.image_id == image_id
        ]
        tasks.append(ImageTask(entry, png(seed), ".png", own))
    return tasks


def uploads(api, project: int) -> list[str]:
    files = api.files.list(project, request_options={"additional_query_parameters": {"all": "1"}})
    return [uploaded.file for uploaded in files]


@live
def test_tasks_show_the_image_and_the_region_best_first(studio, api):
    tasks = image_tasks([("b/ü", 24), ("..", 0), ("b/ü", 0)])
    pushed = push(server_at(studio, "shows", TOKEN), tasks, CLASSES)
    assert (pushed.new, pushed.before) == (3, 0)
    assert len(uploads(api, pushed.project)) == 2
    contents = {task.entry.image_id: task.image_encoded for task in tasks}
    found = sorted(api.tasks.list(project=pushed.project, fields="all"), key=lambda task: task.id)
    assert [task.data["region"] for task in found] == [0, 1, 2]
    assert [task.data["score"] for task in found] == [9.0, 8.0, 7.0]
    for task, x in zip(found, (24, 0, 0), strict=True):
        request = urllib.request.Request(
            studio + task.data["image"], headers={"Authorization": f"Token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.read() == contents[task.data["image_id"]]
        (prediction,) = task.predictions
        (frame,) = prediction.result
        value = frame["value"]
        assert np.allclose(
            [value["y"], value["x"], value["height"], value["width"]],
            [100 * 8 / 32, 100 * x / 48, 100 * 16 / 32, 100 * 16 / 48],
        )


@live
def test_predictions_of_every_round_are_shown(studio, api):
    server = server_at(studio, "rounds", TOKEN)
    first = push(server, image_tasks([("a", 0)], round=0), CLASSES)
    second = push(server, image_tasks([("a", 24)], round=1), CLASSES)
    assert (second.project, second.new) == (first.project, 1)
    assert len(uploads(api, first.project)) == 1
    version = api.projects.get(first.project).model_version
    for task in api.tasks.list(project=first.project, fields="all"):
        assert [prediction.model_version for prediction in task.predictions] == [version]


@live
def test_an_interrupted_push_goes_on(studio, api):
    tasks = image_tasks([("a", 0), ("b", 0), ("c", 24), ("a", 24)])
    server = server_at(studio, "interrupted", TOKEN)

    def broken():
        yield from tasks[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(server, broken(), CLASSES)
    pushed = push(server, tasks, CLASSES)
    assert (pushed.new, pushed.before) == (4, 0)
    assert len(uploads(api, pushed.project)) == 3
    again = push(server_at(f"{studio}/", str(pushed.project), TOKEN), tasks, CLASSES)
    assert (again.project, again.new, again.before) == (pushed.project, 0, 4)
    regions = [task.data["region"] for task in api.tasks.list(project=pushed.project)]
    assert sorted(regions) == [0, 1, 2, 3]
    assert len(uploads(api, pushed.project)) == 3


@live
def test_tasks_of_others_are_left_alone(studio, api):
    tasks = image_tasks([("a", 0)])
    server = server_at(studio, "shared", TOKEN)
    project = push(server, tasks, CLASSES).project
    others = [{}, {"request": [1], "region": {}}, {"request": "other", "region": 0}]
    foreign = [{"data": {"image": "/data/none.png", **data}} for data in others]
    api.projects.import_tasks(project, request=foreign)
    pushed = push(server, tasks, CLASSES)
    assert (pushed.new, pushed.before) == (0, 1)
    (drawn,) = pull(server, [tasks[0].regions[0].request], SourceLog())
    assert (drawn.image_id, drawn.regions) == ("a", (0,))


@live
def test_a_personal_access_token_serves_too(studio):
    request = urllib.request.Request(
        f"{studio}/api/token/", method="POST", headers={"Authorization": f"Token {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        personal = json.load(answer)["token"]
    tasks = image_tasks([("a", 0)])
    server = server_at(studio, "personal", personal)
    assert push(server, tasks, CLASSES).new == 1
    (drawn,) = pull(server, [tasks[0].regions[0].request], SourceLog())
    assert (drawn.image_id, drawn.regions, drawn.shapes) == ("a", (0,), ())


@live
def test_an_empty_project_is_set_up(studio, api):
    number = api.projects.create(title="made by hand").id
    pushed = push(server_at(studio, str(number), TOKEN), image_tasks([("a", 0)]), CLASSES)
    assert (pushed.project, pushed.new) == (number, 1)
    assert 'a "quoted" <class>' in api.projects.get(number).parsed_label_config["polygon"]["labels"]


@live
def test_a_project_that_does_not_fit_is_left_alone(studio, api):
    config = (
        '<View><Image name="image" value="$image"/><PolygonLabels name="polygon" toName="image">'
        '<Label value="road"/></PolygonLabels></View>'
    )
    number = api.projects.create(title="other", label_config=config).id
    api.projects.import_tasks(number, request=[{"data": {"image": "/data/none.png"}}])
    with pytest.raises(UserError, match=r"--project='other': .* lacks .*'__region__'"):
        push(server_at(studio, "other", TOKEN), image_tasks([("a", 0)]), CLASSES)
    assert api.projects.get(number).task_number == 1
    assert api.projects.get(number).label_config == config
    assert uploads(api, number) == []


@live
def test_what_the_user_can_mend_is_named(studio, api):
    def refused(url: str, project: str, token: str = TOKEN) -> str:
        server = server_at(url, project, token)
        with pytest.raises(UserError) as pushing:
            push(server, image_tasks([("a", 0)]), CLASSES)
        with pytest.raises(UserError) as pulling:
            pull(server, ["request"], SourceLog())
        assert str(pushing.value) == str(pulling.value)
        assert token not in str(pulling.value)
        return str(pulling.value)

    wrong = "f" * 40
    assert "Invalid token" in refused(studio, "new", wrong)
    assert refused(studio, "new", wrong).startswith(f"--token: {studio} refuses it: ")
    assert refused(studio, "987654") == f"--project=987654: {studio} has no such project"
    nobody = f"http://127.0.0.1:{free_port()}"
    assert refused(nobody, "new").startswith(f"--url={nobody}: cannot be reached: ")
    elsewhere = f"--url={studio}/nix: what answers there is no Label Studio"
    assert refused(f"{studio}/nix", "new") == elsewhere
    numbers = [api.projects.create(title="twins").id for _ in range(2)]
    assert f"expected the number of one: {numbers[0]}, {numbers[1]}" in refused(studio, "twins")
    with pytest.raises(UserError, match=r"--project='none': .* has no project of this name"):
        pull(server_at(studio, "none", TOKEN), ["request"], SourceLog())
    with pytest.raises(UserError, match=r"has no task of this round, run: cereals tasks"):
        pull(server_at(studio, str(numbers[0]), TOKEN), ["request"], SourceLog())
    with pytest.raises(UserError, match=r"status 400: .*title"):
        push(server_at(studio, "long" * 50, TOKEN), image_tasks([("a", 0)]), CLASSES)


class Annotator:
    """Draws the ground truth, as a browser submits it."""

    def __init__(self, api, truth, names):
        self.api, self.truth, self.names = api, truth, names

    def tasks(self, project: int, request: str) -> list:
        """The tasks of a request by region."""
        found = self.api.tasks.list(project=project, fields="all")
        own = [task for task in found if task.data["request"] == request]
        return sorted(own, key=lambda task: task.data["region"])

    def submit(self, task, shapes: list[dict], seconds: float) -> None:
        """Submit shapes beside the frame that the task shows."""
        height, width = task.data["size"]
        drawn = [
            {
                "id": f"drawn-{number}",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                **shape,
            }
            for number, shape in enumerate(shapes)
        ]
        result = [*task.predictions[0].result[:1], *drawn]
        self.api.annotations.create(id=task.id, result=result, lead_time=seconds)

    def polygons(self, task) -> list[dict]:
        height, width = task.data["size"]
        return [
            {
                "type": "polygonlabels",
                "from_name": "polygon",
                "value": {
                    "points": [[x / width * 100.0, y / height * 100.0] for x, y in points.tolist()],
                    "closed": True,
                    "polygonlabels": [name],
                },
            }
            for name, points in self.truth[task.data["image_id"]].objects
        ]

    def brushes(self, task) -> list[dict]:
        from label_studio_sdk.converter.brush import mask2rle

        label = self.truth[task.data["image_id"]].label
        return [
            {
                "type": "brushlabels",
                "from_name": "brush",
                "value": {
                    "format": "rle",
                    "rle": mask2rle(np.where(label == value, 255, 0).astype(np.uint8)),
                    "brushlabels": [self.names[value]],
                },
            }
            for value in np.unique(label).tolist()
        ]

    def labels(self, task) -> np.ndarray:
        y, x, height, width = task.data["window"]
        return self.truth[task.data["image_id"]].label[y : y + height, x : x + width]


@pytest.fixture
def annotator(api, truth_of):
    def make(campaign) -> Annotator:
        classes = campaign.data.classes
        names = dict(enumerate(classes.names)) | {classes.ignore_id: "__ignore__"}
        return Annotator(api, truth_of(campaign), names)

    return make


@live
def test_rounds_go_through_label_studio(
    studio, api, annotator, begin, cereals, refused, tmp_path, snapshot, monkeypatch
):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    campaign = begin(tmp_path / "campaign", annotator="files", cost_unit="seconds", budget="5%")
    there = ["--format=labelstudio", f"--url={studio}", "--project=Streets of the toy"]

    def done(*arguments) -> str:
        status, out, err = cereals(*arguments)
        assert status == 0, err
        assert TOKEN not in out + err
        return err

    def check(tasks: list, first_seconds: float) -> None:
        stored = campaign.annotations.annotated()
        assert stored.keys() == {task.data["region"] for task in tasks}
        for place, task in enumerate(tasks):
            annotation = stored[task.data["region"]]
            assert np.array_equal(annotation.label, people.labels(task))
            assert annotation.seconds == first_seconds + place

    people = annotator(campaign)
    done("step", campaign.folder)
    said = done("tasks", campaign.folder, *there)
    assert "1 new region to annotate, 0 were there" in said
    project = int(said.partition("/projects/")[2].partition(":")[0])
    tasks = people.tasks(project, request_id(campaign.request()))
    people.submit(tasks[0], people.polygons(tasks[0]), 20.5)
    done("collect", campaign.folder, *there)
    check(tasks, 20.5)
    done("step", campaign.folder)

    done("step", campaign.folder)
    regions = campaign.request()
    assert len(regions) > 3
    assert refused("collect", campaign.folder, *there).endswith(": cereals tasks\n")
    done("tasks", campaign.folder, *there, "--preannotate")
    assert f"0 new regions to annotate, {len(regions)} were there" in done(
        "tasks", campaign.folder, *there
    )
    tasks = people.tasks(project, request_id(regions))
    assert [task.data["region"] for task in tasks] == [region.number for region in regions]
    assert all(len(task.predictions[0].result) > 1 for task in tasks)
    *drawn, declined = tasks
    for number, task in enumerate(drawn):
        shapes = people.brushes(task) if number == 1 else people.polygons(task)
        people.submit(task, shapes, 3.25 + number)
        if number == 1:
            done("collect", campaign.folder, *there)
            check(drawn[:2], 3.25)
    api.annotations.create(id=declined.id, result=[], was_cancelled=True)
    done("collect", campaign.folder, *there)
    check(drawn, 3.25)
    assert campaign.annotations.skipped() == {declined.data["region"]}
    done("step", campaign.folder)
    rounds = campaign.rounds()
    assert [region.seconds for region in rounds[0].regions] == [20.5]
    assert [region.seconds for region in rounds[1].regions] == [
        3.25 + number for number in range(len(drawn))
    ]
    files = snapshot(campaign.folder).values()
    assert not any(TOKEN.encode() in content for content in files if content)


def test_options_that_do_not_fit_are_refused(begin, refused, tmp_path):
    folder = begin(tmp_path / "campaign").folder
    url, there = "--url=http://127.0.0.1:1", "--format=labelstudio"
    for command in ("tasks", "collect"):
        assert "a --format whose tool has servers" in refused(command, folder, url, "--project=1")
        assert "out: not with --url" in refused(command, folder, "out", url, there)
        assert "--project: has an effect only with --url" in refused(
            command, folder, "out", "--project=1"
        )
        said = refused(command, folder, "out", "--token=secret")
        assert "--token: has an effect only with --url" in said and "secret" not in said
        assert "--project: missing" in refused(command, folder, url, there)
    assert "OUT is missing" in refused("tasks", folder)


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everybody to an address, and remembers who came."""

    def do_GET(self):
        self.server.seen.append(self.path)
        status, location, body = self.server.answer
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def web_server(status: int, location: str = "", body: bytes = b""):
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    server.answer, server.seen = (status, location, body), []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@live
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status):
    with web_server(200) as (target, seen), web_server(status, f"{target}/ls") as (url, _):
        with pytest.raises(UserError) as refused:
            pull(server_at(url, "1", TOKEN), ["request"], SourceLog())
        assert seen == []
    assert str(refused.value).startswith(f"--url={url}: redirects to '{target}/ls'")


@live
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'"x"', b'{"email": 1}'])
def test_another_web_server_is_recognised(body):
    with web_server(200, body=body) as (url, _), pytest.raises(UserError) as refused:
        pull(server_at(url, "1", TOKEN), ["request"], SourceLog())
    assert str(refused.value) == f"--url={url}: what answers there is no Label Studio"


@pytest.mark.parametrize(
    ("url", "project", "token", "named"),
    [
        ("", "1", "t", "--url: expected the address"),
        ("localhost:8080", "1", "t", "--url: expected the address"),
        ("ftp://host", "1", "t", "--url: expected the address"),
        ("http://", "1", "t", "--url: expected the address"),
        ("http://host:port", "1", "t", "--url: expected the address"),
        ("http://[::1", "1", "t", "--url: expected the address"),
        ("http://user:word@host", "1", "t", "--url: expected the address"),
        ("http://host/?token=secret", "1", "t", "--url: expected the address"),
        ("http://ho st", "1", "t", "--url: expected the address"),
        ("http://host", " ", "t", "--project: missing"),
        ("http://host", "1", "", "--token: missing, .* LABEL_STUDIO_API_KEY"),
        ("http://host", "1", "sécret", "--token: holds characters"),
        ("http://host", "1", "sec\nret", "--token: holds characters"),
    ],
)
def test_options_are_checked(monkeypatch, url, project, token, named):
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(UserError, match=f"^{named}") as refused:
        server_at(url, project, token)
    assert "secret" not in str(refused.value) and "word@" not in str(refused.value)


def test_the_token_comes_from_the_environment_and_is_not_shown(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "from-environment")
    assert server_at("http://host/ls/", "1").token == "from-environment"
    server = server_at("http://host/ls/", " 1", "typed")
    assert (server.url, server.project, server.token) == ("http://host/ls", "1", "typed")
    assert "typed" not in repr(server)


@pytest.mark.skipif("label_studio_sdk" not in MISSING, reason="the SDK is installed")
def test_a_missing_sdk_is_named():
    with pytest.raises(UserError, match=r"pip install 'cereals-tf\[labelstudio\]'"):
        pull(server_at("http://127.0.0.1:1", "1", TOKEN), ["request"], SourceLog())
