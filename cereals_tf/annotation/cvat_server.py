"""A running CVAT: a round's regions become one of its tasks, and what annotators drew comes back.

What goes there and back are the files of `cereals_tf.annotation.cvat`, by way of CVAT's SDK, to the
server that the user names and nowhere else: redirects are not followed.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cereals_tf.annotation.cvat import (
    ANNOTATIONS,
    IMAGES,
    labels_json,
    read_drawings,
    write_tasks,
)
from cereals_tf.annotation.drawn import Drawn
from cereals_tf.annotation.server import Pushed, Server, server_of
from cereals_tf.annotation.tasks import ImageTask
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.text import shown

if TYPE_CHECKING:
    from cvat_sdk import Client
    from cvat_sdk.core.proxies.projects import Project
    from cvat_sdk.core.proxies.tasks import Task

TOKEN_VARIABLE = "CVAT_ACCESS_TOKEN"
_IMPORTED, _EXPORTED = "CVAT 1.1", "CVAT for images 1.1"
"""What CVAT calls its XML."""
_SECONDS_BETWEEN_LOOKS = 1.0


def server(url: str, project: str, token: str = "") -> Server:
    """Check what the user typed; without a token, CVAT_ACCESS_TOKEN holds it.

    Raises:
        UserError: See `server_of`.
    """
    return server_of("CVAT", TOKEN_VARIABLE, url, project, token)


def push(server: Server, tasks: Iterable[ImageTask], classes: Classes) -> Pushed:
    """Make a task of CVAT of all regions of a request, unless it is there already.

    A project of a new name is created. A task without images, as an interruption leaves it, is
    made anew.

    Raises:
        UserError: The server cannot be reached or refuses, or the project lacks labels.
    """
    asked = list(tasks)
    regions = sum(len(task.regions) for task in asked)
    name = _task_name(asked[0].regions[0].request, asked[0].regions[0].round)
    with _connected(server) as client:
        project = _fit_project(client, server, classes)
        for found in _tasks(project, name):
            if found.size:
                return Pushed(project.id, 0, regions)
            found.remove()
        with tempfile.TemporaryDirectory(prefix="cereals-") as folder:
            write_tasks(Path(folder), asked, classes)
            client.tasks.create_from_data(
                {"name": name, "project_id": project.id},
                sorted(Path(folder, IMAGES).iterdir()),
                data_params={"sorting_method": "lexicographical", "image_quality": 95},
                annotation_path=str(Path(folder, ANNOTATIONS)),
                annotation_format=_IMPORTED,
            )
    return Pushed(project.id, regions, 0)


def pull(server: Server, requests: Sequence[str], log: SourceLog) -> list[Drawn]:
    """Return what annotators drew in the tasks of a request.

    Images of jobs whose state is `completed` are finished, whatever their frames' attributes say.

    Args:
        server: Where the tasks are.
        requests: See `cereals_tf.annotation.tasks.request_ids`.
        log: Is told of images that were not handed out as they are.

    Raises:
        UserError: The server cannot be reached or refuses, or has no such project or task.
    """
    with _connected(server) as client:
        project = _project(client, server)
        if project is None:
            raise UserError(
                f"--project={shown(server.project)}: {server.url} has no project of this name"
            )
        where = f"{server.url}: project {project.id}"
        found = [task for text in requests for task in _tasks(project, text)[:1] if task.size]
        if not found:
            raise UserError(f"{where}: has no task of this round, run: cereals tasks")
        return [drawn for task in found for drawn in _drawn_in(task, where, log)]


def _drawn_in(task: "Task", where: str, log: SourceLog) -> list[Drawn]:
    """Return what annotators drew in a task."""
    completed = {
        number
        for job in task.get_jobs()
        if str(getattr(job.state, "value", job.state)) == "completed"
        for number in range(job.start_frame, job.stop_frame + 1)
    }
    with tempfile.TemporaryDirectory(prefix="cereals-") as folder:
        export = Path(folder, "export.zip")
        task.export_dataset(_EXPORTED, export, include_images=False)
        return read_drawings(export, log, f"{where}: task {task.id}", completed)


def _task_name(request: str, number: int) -> str:
    return f"round {number}, {request}"


def _tasks(project: "Project", text: str) -> list["Task"]:
    """Return the tasks of a project with a text in their names, the newest first."""
    found = [task for task in project.get_tasks() if text in task.name]
    return sorted(found, key=lambda task: -task.id)


@contextmanager
def _connected(server: Server) -> Iterator["Client"]:
    """Give a client; what goes wrong between it and the server becomes a `UserError`.

    Raises:
        UserError: The SDK is missing, the server cannot be reached or refuses, or is another one.
    """
    try:
        import urllib3
        from cvat_sdk import Client, Config
        from cvat_sdk.core.client import AccessTokenCredentials
        from cvat_sdk.core.exceptions import CvatSdkException
        from cvat_sdk.exceptions import ApiException, OpenApiException
    except ModuleNotFoundError as error:
        if error.name != "cvat_sdk":
            raise
        raise UserError(
            "--url: needs CVAT's SDK, expected it from: pip install 'cereals-tf[cvat]'"
        ) from None
    config = Config(status_check_period=_SECONDS_BETWEEN_LOOKS)
    try:
        with Client(server.url, config=config, check_server_version=False) as client:
            pool = client.api_client.rest_client.pool_manager
            pool.connection_pool_kw["retries"] = urllib3.Retry(total=3, redirect=False)
            client.login(AccessTokenCredentials(server.token))
            client.users.retrieve_current_user()
            yield client
    except ApiException as error:
        raise UserError(_refusal(server, error.status, error.body)) from None
    except (CvatSdkException, OpenApiException) as error:
        raise UserError(f"--url={server.url}: CVAT: {shown(str(error))}") from None
    except urllib3.exceptions.HTTPError as error:
        raise UserError(f"--url={server.url}: cannot be reached: {error}") from None


def _refusal(server: Server, status: int | None, body: object) -> str:
    """Return what to say about an answer that is none of success."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    reason = shown(text[:300]) if text else "without a reason"
    if status in (401, 403):
        return f"--token: {server.url} refuses it: {reason}"
    if status and 300 <= status < 400:
        return f"--url={server.url}: redirects, expected the address that CVAT itself has"
    return f"--url={server.url}: CVAT answers with status {status}: {reason}"


