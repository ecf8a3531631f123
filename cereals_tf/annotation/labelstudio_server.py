"""A running Label Studio: regions become its tasks, and what annotators drew comes back.

Requests go to the server that the user names, by way of its SDK, and nowhere else: redirects are
not followed, and images are uploaded into the project.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from cereals_tf.annotation.drawn import Drawn
from cereals_tf.annotation.labelstudio import configuration, drawings_in, task_json
from cereals_tf.annotation.server import Pushed, Server, server_of
from cereals_tf.annotation.tasks import ImageTask
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.text import shown

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio
    from label_studio_sdk.core.api_error import ApiError

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
_TIMEOUT = 60.0
_BATCH = 100
_ONCE = {"max_retries": 0}
"""For requests that would do twice what was asked for if only the answer was lost."""


def server(url: str, project: str, token: str = "") -> Server:
    """Check what the user typed; without a token, LABEL_STUDIO_API_KEY holds it.

    Raises:
        UserError: See `server_of`.
    """
    return server_of("Label Studio", TOKEN_VARIABLE, url, project, token)


def push(server: Server, tasks: Iterable[ImageTask], classes: Classes) -> Pushed:
    """Make a task of every region that is none yet, in the order in which they were chosen.

    A project of a new name is created. After an interruption, the same call goes on: neither an
    image nor a region is ever sent twice.

    Raises:
        UserError: The server cannot be reached or refuses, or the project is not fit for the tasks.
    """
    with _connected(server) as client:
        project = _fit_project(client, server, configuration(classes))
        there, images = _regions(client, project), _images(client, project)
        root = urlsplit(server.url).path
        waiting, before = [], 0
        for task in tasks:
            new = [
                region for region in task.regions if (region.request, region.number) not in there
            ]
            before += len(task.regions) - len(new)
            if new:
                name = hashlib.sha256(task.image_encoded).hexdigest()[:32] + task.suffix
                if name not in images:
                    images[name] = _upload(client, project, name, task.image_encoded)
                url = f"{root}/data/{images[name]}"
                waiting += [task_json(region, url, classes) for region in new]
        waiting.sort(key=lambda content: content["data"]["region"])
        for first in range(0, len(waiting), _BATCH):
            batch = waiting[first : first + _BATCH]
            client.projects.import_tasks(project, request=batch, request_options=_ONCE)
        return Pushed(project, len(waiting), before)


def pull(server: Server, requests: Sequence[str], log: SourceLog) -> list[Drawn]:
    """Return what annotators drew in the tasks of a request.

    Args:
        server: Where the tasks are.
        requests: See `cereals_tf.annotation.tasks.request_ids`. Other tasks of the project are left
            alone.
        log: Is told of tasks that are damaged.

    Raises:
        UserError: The server cannot be reached or refuses, or the project does not exist or has no
            such task.
    """
    with _connected(server) as client:
        project = _project(client, server)
        if project is None:
            raise UserError(
                f"--project={shown(server.project)}: {server.url} has no project of this name"
            )
        exported = client.projects.exports.as_json(project)
    where = f"{server.url}: project {project}"
    asked = [task for task in exported if task["data"].get("request") in requests]
    if not asked:
        raise UserError(f"{where}: has no task of this round, run: cereals tasks")
    return drawings_in(where, asked, log)


@contextmanager
def _connected(server: Server) -> Iterator["LabelStudio"]:
    """Give a client; what goes wrong between it and the server becomes a `UserError`.

    Raises:
        UserError: The SDK is missing, the server cannot be reached or refuses, or is another one.
    """
    try:
        import httpx
        from label_studio_sdk import LabelStudio
        from label_studio_sdk.core.api_error import ApiError
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "label_studio_sdk"):
            raise
        raise UserError(
            "--url: needs Label Studio's SDK, expected it from: pip install "
            "'cereals-tf[labelstudio]'"
        ) from None
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as http:
        try:
            client = LabelStudio(base_url=f"{server.url}/", api_key=server.token, httpx_client=http)
            _recognise(client, server)
            yield client
        except ApiError as error:
            raise UserError(_refusal(server, error)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise UserError(f"--url={server.url}: cannot be reached: {reason}") from None


def _recognise(client: "LabelStudio", server: Server) -> None:
    """Ask who the token's user is.

    Raises:
        UserError: What answers is no Label Studio.
        ApiError: It refuses.
    """
    from label_studio_sdk.core.api_error import ApiError

    try:
        known = isinstance(getattr(client.users.whoami(), "email", None), str)
    except (TypeError, ValueError):
        known = False
    except ApiError as error:
        if error.status_code not in (200, 404, 405):
            raise
        known = False
    if not known:
        raise UserError(f"--url={server.url}: what answers there is no Label Studio")


def _refusal(server: Server, error: "ApiError") -> str:
    """Return what to say about an answer that is none of success."""
    status = error.status_code or 0
    if 300 <= status < 400:
        target = {key.lower(): value for key, value in (error.headers or {}).items()}
        return (
            f"--url={server.url}: redirects to {shown(target.get('location', ''))}, expected the "
            "address that Label Studio itself has"
        )
    reason = _reason(error.body)
    if status in (401, 403):
        return f"--token: {server.url} refuses it: {reason}"
    return f"--url={server.url}: Label Studio answers with status {status}: {reason}"


def _reason(body: Any) -> str:
    """Return the text of an error that Label Studio states as JSON."""
    if not isinstance(body, Mapping):
        return "without a reason"
    return shown(str(body.get("validation_errors") or body.get("detail") or "without a reason"))


def _project(client: "LabelStudio", server: Server) -> int | None:
    """Return the number of the project that the user names, None: there is none of this name.

    Raises:
        UserError: No project has this number, or several have this name.
    """
    from label_studio_sdk.core.api_error import ApiError

    name = server.project
    if name.isascii() and name.isdigit():
        try:
            return client.projects.get(int(name)).id
        except ApiError as error:
            if error.status_code != 404:
                raise
            raise UserError(f"--project={name}: {server.url} has no such project") from None
    numbers = [found.id for found in client.projects.list(title=name) if found.title == name]
    if len(numbers) > 1:
        raise UserError(
            f"--project={shown(name)}: {len(numbers)} projects of {server.url} have this name, "
            f"expected the number of one: {', '.join(map(str, sorted(numbers)))}"
        )
    return numbers[0] if numbers else None


def _fit_project(client: "LabelStudio", server: Server, config: str) -> int:
    """Return the number of the project; it is created, or set up if it has no tasks yet.

    Raises:
        UserError: It has tasks and lacks labels.
    """
    number = _project(client, server)
    if number is None:
        created = client.projects.create(
            title=server.project, label_config=config, request_options=_ONCE
        )
        return created.id
    project = client.projects.get(number)
    lacking = _labels(config) - _labels(project.label_config or "<View/>")
    if lacking and project.task_number:
        raise UserError(
            f"--project={shown(server.project)}: its labelling configuration lacks "
            f"{', '.join(sorted(map(shown, {label for _, label in lacking})))}; expected a new "
            "name, or the configuration that cereals tasks --format=labelstudio writes to a folder"
        )
    if lacking:
        client.projects.update(number, label_config=config)
    return number


def _labels(config: str) -> set[tuple[str, str]]:
    """Return the labels of a labelling configuration, each with the name of its tool."""
    return {
        (tool.get("name", ""), label.get("value", ""))
        for tool in ElementTree.fromstring(config).iter()
        for label in tool.iter("Label")
    }


def _regions(client: "LabelStudio", project: int) -> set[tuple[str, int]]:
    """Return the request and number of every region that is a task."""
    tasks = client.tasks.list(project=project, fields="task_only", include="id,data")
    return {
        (request, region)
        for request, region in (
            (task.data.get("request"), task.data.get("region")) for task in tasks
        )
        if isinstance(request, str) and isinstance(region, int)
    }


def _images(client: "LabelStudio", project: int) -> dict[str, str]:
    """Return the paths, below `data/`, of the files that this user uploaded, by name."""
    files = client.files.list(
        project, request_options={"additional_query_parameters": {"all": "true"}}
    )
    return {uploaded.file.rpartition("-")[2]: uploaded.file for uploaded in files}


def _upload(client: "LabelStudio", project: int, name: str, content: bytes) -> str:
    """Upload an image, of which the SDK has no method, and return its path below `data/`."""
    from label_studio_sdk.core.api_error import ApiError

    answer = client._client_wrapper.httpx_client.request(
        f"api/projects/{project}/import",
        method="POST",
        params={"commit_to_project": "false"},
        files={name: (name, content)},
        request_options=_ONCE,
    )
    if answer.status_code != 201:
        body = answer.json() if "json" in answer.headers.get("content-type", "") else None
        raise ApiError(status_code=answer.status_code, headers=dict(answer.headers), body=body)
    return client.files.get(answer.json()["file_upload_ids"][0]).file
