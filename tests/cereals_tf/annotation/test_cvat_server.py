"""A running CVAT: against its API's documented form, played by a small server in this process."""

import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.annotation import cvat_server
from cereals_tf.annotation.cvat_server import pull, push, server
from cereals_tf.annotation.tasks import ImageTask, RegionTask, request_id
from cereals_tf.data_prep.dataset import Classes, ImageEntry
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.problems import SourceLog

pytest.importorskip("cvat_sdk", reason="without cvat-sdk: pip install -e '.[cvat]'")

TOKEN = "a-token"
CLASSES = Classes(("road", "sky"), ((128, 64, 128), (0, 0, 142)), 255)


class Cvat:
    """What a CVAT server keeps, and what it answers; the paths are those of its API."""

    def __init__(self):
        self.projects = {}
        self.tasks = {}
        self.states = ["new"]
        self.upload = b""

    def answer(self, method, path, query, headers, body):
        """Return a status, headers and a body."""
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}, {"detail": "Invalid token."}
        for pattern, answer in _ROUTES.items():
            wanted, _, place = pattern.partition(" ")
            match = re.fullmatch(f"/api/{place}/?", path)
            if wanted == method and match:
                return answer(self, *map(int, match.groups()), query, headers, body)
        return 404, {}, {"detail": f"{method} {path}"}

    def user(self, query, headers, body):
        return 200, {}, {"id": 1, "username": "annotator", "groups": []}

    def listed(self, found):
        return 200, {}, {"count": len(found), "next": None, "previous": None, "results": found}

    def find_projects(self, query, headers, body):
        names = query.get("name", [])
        return self.listed([found for found in self.projects.values() if found["name"] in names])

    def make_project(self, query, headers, body):
        content = json.loads(body)
        number = len(self.projects) + 1
        labels = [{**label, "id": place} for place, label in enumerate(content["labels"])]
        for label in labels:
            label["attributes"] = [{**part, "id": 1} for part in label["attributes"]]
        self.projects[number] = {
            **{"id": number, "name": content["name"], "all_labels": labels},
            **{"tasks": {"count": 0, "url": ""}, "labels": {"url": ""}, "organization": None},
        }
        return 201, {}, self.projects[number]

    def get_project(self, number, query, headers, body):
        found = self.projects.get(number)
        return (200, {}, found) if found else (404, {}, {"detail": "Not found."})

    def labels(self, query, headers, body):
        return self.listed(self.projects[int(query["project_id"][0])]["all_labels"])

    def find_tasks(self, query, headers, body):
        number = int(query["project_id"][0])
        found = [key for key, task in self.tasks.items() if task["project_id"] == number]
        return self.listed(list(map(self._shown, found)))

    def make_task(self, query, headers, body):
        number = len(self.tasks) + 1
        nothing = {"jobs": {"completed": 0, "validation": 0}, "labels": {"url": ""}}
        nothing |= {"organization": None, "target_storage": None}
        self.tasks[number] = {"id": number, "size": 0, "files": {}, **nothing, **json.loads(body)}
        return 201, {}, self._shown(number)

    def _shown(self, number):
        """A task without what the API does not tell of it."""
        hidden = ("files", "annotations")
        return {key: value for key, value in self.tasks[number].items() if key not in hidden}

    def get_task(self, number, query, headers, body):
        return 200, {}, self._shown(number)

    def remove_task(self, number, query, headers, body):
        del self.tasks[number]
        return 204, {}, None

    def data(self, number, query, headers, body):
        """The three messages of an upload of images."""
        if "Upload-Start" in headers:
            return 202, {}, {}
        if "Upload-Multiple" in headers:
            boundary = headers["Content-Type"].partition("boundary=")[2].encode()
            for part in body.split(b"--" + boundary):
                head, _, content = part.partition(b"\r\n\r\n")
                if name := re.search(rb'filename="([^"]*)"', head):
                    file = name[1].decode().rpartition("/")[2]
                    self.tasks[number]["files"][file] = content[:-2]
            return 200, {}, {}
        self.tasks[number]["size"] = len(self.tasks[number]["files"])
        return 202, {}, {"rq_id": "action=create"}

    def annotations(self, number, query, headers, body):
        """The start, the TUS creation and the end of an upload of annotations."""
        if "Upload-Length" in headers:
            place = f"http://{headers['Host']}/api/tasks/{number}/annotations/1"
            return 201, {"Location": place, "Upload-Filename": "annotations.xml"}, None
        if "Upload-Finish" in headers:
            assert query["format"] == ["CVAT 1.1"]
            self.tasks[number]["annotations"] = ElementTree.fromstring(self.upload)
            return 202, {}, {"rq_id": "action=import"}
        return 202, {}, {}

    def chunk(self, number, upload, query, headers, body):
        self.upload = body
        return 204, {"Upload-Offset": str(len(body))}, None

    def request(self, query, headers, body):
        finished = {
            "id": "a",
            "status": "finished",
            "created_date": "2026-01-01T00:00:00Z",
            "message": "",
            "operation": {"type": "import:annotations", "target": "task"},
            "result_url": f"http://{headers['Host']}/api/download/1",
        }
        return 200, {}, finished

    def jobs(self, query, headers, body):
        task = self.tasks[int(query["task_id"][0])]
        whole = {"task_id": task["id"], "start_frame": 0, "stop_frame": task["size"] - 1}
        whole |= {"issues": {"count": 0, "url": ""}, "labels": {"url": ""}}
        return self.listed([{"id": 1, "state": state, **whole} for state in self.states])

    def export(self, number, query, headers, body):
        assert query["format"] == ["CVAT for images 1.1"]
        assert query["save_images"][0].lower() == "false"
        return 202, {}, {"rq_id": "action=export"}

    def download(self, number, query, headers, body):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            xml = ElementTree.tostring(self.tasks[number]["annotations"])
            archive.writestr("annotations.xml", xml)
        return 200, {"Content-Type": "application/zip"}, buffer.getvalue()


