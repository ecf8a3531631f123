"""The annotation tools by name, and what differs between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cereals_tf.annotation import labelme, labelstudio
from cereals_tf.annotation.drawn import Drawn
from cereals_tf.annotation.tasks import ImageTask
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError


@dataclass(frozen=True)
class Format:
    """The files of one annotation tool.

    Attributes:
        name: As `--format` names it.
        write_tasks: Writes tasks into a folder, and returns how many regions they are for.
        read_drawings: Reads what annotators made of them.
        advice: Tells, by the folder's name, how annotators open it.
        result: Tells likewise where their work is found.
    """

    name: str
    write_tasks: Callable[[Path, Iterable[ImageTask], Classes], int]
    read_drawings: Callable[[Path], list[Drawn]]
    advice: Callable[[str], str]
    result: Callable[[str], str]


FORMATS = (
    Format(
        "labelme",
        labelme.write_tasks,
        labelme.read_drawings,
        lambda out: f"open them: labelme {out} --config {out}/{labelme.CONFIGURATION}",
        lambda out: out,
    ),
    Format(
        "labelstudio",
        labelstudio.write_tasks,
        labelstudio.read_drawings,
        lambda out: (
            f"a project with the labelling interface of {out}/{labelstudio.CONFIGURATION} imports "
            f"{out}/{labelstudio.TASKS}, its images served from a local storage of "
            f"{out}/{labelstudio.IMAGES}"
        ),
        lambda out: "EXPORT.json",
    ),
)


def named(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UserError: There is none.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise UserError(
        f"--format={name}: unknown, expected {' or '.join(known.name for known in FORMATS)}"
    )
