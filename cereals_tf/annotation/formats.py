"""The annotation tools by name, and what differs between them."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cereals_tf.annotation import cvat, cvat_server, labelme, labelstudio, labelstudio_server
from cereals_tf.annotation.drawn import Drawn
from cereals_tf.annotation.server import Pushed, Server
from cereals_tf.annotation.tasks import ImageTask
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog

EXPORT = "export.json"
CVAT_EXPORT = "export.zip"
"""Where the exports of tools that make one are looked for, in the folder of their tasks."""


class Live(NamedTuple):
    """A running server of an annotation tool.

    Attributes:
        open: Checks what the user typed of it: address, project and token.
        push: Sends every region that is not there yet.
        pull: Returns what annotators drew for a request, by any of its digests.
    """

    open: Callable[[str, str, str], Server]
    push: Callable[[Server, Iterable[ImageTask], Classes], Pushed]
    pull: Callable[[Server, Sequence[str], SourceLog], list[Drawn]]


@dataclass(frozen=True)
class Format:
    """One annotation tool.

    Attributes:
        name: As `--format` names it.
        help: What its tasks are, and what comes back.
        write_tasks: Writes tasks into a folder, and returns how many regions they are for.
        read_drawings: Reads what annotators made of them.
        advice: Tells, by the folder, how annotators open it.
        result: Tells likewise where their work is found.
        live: Its running servers; None: it has files only.
    """

    name: str
    help: str
    write_tasks: Callable[[Path, Iterable[ImageTask], Classes], int]
    read_drawings: Callable[[Path, SourceLog], list[Drawn]]
    advice: Callable[[Path], str]
    result: Callable[[Path], Path]
    live: Live | None = None


def _labelme_line(out: Path) -> str:
    return shlex.join(["labelme", str(out), "--config", str(out / labelme.CONFIGURATION)])


FORMATS = {
    "labelme": Format(
        "labelme",
        "JSON files beside the images, which come back",
        labelme.write_tasks,
        labelme.read_drawings,
        lambda out: f"open them: {_labelme_line(out)}",
        lambda out: out,
    ),
    "labelstudio": Format(
        "labelstudio",
        f"{labelstudio.TASKS} to import, {labelstudio.CONFIGURATION} and {labelstudio.IMAGES}/; "
        "its export as JSON comes back; a running one with --url too",
        labelstudio.write_tasks,
        labelstudio.read_drawings,
        lambda out: (
            f"a project with the labelling interface of {out / labelstudio.CONFIGURATION} imports "
            f"{out / labelstudio.TASKS}, its images served from a local storage of "
            f"{out / labelstudio.IMAGES}; save its export, as JSON, as {out / EXPORT}"
        ),
        lambda out: out / EXPORT,
        Live(labelstudio_server.server, labelstudio_server.push, labelstudio_server.pull),
    ),
    "cvat": Format(
        "cvat",
        f"{cvat.IMAGES}/, {cvat.LABELS} and {cvat.ANNOTATIONS} for a task; its export as CVAT for "
        "images 1.1 comes back; a running one with --url too",
        cvat.write_tasks,
        cvat.read_drawings,
        lambda out: (
            f"a task of CVAT with the labels of {out / cvat.LABELS} (Raw) and the files of "
            f"{out / cvat.IMAGES}; upload {out / cvat.ANNOTATIONS} to it as CVAT 1.1; save its "
            f"export, as CVAT for images 1.1, as {out / CVAT_EXPORT}"
        ),
        lambda out: out / CVAT_EXPORT,
        Live(cvat_server.server, cvat_server.push, cvat_server.pull),
    ),
}
"""The annotation tools by name."""

MARK = ".cereals-tasks"
"""File in a folder of tasks that says, after the format's name, which request they are for."""


def format_of(folder: Path) -> str | None:
    """Return the format of a folder of tasks; None if it is none."""
    mark = folder / MARK
    name = mark.read_text(errors="replace").partition(",")[0] if mark.is_file() else None
    return name if name in FORMATS else None


def named(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UserError: There is none.
    """
    if name not in FORMATS:
        raise UserError(f"--format={name}: unknown, expected {' or '.join(FORMATS)}")
    return FORMATS[name]