def _project(client: "Client", server: Server) -> "Project | None":
    """Return the project that the user names, None: there is none of this name.

    Raises:
        UserError: No project has this number, or several have this name.
    """
    from cvat_sdk.exceptions import ApiException

    name = server.project
    if name.isascii() and name.isdigit():
        try:
            return client.projects.retrieve(int(name))
        except ApiException as error:
            if error.status != 404:
                raise
            raise UserError(f"--project={name}: {server.url} has no such project") from None
    found = [project for project in client.projects.list(name=name) if project.name == name]
    if len(found) > 1:
        numbers = ", ".join(str(project.id) for project in found)
        raise UserError(
            f"--project={shown(name)}: {len(found)} projects of {server.url} have this name, "
            f"expected the number of one: {numbers}"
        )
    return found[0] if found else None


def _fit_project(client: "Client", server: Server, classes: Classes) -> "Project":
    """Return the project, which is created if there is none of its name.

    Raises:
        UserError: It lacks labels, or the attributes of regions.
    """
    labels = labels_json(classes)
    project = _project(client, server)
    if project is None:
        return client.projects.create({"name": server.project, "labels": labels})
    there = {
        (label.name, attribute) for label in project.get_labels() for attribute in _names(label)
    }
    wanted = {
        (label["name"], name)
        for label in labels
        for name in ("", *(attribute["name"] for attribute in label["attributes"]))
    }
    if lacking := sorted({label for label, _ in wanted - there}):
        raise UserError(
            f"--project={shown(server.project)}: lacks the labels {', '.join(map(shown, lacking))} "
            "or their attributes; expected a new name, or the labels that cereals tasks "
            "--format=cvat writes to a folder"
        )
    return project


def _names(label: object) -> Sequence[str]:
    """Return the names of a label's attributes, and an empty one for the label itself."""
    return ["", *(attribute.name for attribute in getattr(label, "attributes", None) or [])]