_ROUTES = {
    "GET users/self": Cvat.user,
    "GET projects": Cvat.find_projects,
    "POST projects": Cvat.make_project,
    r"GET projects/(\d+)": Cvat.get_project,
    "GET labels": Cvat.labels,
    "GET tasks": Cvat.find_tasks,
    "POST tasks": Cvat.make_task,
    r"GET tasks/(\d+)": Cvat.get_task,
    r"DELETE tasks/(\d+)": Cvat.remove_task,
    r"POST tasks/(\d+)/data": Cvat.data,
    r"POST tasks/(\d+)/annotations": Cvat.annotations,
    r"PATCH tasks/(\d+)/annotations/(\d+)": Cvat.chunk,
    r"POST tasks/(\d+)/dataset/export": Cvat.export,
    "GET requests/[^/]+": Cvat.request,
    "GET jobs": Cvat.jobs,
    r"GET download/(\d+)": Cvat.download,
}


@pytest.fixture
def cvat(monkeypatch):
    """A server and its address."""
    state = Cvat()
    monkeypatch.setattr(cvat_server, "_SECONDS_BETWEEN_LOOKS", 0.01)

    class Handler(BaseHTTPRequestHandler):
        def respond(self):
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = state.answer(
                self.command, parts.path, parse_qs(parts.query), self.headers, body
            )
            kind = {} if isinstance(content, bytes) else {"Content-Type": "application/json"}
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            encoded = b"" if content is None else encoded
            self.send_response(status)
            for name, value in {**kind, **headers, "Content-Length": len(encoded)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(encoded)

        def do_GET(self):
            self.respond()

        def do_POST(self):
            self.respond()

        def do_PATCH(self):
            self.respond()

        def do_DELETE(self):
            self.respond()

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def _png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


CHOSEN = [Chosen(Region(image_id, Box(8, 0, 16, 16)), 0.5, 3.5, 4.25) for image_id in ("b", "a/ü")]
REQUEST = request_id(CHOSEN)
TASKS = [
    ImageTask(
        entry := ImageEntry(chosen.region.image_id, 32, 48, 0),
        _png(number),
        ".png",
        [RegionTask(2, REQUEST, entry, number, chosen, chosen.region.box, "clicks")],
    )
    for number, chosen in enumerate(CHOSEN)
]


def test_a_round_is_one_task_with_its_images_and_frames(cvat):
    pushed = push(server(cvat.url, "Streets", TOKEN), TASKS, CLASSES)
    assert (pushed.project, pushed.new, pushed.before) == (1, 2, 0)
    (task,) = cvat.tasks.values()
    assert (task["name"], task["project_id"]) == (f"round 2, {REQUEST}", 1)
    assert task["files"] == {"a%2F%C3%BC.png": _png(1), "b.png": _png(0)}
    frames = task["annotations"].findall("image/box")
    assert [frame.find("attribute[@name='region']").text for frame in frames] == ["1", "0"]
    names = [label["name"] for label in cvat.projects[1]["all_labels"]]
    assert names == ["road", "sky", "__ignore__", "__region__"]


def test_what_is_there_is_not_sent_again(cvat):
    there = server(cvat.url, "Streets", TOKEN)
    push(there, TASKS, CLASSES)
    again = push(server(cvat.url, "1", TOKEN), TASKS, CLASSES)
    assert (again.project, again.new, again.before) == (1, 0, 2)
    cvat.tasks[1]["size"] = 0
    assert push(there, TASKS, CLASSES).new == 2
    assert len(cvat.tasks) == 1 and cvat.tasks[1]["size"] == 2


@pytest.mark.parametrize("state", ["in progress", "completed"])
def test_what_is_drawn_comes_back(cvat, state):
    there = server(cvat.url, "Streets", TOKEN)
    push(there, TASKS, CLASSES)
    image = cvat.tasks[1]["annotations"].find("image")
    points = "0.00,0.00;40.00,0.00;40.00,30.00"
    ElementTree.SubElement(image, "polygon", label="sky", z_order="0", points=points)
    ElementTree.SubElement(image, "polyline", label="sky", z_order="0", points=points)
    cvat.states = [state]
    log = SourceLog()
    first, second = pull(there, [REQUEST], log)
    assert (first.image_id, first.regions, first.round) == ("a/ü", (1,), 2)
    assert first.finished == second.finished == (state == "completed")
    assert [shape.class_name for shape in first.shapes] == ["sky"] and not second.shapes
    where = f"{cvat.url}: project 1: task 1: image "
    assert first.problems[0].text.startswith(where) and not log.problems


def test_a_project_that_lacks_labels_is_refused(cvat):
    push(server(cvat.url, "Streets", TOKEN), TASKS, CLASSES)
    other = Classes(("road", "car"), CLASSES.palette, 255)
    with pytest.raises(UserError, match=r"--project=.*lacks the labels .*car"):
        push(server(cvat.url, "1", TOKEN), TASKS, other)


def test_what_is_not_there_is_named(cvat):
    with pytest.raises(UserError, match=r"--project='?Nobody'?: .* no project of this name"):
        pull(server(cvat.url, "Nobody", TOKEN), [REQUEST], SourceLog())
    with pytest.raises(UserError, match=r"--project=7: .* has no such project"):
        pull(server(cvat.url, "7", TOKEN), [REQUEST], SourceLog())
    push(server(cvat.url, "Streets", TOKEN), TASKS, CLASSES)
    with pytest.raises(UserError, match="has no task of this round"):
        pull(server(cvat.url, "Streets", TOKEN), ["another"], SourceLog())


def test_refusals_are_named_and_hide_the_token(cvat):
    with pytest.raises(UserError, match=r"--token: .* refuses it") as caught:
        push(server(cvat.url, "Streets", "wrong"), TASKS, CLASSES)
    assert "wrong" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be reached"):
        push(server("http://127.0.0.1:1", "Streets", TOKEN), TASKS, CLASSES)


def test_the_token_may_be_in_the_environment(monkeypatch):
    monkeypatch.delenv("CVAT_ACCESS_TOKEN", raising=False)
    with pytest.raises(UserError, match="access token of CVAT here or in CVAT_ACCESS_TOKEN"):
        server("http://localhost", "a")
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
    assert server("http://localhost/", "a").token == TOKEN
